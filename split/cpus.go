package split

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// allowedCPUs lists the CPUs this process may use, those of one core side by side, so that a host gets whole cores.
func allowedCPUs() ([]int, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return nil, fmt.Errorf("CPUs of this machine: %w", err)
	}
	type place struct{ pkg, core, cpu int }
	var all []place
	for cpu := 0; len(all) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			all = append(all, place{topology(cpu, "physical_package_id"), topology(cpu, "core_id"), cpu})
		}
	}
	slices.SortFunc(all, func(a, b place) int {
		return slices.Compare([]int{a.pkg, a.core, a.cpu}, []int{b.pkg, b.core, b.cpu})
	})
	cpus := make([]int, len(all))
	for i, p := range all {
		cpus[i] = p.cpu
	}
	return cpus, nil
}

// topology reads one number of a CPU's place; 0 where the kernel does not say.
func topology(cpu int, what string) int {
	data, _ := os.ReadFile(fmt.Sprintf("/sys/devices/system/cpu/cpu%d/topology/%s", cpu, what))
	n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
	return n
}

// cpuList writes CPUs as the kernel reads them.
func cpuList(cpus []int) string {
	s := make([]string, len(cpus))
	for i, c := range cpus {
		s[i] = strconv.Itoa(c)
	}
	return strings.Join(s, ",")
}
