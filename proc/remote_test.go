package proc

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/procpb"
	"github.com/onehost/onehost/sys"
)

// wire is a host that answers with a process, through the encoded messages.
type wire struct{ p Process }

func (w wire) Carry(ctx context.Context, _ names.Host, r *procpb.Request) (*procpb.Reply, error) {
	b, err := proto.Marshal(r)
	if err != nil {
		return nil, err
	}
	var got procpb.Request
	if err := proto.Unmarshal(b, &got); err != nil {
		return nil, err
	}
	if b, err = proto.Marshal(Serve(ctx, 3, w.p, &got)); err != nil {
		return nil, err
	}
	reply := &procpb.Reply{}
	return reply, proto.Unmarshal(b, reply)
}

// TestRemoteIsAsLocal: each operation gives through messages what it gives here.
func TestRemoteIsAsLocal(t *testing.T) {
	needRoot(t)
	ctx := t.Context()
	pid := sleeper(t, user).Process.Pid
	here, there := Process(Here(pid)), Process(&Remote{Pid: names.MakePid(3, pid), To: 3, By: wire{Here(pid)}})
	mine := []byte("what is read and written")
	self := Here(os.Getpid())
	selfThere := &Remote{Pid: names.MakePid(3, os.Getpid()), To: 3, By: wire{self}}
	stack := stackOf(t, pid)
	for name, op := range map[string]func(p Process, who *Caller) (any, error){
		"signal": func(p Process, who *Caller) (any, error) { return nil, p.Signal(ctx, who, Signal{}) },
		"signal of no number": func(p Process, who *Caller) (any, error) {
			return nil, p.Signal(ctx, who, Signal{Number: 99})
		},
		"thread": func(p Process, who *Caller) (any, error) {
			return nil, p.Signal(ctx, who, Signal{Scope: ToThread, Leader: pid})
		},
		"thread of another": func(p Process, who *Caller) (any, error) {
			return nil, p.Signal(ctx, who, Signal{Scope: ToThread, Leader: 1})
		},
		"signal to the group": func(p Process, who *Caller) (any, error) { return nil, p.Signal(ctx, who, Signal{Scope: ToGroup}) },
		"parent":              func(p Process, who *Caller) (any, error) { return p.Parent(ctx, who) },
		"group":               func(p Process, who *Caller) (any, error) { return p.Group(ctx, who) },
		"session":             func(p Process, who *Caller) (any, error) { return p.Session(ctx, who) },
		"set the group":       func(p Process, who *Caller) (any, error) { return nil, p.SetGroup(ctx, who, 1) },
		"set priority":        func(p Process, who *Caller) (any, error) { return nil, p.SetPriority(ctx, who, OfProcess, 3) },
		"priority":            func(p Process, who *Caller) (any, error) { return p.Priority(ctx, who, OfProcess) },
		"group's priority":    func(p Process, who *Caller) (any, error) { return p.Priority(ctx, who, OfGroup) },
		"io priority":         func(p Process, who *Caller) (any, error) { return p.IOPriority(ctx, who, OfProcess) },
		"set io priority":     func(p Process, who *Caller) (any, error) { return nil, p.SetIOPriority(ctx, who, OfProcess, 2<<13|5) },
		"scheduler":           func(p Process, who *Caller) (any, error) { return p.Scheduler(ctx, who) },
		"set scheduler":       func(p Process, who *Caller) (any, error) { return nil, p.SetScheduler(ctx, who, unix.SCHED_BATCH, 0) },
		"set bad scheduler":   func(p Process, who *Caller) (any, error) { return nil, p.SetScheduler(ctx, who, 77, 0) },
		"param":               func(p Process, who *Caller) (any, error) { return p.SchedParam(ctx, who) },
		"set param":           func(p Process, who *Caller) (any, error) { return nil, p.SetSchedParam(ctx, who, 0) },
		"interval":            func(p Process, who *Caller) (any, error) { return p.RRInterval(ctx, who) },
		"affinity": func(p Process, who *Caller) (any, error) {
			b := make([]byte, 128)
			n, err := p.Affinity(ctx, who, b)
			return append(b, byte(n)), err
		},
		"set affinity":           func(p Process, who *Caller) (any, error) { return nil, p.SetAffinity(ctx, who, []byte{1}) },
		"set no affinity":        func(p Process, who *Caller) (any, error) { return nil, p.SetAffinity(ctx, who, []byte{0}) },
		"affinity in too little": func(p Process, who *Caller) (any, error) { return p.Affinity(ctx, who, nil) },
		"attr": func(p Process, who *Caller) (any, error) {
			b := make([]byte, 48)
			return b, p.SchedAttr(ctx, who, b, 0)
		},
		"set attr": func(p Process, who *Caller) (any, error) {
			b := make([]byte, 48)
			binary.NativeEndian.PutUint32(b, 48)
			binary.NativeEndian.PutUint32(b[4:], unix.SCHED_IDLE)
			return nil, p.SetSchedAttr(ctx, who, b, 0)
		},
		"limit": func(p Process, who *Caller) (any, error) { return p.Limit(ctx, who, unix.RLIMIT_CORE, nil) },
		"set limit": func(p Process, who *Caller) (any, error) {
			_, err := p.Limit(ctx, who, unix.RLIMIT_CPU, &Limit{500, 1000}) // what it was is another thing the second time
			return nil, err
		},
		"no limit": func(p Process, who *Caller) (any, error) { return p.Limit(ctx, who, 99, nil) },
		"write memory": func(p Process, who *Caller) (any, error) {
			return p.WriteMemory(ctx, who, mine, []sys.Span{{Base: stack, Len: uint64(len(mine))}})
		},
		"read memory": func(p Process, who *Caller) (any, error) {
			b := make([]byte, len(mine))
			n, err := p.ReadMemory(ctx, who, b, []sys.Span{{Base: stack, Len: 4}, {Base: stack + 4, Len: uint64(len(mine) - 4)}})
			return append(b, byte(n)), err
		},
		"read nothing": func(p Process, who *Caller) (any, error) {
			b := make([]byte, 16)
			return p.ReadMemory(ctx, who, b, []sys.Span{{Base: 8, Len: 16}})
		},
		"read too much": func(p Process, who *Caller) (any, error) {
			return p.ReadMemory(ctx, who, make([]byte, MaxMemory+1), []sys.Span{{Base: stack, Len: 16}})
		},
	} {
		for who, caller := range map[string]*Caller{"daemon": Daemon, "root": root(), "user": callerOf(user), "other": callerOf(other)} {
			want, werr := op(here, caller)
			got, gerr := op(there, caller)
			if !errors.Is(gerr, werr) || (gerr == nil) != (werr == nil) {
				t.Errorf("%s by %s: %v there, %v here", name, who, gerr, werr)
			}
			if werr == nil && !reflect.DeepEqual(got, want) {
				t.Errorf("%s by %s: %v there, %v here", name, who, got, want)
			}
		}
	}
	if h, err := there.Where(ctx); h != 3 || err != nil {
		t.Errorf("it runs on %v, %v", h, err)
	}
	if n, err := selfThere.Group(ctx, Daemon); err != nil || n != unix.Getpgrp() {
		t.Errorf("our own group: %d, %v", n, err)
	}
	wait, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := there.Signal(ctx, callerOf(user), Signal{Number: 9}); err != nil {
		t.Error(err)
	}
	if st, err := there.Wait(wait); err != nil || st != (Status{Known: true, Signal: 9}) {
		t.Errorf("the end: %+v, %v", st, err)
	}
}

// stackOf gives an address in the stack of a process.
func stackOf(t testing.TB, pid int) uint64 {
	t.Helper()
	c := Here(pid)
	var line []byte
	var err error
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(time.Millisecond) {
		line, err = os.ReadFile("/proc/" + itoa(c.number()) + "/syscall")
		f := slices.Collect(words(line))
		if err == nil && len(f) == 9 && f[0] != "59" { // it has become its program and sleeps
			var at uint64
			for _, d := range f[7][2:] {
				at = at<<4 | uint64(hexDigit(byte(d)))
			}
			return at &^ 15
		}
	}
	t.Fatalf("process %d does not sleep: %q, %v", pid, line, err)
	return 0
}

// TestGone: whatever is asked of nobody has one answer.
func TestGone(t *testing.T) {
	v := reflect.ValueOf(Process(Gone(syscall.EHOSTDOWN)))
	ty := reflect.TypeFor[Process]()
	for method := range ty.Methods() {
		m := v.MethodByName(method.Name)
		args := []reflect.Value{reflect.ValueOf(t.Context())}
		for j := 1; j < m.Type().NumIn(); j++ {
			args = append(args, reflect.Zero(m.Type().In(j)))
		}
		out := m.Call(args)
		if err, _ := reflect.TypeAssert[error](out[len(out)-1]); !errors.Is(err, syscall.EHOSTDOWN) {
			t.Errorf("%s: %v", method.Name, err)
		}
	}
}

// TestBadRequests: what another host sends may be anything.
func TestBadRequests(t *testing.T) {
	caller := Daemon.Message()
	for _, r := range []*procpb.Request{
		{Op: procpb.Op_SIGNAL},
		{Op: procpb.Op_SIGNAL, Caller: &procpb.Caller{Uids: []uint32{0}, Gids: []uint32{0, 0, 0}}},
		{Op: procpb.Op_NONE, Caller: caller},
		{Op: 99, Caller: caller},
		{Op: procpb.Op_PRIORITY, Caller: caller, Args: []int64{2, 0}}, // of a user
		{Op: procpb.Op_AFFINITY, Caller: caller, Args: []int64{1 << 40}},
		{Op: procpb.Op_AFFINITY, Caller: caller, Args: []int64{-1}},
		{Op: procpb.Op_SCHED_ATTR, Caller: caller, Args: []int64{MaxSchedAttr + 1}},
		{Op: procpb.Op_READ_MEMORY, Caller: caller, Args: []int64{MaxMemory + 1}},
		{Op: procpb.Op_WRITE_MEMORY, Caller: caller, Data: make([]byte, MaxMemory+1)},
		{Op: procpb.Op_LIMIT, Caller: caller, Data: make([]byte, 15)},
		{Op: procpb.Op_SIGNAL, Caller: caller, Data: make([]byte, 4)},
		{Op: procpb.Op_SIGNAL, Caller: caller, Args: []int64{9, 77}},
	} {
		if reply := Serve(t.Context(), 3, Here(1<<30), r); reply.Errno == 0 {
			t.Errorf("%v: it worked", r)
		}
	}
}
