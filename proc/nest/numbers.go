package nest

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// numbers keeps the numbers that the kernel gives out in this pid name space inside the leased blocks.
//
// The kernel gives the next free number after the last one, and when there is none up to pid_max it begins again at 300, which is the
// home's. When the next number is set to the first of a block of which n are free, n forks, and no fewer, whatever ends meanwhile, are
// safe: each takes the lowest free number ahead, of which there were n. Before they are used up it is set back.
//
// The making of a process cannot be stopped at (intercept.Nests). A process is slow to make, and all that are made share a lock of the kernel's, so
// that a block lasts for some milliseconds of nothing else: the cursor (sys.Cursor) looks each, and sets the number back in time. While few
// are free and more are asked for, the jobs are frozen (scarce). If all that were too late, or there are no more, the processes with numbers
// from outside of the blocks are killed (strays).
//
// The threads, which are made faster, are counted: half of what is free when the number is set back is let through for them. A fork that
// was let through and may not have its number yet counts twice: among those free, and as one that will take one.
type numbers struct {
	proc    int // root of /proc
	next    int // ns_last_pid
	reserve int // for the threads that the init and the kernel (io_uring) make, which nobody can count; without cursor

	cursor *sys.Cursor // nil: processes are counted as well
	few    bool        // no block has half of its numbers free; guarded by mu

	short func(has int) // asks for one more block, of which add tells; nil: there are none

	mu      sync.Mutex
	blocks  []block
	stile   *sys.Turnstile   // counts forks before the init wakes up; nil: all are handed to it
	asked   bool             // for one more
	retry   time.Time        // when to ask again after a refusal
	grown   chan struct{}    // closed and made anew by add
	left    int              // forks until the next look, without stile
	open    map[int]struct{} // threads that were let through and may not have their number yet
	pending int              // the same of the init's own
}

type block struct{ first, last int }

// newNumbers sets the name space's pid_max and its next number; proc is its /proc.
func newNumbers(proc, first, last int) (*numbers, error) {
	if err := setPidMax(proc, last+1); err != nil {
		return nil, err
	}
	fd, err := unix.Openat(proc, "sys/kernel/ns_last_pid", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("ns_last_pid (needs a kernel with CONFIG_CHECKPOINT_RESTORE): %w", err)
	}
	n := &numbers{proc: proc, next: fd, reserve: 16 + runtime.GOMAXPROCS(0), blocks: []block{{first, last}}, open: map[int]struct{}{}, grown: make(chan struct{})}
	if err := n.set(first); err != nil {
		return nil, fmt.Errorf("ns_last_pid: %w", err)
	}
	n.count()
	return n, nil
}

// setPidMax gives the name space its own pid_max.
func setPidMax(proc, limit int) error {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return err
	}
	var major, minor int
	release := unix.ByteSliceToString(u.Release[:])
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return fmt.Errorf("kernel release %q: %w", release, err)
	}
	if major > 6 || major == 6 && minor >= 14 {
		if err := writeAt(proc, "sys/kernel/pid_max", strconv.Itoa(limit)); err != nil {
			return fmt.Errorf("pid_max of the nest: %w", err)
		}
		return nil
	}
	// Before 6.14 there is one for all, which is not ours to change.
	var buf [32]byte
	fd, err := unix.Openat(proc, "sys/kernel/pid_max", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("pid_max: %w", err)
	}
	defer unix.Close(fd)
	got, err := unix.Pread(fd, buf[:], 0)
	if err != nil {
		return fmt.Errorf("pid_max: %w", err)
	}
	if n, err := strconv.Atoi(strings.TrimSpace(string(buf[:got]))); err != nil || n < limit {
		return fmt.Errorf("kernel.pid_max is %d and this kernel (%s, before 6.14) has one for all name spaces: set it to %d: %w", n, release, limit, syscall.ERANGE)
	}
	return nil
}

// leased reports whether a number is of a leased block, which nothing but the nest's own can have.
func (n *numbers) leased(pid int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, b := range n.blocks {
		if pid >= b.first && pid <= b.last {
			return true
		}
	}
	return false
}

// seen says that a thread has made another call: its last fork is over.
func (n *numbers) seen(tid int) {
	n.mu.Lock()
	delete(n.open, tid)
	n.mu.Unlock()
}

// fork counts the fork that a thread is about to make; false: no number is left for it. There may be some when soon, if it is not nil, is
// closed.
func (n *numbers) fork(tid int) (ok bool, soon <-chan struct{}) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.passed()
	delete(n.open, tid)
	if n.takeLocked() {
		n.open[tid] = struct{}{}
		return true, nil
	}
	if n.asked {
		return false, n.grown
	}
	return false, nil
}

// own counts a number that the init may use until done is called: for a child whose number the kernel chooses, which there must be (ok),
// or for a thread more, which there need not be.
func (n *numbers) own() (done func(), ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	ok = n.takeLocked()
	n.pending++
	return func() {
		n.mu.Lock()
		n.pending--
		n.mu.Unlock()
	}, ok
}

func (n *numbers) takeLocked() bool {
	if n.took() {
		return true
	}
	n.count()
	return n.took()
}

// took takes one of the forks that may be let through, if there is one.
func (n *numbers) took() bool {
	if n.stile != nil {
		return n.stile.Take()
	}
	n.left--
	return n.left >= 0
}

// let sets how many forks may be let through.
func (n *numbers) let(forks int) {
	if n.stile != nil {
		n.stile.Let(forks)
	}
	n.left = forks
}

// passed takes note of the forks that the turnstile has let through.
func (n *numbers) passed() {
	if n.stile != nil {
		n.stile.Forks(func(tid int) { n.open[tid] = struct{}{} })
	}
}

// follow has the cursor keep the number in the block, and the free ones counted each time that it goes back. strays is called when numbers
// outside may have been given out, settle after each count. It returns when the cursor is gone.
func (n *numbers) follow(c *sys.Cursor, settle, strays func()) {
	for {
		said, err := c.Said()
		if err != nil {
			return
		}
		n.mu.Lock()
		n.count()
		n.mu.Unlock()
		settle()
		if said == sys.CursorOut {
			strays()
		}
	}
}

// scarce reports whether whoever forks has to wait for numbers that are on their way.
func (n *numbers) scarce() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.asked && n.few
}

// watch says whether there is anybody who could fork.
func (n *numbers) watch(on bool) {
	if n.cursor != nil {
		n.cursor.Watch(on)
	}
}

// turnstile has forks counted before the init wakes up.
func (n *numbers) turnstile(t *sys.Turnstile) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stile = t
	n.count()
}

// cursorMargin is how many numbers are left ahead where the cursor goes back: more than are made by nothing but forks until it has looked.
const cursorMargin = 896

// countTries is how often, a millisecond apart, the numbers are counted again when forks that are under way could need all that are
// left.
const countTries = 5

// maxForks bounds the forks between two looks.
const maxForks = 1024

// count sets the next number to the first of the block that has most free, and lets through what is safe from there. The order matters: a fork
// that is over when it is looked at has its number when they are counted.
func (n *numbers) count() {
	for try := 1; ; try++ {
		n.let(0)
		n.passed()
		for tid := range n.open {
			if !n.forking(tid) {
				delete(n.open, tid)
			}
		}
		var best block
		most, all, size := -1, 0, 0
		for _, b := range n.blocks {
			free := n.free(b, b.first)
			if free > most {
				best, most = b, free
			}
			all += free
			size += b.last - b.first + 1
		}
		if all < size/2 && n.short != nil && !n.asked && time.Now().After(n.retry) {
			n.asked = true
			go n.short(len(n.blocks))
		}
		if n.few = most < (best.last-best.first+1)/2; n.cursor != nil {
			size := best.last - best.first
			n.cursor.Range(best.first, best.last, max(size/8, size-cursorMargin)+1)
		}
		if n.set(best.first) != nil { // it worked at the start
			return
		}
		from := n.start(best)
		safe := 0
		if from > 0 {
			safe = n.free(best, from) - len(n.open) - n.pending
		}
		if safe > 0 {
			// Often enough to ask for more in time, and for the turnstile to remember all.
			forks := (safe + 1) / 2
			if n.cursor == nil {
				forks = max(forks, safe-n.reserve)
			}
			n.let(min(forks, size/4+1, maxForks))
			return
		}
		if most == 0 || try == countTries {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// start tells from where on the kernel goes now that the next number was set to the first of the block; 0: outside of it. A fork that was in
// the middle of getting its number may have set the next one to that after its own, just then.
func (n *numbers) start(b block) int {
	if sys.AwaitNumbers() != nil {
		return 0
	}
	var buf [32]byte
	got, err := unix.Pread(n.next, buf[:], 0)
	if err != nil {
		return 0
	}
	last, err := strconv.Atoi(strings.TrimSpace(string(buf[:got])))
	if err != nil || last < b.first-1 || last > b.last {
		return 0
	}
	return last + 1
}

func (n *numbers) set(first int) error {
	_, err := unix.Pwrite(n.next, []byte(strconv.Itoa(first-1)), 0)
	return err
}

// free counts the numbers of a block, from one on, that are nobody's. A number is also in use as long as it names a group or a session, and there is one
// call that finds it then too: to make it the owner of an open file.
func (n *numbers) free(b block, from int) int {
	free := 0
	for pid := from; pid <= b.last; pid++ {
		if _, err := unix.FcntlInt(uintptr(n.next), unix.F_SETOWN, pid); err == unix.ESRCH {
			free++
		}
	}
	_, _ = unix.FcntlInt(uintptr(n.next), unix.F_SETOWN, 0)
	return free
}

// forks are the numbers of all calls that fork, of all kinds of programs.
var forks = map[string]bool{"56": true, "57": true, "58": true, "435": true, "2": true, "120": true, "190": true, "220": true}

// forking reports whether a thread may be inside of a fork. One that is running may be anywhere.
func (n *numbers) forking(tid int) bool {
	fd, err := unix.Openat(n.proc, strconv.Itoa(tid)+"/syscall", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err != unix.ENOENT && err != unix.ESRCH
	}
	defer unix.Close(fd)
	var buf [256]byte
	got, err := unix.Pread(fd, buf[:], 0)
	if err != nil || got == 0 {
		return err != unix.ESRCH
	}
	nr, _, _ := strings.Cut(strings.TrimSpace(string(buf[:got])), " ")
	return nr == "running" || forks[nr]
}

// growAgain is when a nest that got no more numbers asks again.
const growAgain = time.Second

// add takes one more block into use; 0: there is none now.
func (n *numbers) add(first, last int) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = false
	close(n.grown)
	n.grown = make(chan struct{})
	if first == 0 {
		n.retry = time.Now().Add(growAgain)
		return nil
	}
	limit := last
	for _, b := range n.blocks {
		limit = max(limit, b.last)
	}
	if err := setPidMax(n.proc, limit+1); err != nil {
		return err
	}
	n.blocks = append(n.blocks, block{first, last})
	n.count()
	return nil
}
