package jobs

import (
	"bytes"
	"slices"
)

// withoutFifo tells a job that the jobserver of its make cannot be used, if that is a named pipe (GNU make 4.4). A make that
// waits for a token there waits for its children too, by pselect; on a file from another host that returns at once, whatever there is
// to read, and takes no signal. So a make in a script that went elsewhere would ask for a token for ever, with all of them in the hands
// of its own children that have ended. It runs one job at a time instead and says why, as it does below a recipe that an earlier make
// did not know for a make.
func withoutFifo(env [][]byte) {
	for i, v := range env {
		name, _, _ := bytes.Cut(v, []byte("="))
		if !slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "CARGO_MAKEFLAGS"}, string(name)) {
			continue
		}
		at := bytes.Index(v, []byte(fifoAuth))
		if at < 0 {
			continue
		}
		end := len(v)
		if n := bytes.IndexByte(v[at:], ' '); n >= 0 {
			end = at + n
		}
		env[i] = slices.Concat(v[:at], []byte(noAuth), v[end:])
	}
}

const (
	fifoAuth = "--jobserver-auth=fifo:"
	noAuth   = "--jobserver-auth=-2,-2" // what make itself says to those who may not use its pipes
)
