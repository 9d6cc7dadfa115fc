package netfs

import (
	"testing"

	"github.com/onehost/onehost/netfs/fspb"
)

// TestRestartAmongNotes attaches to a new connection by which notes came before the home's answer was read: they must count, for
// the home waits for their numbers, but not before what the old connection told is forgotten.
func TestRestartAmongNotes(t *testing.T) {
	for _, taken := range []bool{false, true} {
		var q invalQueue
		q.init()
		q.restart(5, false)
		note := &fspb.Invals{Seq: 11}
		q.add(note)
		if taken { // it is being applied meanwhile
			q.take()
		}
		q.restart(10, true)
		if taken {
			q.done(note)
		}
		ch := q.reached(11)
		if ch == nil {
			t.Fatalf("taken %v: what the old connection told counts as forgotten at once", taken)
		}
		for _, n := range q.take() {
			q.done(n)
		}
		select {
		case <-ch:
		default:
			t.Errorf("taken %v: note 11 never counts as applied", taken)
		}
		if q.reached(12) == nil {
			t.Errorf("taken %v: a note that has not come counts as applied", taken)
		}
	}
}
