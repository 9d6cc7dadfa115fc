package jobs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
	"github.com/onehost/onehost/proc/nest"
)

// unmountTime bounds the end of a nest whose home may be gone.
const unmountTime = 10 * time.Second

// makeTime bounds the making of a nest, which takes tens of milliseconds when the home answers.
const makeTime = 30 * time.Second

// open gives the nest of a home, making it at the first call; an earlier life's is ended. Several calls may wait for
// one making.
func (h *Helper) open(ctx context.Context, from link.Peer, about *jobspb.Home) (*home, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, fmt.Errorf("this helper is going down: %w", context.Canceled)
	}
	hm := h.homes[from.Number]
	var old *home
	if hm != nil && !hm.goesOnLocked(from) {
		old, hm = hm, nil
	}
	if hm != nil {
		h.heardLocked(hm, from)
	}
	mine := hm == nil
	if mine {
		hm = &home{incarnation: from.Incarnation, ready: make(chan struct{})}
		hm.life, hm.gone = context.WithCancel(context.Background())
		h.homes[from.Number] = hm
	}
	h.mu.Unlock()
	if old != nil {
		h.end(old)
	}
	if mine {
		// The making outlives whoever asked first: others wait for it too.
		making, cancel := context.WithTimeout(context.WithoutCancel(ctx), makeTime)
		defer cancel()
		hm.err = h.make(making, hm, from, about)
		close(hm.ready)
		if hm.err != nil {
			h.forget(from.Number, hm)
		}
	}
	select {
	case <-hm.ready:
		return hm, hm.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *Helper) make(ctx context.Context, hm *home, from link.Peer, about *jobspb.Home) error {
	tree, err := h.cfg.Mount(ctx, from)
	if err != nil {
		return fmt.Errorf("mounting the tree of %s: %w", from.Name, err)
	}
	var call func(context.Context, nest.Call) nest.Result
	if h.cfg.Call != nil {
		call = func(ctx context.Context, c nest.Call) nest.Result {
			if c.Signals() { // what was written before a signal is seen after it
				if err := tree.Flush(ctx); err != nil {
					h.cfg.Log.Warn("writes before a signal", "home", from.Name, "err", err)
				}
			}
			return h.cfg.Call(ctx, from.Number, c)
		}
	}
	n, err := nest.Open(ctx, nest.Config{
		Home: from.Number, HomeName: string(from.Name), Hostname: about.GetHostname(),
		Root: tree.Root(), Binds: tree.Binds(), Abort: tree.AbortFile(),
		PidFirst: int(about.GetPidFirst()), PidLast: int(about.GetPidLast()), Call: call, Log: h.cfg.Log,
		More: func(ctx context.Context, has int) (first, last int, err error) { return h.more(ctx, from.Number, has) },
	})
	if err != nil {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), unmountTime)
		defer cancel()
		return fmt.Errorf("making the nest of %s: %w", from.Name, errors.Join(err, tree.Unmount(end)))
	}
	hm.tree, hm.nest = tree, n
	return nil
}

// forget drops hm if it is still the nest of that home, and ends it.
func (h *Helper) forget(n names.Host, hm *home) {
	h.mu.Lock()
	mine := h.homes[n] == hm
	if mine {
		delete(h.homes, n)
	}
	h.mu.Unlock()
	if mine {
		h.end(hm)
	}
}

// goesOnLocked reports whether a host, in the incarnation it has now, still lives the life whose nest this is.
func (hm *home) goesOnLocked(from link.Peer) bool {
	return from.GoesOn(hm.incarnation)
}

// heardLocked takes note of the incarnation of a home. If its daemon has been started again, what sessions left behind here ends in a while, unless
// they are still there and claim it.
func (h *Helper) heardLocked(hm *home, from link.Peer) {
	if from.Incarnation <= hm.incarnation {
		return
	}
	hm.incarnation, hm.claimed, hm.judged = from.Incarnation, map[uint64]bool{}, false
	inc := from.Incarnation
	time.AfterFunc(claimTime, func() { h.endUnclaimed(hm, inc) })
}

// Restarted says that the daemon of a home has been started again, as another incarnation.
func (h *Helper) Restarted(n names.Host, inc names.Incarnation) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if hm := h.homes[n]; hm != nil {
		h.heardLocked(hm, link.Peer{Number: n, Incarnation: inc})
	}
}

// endUnclaimed ends what sessions left behind that have not outlived their home's daemon.
func (h *Helper) endUnclaimed(hm *home, inc names.Incarnation) {
	var left []*nest.Process
	h.mu.Lock()
	if hm.incarnation == inc {
		hm.judged = true
		for session, all := range hm.left {
			if !hm.claimed[session] {
				left = append(left, all...)
				delete(hm.left, session)
			}
		}
	}
	h.mu.Unlock()
	for _, p := range left {
		h.kill(p)
	}
}

// end takes a nest down. The tree is aborted first: a process that waits for a home that is gone must come
// out of the kernel to die.
func (h *Helper) end(hm *home) {
	<-hm.ready
	if hm.err != nil || hm.nest == nil {
		return
	}
	hm.gone()
	hm.tree.Abort()
	if err := hm.nest.Close(); err != nil {
		h.cfg.Log.Warn("closing a nest", "err", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), unmountTime)
	defer cancel()
	if err := hm.tree.Unmount(ctx); err != nil {
		h.cfg.Log.Warn("unmounting a home's tree", "err", err)
	}
}

func (h *Helper) isClosed() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// Close ends every nest and takes no more jobs. Homes are told nothing of the jobs that end with it.
func (h *Helper) Close() {
	h.mu.Lock()
	h.closed = true
	all := h.homes
	h.homes = map[names.Host]*home{}
	h.mu.Unlock()
	for _, hm := range all {
		h.end(hm)
	}
}

// WarmMethod is the call by which a home asks a helper to make its nest before the first job comes; the body is a
// jobspb.Home.
const WarmMethod = "proc.warm"

func (h *Helper) serveWarm(ctx context.Context, r *link.Request) (link.Reply, error) {
	var about jobspb.Home
	if err := proto.Unmarshal(r.Body, &about); err != nil {
		return link.Reply{}, fmt.Errorf("bad warm message: %w: %w", err, syscall.EBADMSG)
	}
	_, err := h.open(ctx, r.From, &about)
	return link.Reply{}, err
}

// Warm asks a helper to make the nest of this home. It blocks until that is done, at most as long as ctx lives.
func (h *Home) Warm(ctx context.Context, helper names.Host) error {
	about, err := h.about(helper)
	if err != nil {
		return err
	}
	body, err := proto.Marshal(about)
	if err != nil {
		return err
	}
	conn, err := h.cfg.Carriers.Conn(ctx, helper)
	if err != nil {
		return err
	}
	_, err = conn.Call(ctx, WarmMethod, nil, body)
	return err
}
