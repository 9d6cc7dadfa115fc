package netfs

import (
	"sync"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/netfs/fspb"
)

// cache is what the daemon itself knows of names and attributes: whole small directories, fetched at the first lookup
// in them, so that the many lookups of an include path cost one round trip for each directory. The home takes it back by
// the same notes as what the kernel keeps.
type cache struct {
	mu      sync.Mutex
	dirs    map[string]*dirNames
	attrs   map[string]*fspb.Attr
	noCaps  map[string]struct{}      // files known to have no file capabilities, for which the kernel asks at each exec
	large   map[string]struct{}      // directories the home would not give whole
	pending map[string]chan struct{} // directories being fetched
	names   int
}

// dirNames is a whole directory. Names that changed since are in changed, and have to be asked for.
type dirNames struct {
	names   map[string]*fspb.Entry
	changed map[string]struct{}
	list    []*fspb.Entry // with . and .., in the home's order; nil: names have changed
}

const maxNames = 400_000 // names kept in memory, all directories together

func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clearLocked()
	if c.pending == nil {
		c.pending = make(map[string]chan struct{})
	}
}

func (c *cache) clearLocked() {
	c.dirs, c.attrs, c.large = make(map[string]*dirNames), make(map[string]*fspb.Attr), make(map[string]struct{})
	c.noCaps = make(map[string]struct{})
	c.names = 0
}

// attr gives what is known of a file.
func (c *cache) attr(id string) *fspb.Attr {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.attrs[id]
}

// changedDir notes the attributes that a change of ours left a directory with. Answers to changes at the same time may come
// in any order: if it is not clear which is the later, nothing is known.
func (c *cache) changedDir(id string, a *fspb.Attr, touched func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.attrs[id]
	if a == nil || touched() || old != nil && old.Ctime >= a.Ctime && !proto.Equal(old, a) {
		delete(c.attrs, id)
		return
	}
	c.attrs[id] = a
}

func (c *cache) hasNoCaps(id string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, ok := c.noCaps[id]
	return ok
}

func (c *cache) setNoCaps(id string, touched func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.noCaps) < maxNames && !touched() {
		c.noCaps[id] = struct{}{}
	}
}

// lookup gives what is known of dir/name: an entry with attributes, nil for a missing name, or not known at all.
func (c *cache) lookup(dir, name string) (e *fspb.Entry, known bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.dirs[dir]
	if d == nil {
		return nil, false
	}
	if _, ok := d.changed[name]; ok {
		return nil, false
	}
	e = d.names[name]
	if e == nil {
		return nil, true
	}
	a := c.attrs[string(e.Id)]
	if a == nil {
		return nil, false
	}
	return &fspb.Entry{Name: e.Name, Id: e.Id, Attr: a, Type: e.Type}, true
}

// fetch says whether the caller should ask for the whole directory. If somebody else does so now it gives a channel that is closed
// when he has. The caller that is told true must call fetched.
func (c *cache) fetch(dir string) (listing bool, other <-chan struct{}) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.large[dir]; ok || c.dirs[dir] != nil {
		return false, nil
	}
	if ch := c.pending[dir]; ch != nil {
		return false, ch
	}
	c.pending[dir] = make(chan struct{})
	return true, nil
}

func (c *cache) fetched(dir string) {
	c.mu.Lock()
	ch := c.pending[dir]
	delete(c.pending, dir)
	c.mu.Unlock()
	close(ch)
}

// store keeps a directory. touched is asked under the lock whether a note came for it or one of its files meanwhile.
func (c *cache) store(dir string, res *fspb.Result, touched func(dir, id string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !res.Listed {
		c.large[dir] = struct{}{}
		return
	}
	if touched(dir, "") {
		return
	}
	if c.names+len(res.Entries) > maxNames {
		c.clearLocked()
	}
	c.names += len(res.Entries)
	d := &dirNames{names: make(map[string]*fspb.Entry, len(res.Entries)), changed: make(map[string]struct{}), list: res.Entries}
	for _, e := range res.Entries {
		if s := string(e.Name); s == "." || s == ".." {
			continue
		}
		d.names[string(e.Name)] = e
		if len(e.Id) > 0 && !touched("", string(e.Id)) {
			c.attrs[string(e.Id)] = e.Attr
		}
		e.Attr = nil
	}
	c.dirs[dir] = d
}

// learn notes what the home said of one name, in a directory of which the others are known: the kernel asks twice for a name that
// it knew otherwise. touched is asked as by store.
func (c *cache) learn(dir, name string, e *fspb.Entry, touched func(dir, name, id string) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d, id := c.dirs[dir], string(e.GetId())
	if d == nil || e.GetUncached() || touched(dir, name, id) {
		return
	}
	delete(d.changed, name)
	if old := d.names[name]; (old == nil) != (id == "") || len(old.GetId()) > 0 && string(old.Id) != id {
		d.list = nil
	}
	if id == "" {
		delete(d.names, name)
		return
	}
	if d.names[name] == nil {
		c.names++
	}
	d.names[name] = &fspb.Entry{Name: []byte(name), Id: e.Id, Type: e.Type, Ino: e.GetAttr().GetIno()}
	c.attrs[id] = e.GetAttr()
}

// list gives a whole directory if it is known, with . and .., in the home's order: what a program makes of a directory may depend on it.
func (c *cache) list(dir string) ([]*fspb.Entry, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.dirs[dir]; d != nil && d.list != nil {
		return d.list, true
	}
	return nil, false
}

// setList keeps what the home said of a whole directory. touched is asked as by store, for all names.
func (c *cache) setList(dir string, all []*fspb.Entry, touched func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.dirs[dir]; d != nil && !touched() {
		d.list = all
	}
}

func (c *cache) forgetName(dir, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d := c.dirs[dir]; d != nil {
		d.changed[name], d.list = struct{}{}, nil
	}
	delete(c.large, dir)
}

func (c *cache) forgetAttr(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.attrs, id)
	delete(c.noCaps, id)
}

// set notes what this mount itself made of dir/name; nil means that the name is gone. touched is asked under the lock whether others have
// made something else of it by now, perhaps.
func (c *cache) set(dir, name string, e *fspb.Entry, touched func() bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	d := c.dirs[dir]
	if d == nil {
		return
	}
	d.list = nil
	if touched() {
		d.changed[name] = struct{}{}
		return
	}
	delete(d.changed, name)
	if e == nil {
		delete(d.names, name)
		return
	}
	d.names[name] = &fspb.Entry{Name: []byte(name), Id: e.Id, Type: e.Type, Ino: e.GetAttr().GetIno()}
	c.names++
}
