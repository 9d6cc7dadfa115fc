package jobs

import "testing"

func TestWithoutFifo(t *testing.T) {
	for in, want := range map[string]string{
		"MAKEFLAGS= -j4 --jobserver-auth=fifo:/tmp/GMfifo12":          "MAKEFLAGS= -j4 --jobserver-auth=-2,-2",
		"MAKEFLAGS=ks -j4 --jobserver-auth=fifo:/tmp/GMfifo12 -- A=1": "MAKEFLAGS=ks -j4 --jobserver-auth=-2,-2 -- A=1",
		"CARGO_MAKEFLAGS=-j --jobserver-fds=3,4 --jobserver-auth=3,4": "CARGO_MAKEFLAGS=-j --jobserver-fds=3,4 --jobserver-auth=3,4",
		"MAKEFLAGS":                      "MAKEFLAGS",
		"OTHER=--jobserver-auth=fifo:/x": "OTHER=--jobserver-auth=fifo:/x",
	} {
		env := [][]byte{[]byte("A=b"), []byte(in)}
		withoutFifo(env)
		if got := string(env[1]); got != want || string(env[0]) != "A=b" {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}
