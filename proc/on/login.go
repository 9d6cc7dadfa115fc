package on

import (
	"cmp"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Files that say what a user has when he logs in.
const (
	passwdFile    = "/etc/passwd"
	loginDefsFile = "/etc/login.defs"
)

// account is a user as this host knows him.
type account struct{ name, home, shell string }

// accountOf reads a user's line of passwd. Nobody needs to have one: a number that is nobody's is a user as well.
func accountOf(passwd string, uid uint32) account {
	number := strconv.FormatUint(uint64(uid), 10)
	a := account{name: number, home: "/", shell: "/bin/sh"}
	for line := range strings.Lines(passwd) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) < 7 || f[2] != number {
			continue
		}
		a.name = f[0]
		if filepath.IsAbs(f[5]) {
			a.home = f[5]
		}
		if filepath.IsAbs(f[6]) {
			a.shell = f[6]
		}
		break
	}
	return a
}

// Paths that a login has where login.defs says nothing.
const (
	rootPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	userPath = "/usr/local/bin:/usr/bin:/bin"
)

// pathOf is the PATH that a login begins with.
func pathOf(loginDefs string, uid uint32) string {
	key, path := "ENV_PATH", userPath
	if uid == 0 {
		key, path = "ENV_SUPATH", rootPath
	}
	for line := range strings.Lines(loginDefs) {
		f := strings.Fields(line)
		if len(f) >= 2 && f[0] == key {
			path = strings.TrimPrefix(f[1], "PATH=")
		}
	}
	return path
}

// login is what a login of a user begins with.
func login(uid uint32) (account, []string) {
	passwd, _ := os.ReadFile(passwdFile) // a host may do without either
	defs, _ := os.ReadFile(loginDefsFile)
	a := accountOf(string(passwd), uid)
	return a, []string{
		"USER=" + a.name, "LOGNAME=" + a.name, "HOME=" + a.home, "SHELL=" + a.shell, "PATH=" + pathOf(string(defs), uid),
	}
}

// overlay gives each name its last value.
func overlay(env []string) []string {
	at := map[string]int{}
	var out []string
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		if i, known := at[name]; known {
			out[i] = e
			continue
		}
		at[name] = len(out)
		out = append(out, e)
	}
	return out
}

// valueOf gives the value of a name in an environment.
func valueOf(env []string, name string) string {
	for _, e := range env {
		if v, ok := strings.CutPrefix(e, name+"="); ok {
			return v
		}
	}
	return ""
}

// speaksUTF8 reports whether an environment says that characters are UTF-8.
func speaksUTF8(env []string) bool {
	locale := strings.ToLower(cmp.Or(valueOf(env, "LC_ALL"), valueOf(env, "LC_CTYPE"), valueOf(env, "LANG")))
	return strings.Contains(locale, "utf-8") || strings.Contains(locale, "utf8")
}

// candidates are the files that a command's name may mean, in order.
func candidates(name, path string) []string {
	if name == "" || strings.Contains(name, "/") {
		return []string{name}
	}
	var out []string
	for dir := range strings.SplitSeq(path, ":") {
		c := filepath.Join(dir, name)
		if !filepath.IsAbs(c) {
			c = "./" + c // in the command's own directory
		}
		out = append(out, c)
	}
	return out
}
