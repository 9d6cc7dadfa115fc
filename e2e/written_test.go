package e2e_test

import "testing"

// TestWrittenElsewhere has programs at home read what a job elsewhere has written, while that goes on and says nothing: a file that it has closed,
// at once, and a log that they follow, soon. The job makes names to say how far it is, for those are at home at once.
func TestWrittenElsewhere(t *testing.T) {
	c := cluster(t, 2)
	h := job{host: c.Hosts()[0]}
	out := h.must(t, `cd "$(mktemp -d)"
		onehost run --no-local -q sh -c 'seq 20000 >closed; exec 9>log; echo first >&9; : >ready
			while [ ! -e go ]; do sleep 0.05; done; echo second >&9; : >wrote
			while [ ! -e end ]; do sleep 0.05; done' &
		await '[ -e ready ]'
		seq 20000 | cmp - closed && echo same
		exec 8<log; read -r line <&8; echo "$line"
		: >go; await '[ -e wrote ]'
		await 'read -r line <&8'; echo "$line"
		: >end; wait`)
	if want := "same\nfirst\nsecond\n"; out != want {
		t.Errorf("got %q, want %q", out, want)
	}
}
