package sys

import (
	"bytes"
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
	first, err := ReadProcStat(1)
	if err != nil {
		return "", fmt.Errorf("boot id: %w", err)
	}
	return fmt.Sprintf("%s %s %d", bytes.TrimSpace(id), space, first.Start), nil
}
