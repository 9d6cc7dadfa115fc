package procfs

import (
	"context"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// place is a file of a process.
type place struct {
	pid    names.Pid // as it is seen from here
	remote bool
	path   string // below the process's directory
}

func (p place) below(name string) place {
	if p.path != "" {
		name = p.path + "/" + name
	}
	return place{p.pid, p.remote, name}
}

// local gives the path as the host of the process knows it: threads of another home's processes are named with the home, as those are.
func (p place) local() string {
	words := strings.SplitN(p.path, "/", 3)
	if p.pid.Host() == names.Here || len(words) < 2 || words[0] != "task" {
		return p.path
	}
	if tid, ok := number(words[1]); ok && tid.Host() == p.pid.Host() {
		words[1] = strconv.Itoa(tid.Local())
	}
	return strings.Join(words, "/")
}

// shown gives the name of something in a directory as it is seen from here.
func (p place) shown(name string) string {
	tid, ok := number(name)
	if p.pid.Host() == names.Here || p.path != "task" || !ok {
		return name
	}
	return names.MakePid(p.pid.Host(), int(tid)).String()
}

// reader gives the thread that waits for us.
func reader(ctx context.Context) int {
	if c, ok := fuse.FromContext(ctx); ok {
		return int(c.Pid)
	}
	return 0
}

// look answers one question about a process.
func (f *fileSystem) look(ctx context.Context, at place, l proc.Look) (proc.View, syscall.Errno) {
	l.Path = at.local()
	tid := reader(ctx)
	if !at.remote {
		if !guarded(l) || f.mine(tid) {
			return one(proc.Here(int(at.pid)).Look(ctx, proc.Daemon, []proc.Look{l}))
		}
		return one(f.process(at.pid, tid).Look(ctx, nil, []proc.Look{l}))
	}
	if f, ok := f.first(at.pid, tid, l); ok {
		return f.view(l)
	}
	if l.Kind != proc.LookStat || strings.Contains(l.Path, "/") {
		return one(f.process(at.pid, tid).Look(ctx, nil, []proc.Look{l}))
	}
	// ps looks for a file in every process that hardly a kernel has.
	host := f.runsOn(at.pid)
	if f.absent.has(host, l.Path) {
		return proc.View{}, syscall.ENOENT
	}
	views, err := f.process(at.pid, tid).Look(ctx, nil, []proc.Look{{Kind: proc.LookStat}, l})
	if err != nil || len(views) != 2 {
		return one(nil, err)
	}
	if views[0].Errno == 0 && views[1].Errno == syscall.ENOENT {
		f.absent.add(host, l.Path)
	}
	return one(views[1:], nil)
}

// runsOn gives the host that runs a remote process; empty if that is not known.
func (f *fileSystem) runsOn(pid names.Pid) names.HostName {
	t := f.tables.get()
	if pid.Host() == names.Here {
		pid = t.own(pid.Local())
	}
	if row := t.rows[pid]; row != nil {
		return row.Host
	}
	return ""
}

// absent is what processes of a host do not have in their directories, for a while: another kernel may come.
type absent struct {
	mu  sync.Mutex
	all map[absentKey]time.Time // until when it is believed
}

type absentKey struct {
	host names.HostName
	name string
}

// Bounds of what is remembered.
const (
	absentAge  = 10 * time.Second
	mostAbsent = 1000
)

func (a *absent) has(host names.HostName, name string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return time.Now().Before(a.all[absentKey{host, name}])
}

func (a *absent) add(host names.HostName, name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if host == "" {
		return
	}
	if len(a.all) >= mostAbsent {
		clear(a.all)
	}
	a.all[absentKey{host, name}] = time.Now().Add(absentAge)
}

// one gives the first of the views. A process that is not there is a name that is not there.
func one(views []proc.View, err error) (proc.View, syscall.Errno) {
	if err == nil && len(views) == 0 {
		err = syscall.EIO
	}
	e := names.Errno(err)
	if err == nil {
		e = views[0].Errno
	}
	switch e {
	case 0:
		return views[0], 0
	case syscall.ESRCH:
		e = syscall.ENOENT
	case syscall.ETIMEDOUT:
		e = syscall.EHOSTDOWN
	}
	return proc.View{}, e
}

// process is a process as the daemon shows it to a thread.
func (f *fileSystem) process(pid names.Pid, tid int) proc.Process {
	return &proc.Remote{Pid: pid, By: looker{f.client, tid}}
}

// guarded reports whether the kernel looks at the rights of whoever asks. It shows to everybody the names of files and of threads.
func guarded(l proc.Look) bool {
	words := strings.Split(l.Path, "/")
	if words[0] == "task" && len(words) > 1 {
		words = words[2:]
	}
	if len(words) == 0 || len(words) == 1 && (words[0] == "" || words[0] == "task") {
		return false
	}
	return len(words) > 1 || l.Kind != proc.LookStat
}

// mine reports whether a thread has the rights of this process.
func (f *fileSystem) mine(tid int) bool {
	who, err := proc.ReadCaller(tid)
	return err == nil && reflect.DeepEqual(who, f.rights)
}
