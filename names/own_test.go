package names

import "testing"

func TestEveryHostsOwn(t *testing.T) {
	for path, want := range map[string]bool{
		"/proc": true, "/proc/1/fd": true, "/sys/fs": true, "/dev/null": true,
		"/": false, "/processes": false, "/home/dev": false, "/devices/x": false, "": false,
	} {
		if got := EveryHostsOwn(path); got != want {
			t.Errorf("%q: %v", path, got)
		}
	}
}
