package soak

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/split"
)

// agentPort is where agents find the soak, on the loopback of their host.
const agentPort = 7117

// hub meets the agents.
type hub struct {
	book *book

	mu        sync.Mutex
	named     map[string]*agent
	listeners map[names.HostName]net.Listener
	serving   sync.WaitGroup
}

func newHub(b *book) *hub {
	return &hub{book: b, named: map[string]*agent{}, listeners: map[names.HostName]net.Listener{}}
}

// listen begins to meet the agents on a host that is up. The sockets are in the host's network name space, which a thread visits for that.
func (h *hub) listen(ctx context.Context, host *split.Host) error {
	pid, err := host.Pid()
	if err != nil || pid == 0 {
		return fmt.Errorf("%s: pid %d: %w", host.Name(), pid, err)
	}
	l, err := listenIn(ctx, pid)
	if err != nil {
		return fmt.Errorf("%s: %w", host.Name(), err)
	}
	h.mu.Lock()
	h.listeners[host.Name()] = l
	h.mu.Unlock()
	h.serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			h.serving.Go(func() { h.meet(c, host.Name()) })
		}
	})
	return nil
}

func listenIn(ctx context.Context, pid int) (net.Listener, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	own, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	defer own.Close()
	there, err := os.Open(fmt.Sprintf("/proc/%d/ns/net", pid))
	if err != nil {
		return nil, err
	}
	defer there.Close()
	if err := unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err != nil {
		return nil, err
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", "127.0.0.1:"+strconv.Itoa(agentPort))
	if back := unix.Setns(int(own.Fd()), unix.CLONE_NEWNET); back != nil {
		panic(back) // this thread would do everything that follows in the wrong place
	}
	return l, err
}

// deaf stops meeting the agents of a host.
func (h *hub) deaf(host names.HostName) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if l := h.listeners[host]; l != nil {
		l.Close()
	}
	delete(h.listeners, host)
}

// close ends all and returns when nothing of the hub runs.
func (h *hub) close() {
	h.mu.Lock()
	for _, l := range h.listeners {
		l.Close()
	}
	for _, a := range h.named {
		a.hangUp()
	}
	h.mu.Unlock()
	h.serving.Wait()
}

// expect makes an agent known before it is started.
func (h *hub) expect(a *agent) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.named[a.name] = a
}

// forget drops the agents of a round.
func (h *hub) forget() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.named {
		a.hangUp()
	}
	h.named = map[string]*agent{}
}

// meet serves the connection of an agent until it ends.
func (h *hub) meet(c net.Conn, at names.HostName) {
	defer c.Close()
	r := bufio.NewReader(c)
	line, err := r.ReadString('\n')
	if err != nil {
		return // it was killed before it had said who it is
	}
	words := strings.Fields(line)
	if len(words) != 6 || words[0] != "h" {
		h.book.finding(nil, "an agent on %s said %q", at, line)
		return
	}
	h.mu.Lock()
	a := h.named[words[1]]
	h.mu.Unlock()
	if a == nil {
		h.book.finding(nil, "an agent of an earlier round began on %s: %q", at, line)
		return
	}
	ids, err := numbers(words[2:])
	if err != nil || !a.begin(c, at, ids) {
		h.book.finding(a, "%s began on %s again, as %q", a, at, line)
		return
	}
	h.book.began(a)
	if a.session.ending(h.book.now()) { // it was on its way while the others were told
		h.book.cause(a, exited(0), "told to exit, after the end")
		_, _ = a.say("exit 0")
	}
	for {
		if line, err = r.ReadString('\n'); err != nil {
			break
		}
		words = strings.Fields(line)
		ids, err := numbers(words[1:])
		switch {
		case err != nil:
			h.book.finding(a, "%s said %q", a, line)
		case words[0] == "r" && len(ids) > 1:
			a.answer(ids[0], ids[1:])
		case words[0] == "s" && len(ids) == 4:
			h.book.arrived(a, ids[0], ids[1], ids[2], ids[3])
		default:
			h.book.finding(a, "%s said %q", a, line)
		}
	}
	h.book.ended(a)
}

func numbers(words []string) ([]int, error) {
	var all []int
	for _, w := range words {
		n, err := strconv.Atoi(w)
		if err != nil {
			return nil, err
		}
		all = append(all, n)
	}
	return all, nil
}

// What an agent may not do: answer.
var (
	errGone   = errors.New("it has ended")
	errSilent = errors.New("it does not answer")
)

// agent is one process.
type agent struct {
	name    string
	session *session
	home    names.HostName
	parent  *agent // nil: of the first of a session
	native  bool   // it is in no session: the numbers of other hosts mean nothing to it
	serial  int    // of the round

	up, gone chan struct{} // closed when it has begun, and when its connection has ended

	cmd   sync.Mutex // held by who has it do things
	stops sync.Mutex // held by who stops it

	// Fixed once up is closed.
	conn            net.Conn
	at              names.HostName
	pid             int // at home
	began           time.Duration
	ppid, pgid, sid int

	mu       sync.Mutex
	next     int
	answers  map[int]chan []int
	spawned  time.Duration // when its parent was told to make it
	said     int           // the number that fork gave its parent
	died     time.Duration // 0: lives
	causes   []cause
	children int // ever
	reaped   time.Duration
	endNoted bool          // its end is in the history
	hungUp   time.Duration // when it last got SIGHUP
	notes    []string
	slots    map[int]*sent // signals without a value that are under way, by number
}

// cause is something that may end an agent.
type cause struct {
	at     time.Duration
	status unix.WaitStatus // it ends with
}

func (a *agent) String() string { return a.name }

func (a *agent) begin(c net.Conn, at names.HostName, ids []int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		return false
	}
	a.conn, a.at, a.pid, a.ppid, a.pgid, a.sid = c, at, ids[0], ids[1], ids[2], ids[3]
	return true
}

func (a *agent) hangUp() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn != nil {
		a.conn.Close()
	}
}

func (a *agent) answer(id int, numbers []int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if c := a.answers[id]; c != nil {
		c <- numbers // it has room for the one
		delete(a.answers, id)
	}
}

// say sends a command and gives where the answer will come.
func (a *agent) say(format string, args ...any) (<-chan []int, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.conn == nil {
		return nil, errGone
	}
	a.next++
	c := make(chan []int, 1)
	a.answers[a.next] = c
	line := fmt.Sprintf(format, args...)
	if _, err := fmt.Fprintf(a.conn, "%d %s\n", a.next, line); err != nil {
		return nil, errGone
	}
	return c, nil
}

// hear waits for an answer.
func (a *agent) hear(ctx context.Context, c <-chan []int, limit time.Duration) ([]int, error) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case r := <-c:
		return r, nil
	case <-a.gone:
		select { // it may have answered before it ended
		case r := <-c:
			return r, nil
		default:
		}
		return nil, errGone
	case <-timer.C:
		return nil, errSilent
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// errnoOf tells a number that a call gave as the error that it is.
func errnoOf(n int) error {
	if n < 0 {
		return syscall.Errno(-n)
	}
	return nil
}
