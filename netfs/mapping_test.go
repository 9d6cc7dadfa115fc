package netfs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// mapEnv makes the test program one that maps a file in a directory and says what it saw. A process that serves a mount must
// not touch a mapping of it: the Go runtime takes a page fault for running code, and cannot stop the world until the
// answer is there, which it has to give itself.
const mapEnv = "ONEHOST_NETFS_TEST_MAP"

func TestMain(m *testing.M) {
	if os.Getenv(actorEnv) != "" {
		actorMain()
		return
	}
	dir := os.Getenv(mapEnv)
	if dir == "" {
		os.Exit(m.Run())
	}
	saw, err := mapHere(dir)
	fmt.Print(saw)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func mapElsewhere(dir string) (string, error) {
	child := exec.Command("/proc/self/exe")
	child.Env = append(os.Environ(), mapEnv+"="+dir)
	child.Stderr = os.Stderr
	saw, err := child.Output()
	return string(saw), err
}

func mapHere(dir string) (string, error) {
	f, err := os.Create(filepath.Join(dir, "f"))
	if err != nil {
		return "", err
	}
	defer f.Close()
	if err := f.Truncate(8192); err != nil {
		return "", err
	}
	m, err := unix.Mmap(int(f.Fd()), 0, 8192, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return "", err
	}
	copy(m[4090:], "across a page")
	e1 := unix.Msync(m, unix.MS_SYNC)
	e2 := unix.Munmap(m)
	b, err := os.ReadFile(f.Name())
	return fmt.Sprint(e1, e2, len(b), string(bytes.Trim(b, "\x00"))), err
}
