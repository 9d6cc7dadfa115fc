package netfs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/onehost/onehost/netfs/fspb"
)

// deeds is which changes of names have been carried out, so that a client to which the answer did not come, because the connection ended or the
// daemon did, can ask again. They are kept in a file, which is worth as much as the daemon's memory and lives longer: it need not be on a disk. A
// daemon that is killed between a change and its note, a microsecond, leaves a doubt, which is the client's to see.
type deeds struct {
	mu   sync.Mutex
	file *os.File // nil: none
	next int64    // the place of the next
	ring [maxDeeds]deed
	done map[deed]struct{}
}

// deed names a change: the client's host, incarnation and mount, and its number there.
type deed [4]uint64

const (
	maxDeeds = 4096 // more than are under way at any time
	deedSize = 4 * 8
)

// open takes up what an earlier server noted.
func (d *deeds) open(path string) error {
	d.done = make(map[deed]struct{})
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("notes of changes: %w", err)
	}
	b := make([]byte, maxDeeds*deedSize)
	n, err := f.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		f.Close()
		return fmt.Errorf("notes of changes: %w", err)
	}
	d.file = f
	for i := range n / deedSize {
		var k deed
		for j := range k {
			k[j] = binary.NativeEndian.Uint64(b[i*deedSize+8*j:])
		}
		d.ring[i] = k
		d.done[k] = struct{}{}
	}
	// Those of this server go over the oldest, wherever those begin: what is asked again is of the last moments.
	d.next = int64(n/deedSize) % maxDeeds
	return nil
}

func (d *deeds) close() {
	if d.file != nil {
		_ = d.file.Close()
	}
}

func deedOf(c viewer, op *fspb.Op) deed {
	return deed{uint64(c.peer.Number), uint64(c.peer.Incarnation), c.mount, op.Once}
}

// has reports whether a change has been carried out.
func (d *deeds) has(c viewer, op *fspb.Op) bool {
	if op.Once == 0 {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, ok := d.done[deedOf(c, op)]
	return ok
}

// add is after a change has been carried out. A failure means no more than that the change cannot be asked for again.
func (d *deeds) add(c viewer, op *fspb.Op) error {
	if op.Once == 0 {
		return nil
	}
	k := deedOf(c, op)
	b := make([]byte, 0, deedSize)
	for _, v := range k {
		b = binary.NativeEndian.AppendUint64(b, v)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.done, d.ring[d.next])
	d.ring[d.next], d.done[k] = k, struct{}{}
	at := d.next * deedSize
	d.next = (d.next + 1) % maxDeeds
	if d.file == nil {
		return nil
	}
	_, err := d.file.WriteAt(b, at)
	return err
}

// once carries out a change as its caller, unless that was done before.
func (s *Server) once(c viewer, op *fspb.Op, do func() error) error {
	if s.deeds.has(c, op) {
		return nil
	}
	return s.workers.as(op.Cred, func() error {
		err := do()
		if err == nil { // at once: on this thread, which may wait for none
			if nerr := s.deeds.add(c, op); nerr != nil {
				s.log.Warn("a change cannot be noted", "err", nerr)
			}
		}
		return err
	})
}
