package procfs

import (
	"sync"
	"time"
)

// turns are native directories that a thread has been told to look up again, to find a link to the kernel's own in their place.
//
// Whoever opens /proc/7 should get the kernel's: its names and links are right, and its descriptor is one of the process (pidfd_send_signal). A link
// would give him that, but one is not followed by those who say so (O_NOFOLLOW), and our first answer, at lookup, does not know what is
// wanted. The second, at opening, does: then ESTALE makes the kernel look up the name once more, and it finds a link.
type turns struct {
	mu  sync.Mutex
	all map[turn]turned
}

type turn struct {
	tid int
	at  place
}

type turned struct {
	left int // lookups: one to find that what the kernel knows has gone, and one for what there is
	at   time.Time
}

// turnTime is how long after being told a thread looks up the name again at the latest. Later it finds the directory, and can open that.
const turnTime = 50 * time.Millisecond

// tell reports whether the thread is told to look again: not if it has been.
func (t *turns) tell(tid int, at place) bool {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, old := range t.all {
		if now.Sub(old.at) > turnTime {
			delete(t.all, k)
		}
	}
	k := turn{tid, at}
	if _, told := t.all[k]; told || tid == 0 {
		return false
	}
	t.all[k] = turned{2, now}
	return true
}

// told reports whether the thread has been told to look again.
func (t *turns) told(tid int, at place) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := turn{tid, at}
	was, ok := t.all[k]
	if !ok || time.Since(was.at) > turnTime {
		return false
	}
	if was.left--; was.left == 0 {
		delete(t.all, k)
	} else {
		t.all[k] = was
	}
	return true
}
