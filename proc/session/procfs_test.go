package session

import (
	"os"
	"testing"
)

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("12 (a) b) S 1 2 3 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 99 0 0"))
	f.Add([]byte("12 (x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if st, err := parseStat(b); err == nil && st.state == 0 {
			t.Errorf("%q: no state", b)
		}
	})
}

func TestReadStat(t *testing.T) {
	st, err := readStat(os.Getpid())
	if err != nil || st.ppid != os.Getppid() || st.start == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := readStat(1 << 22); err == nil {
		t.Error("a process that cannot be has a stat")
	}
	if l, err := leader(os.Getpid()); err != nil || l != os.Getpid() {
		t.Errorf("leader %d, %v", l, err)
	}
}
