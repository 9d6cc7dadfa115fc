package soak

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// trouble lets one host after the other fail, until lasting ends. Each works again before the next one fails, and before this returns.
func (r *rig) trouble(lasting, ctx context.Context, t *testing.T, rng *rand.Rand) {
	for {
		pause(lasting, 500*time.Millisecond+upTo(rng, 3*time.Second))
		if lasting.Err() != nil {
			return
		}
		// Helpers mostly; the second home now and then, of which the first holds jobs, and the other way round.
		name := []names.HostName{"h3", "h4", "h3", "h4", "h3", "h4", "h2", "h1"}[rng.IntN(8)]
		h := r.cluster.Host(name)
		over := r.book.failing(name)
		var err error
		what := []string{"kill", "cut", "freeze", "freeze shortly", "daemon", "restart"}[rng.IntN(6)]
		lasts := 200*time.Millisecond + upTo(rng, 3*time.Second)
		r.book.count("fault: " + what)
		t.Logf("%9.4f %s of %s for %v", r.book.now().Seconds(), what, name, lasts)
		switch what {
		case "kill":
			r.hub.deaf(name)
			if err = h.Kill(ctx); err == nil {
				pause(lasting, lasts)
				if err = h.Start(ctx); err == nil {
					err = r.hub.listen(ctx, h)
				}
			}
		case "cut":
			if err = h.Cut(ctx); err == nil {
				pause(lasting, lasts)
				err = h.Heal(ctx)
			}
		case "daemon": // dies alone; that the host boots again is what brings it back
			if err = h.Command(ctx, "pkill", "-9", "-x", "onehostd").Run(); err == nil {
				pause(lasting, lasts)
				r.hub.deaf(name)
				if err = h.Kill(ctx); err == nil {
					if err = h.Start(ctx); err == nil {
						err = r.hub.listen(ctx, h)
					}
				}
			}
		case "restart": // the daemon alone, at once: what it runs for others and what others run for it should go on, which other tests check; here it may be lost
			err = h.Restart(ctx)
		default:
			if what == "freeze shortly" {
				lasts = 50*time.Millisecond + upTo(rng, 400*time.Millisecond)
			}
			if err = h.Freeze(ctx); err == nil {
				pause(lasting, lasts)
				err = h.Thaw(ctx)
			}
		}
		if err != nil {
			r.book.finding(nil, "%s of %s: %v", what, name, err)
			over()
			return
		}
		for _, home := range homes {
			for _, to := range r.cluster.Hosts() {
				if err := r.usable(ctx, home, to.Name()); err != nil {
					r.book.finding(nil, "after %s of %s, %s takes no jobs of %s: %v", what, name, to.Name(), home, err)
				}
			}
		}
		if err := r.agree(ctx); err != nil {
			r.book.finding(nil, "after %s of %s: %v", what, name, err)
		}
		t.Logf("%9.4f %s of %s is over", r.book.now().Seconds(), what, name)
		over()
	}
}

// agree waits until every host can ask every other one, and lists the processes of all: those that send no jobs may hear last that a host
// is back.
func (r *rig) agree(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, asks := range r.cluster.Hosts() {
		for to, number := range r.numbers {
			for {
				var reply control.WhereReply
				err := control.Call(ctx, asks.Control(), control.OpWhere, control.PidRequest{Pid: names.MakePid(number, 1)}, &reply)
				if err == nil {
					break
				}
				if ctx.Err() != nil {
					return fmt.Errorf("%s cannot ask %s: %w", asks.Name(), to, err)
				}
				pause(ctx, 20*time.Millisecond)
			}
		}
		for {
			reply, err := control.Procs(ctx, asks.Control(), control.ProcsRequest{})
			if err == nil && len(reply.Failed) == 0 {
				break
			}
			if ctx.Err() != nil {
				return fmt.Errorf("%s lists not all processes: %v, %v", asks.Name(), reply.Failed, err)
			}
			pause(ctx, 20*time.Millisecond)
		}
	}
	return nil
}
