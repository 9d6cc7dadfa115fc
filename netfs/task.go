package netfs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"

	"github.com/onehost/onehost/sys"
)

// task is the topmost process of what runs together: the one whose parent is the init of its pid name space. The zero task
// is nobody in particular.
type task struct {
	pid   uint32
	start uint64 // in ticks since the boot; tells it from a later process of that number
}

const maxDepth = 64 // processes between a task and who works for it

// taskOf gives the task that a thread works for.
func taskOf(tid uint32) task {
	pid, ppid := tid, uint32(0)
	for depth := 0; pid > 0 && depth < maxDepth; depth++ {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return task{}
		}
		st := parseStatus(b)
		if st.init {
			if ppid == 0 {
				return task{}
			}
			start, _ := startOf(ppid)
			return task{ppid, start}
		}
		ppid, pid = st.tgid, st.ppid
	}
	return task{}
}

// taskCache remembers the tasks of threads. That the topmost process of one has ended meanwhile, so that it would be another's now,
// does no harm: what it writes belongs to a task that has ended then, and goes home at once.
type taskCache struct {
	mu    sync.Mutex
	byTid map[uint32]knownTask
}

type knownTask struct {
	start uint64 // of the thread
	task  task
}

const maxTasks = 4096 // threads remembered

func (c *taskCache) of(tid uint32) task {
	start, _ := startOf(tid)
	if start == 0 {
		return task{}
	}
	c.mu.Lock()
	k, ok := c.byTid[tid]
	c.mu.Unlock()
	if ok && k.start == start {
		return k.task
	}
	t := taskOf(tid)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.byTid == nil || len(c.byTid) >= maxTasks {
		c.byTid = make(map[uint32]knownTask)
	}
	c.byTid[tid] = knownTask{start, t}
	return t
}

// ended reports whether nobody works for the task any more but what it left behind.
func (t task) ended() bool {
	if t.start == 0 {
		return true
	}
	start, zombie := startOf(t.pid)
	return start != t.start || zombie
}

// procStatus is what is read of /proc/PID/status.
type procStatus struct {
	tgid, ppid uint32
	init       bool // pid 1 of its name space
}

func parseStatus(b []byte) (st procStatus) {
	for line := range bytes.Lines(b) {
		key, val, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			continue
		}
		f := bytes.Fields(val)
		if len(f) == 0 {
			continue
		}
		switch n, _ := strconv.ParseUint(string(f[len(f)-1]), 10, 32); string(key) {
		case "Tgid":
			st.tgid = uint32(n)
		case "PPid":
			st.ppid = uint32(n)
		case "NStgid":
			st.init = n == 1
		}
	}
	return st
}

// startOf gives when a process began, 0 if there is none, and whether it has ended but for its parent's wait.
func startOf(pid uint32) (start uint64, zombie bool) {
	st, err := sys.ReadProcStat(int(pid))
	if err != nil {
		return 0, false
	}
	return st.Start, st.Ended()
}

// usedBy notes that a process opens the file to write to it, or to read what another may have written. What two tasks know of
// belongs to neither.
func (n *node) usedBy(tid uint32, write bool) {
	w := &n.w
	if !write && !w.active.Load() {
		return
	}
	t := n.fs.tasks.of(tid)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch old := w.task.Load(); {
	case w.clean() && write:
		w.task.Store(&t)
	case old != nil && *old != t:
		w.task.Store(nil)
	}
}

// FlushEnded is Flush without what tasks that still run have written and nobody else has seen: they may well remove it before
// they end. It is for when a job has ended.
func (m *Mount) FlushEnded(ctx context.Context) error {
	m.fs.own.end(m)
	m.fs.unlockEnded()
	ended := make(map[task]bool)
	return m.flush(ctx, func(t task) bool {
		if _, ok := ended[t]; !ok {
			ended[t] = t.ended()
		}
		return ended[t]
	})
}
