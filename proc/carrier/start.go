package carrier

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/nest"
)

// spawn starts a carrier's process and waits until it can be talked to. exited is closed when the process has ended, nil if there never was one.
func spawn(s *Setup) (exited chan struct{}, err error) {
	if err := os.MkdirAll(s.Dir, 0o700); err != nil {
		return nil, err
	}
	setup, err := s.keep()
	if err != nil {
		return nil, err
	}
	defer setup.Close()
	ready, theirs, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer ready.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{arg0, arg1}
	cmd.Dir = "/"
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{setup, theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // what is sent to the daemon's group or terminal is not for it
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return nil, err
	}
	exited = make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended, its log says
		close(exited)
	}()
	_ = ready.SetReadDeadline(time.Now().Add(bootTime))
	if _, err := ready.Read(make([]byte, 8)); err != nil {
		_ = cmd.Process.Kill()
		return exited, fmt.Errorf("it does not start: %w", err)
	}
	return exited, nil
}

// adopt takes on the carriers of earlier daemons, and clears up after those that have ended.
func (cs *Carriers) adopt() {
	dirs, err := os.ReadDir(cs.cfg.Dir)
	if err != nil {
		return // there is none
	}
	var asking sync.WaitGroup
	for _, d := range dirs {
		if home, inc, ok := parsePrefix(d.Name()); ok {
			asking.Go(func() { cs.adoptOne(home, inc) })
		}
	}
	asking.Wait()
}

// adoptOne takes on a carrier, if it lives and can be talked to. It does not wait for the end of one that cannot.
func (cs *Carriers) adoptOne(home names.Host, inc names.Incarnation) {
	cs.mu.Lock()
	c := cs.newCarrierLocked(link.Peer{Number: home}, inc)
	cs.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	c.err = cs.own(ctx, c, nil)
	if c.err == nil {
		cs.cfg.Log.Info("what this host runs for a home goes on", "home", cs.name(c), "jobs", countOf(c.counter))
		close(c.ready)
		return
	}
	close(c.ready)
	cs.mu.Lock()
	if cs.homes[home] == c {
		delete(cs.homes, home)
	}
	cs.mu.Unlock()
	switch {
	case errors.Is(c.err, errProtocol):
		cs.cfg.Log.Warn("what this host runs for a home ends: this onehostd cannot speak with what runs it", "home", home, "why", c.err)
		cs.wg.Go(func() {
			cs.endOther(c.dir)
			cs.over(c, nil)
		})
		return
	case c.pid > 0:
		cs.cfg.Log.Warn("what this host runs for a home does not answer: killing it", "home", home, "pid", c.pid, "err", c.err)
		_ = unix.Kill(c.pid, unix.SIGKILL)
	}
	cs.over(c, nil)
}

// endOther ends a carrier that speaks another protocol, and waits for that, as long as it may take.
func (cs *Carriers) endOther(dir string) {
	ctx, cancel := context.WithTimeout(context.Background(), endTime)
	defer cancel()
	var none done
	_ = control.Call(ctx, socket(dir), opEnd, endRequest{}, &none)
	for ctx.Err() == nil {
		conn, err := control.Dial(ctx, socket(dir))
		if err != nil {
			return
		}
		conn.Close()
		time.Sleep(endEvery)
	}
}

// endEvery is how often it is looked whether a carrier has ended that tells nobody.
const endEvery = 10 * time.Millisecond

// clear takes away what a carrier has left whose process has ended. Its nest's init ends with it; should that hang, the kernel ends it.
func (cs *Carriers) clear(c *carrier) error {
	err := cs.cfg.Clear(filepath.Base(c.dir)) // aborts first: nothing ends that waits for a file server
	if c.pid > 0 {
		err = errors.Join(err, nest.End(c.group, c.pid))
	} else { // it was another daemon's
		err = errors.Join(err, nest.Sweep())
	}
	return errors.Join(err, ignoreAbsent(os.Remove(socket(c.dir))), ignoreAbsent(os.Remove(c.dir)), ignoreBusy(os.Remove(filepath.Dir(c.dir))))
}

// Owns reports whether a tree is one of a carrier that lives, by the name of its directory.
func (cs *Carriers) Owns(tree string) bool {
	home, inc, ok := parsePrefix(tree)
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for c := range cs.all {
		if ok && c.inc == inc && c.number == home {
			return true
		}
	}
	return false
}
