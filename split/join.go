package split

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/onehost/onehost/control"
)

// joinLimit bounds how long the daemons may take to form a cluster.
const joinLimit = 30 * time.Second

// listen is where the host's daemon listens.
func (h *hostState) listen() string {
	return net.JoinHostPort(hostAddr(h.Number).String(), strconv.Itoa(daemonPort))
}

// form makes one cluster of all hosts: h1 founds it, the others join with its token, one after another, so that hN is host number N.
// Of the 100 ms that 4 hosts take, doing it at the same time would save 10.
func (i instance) form(ctx context.Context, s *state) error {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	first := s.Hosts[0]
	if _, err := i.answer(ctx, first); err != nil {
		return err
	}
	var st control.StatusReply
	found := control.InitRequest{Cluster: s.Config.Cluster, Name: first.Name, Addr: first.listen()}
	if err := i.call(ctx, first, control.OpInit, found, &st); err != nil {
		return err
	}
	token, err := i.token(ctx, first)
	if err != nil {
		return err
	}
	for _, h := range s.Hosts[1:] {
		if err := i.join(ctx, h, token); err != nil {
			return err
		}
	}
	return nil
}

func (i instance) token(ctx context.Context, h *hostState) (control.TokenReply, error) {
	var t control.TokenReply
	err := i.call(ctx, h, control.OpToken, control.TokenRequest{}, &t)
	if t.Addr == "" {
		t.Addr = h.listen()
	}
	return t, err
}

func (i instance) join(ctx context.Context, h *hostState, t control.TokenReply) error {
	if _, err := i.answer(ctx, h); err != nil {
		return err
	}
	var st control.StatusReply
	return i.call(ctx, h, control.OpJoin, control.JoinRequest{Addr: t.Addr, Token: t.Token, Name: h.Name, SelfAddr: h.listen()}, &st)
}

// rejoin waits for the daemon of a host that booted again. It knows its cluster from its disk; if it died before it had one, it joins by any
// other host that answers.
func (i instance) rejoin(ctx context.Context, s *state, h *hostState) error {
	ctx, cancel := context.WithTimeout(ctx, joinLimit)
	defer cancel()
	st, err := i.answer(ctx, h)
	if err != nil || st.Cluster != "" {
		return err
	}
	var last error
	for _, other := range s.Hosts {
		if other == h || !other.alive() || other.Frozen || other.Cut {
			continue
		}
		t, err := i.token(ctx, other)
		if err == nil {
			err = i.join(ctx, h, t)
		}
		if err == nil {
			return nil
		}
		last = err
	}
	return errors.Join(fmt.Errorf("%s is up, but in no cluster: no other host can take it in", h.Name), last)
}

// call does one operation of a host's daemon.
func (i instance) call(ctx context.Context, h *hostState, op string, req, reply any) error {
	path := (&Host{in: i, name: h.Name}).Control()
	if err := control.Call(ctx, path, op, req, reply); err != nil {
		return fmt.Errorf("%s: onehostd, %s: %w", h.Name, op, err)
	}
	return nil
}

// answer waits until the host's daemon answers. One that ended is an error with the last line it wrote.
func (i instance) answer(ctx context.Context, h *hostState) (control.StatusReply, error) {
	var st control.StatusReply
	host := &Host{in: i, name: h.Name}
	var fault error
	ok := until(ctx, func() bool {
		err := control.Call(ctx, host.Control(), control.OpStatus, struct{}{}, &st)
		if err == nil {
			return true
		}
		if !errors.Is(err, control.ErrNoDaemon) {
			fault = err
			return true
		}
		if d, err := i.daemonOf(ctx, h); err == nil && d.Pid == 0 {
			fault = fmt.Errorf("onehostd %s: %s", d.Ended, i.lastLog(h))
			return true
		}
		return false
	})
	switch {
	case fault != nil:
		return st, fmt.Errorf("%s: %w", h.Name, fault)
	case !ok:
		return st, fmt.Errorf("%s: onehostd does not answer (%s): %w", h.Name, i.lastLog(h), ctx.Err())
	}
	return st, nil
}

// lastLog gives the last line of the daemon's log.
func (i instance) lastLog(h *hostState) string {
	data, err := os.ReadFile(filepath.Join(i.hostDir(h.Name), "disk/upper", daemonLog))
	if err != nil {
		data, err = os.ReadFile(filepath.Join("/proc", strconv.Itoa(h.Pid), "root", daemonLog)) // /var may be a disk of its own
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if last := lines[len(lines)-1]; err == nil && last != "" {
		return last
	}
	return "it logged nothing"
}
