package names

import (
	"fmt"
	"strings"
)

// NetRoot is the directory under which every host's tree has its name.
const NetRoot = "/net"

// Path is the name of a file of a host that holds everywhere: /net/HOST/FILE.
type Path struct {
	Host HostName
	File string // the absolute name in the host's own tree: "/", "/etc/passwd"
}

// String gives /net/HOST/FILE.
func (p Path) String() string {
	if p.File == "/" {
		return NetRoot + "/" + string(p.Host)
	}
	return NetRoot + "/" + string(p.Host) + p.File
}

// MakePath names the file of a host whose own name there is file. The rules of ParsePath hold.
func MakePath(h HostName, file string) (Path, error) {
	if !strings.HasPrefix(file, "/") {
		return Path{}, fmt.Errorf("path %q: want an absolute path on host %s", file, h)
	}
	return ParsePath(NetRoot + "/" + string(h) + file)
}

// ParsePath reads /net/HOST or /net/HOST/FILE. Empty components and "." are dropped, and with them a slash at the end.
// ".." is refused: only the kernel, which knows the symlinks, can resolve it.
func ParsePath(s string) (Path, error) {
	bad := func(rule string) error { return fmt.Errorf("path %q: %s", s, rule) }
	rest, ok := strings.CutPrefix(s, NetRoot+"/")
	if !ok {
		return Path{}, bad("want " + NetRoot + "/HOST/FILE")
	}
	if strings.ContainsRune(s, 0) {
		return Path{}, bad("a path holds no NUL")
	}
	host, file, _ := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	name, err := ParseHostName(host)
	if err != nil {
		return Path{}, bad(err.Error())
	}
	var b strings.Builder
	for part := range strings.SplitSeq(file, "/") {
		switch part {
		case "", ".":
		case "..":
			return Path{}, bad(`".." cannot be resolved in a name; give the path without it`)
		default:
			b.WriteByte('/')
			b.WriteString(part)
		}
	}
	if b.Len() == 0 {
		return Path{Host: name, File: "/"}, nil
	}
	return Path{Host: name, File: b.String()}, nil
}
