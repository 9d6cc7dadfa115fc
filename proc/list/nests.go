package list

import (
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// nsGetParent is NS_GET_PARENT of ioctl_nsfs(2).
const nsGetParent = 0xb702

// inits knows the pid name spaces of this host's nests.
type inits struct {
	ask    func() []Nest
	spaces map[uint64]names.Host // by inode
	asked  bool                  // again, in this reading
}

func (r *Reader) inits() *inits {
	n := &inits{ask: r.cfg.Nests}
	n.learn()
	return n
}

func (n *inits) learn() {
	n.spaces = map[uint64]names.Host{}
	for _, nest := range n.ask() {
		if ino := space("/proc/" + strconv.Itoa(nest.Init) + "/ns/pid"); nest.Init > 0 && ino != 0 {
			n.spaces[ino] = nest.Home
		}
	}
}

// space gives the inode of a name space; 0 if its process is gone.
func space(path string) uint64 {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil {
		return 0
	}
	return st.Ino
}

// of gives the home of the nest that a process is in, so many name spaces below this one; names.Here if it is in none.
func (n *inits) of(pid string, below int) names.Host {
	if home := n.find(pid, below); home != names.Here || n.asked {
		return home
	}
	n.asked = true // a nest may have been made since
	n.learn()
	return n.find(pid, below)
}

func (n *inits) find(pid string, below int) names.Host {
	path := "/proc/" + pid + "/ns/pid"
	if below == 1 {
		return n.spaces[space(path)]
	}
	// It has made name spaces of its own: look up from the lowest.
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return names.Here
	}
	for ; below > 1; below-- {
		up, err := unix.IoctlRetInt(fd, nsGetParent)
		unix.Close(fd)
		if err != nil {
			return names.Here
		}
		fd = up
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return names.Here
	}
	return n.spaces[st.Ino]
}
