package session

import (
	"os"
	"testing"

	"github.com/onehost/onehost/sys"
)

func TestReadStat(t *testing.T) {
	st, err := sys.ReadProcStat(os.Getpid())
	if err != nil || st.Ppid != os.Getppid() || st.Start == 0 {
		t.Errorf("%+v, %v", st, err)
	}
	if _, err := sys.ReadProcStat(1 << 22); err == nil {
		t.Error("a process that cannot be has a stat")
	}
	if l, err := leader(os.Getpid()); err != nil || l != os.Getpid() {
		t.Errorf("leader %d, %v", l, err)
	}
}
