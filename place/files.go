package place

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// RuleFiles lists the files that change the built-in rules, in the order in which they are read: everybody's, then the user's.
// getenv is as os.Getenv.
func RuleFiles(getenv func(string) string) []string {
	files := []string{"/etc/onehost/place"}
	if dir := getenv("XDG_CONFIG_HOME"); filepath.IsAbs(dir) {
		return append(files, filepath.Join(dir, "onehost", "place"))
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		files = append(files, filepath.Join(home, ".config", "onehost", "place"))
	}
	return files
}

// hidden reports whether a file could not be opened because its directory is closed to the caller, as that of another is whose HOME
// stayed in the environment.
func hidden(name string, err error) bool {
	if !errors.Is(err, fs.ErrPermission) {
		return false
	}
	_, err = os.Lstat(name)
	return errors.Is(err, fs.ErrPermission)
}

// ReadRules gives the built-in rules as changed by the files; one that is not there, or in a directory closed to the caller, changes
// nothing.
func ReadRules(files ...string) (*Rules, error) {
	rules := DefaultRules()
	for _, name := range files {
		f, err := os.Open(name)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || hidden(name, err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("rules of placement: %w", err)
		}
		more, err := ParseRules(f, name)
		f.Close()
		if err != nil {
			return nil, err
		}
		rules = rules.Merge(more)
	}
	return rules, nil
}
