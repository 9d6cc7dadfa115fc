package netfs

import (
	"sync"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/netfs/fspb"
)

// ownFifos is the fifos that tasks made here which still run. What runs together runs here, so the kernel here can be the one
// that passes their bytes: such a fifo is shown as the fifo it is, poll knows whether it is ready, and we hear nothing of it. To
// everybody else, and when the task has ended, it is a fifo of the home like others.
type ownFifos struct {
	mu  sync.Mutex
	all map[string]ownFifo // by id
}

type ownFifo struct {
	task task
	attr *fspb.Attr // as it was made
}

func (o *ownFifos) add(id string, f ownFifo) {
	o.mu.Lock()
	o.all[id] = f
	o.mu.Unlock()
}

// getattr asks the home. It does not keep a fifo for us that has lost its name: it does not know that one of ours is open.
func (fs *rawFS) getattr(by caller, n *node) (*fspb.Result, syscall.Errno) {
	res, _, e := fs.m.ask(by, "fs.getattr", &fspb.Op{Id: []byte(n.id)})
	if e != syscall.ESTALE {
		return res, e
	}
	fs.own.mu.Lock()
	f, ok := fs.own.all[n.id]
	fs.own.mu.Unlock()
	if !ok {
		return res, e
	}
	a := proto.CloneOf(f.attr)
	a.Nlink = 0
	return &fspb.Result{Entry: &fspb.Entry{Attr: a}}, 0
}

// show has the kernel make a fifo of one of these.
func (o *ownFifos) show(n *node, out *fuse.Attr) {
	if n.typ.Load() != unix.S_IFIFO {
		return
	}
	o.mu.Lock()
	_, ok := o.all[n.id]
	o.mu.Unlock()
	if ok {
		out.Mode = out.Mode&^unix.S_IFMT | unix.S_IFIFO
	}
}

// has reports whether one of these has this inode number.
func (o *ownFifos) has(ino uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, f := range o.all {
		if f.attr.GetIno() == ino {
			return true
		}
	}
	return false
}

// end gives the fifos of tasks that have ended to everybody. One without a name stays what it is for those who have it open: the
// kernel takes a file of another kind for an error.
func (o *ownFifos) end(m *Mount) {
	var over []string
	o.mu.Lock()
	for id, f := range o.all {
		if f.task.ended() {
			over = append(over, id)
		}
	}
	o.mu.Unlock()
	for _, id := range over {
		n := m.fs.find(id)
		var names []edge
		if n != nil {
			if names = m.fs.edgesOf(n); len(names) == 0 {
				continue
			}
		}
		o.mu.Lock()
		delete(o.all, id)
		o.mu.Unlock()
		for _, e := range names {
			m.fs.expire(m.srv, e.dir, e.name)
		}
	}
}
