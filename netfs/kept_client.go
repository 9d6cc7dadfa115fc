package netfs

import (
	"slices"

	"github.com/onehost/onehost/netfs/fspb"
)

// A file that lost its last name by another's hand lives on where it is open, as it does on one machine. The home does not know where that is; it
// keeps the file for all that know it (lostNameLocked), and each lets go of it when its kernel does, which is at once if nobody has it open.

// kept is the home's word that it keeps a file for this mount.
func (fs *rawFS) kept(id string) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if n := fs.byID[id]; n != nil && (n.lookups > 0 || fs.held.owes(n)) {
		n.pinned.Store(true) // until it is closed, forgotten or brought home
	} else if n != nil { // the kernel has forgotten it already, and all that is left is the token
		go fs.unpin(id)
	} else if fs.creating > 0 {
		if fs.orphans == nil {
			fs.orphans = make(map[string]struct{})
		}
		fs.orphans[id] = struct{}{}
	} else {
		go fs.unpin(id)
	}
}

// namesOf gives the names under which the kernel may know a node: those that it was told, or the last one, which has only expired, unless
// that is another's by now.
func (fs *rawFS) namesOf(n *node) []edge {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if len(n.edges) == 0 && n.was.dir != nil && n.was.dir.children[n.was.name] == nil {
		return []edge{n.was}
	}
	return slices.Clone(n.edges)
}

// creation begins the creation of a file, of which the answer may come after the word that it is kept. creationOver ends it: what is known
// by then is what came of it.
func (fs *rawFS) creation() {
	fs.mu.Lock()
	fs.creating++
	fs.mu.Unlock()
}

func (fs *rawFS) creationOver() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.creating--
	for id := range fs.orphans {
		if n := fs.byID[id]; n != nil {
			n.pinned.Store(true)
		} else if fs.creating == 0 {
			go fs.unpin(id)
		} else {
			continue
		}
		delete(fs.orphans, id)
	}
}

// unpin says that nobody here has a kept file open.
func (fs *rawFS) unpin(id string) {
	_, _ = fs.m.send("fs.unpin", &fspb.Op{Id: []byte(id)}) // if the home is not there, neither is what it kept
}
