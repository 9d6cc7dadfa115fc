package list

import (
	"os"
	"strings"
)

// hides reports whether this host's /proc shows ordinary users their own processes only (hidepid of proc(5)).
func hides() (bool, error) {
	b, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	return hidesIn(string(b)), nil
}

// hidesIn looks at the text of /proc/self/mountinfo. What was mounted last is seen.
func hidesIn(mounts string) bool {
	hidden := false
	for line := range strings.Lines(mounts) {
		mount, rest, ok := strings.Cut(line, " - ")
		f := strings.Fields(mount)
		about := strings.Fields(rest)
		if !ok || len(f) < 5 || f[4] != "/proc" || len(about) < 3 || about[0] != "proc" {
			continue
		}
		hidden = false
		for option := range strings.SplitSeq(about[2], ",") {
			if v, ok := strings.CutPrefix(option, "hidepid="); ok {
				hidden = v != "0" && v != "off"
			}
		}
	}
	return hidden
}
