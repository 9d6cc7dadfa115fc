package jobs

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/place"
)

// late is a cluster of the home and one host that tells its load only from some time on.
type late struct{ from time.Time }

func (late) Self() (names.Host, names.HostName) { return 1, "h1" }
func (late) CPUs() float64                      { return 1 }
func (late) OwnShare() float64                  { return 0 }

func (l late) Members() []MemberHost {
	rows := []MemberHost{
		{Number: 1, Name: "h1", Alive: true, Report: place.Report{Slots: 2, CPUs: 1}, At: time.Now()},
		{Number: 2, Name: "h2", Alive: true},
	}
	if now := time.Now(); !now.Before(l.from) {
		rows[1].Report, rows[1].At = place.Report{Slots: 2, CPUs: 1}, now
	}
	return rows
}

// TestJobsAwaitAHost: a job that may not run at home waits for a host, but not for ever.
func TestJobsAwaitAHost(t *testing.T) {
	for _, c := range []struct {
		name    string
		after   time.Duration
		refused bool
		took    time.Duration // at most
	}{
		{"ready", 0, false, 0},
		{"late", time.Second, false, time.Second + refreshEvery},
		{"too late", time.Minute, true, hostTime},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				b := NewBroker(BrokerConfig{Home: NewHome(HomeConfig{}), Cluster: late{begin.Add(c.after)}})
				r := b.await(t.Context(), 1, &control.SessionRequest{NoLocal: true, Slots: -1}, nil, &control.PlaceRequest{Seq: 5, Job: 9})
				if r.Refused != c.refused || r.Seq != 5 || r.Job != 9 || !c.refused && r.Host != 2 {
					t.Errorf("%+v", r)
				}
				if took := time.Since(begin); took > c.took {
					t.Errorf("took %v, want at most %v", took, c.took)
				}
			})
		})
	}
}
