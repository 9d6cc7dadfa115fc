package list

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// maxUsers bounds the names of users that a host knows and tells.
const maxUsers = 4096

// users are the names of /etc/passwd, read again when it has changed.
type users struct {
	path string

	mu    sync.Mutex // guards what follows
	file  syscall.Stat_t
	names map[uint32]string
}

// all gives the names by number. The map is not changed once given.
func (u *users) all() map[uint32]string {
	u.mu.Lock()
	defer u.mu.Unlock()
	var st syscall.Stat_t
	if err := syscall.Stat(u.path, &st); err != nil {
		return u.names // it is being replaced, or there is none: numbers do
	}
	if u.names != nil && st.Ino == u.file.Ino && st.Mtim == u.file.Mtim && st.Size == u.file.Size {
		return u.names
	}
	f, err := os.Open(u.path)
	if err != nil {
		return u.names
	}
	defer f.Close()
	names := map[uint32]string{}
	lines := bufio.NewScanner(f)
	for lines.Scan() && len(names) < maxUsers {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		_, rest, _ = strings.Cut(rest, ":")
		number, _, ok := strings.Cut(rest, ":")
		uid, err := strconv.ParseUint(number, 10, 32)
		if !ok || err != nil || name == "" || strings.HasPrefix(name, "#") {
			continue
		}
		if _, twice := names[uint32(uid)]; !twice { // the first counts, as for getpwuid
			names[uint32(uid)] = name
		}
	}
	u.file, u.names = st, names
	return names
}
