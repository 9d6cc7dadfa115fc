package jobs

import (
	"bytes"
	"encoding/binary"
	"path"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// atExecFn is the entry of the auxiliary vector that leads to the name which exec was called with.
const atExecFn = 31

// called gives the name by which the held process pid called the program exe, if that name is the program's; otherwise exe. The kernel
// names a process after it, so that what was started as "python3" is not "python3.11" elsewhere.
func called(pid int, exe, cwd string) string {
	dir := "/proc/" + strconv.Itoa(pid)
	name := execName(dir)
	switch {
	case name == "":
		return exe
	case !strings.HasPrefix(name, "/"):
		name = path.Join(cwd, name)
	}
	if names.EveryHostsOwn(name) { // fexecve: a descriptor
		return exe
	}
	var is, has unix.Stat_t
	if unix.Stat(dir+"/exe", &is) != nil || unix.Stat(name, &has) != nil || is.Dev != has.Dev || is.Ino != has.Ino {
		return exe // a script: the program is its interpreter
	}
	return name
}

// execName reads the name from the process's memory; empty if it is not to be had.
func execName(dir string) string {
	aux, err := slurp(dir + "/auxv")
	if err != nil {
		return ""
	}
	const word = 8
	for ; len(aux) >= 2*word; aux = aux[2*word:] {
		if binary.NativeEndian.Uint64(aux) != atExecFn {
			continue
		}
		fd, err := unix.Open(dir+"/mem", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		if err != nil {
			return ""
		}
		defer unix.Close(fd)
		at := int64(binary.NativeEndian.Uint64(aux[word:]))
		for size := 256; size <= unix.PathMax; size *= 4 { // nearly all are short
			buf := make([]byte, size)
			n, err := unix.Pread(fd, buf, at) // short at the end of the stack
			if err != nil {
				return ""
			}
			if end := bytes.IndexByte(buf[:n], 0); end >= 0 {
				return string(buf[:end])
			}
		}
		return ""
	}
	return ""
}
