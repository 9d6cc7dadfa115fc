package proc

import (
	"testing"

	"github.com/onehost/onehost/sys"
)

// BenchmarkSignal is a signal to a process of this host: by the daemon itself, and for a user by a child.
func BenchmarkSignal(b *testing.B) {
	p := sleeper(b, user)
	for name, who := range map[string]*Caller{"daemon": Daemon, "user": callerOf(user)} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if err := Here(p.Process.Pid).Signal(b.Context(), who, Signal{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadMemory reads a page for a user, by a child with a copy of this process's memory.
func BenchmarkReadMemory(b *testing.B) {
	p := sleeper(b, user)
	buf, at := make([]byte, 4096), []sys.Span{{Base: stackOf(b, p.Process.Pid) &^ 4095, Len: 4096}}
	for b.Loop() {
		if _, err := Here(p.Process.Pid).ReadMemory(b.Context(), callerOf(user), buf, at); err != nil {
			b.Fatal(err)
		}
	}
}
