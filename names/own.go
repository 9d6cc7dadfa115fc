package names

import "strings"

// EveryHostsOwn reports whether an absolute path is in one of the trees that every host has its own of: what has the name on one
// host is not what has it on another.
func EveryHostsOwn(path string) bool {
	for _, own := range []string{"/proc", "/sys", "/dev"} {
		if path == own || strings.HasPrefix(path, own+"/") {
			return true
		}
	}
	return false
}
