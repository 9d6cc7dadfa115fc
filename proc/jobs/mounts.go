package jobs

import (
	"slices"
	"strings"
)

// ownTrees is the type of the mounts that this daemon makes for jobs of other homes. They come and go, and no job of this home lives in them.
const ownTrees = "fuse.onehost"

// sameMounts reports whether a process in a mount name space of its own has the mounts that this daemon has, but for what is mounted on /proc and
// below: of that every host has its own, so that nothing of it goes along. A process with a /proc of the cluster is such a one.
func sameMounts(dir string) bool {
	its, err := slurp(dir + "/mountinfo")
	if err != nil {
		return false
	}
	ours, err := slurp("/proc/self/mountinfo")
	return err == nil && slices.Equal(mounts(string(its)), mounts(string(ours)))
}

// mounts gives what of /proc/PID/mountinfo says what is where, sorted: device, root, mount point, options, type, source and the options of the
// file system. Numbers of mounts, and how they hang together, differ from name space to name space.
func mounts(info string) []string {
	var all []string
	for line := range strings.Lines(info) {
		mount, about, ok := strings.Cut(strings.TrimSuffix(line, "\n"), " - ")
		f := strings.Fields(mount)
		if !ok || len(f) < 6 {
			all = append(all, line) // nobody knows what it says: it has to be the same
			continue
		}
		if at := f[4]; at == "/proc" || strings.HasPrefix(at, "/proc/") || strings.HasPrefix(about, ownTrees+" ") {
			continue
		}
		all = append(all, strings.Join(f[2:6], " ")+" - "+about)
	}
	slices.Sort(all)
	return all
}
