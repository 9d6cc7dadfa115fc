package split

import (
	"bufio"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/onehost/onehost/sys"
)

// birth gives the start time of a process in clock ticks since boot; 0 if it is gone or a zombie.
func birth(pid int) uint64 {
	st, err := sys.ReadProcStat(pid)
	if err != nil || st.Ended() {
		return 0
	}
	return st.Start
}

// mountEntry is what we need of a line of mountinfo.
type mountEntry struct {
	minor   int    // of the device
	point   string // where
	kind    string // file system type
	super   string // options of the file system
	subtree string // what of the file system is mounted
}

// mountsOf reads the mounts that a process sees, in the order they were made.
func mountsOf(pid string) ([]mountEntry, error) {
	f, err := os.Open(filepath.Join("/proc", pid, "mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var all []mountEntry
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if m, ok := parseMount(sc.Text()); ok {
			all = append(all, m)
		}
	}
	return all, nil
}

// parseMount reads "36 35 98:0 /sub /point rw,noatime master:1 - ext3 /dev/root rw,errors=continue".
func parseMount(line string) (mountEntry, bool) {
	left, right, ok := strings.Cut(line, " - ")
	l, r := strings.Fields(left), strings.Fields(right)
	if !ok || len(l) < 6 || len(r) < 2 {
		return mountEntry{}, false
	}
	_, minor, _ := strings.Cut(l[2], ":")
	m := mountEntry{subtree: sys.Unescape(l[3]), point: sys.Unescape(l[4]), kind: r[0]}
	if len(r) > 2 {
		m.super = r[2]
	}
	var err error
	m.minor, err = strconv.Atoi(minor)
	return m, err == nil
}
