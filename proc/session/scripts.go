package session

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/place"
)

// script is a place.Read for the exec of a file by a thread.
func script(tid int, file execFile, name string) (string, bool) {
	at := file.path
	if name != file.name {
		at = seenBy(tid, name)
	}
	var st unix.Stat_t
	if err := unix.Stat(at, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFREG || st.Size > place.MaxScript {
		return "", false
	}
	// Not blocking, as it may be a fifo by now.
	fd, err := unix.Open(at, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return "", false
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var head [4]byte
	if got, err := f.ReadAt(head[:], 0); err != nil && got == 0 || string(head[:got]) == "\x7fELF" {
		return "", false
	}
	text := make([]byte, st.Size)
	got, err := f.ReadAt(text, 0)
	if err != nil && got == 0 {
		return "", false
	}
	return string(text[:got]), true
}

// seenBy is our path of the file which a thread knows by the name.
func seenBy(tid int, name string) string {
	if strings.HasPrefix(name, "/") {
		return "/proc/" + strconv.Itoa(tid) + "/root" + name
	}
	return "/proc/" + strconv.Itoa(tid) + "/cwd/" + name
}
