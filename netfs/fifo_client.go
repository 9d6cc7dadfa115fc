package netfs

import (
	"sync"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// ownFifos is the fifos that tasks made here which still run. What runs together runs here, so the kernel here can be the one
// that passes their bytes: such a fifo is shown as the fifo it is, poll knows whether it is ready, and we hear nothing of it. To
// everybody else, and when the task has ended, it is a fifo of the home like others.
type ownFifos struct {
	mu    sync.Mutex
	tasks map[string]task // by id
}

func (o *ownFifos) add(id string, t task) {
	o.mu.Lock()
	o.tasks[id] = t
	o.mu.Unlock()
}

func (o *ownFifos) del(id string) {
	o.mu.Lock()
	delete(o.tasks, id)
	o.mu.Unlock()
}

// show has the kernel make a fifo of one of these.
func (o *ownFifos) show(n *node, out *fuse.Attr) {
	if n.typ.Load() != unix.S_IFIFO {
		return
	}
	o.mu.Lock()
	_, ok := o.tasks[n.id]
	o.mu.Unlock()
	if ok {
		out.Mode = out.Mode&^unix.S_IFMT | unix.S_IFIFO
	}
}

// end gives the fifos of tasks that have ended to everybody.
func (o *ownFifos) end(m *Mount) {
	var over []string
	o.mu.Lock()
	for id, t := range o.tasks {
		if t.ended() {
			over = append(over, id)
			delete(o.tasks, id)
		}
	}
	o.mu.Unlock()
	for _, id := range over {
		if n := m.fs.find(id); n != nil {
			for _, e := range m.fs.edgesOf(n) {
				m.fs.expire(m.srv, e.dir, e.name)
			}
		}
	}
}
