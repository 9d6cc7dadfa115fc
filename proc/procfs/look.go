package procfs

import (
	"context"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc"
)

// place is a file of a process.
type place struct {
	pid    names.Pid // as it is seen from here
	remote bool
	path   string // below the process's directory
}

func (p place) below(name string) place {
	if p.path != "" {
		name = p.path + "/" + name
	}
	return place{p.pid, p.remote, name}
}

// local gives the path as the host of the process knows it: threads of another home's processes are named with the home, as those are.
func (p place) local() string {
	words := strings.SplitN(p.path, "/", 3)
	if p.pid.Host() == names.Here || len(words) < 2 || words[0] != "task" {
		return p.path
	}
	if tid, ok := number(words[1]); ok && tid.Host() == p.pid.Host() {
		words[1] = strconv.Itoa(tid.Local())
	}
	return strings.Join(words, "/")
}

// shown gives the name of something in a directory as it is seen from here.
func (p place) shown(name string) string {
	tid, ok := number(name)
	if p.pid.Host() == names.Here || p.path != "task" || !ok {
		return name
	}
	return names.MakePid(p.pid.Host(), int(tid)).String()
}

// reader gives the thread that waits for us.
func reader(ctx context.Context) int {
	if c, ok := fuse.FromContext(ctx); ok {
		return int(c.Pid)
	}
	return 0
}

// firstAge is how long what was fetched with a process's directory is good for.
const firstAge = 100 * time.Millisecond

// firsts are the files of a process that whoever lists processes reads one after the other; they are fetched together.
var firsts = []proc.Look{
	{Kind: proc.LookStat},
	{Kind: proc.LookRead, Path: "stat", Size: 8 << 10},
	{Kind: proc.LookRead, Path: "status", Size: 8 << 10},
	{Kind: proc.LookRead, Path: "statm", Size: 8 << 10},
	{Kind: proc.LookRead, Path: "cmdline", Size: 8 << 10},
}

// first is what was fetched of a process for a reader.
type first struct {
	views []proc.View
	at    time.Time
}

type firstKey struct {
	pid names.Pid
	tid int
}

// prefetched keeps it. Entries are few: old ones go when a new one comes.
type prefetched struct {
	mu  sync.Mutex
	all map[firstKey]first
}

func (p *prefetched) find(k firstKey, l proc.Look) (proc.View, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.all[k]
	if !ok || time.Since(f.at) > firstAge {
		return proc.View{}, false
	}
	for i, have := range firsts {
		if have.Path == l.Path && l.Offset == 0 && (have.Kind == l.Kind || have.Kind == proc.LookRead && l.Kind == proc.LookStat) && f.views[i].Errno == 0 && !f.views[i].More {
			return f.views[i], true
		}
	}
	return proc.View{}, false
}

func (p *prefetched) put(k firstKey, views []proc.View) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for old, f := range p.all {
		if now.Sub(f.at) > firstAge {
			delete(p.all, old)
		}
	}
	p.all[k] = first{views, now}
}

// look answers one question about a process.
func (f *fileSystem) look(ctx context.Context, at place, l proc.Look) (proc.View, syscall.Errno) {
	l.Path = at.local()
	tid := reader(ctx)
	if !at.remote {
		if !guarded(l) || f.mine(tid) {
			return one(proc.Here(int(at.pid)).Look(ctx, proc.Daemon, []proc.Look{l}))
		}
		return one(f.process(at.pid, tid).Look(ctx, nil, []proc.Look{l}))
	}
	key := firstKey{at.pid, tid}
	if v, ok := f.firsts.find(key, l); ok {
		return v, 0
	}
	if l.Kind != proc.LookStat || at.path != "" {
		return one(f.process(at.pid, tid).Look(ctx, nil, []proc.Look{l}))
	}
	views, err := f.process(at.pid, tid).Look(ctx, nil, firsts)
	if err == nil && len(views) == len(firsts) {
		f.firsts.put(key, views)
	}
	return one(views, err)
}

// one gives the first of the views. A process that is not there is a name that is not there.
func one(views []proc.View, err error) (proc.View, syscall.Errno) {
	if err == nil && len(views) == 0 {
		err = syscall.EIO
	}
	e := names.Errno(err)
	if err == nil {
		e = views[0].Errno
	}
	switch e {
	case 0:
		return views[0], 0
	case syscall.ESRCH:
		e = syscall.ENOENT
	case syscall.ETIMEDOUT:
		e = syscall.EHOSTDOWN
	}
	return proc.View{}, e
}

// process is a process as the daemon shows it to a thread.
func (f *fileSystem) process(pid names.Pid, tid int) proc.Process {
	return &proc.Remote{Pid: pid, By: looker{f.client, tid}}
}

// guarded reports whether the kernel looks at the rights of whoever asks. It shows to everybody the names of files and of threads.
func guarded(l proc.Look) bool {
	words := strings.Split(l.Path, "/")
	if words[0] == "task" && len(words) > 1 {
		words = words[2:]
	}
	if len(words) == 0 || len(words) == 1 && (words[0] == "" || words[0] == "task") {
		return false
	}
	return len(words) > 1 || l.Kind != proc.LookStat
}

// mine reports whether a thread has the rights of this process.
func (f *fileSystem) mine(tid int) bool {
	who, err := proc.ReadCaller(tid)
	return err == nil && reflect.DeepEqual(who, f.rights)
}
