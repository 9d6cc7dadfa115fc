package split

import (
	"bufio"
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// birth gives the start time of a process in clock ticks since boot; 0 if it is gone or a zombie.
func birth(pid int) uint64 {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	i := bytes.LastIndexByte(data, ')') // the name before it may hold anything
	f := strings.Fields(string(data[i+1:]))
	if i < 0 || len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0
	}
	n, _ := strconv.ParseUint(f[19], 10, 64)
	return n
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
	m := mountEntry{subtree: unescape(l[3]), point: unescape(l[4]), kind: r[0]}
	if len(r) > 2 {
		m.super = r[2]
	}
	var err error
	m.minor, err = strconv.Atoi(minor)
	return m, err == nil
}

// unescape undoes the octal escapes (\040 for a blank) of the kernel's mount tables.
func unescape(s string) string {
	if !strings.ContainsRune(s, '\\') {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
