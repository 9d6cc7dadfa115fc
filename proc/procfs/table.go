package procfs

import (
	"context"
	"sync"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// How old the list of processes may be, and how long it may take to be told.
const (
	tableAge  = 500 * time.Millisecond
	tableTime = 4 * time.Second
)

// table is who there was in the cluster at a moment.
type table struct {
	self     names.Host
	selfName names.HostName
	rows     map[names.Pid]*control.Proc
}

// tables keeps the last table.
type tables struct {
	path string

	mu   sync.Mutex // held while the daemon is asked: whoever comes meanwhile has the same question
	last *table
	at   time.Time
}

// get gives a table not older than tableAge; an empty one while there is no daemon, or no cluster.
func (t *tables) get() *table {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last != nil && time.Since(t.at) < tableAge {
		return t.last
	}
	t.last = t.ask()
	t.at = time.Now()
	return t.last
}

func (t *tables) ask() *table {
	ctx, cancel := context.WithTimeout(context.Background(), tableTime)
	defer cancel()
	now := &table{rows: map[names.Pid]*control.Proc{}}
	var st control.StatusReply
	if err := control.Call(ctx, t.path, control.OpStatus, struct{}{}, &st); err != nil {
		return now
	}
	r, err := control.Procs(ctx, t.path, control.ProcsRequest{})
	if err != nil {
		return now
	}
	now.self, now.selfName = st.Number, st.Name
	for i := range r.Procs {
		now.rows[r.Procs[i].Pid] = &r.Procs[i]
	}
	return now
}

// own gives a number of this host's own space as a pid.
func (t *table) own(n int) names.Pid { return names.MakePid(t.self, n) }

// number gives a pid as programs here see it: of this host's own space without the host.
func (t *table) number(pid names.Pid) names.Pid {
	if pid.Host() == t.self {
		return names.Pid(pid.Local())
	}
	return pid
}

// here reports whether a process is one that this host's own /proc shows, under the same number. One that only its ghost is known of is shown as
// the ghost.
func (t *table) here(p *control.Proc) bool {
	return p.Pid.Host() == t.self && (p.Host == t.selfName || p.State == "?")
}
