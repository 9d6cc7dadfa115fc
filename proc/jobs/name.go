package jobs

import (
	"bytes"
	"os"
	"path"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// commLength is how much of its file's name the kernel keeps as the name of a process.
const commLength = 15

// calledBy gives a path of exe that ends in the name that the process of dir, a directory of /proc, has: the kernel takes the name from the path that was
// exec'ed, which may have been a symbolic link, as sh is to dash. Where none is found, as for a script, it is exe itself.
func calledBy(dir, exe string, argv [][]byte) string {
	b, err := os.ReadFile(dir + "/comm")
	comm := string(bytes.TrimSuffix(b, []byte("\n")))
	if err != nil || comm == "" || commOf(exe) == comm {
		return exe
	}
	candidates := []string{path.Join(path.Dir(exe), comm), "/usr/bin/" + comm, "/bin/" + comm, "/usr/local/bin/" + comm}
	if len(argv) > 0 && path.IsAbs(string(argv[0])) {
		candidates = append([]string{string(argv[0])}, candidates...)
	}
	var is, has unix.Stat_t
	if unix.Stat(dir+"/exe", &is) != nil {
		return exe
	}
	for _, c := range candidates {
		if commOf(c) == comm && !names.EveryHostsOwn(c) && unix.Stat(c, &has) == nil && has.Dev == is.Dev && has.Ino == is.Ino {
			return c
		}
	}
	return exe
}

// commOf gives the name of a process that has exec'ed a path.
func commOf(p string) string {
	base := path.Base(p)
	return base[:min(len(base), commLength)]
}
