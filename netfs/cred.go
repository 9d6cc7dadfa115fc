package netfs

import (
	"runtime"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs/fspb"
	"github.com/onehost/onehost/sys"
)

// workers are threads that take on the file-system identity of whoever asks, one job at a time. All changes that the
// server makes are made on them, so that a change at home whose thread is a worker's is known to be our own.
type workers struct {
	jobs chan job
	wg   sync.WaitGroup

	mu   sync.RWMutex
	tids map[int32]struct{}
	n    int
}

type job struct {
	cred *fspb.Cred // nil: root
	do   func() error
	done chan error
}

const maxWorkers = 32 // threads; a worker waits for the disk, never for a network

func newWorkers() *workers {
	return &workers{jobs: make(chan job), tids: make(map[int32]struct{})}
}

// as runs do with the identity of cred on a worker thread.
func (w *workers) as(cred *fspb.Cred, do func() error) error {
	j := job{cred, do, make(chan error, 1)}
	select {
	case w.jobs <- j:
	default:
		w.grow()
		w.jobs <- j
	}
	return <-j.done
}

// own reports whether a thread is a worker.
func (w *workers) own(tid int32) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	_, ok := w.tids[tid]
	return ok
}

func (w *workers) grow() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n < maxWorkers {
		w.n++
		w.wg.Add(1)
		go w.run()
	}
}

// close ends the workers; as must not be called any more.
func (w *workers) close() {
	close(w.jobs)
	w.wg.Wait()
}

// run never unlocks its thread, so the thread, with its changed identity, ends with the goroutine.
func (w *workers) run() {
	defer w.wg.Done()
	runtime.LockOSThread()
	tid := int32(unix.Gettid())
	w.mu.Lock()
	w.tids[tid] = struct{}{}
	w.mu.Unlock()
	err := unix.Unshare(unix.CLONE_FS) // a umask of its own: the caller's kernel has applied the caller's
	if err == nil {
		unix.Umask(0)
	}
	now := &fspb.Cred{}
	if err == nil {
		err = sys.SetThreadGroups(nil)
	}
	for j := range w.jobs {
		e := err
		if e == nil {
			e = become(now, j.cred)
		}
		if e == nil {
			e = j.do()
		}
		j.done <- e
	}
	// The number of an ended thread may be given to anybody, but by then the server that would ask is closed.
}

// become changes the calling thread from now to want. A user other than root loses the file capabilities with it, by the
// kernel's own rule.
func become(now, want *fspb.Cred) error {
	uid, gid, groups := want.GetUid(), want.GetGid(), want.GetGroups()
	if !slices.Equal(now.Groups, groups) {
		if err := sys.SetThreadGroups(groups); err != nil {
			return err
		}
		now.Groups = slices.Clone(groups)
	}
	if now.Gid != gid {
		if _, err := unix.SetfsgidRetGid(int(gid)); err != nil {
			return err
		}
		if got, _ := unix.SetfsgidRetGid(-1); got != int(gid) {
			return syscall.EPERM
		}
		now.Gid = gid
	}
	if now.Uid != uid {
		if _, err := unix.SetfsuidRetUid(int(uid)); err != nil {
			return err
		}
		if got, _ := unix.SetfsuidRetUid(-1); got != int(uid) {
			return syscall.EPERM
		}
		if (now.Uid == 0) != (uid == 0) {
			if err := mayExceed(uid == 0); err != nil {
				return err
			}
		}
		now.Uid = uid
	}
	return nil
}

// mayExceed says whether the calling thread may use more than its quota, and what a file system has in reserve, which no change of
// the user takes from it.
func mayExceed(may bool) error {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return err
	}
	const resource = 1 << unix.CAP_SYS_RESOURCE
	data[0].Effective &^= resource
	if may {
		data[0].Effective |= data[0].Permitted & resource
	}
	return unix.Capset(&hdr, &data[0])
}
