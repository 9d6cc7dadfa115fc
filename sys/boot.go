package sys

import (
	"bytes"
	"errors"
	"fmt"
	"os"
)

// Boot names the time from one start of this host to the next: it is the same for all processes of that time, and for those of no other. A
// host that is a pid name space starts with its first process.
func Boot() (string, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	space, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	stat, err := os.ReadFile("/proc/1/stat")
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	const starttime = 22 - 3 // of proc(5), counted from the field behind the name, which may hold anything
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(f) <= starttime {
		return "", fmt.Errorf("boot id: /proc/1/stat: %w", errors.ErrUnsupported)
	}
	return fmt.Sprintf("%s %s %s", bytes.TrimSpace(id), space, f[starttime]), nil
}
