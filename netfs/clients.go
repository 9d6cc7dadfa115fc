package netfs

import (
	"context"
	"sync"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/netfs/fspb"
)

// Clients takes what homes send to this host's mounts of them. There is one for a daemon.
type Clients struct {
	mu     sync.RWMutex
	mounts map[*Mount]struct{}
}

// NewClients makes an empty set.
func NewClients() *Clients { return &Clients{mounts: make(map[*Mount]struct{})} }

// Register makes the router deliver notes and recalls of homes.
func (cs *Clients) Register(r *link.Router) {
	r.HandleNote("fs.inval", func(r *link.Request) {
		inv := &fspb.Invals{}
		if err := proto.Unmarshal(r.Header, inv); err != nil {
			_ = r.Conn.Close() // a note that cannot be read is a change that is not seen: start afresh
			return
		}
		for _, m := range cs.of(r) {
			m.received(inv)
		}
	})
	r.HandleCall("fs.recall", func(_ context.Context, r *link.Request) (link.Reply, error) {
		op := &fspb.Op{}
		if err := proto.Unmarshal(r.Header, op); err != nil {
			return link.Reply{}, syscall.EBADMSG
		}
		for _, m := range cs.of(r) {
			if m.num == op.Mount {
				m.fs.recall(string(op.Id))
			}
		}
		return link.Reply{}, nil
	})
}

// of gives the mounts that a home's message is for.
func (cs *Clients) of(r *link.Request) []*Mount { return cs.mountsOf(r.From.Number) }

// mountsOf gives the mounts of a home.
func (cs *Clients) mountsOf(home names.Host) []*Mount {
	cs.mu.RLock()
	defer cs.mu.RUnlock()
	var all []*Mount
	for m := range cs.mounts {
		if m.cfg.Home == home {
			all = append(all, m)
		}
	}
	return all
}

func (cs *Clients) add(m *Mount) {
	cs.mu.Lock()
	cs.mounts[m] = struct{}{}
	cs.mu.Unlock()
}

func (cs *Clients) remove(m *Mount) {
	cs.mu.Lock()
	delete(cs.mounts, m)
	cs.mu.Unlock()
}
