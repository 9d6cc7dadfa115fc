package carrier

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list"
	"github.com/onehost/onehost/proc/nest"
)

// ask asks a carrier something that has one reply, and a descriptor perhaps.
func (c *carrier) ask(ctx context.Context, op string, req, reply any) (*os.File, error) {
	conn, err := control.Dial(ctx, socket(c.dir))
	if err != nil {
		return nil, errors.Join(syscall.ESRCH, err) // it has just ended
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	if err := conn.Open(op, req); err != nil {
		return nil, err
	}
	files, err := conn.Receive(reply)
	if err != nil && ctx.Err() != nil {
		err = ctx.Err()
	}
	if len(files) == 0 {
		return nil, err
	}
	return files[0], err
}

// Jobs says how many jobs run here now. It asks nobody.
func (cs *Carriers) Jobs() (n int) {
	for _, c := range cs.every() {
		n += countOf(c.counter)
	}
	return n
}

// CPU gives the CPU time that each carrier has used itself, by its process.
func (cs *Carriers) CPU() map[int]time.Duration {
	all := map[int]time.Duration{}
	for _, c := range cs.every() {
		var ts unix.Timespec
		const processClock = 2 // CPUCLOCK_SCHED of a process: clock_getcpuclockid(3)
		if unix.ClockGettime(int32(^c.pid<<3|processClock), &ts) == nil {
			all[c.pid] = time.Duration(ts.Nano())
		}
	}
	return all
}

// Held says how many jobs of other homes would be lost if this drained host went down now. The carriers know from then on that it is drained.
func (cs *Carriers) Held() (int, error) {
	if !cs.cfg.Drained() {
		return 0, syscall.EAGAIN
	}
	return cs.tellDrained(true)
}

// SetDrained tells the carriers whether this host takes new jobs. It waits for them, a little.
func (cs *Carriers) SetDrained(drained bool) { _, _ = cs.tellDrained(drained) }

func (cs *Carriers) tellDrained(drained bool) (sum int, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	var mu sync.Mutex // guards sum and err
	var asking sync.WaitGroup
	for _, c := range cs.every() {
		asking.Go(func() {
			var r held
			_, aerr := c.ask(ctx, opDrained, drainedRequest{drained}, &r)
			mu.Lock()
			defer mu.Unlock()
			sum += r.Jobs
			if aerr != nil && !errors.Is(aerr, syscall.ESRCH) {
				err = aerr
			}
		})
	}
	asking.Wait()
	return sum, err
}

// Nests gives the nests of this host that can have processes.
func (cs *Carriers) Nests() (all []list.Nest) {
	for _, c := range cs.every() {
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		var r nestsReply
		_, err := c.ask(ctx, opNests, done{}, &r)
		cancel()
		for _, init := range r.Inits {
			all = append(all, list.Nest{Home: c.number, Init: init})
		}
		if err != nil {
			cs.cfg.Log.Debug("a carrier does not say what it runs", "home", c.number, "err", err)
		}
	}
	return all
}

// Nested gives the pidfd of a process or thread of a home that runs here, by its number in the home's pid space. ESRCH: there is none.
func (cs *Carriers) Nested(home link.Peer, pid int) (*os.File, error) {
	return cs.file(home, opNested, pid)
}

// NestedProc opens the /proc of a home's nest here. ESRCH: there is none.
func (cs *Carriers) NestedProc(home link.Peer) (*os.File, error) { return cs.file(home, opProc, 0) }

func (cs *Carriers) file(home link.Peer, op string, pid int) (*os.File, error) {
	c := cs.of(home)
	if c == nil {
		return nil, syscall.ESRCH
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	var none done
	f, err := c.ask(ctx, op, nestedRequest{home, pid}, &none)
	if err == nil && f == nil {
		err = syscall.EBADMSG
	}
	return f, err
}

// NestedNumbers gives the numbers, in the home's pid space, of all processes of a home that run here.
func (cs *Carriers) NestedNumbers(home link.Peer) (all []int) {
	c := cs.of(home)
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), askTime)
	defer cancel()
	var r numbersReply
	if _, err := c.ask(ctx, opNumbers, nestedRequest{Home: home}, &r); err != nil {
		return nil
	}
	for b := r.Numbers; len(b) >= 2; b = b[2:] {
		all = append(all, int(binary.LittleEndian.Uint16(b)))
	}
	return all
}

// Applied waits until this host knows of the home's changes up to seq.
func (cs *Carriers) Applied(ctx context.Context, home link.Peer, seq uint64) error {
	c := cs.of(home)
	if c == nil {
		return syscall.ESRCH
	}
	var none done
	_, err := c.ask(ctx, opApplied, appliedRequest{home, seq}, &none)
	return err
}

// ServeCall handles OpCall of the daemon's control socket with do.
func ServeCall(do func(ctx context.Context, home names.Host, c nest.Call) nest.Result) control.Handler {
	return func(ctx context.Context, who control.Caller, conn *control.Conn, body json.RawMessage, files []*os.File) error {
		for _, f := range files {
			f.Close()
		}
		var r callRequest
		if err := accept(who, body, &r); err != nil {
			return err
		}
		ctx, cancel := untilGone(ctx, conn)
		defer cancel()
		res := do(ctx, r.Home, r.Call)
		reply := callReply{res.Value, uint32(res.Errno)}
		if res.File == nil {
			return conn.Send(reply)
		}
		defer res.File.Close()
		return conn.Send(reply, res.File)
	}
}

// Follow does what follows from a view, of which self is this host: carriers of a life of this host that is over end, those of homes that are gone,
// and those of homes that have begun a new life. It does not wait for them.
func (cs *Carriers) Follow(v member.View, self names.Host) {
	if v.Seq == 0 {
		return
	}
	cs.mu.Lock()
	cs.view, cs.self = v, self
	cs.mu.Unlock()
	for _, c := range cs.every() {
		cs.judge(c, v, self)
	}
}

// judge does what follows from a view for one carrier.
func (cs *Carriers) judge(c *carrier, v member.View, self names.Host) {
	gone := endRequest{Gone: true}
	was := cs.homeOf(c)
	home, known := v.Host(was.Number)
	switch {
	case c.cluster != v.Cluster || c.host != self || v.AdmitsCarrier(self, c.inc.Daemon()) != nil:
		cs.later(c, "the others have given this host up", endRequest{})
	case !known || home.State == member.Left:
		cs.later(c, "the home has left", gone)
	case home.Incarnation < was.Incarnation: // the view is behind
	case !home.State.Up():
		cs.later(c, "the home has failed", gone)
	case home.Incarnation > was.Incarnation && !home.GoesOn(was.Incarnation):
		cs.later(c, "the home has begun a new life", gone)
	case home.Incarnation > was.Incarnation:
		p := link.Peer{Number: home.Number, Name: home.Name, Incarnation: home.Incarnation, Birth: home.Birth}
		cs.heard(c, p)
		cs.tell(c, opHeard, reachRequest{p, home.Addr}) // it hears it of the home too
	}
}

// Lost has the carrier of a home that is silent, in that incarnation or an earlier one, end its connection to it. It does not wait.
func (cs *Carriers) Lost(home names.Host, inc names.Incarnation) {
	if c := cs.of(link.Peer{Number: home}); c != nil {
		cs.tell(c, opLost, reachRequest{Home: link.Peer{Number: home, Incarnation: inc}})
	}
}

// tell tells a carrier something of its home, without waiting.
func (cs *Carriers) tell(c *carrier, op string, r reachRequest) {
	cs.goOn(func() {
		ctx, cancel := context.WithTimeout(context.Background(), askTime)
		defer cancel()
		var none done
		_, _ = c.ask(ctx, op, r, &none) // one that has ended needs to hear nothing
	})
}

// heard takes note of the incarnation of a home.
func (cs *Carriers) heard(c *carrier, p link.Peer) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if p.Incarnation > c.home.Incarnation {
		c.home = p
	}
}

// later has a carrier end. Several calls do no harm.
func (cs *Carriers) later(c *carrier, why string, r endRequest) {
	c.ending.Do(func() { cs.goOn(func() { cs.end(c, why, r) }) })
}

// goOn does something apart, unless the daemon is about to end: then it is for the next one to do.
func (cs *Carriers) goOn(f func()) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if !cs.closed {
		cs.wg.Go(f)
	}
}
