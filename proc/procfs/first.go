package procfs

import (
	"context"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// firsts are the files of a process that whoever lists processes reads one after the other. They are fetched together, when its directory is found.
var firsts = []proc.Look{
	{Kind: proc.LookStat},
	{Kind: proc.LookRead, Path: "stat", Size: 8 << 10},
	{Kind: proc.LookRead, Path: "status", Size: 8 << 10},
	{Kind: proc.LookRead, Path: "statm", Size: 8 << 10},
	{Kind: proc.LookRead, Path: "cmdline", Size: 8 << 10},
	{Kind: proc.LookRead, Path: "environ", Size: 8 << 10},
}

// How long they are good for, and how many processes that come next are fetched at the same time for who goes through a list; and for how long a
// list is gone through.
const (
	firstAge = 100 * time.Millisecond
	ahead    = 12
	listAge  = 10 * time.Second
)

// first is what was fetched of a process for a reader, once done is closed.
type first struct {
	done  chan struct{}
	views []proc.View
	err   error
	at    time.Time
}

type firstKey struct {
	pid names.Pid
	tid int
}

// listing is the remote processes as a reader was told of them.
type listing struct {
	pids []names.Pid
	at   time.Time
}

// prefetched keeps what was fetched, by process and reader, and what readers were told. Old ones go when new ones come.
type prefetched struct {
	mu    sync.Mutex
	all   map[firstKey]*first
	lists map[int]listing
}

func newPrefetched() *prefetched {
	return &prefetched{all: map[firstKey]*first{}, lists: map[int]listing{}}
}

// listed notes what a reader was told.
func (p *prefetched) listed(tid int, pids []names.Pid) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, l := range p.lists {
		if now.Sub(l.at) > listAge {
			delete(p.lists, old)
		}
	}
	p.lists[tid] = listing{pids, now}
}

// old reports whether a new one must be fetched.
func (f *first) old() bool {
	select {
	case <-f.done:
		return time.Since(f.at) > firstAge
	default:
		return false
	}
}

// begin finds what is there for a reader, or is being fetched. Only who finds a directory has something fetched: then fetch is for him to fetch, and
// more is what is likely to be wanted next.
func (p *prefetched) begin(k firstKey, fetch bool) (f *first, mine bool, more map[firstKey]*first) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f = p.all[k]; f != nil && !f.old() {
		return f, false, nil
	}
	if !fetch {
		return nil, false, nil
	}
	for old, f := range p.all {
		if f.old() {
			delete(p.all, old)
		}
	}
	f = p.addLocked(k)
	l := p.lists[k.tid]
	if i := slices.Index(l.pids, k.pid); i >= 0 && time.Since(l.at) < listAge {
		more = map[firstKey]*first{}
		for _, pid := range l.pids[i+1 : min(i+1+ahead, len(l.pids))] {
			if next := (firstKey{pid, k.tid}); p.all[next] == nil {
				more[next] = p.addLocked(next)
			}
		}
	}
	return f, true, more
}

func (p *prefetched) addLocked(k firstKey) *first {
	f := &first{done: make(chan struct{})}
	p.all[k] = f
	return f
}

// first gives what answers a look at once, and false if the process has to be asked.
func (f *fileSystem) first(pid names.Pid, tid int, l proc.Look) (*first, bool) {
	if l.Offset != 0 || l.Kind != proc.LookStat && l.Kind != proc.LookRead || !slices.ContainsFunc(firsts, func(o proc.Look) bool { return o.Path == l.Path }) {
		return nil, false
	}
	is, mine, more := f.firsts.begin(firstKey{pid, tid}, l.Path == "")
	if is == nil {
		return nil, false
	}
	for k, next := range more {
		go f.fetch(k, next)
	}
	if mine {
		f.fetch(firstKey{pid, tid}, is)
	}
	<-is.done
	return is, is.answers(l)
}

func (f *fileSystem) fetch(k firstKey, is *first) {
	is.views, is.err = f.process(k.pid, k.tid).Look(context.Background(), nil, firsts)
	if is.err == nil && len(is.views) != len(firsts) {
		is.err = syscall.EBADMSG
	}
	is.at = time.Now()
	close(is.done)
}

// answers reports whether the answer to a look is there, whole.
func (f *first) answers(l proc.Look) bool {
	if f.err != nil {
		return true
	}
	for i, o := range firsts {
		if o.Path == l.Path {
			return !f.views[i].More || l.Kind == proc.LookStat
		}
	}
	return false
}

// view gives the answer. A file that may not be read has its owner from the directory, as the kernel has it.
func (f *first) view(l proc.Look) (proc.View, syscall.Errno) {
	if f.err != nil {
		return one(nil, f.err)
	}
	for i, o := range firsts {
		if o.Path != l.Path {
			continue
		}
		v := f.views[i]
		if l.Kind == proc.LookStat && v.Errno == syscall.EACCES && f.views[0].Errno == 0 {
			return proc.View{Mode: syscall.S_IFREG | 0o400, UID: f.views[0].UID, GID: f.views[0].GID}, 0
		}
		return one([]proc.View{v}, nil)
	}
	return proc.View{}, syscall.EINVAL
}
