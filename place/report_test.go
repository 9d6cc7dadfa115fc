package place

import (
	"math"
	"testing"
	"time"
)

func TestReport(t *testing.T) {
	want := Report{Slots: 5, Jobs: 3, Load: 0.5, CPUs: 4}
	b, err := want.MarshalBinary()
	if err != nil || len(b) != 13 {
		t.Fatalf("got %d bytes, %v", len(b), err)
	}
	var got Report
	if err := got.UnmarshalBinary(append(b, 1, 2, 3)); err != nil || got != want {
		t.Errorf("a later version's longer report: got %+v, %v", got, err)
	}
	for _, bad := range [][]byte{nil, b[:12], append([]byte{0}, b[1:]...)} {
		if err := got.UnmarshalBinary(bad); err == nil {
			t.Errorf("%v was taken", bad)
		}
	}
	odd, _ := Report{Slots: -1, Jobs: 1e9, Load: math.NaN(), CPUs: math.Inf(1)}.MarshalBinary()
	if err := got.UnmarshalBinary(odd); err != nil || got.Slots != 0 || got.Jobs != 65535 || got.Load != 0 || got.CPUs != math.MaxFloat32 {
		t.Errorf("numbers that do not fit: got %+v, %v", got, err)
	}
}

func FuzzReport(f *testing.F) {
	b, _ := Report{Slots: 5, Jobs: 3, Load: 0.5, CPUs: 4}.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again Report
		if r.UnmarshalBinary(b) != nil {
			return
		}
		b, _ = r.MarshalBinary()
		if err := again.UnmarshalBinary(b); err != nil || again != r {
			t.Errorf("%+v came back as %+v, %v", r, again, err)
		}
	})
}

func TestMeter(t *testing.T) {
	m, now := NewMeter(2), time.Unix(1, 0)
	if got := m.Sample(now, 5*time.Second); got != 0 {
		t.Errorf("first sample: %v", got)
	}
	usage := 5 * time.Second
	step := func(dt, used time.Duration) float64 {
		now, usage = now.Add(dt), usage+used
		return m.Sample(now, usage)
	}
	near := func(what string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.01 {
			t.Errorf("%s: load %.3f, want %.3f", what, got, want)
		}
	}
	near("one window at full use", step(time.Second, 2*time.Second), 1-1/math.E)
	for range 100 {
		step(100*time.Millisecond, 100*time.Millisecond)
	}
	near("half use", m.Load(), 0.5)
	near("no time passed", step(0, 100*time.Millisecond), 0.5)
	near("and its use was not lost", step(time.Second, 1900*time.Millisecond), 1-0.5/math.E)
	before := m.Load()
	near("the counter went back", step(time.Second, -time.Hour), before)
	near("the clock went back", step(-time.Hour, time.Second), before)
	near("no CPUs", NewMeter(0).Sample(now, 0), 0)
}
