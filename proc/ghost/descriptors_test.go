package ghost

import (
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestNumbers: every descriptor is listed, however many there are, in order.
func TestNumbers(t *testing.T) {
	h := &Held{Pid: os.Getpid()}
	null, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	highest := int(min(limit.Cur, 1<<20)) - 1
	opened := []int{}
	for i := range 300 {
		at := highest - 3*i
		if err := unix.Dup3(int(null.Fd()), at, unix.O_CLOEXEC); err != nil {
			t.Fatal(err)
		}
		defer unix.Close(at)
		opened = append(opened, at)
	}
	list, err := h.numbers(nil)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSorted(list) {
		t.Errorf("not in order: %v", list)
	}
	for _, n := range append(opened, int(null.Fd())) {
		if !slices.Contains(list, n) {
			t.Errorf("%d is open and not listed", n)
		}
	}
	if _, err := (&Held{Pid: 1 << 30}).numbers(nil); err == nil {
		t.Error("the descriptors of a process that cannot be")
	}
}

func TestNumber(t *testing.T) {
	for name, want := range map[string]int{"0\x00": 0, "17\x00xx": 17, "1048575\x00": 1048575, ".\x00": -1, "..\x00": -1, "\x00": -1, "12": -1, "99999999999999999999\x00": -1} {
		n, ok := number([]byte(name))
		if !ok {
			n = -1
		}
		if n != want {
			t.Errorf("%q: %d, want %d", name, n, want)
		}
	}
}
