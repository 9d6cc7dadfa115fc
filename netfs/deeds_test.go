package netfs

import (
	"path/filepath"
	"testing"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/netfs/fspb"
)

func TestDeedsOutliveTheServer(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deeds")
	of := func(mount uint64) viewer {
		return viewer{&client{peer: link.Peer{Number: 2, Incarnation: 1}}, mount}
	}
	c := of(1)
	var d deeds
	if err := d.open(path); err != nil {
		t.Fatal(err)
	}
	const last = maxDeeds + 100
	for n := uint64(1); n <= last; n++ {
		if err := d.add(c, &fspb.Op{Once: n}); err != nil {
			t.Fatal(err)
		}
	}
	d.close()
	d = deeds{}
	if err := d.open(path); err != nil {
		t.Fatal(err)
	}
	defer d.close()
	for _, w := range []struct {
		c    viewer
		once uint64
		want bool
	}{{c, last, true}, {c, last - maxDeeds + 1, true}, {c, last - maxDeeds, false}, {c, last + 1, false}, {c, 0, false}, {of(2), last, false}} {
		if got := d.has(w.c, &fspb.Op{Once: w.once}); got != w.want {
			t.Errorf("change %d of mount %d: %v, want %v", w.once, w.c.mount, got, w.want)
		}
	}
	if len(d.done) > maxDeeds {
		t.Errorf("%d are kept", len(d.done))
	}
}
