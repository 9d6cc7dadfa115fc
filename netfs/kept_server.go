package netfs

import (
	"context"
	"slices"
	"time"

	"github.com/onehost/onehost/netfs/fspb"
	"github.com/onehost/onehost/token"
)

// lostNameLocked is after by took a name from a file. If it was the last, all others who know the file may have it open, and it is kept for
// each of them until he says that he has not, or not any more.
func (s *Server) lostNameLocked(by token.Holder, id string) {
	x := s.files.bury(id)
	if x == nil {
		return
	}
	defer s.files.put(x)
	o := token.Object(id)
	holders := slices.Clone(s.tokens.Readers(o, token.DataRead))
	if w, ok := s.tokens.Writer(o); ok && !slices.Contains(holders, w) {
		holders = append(holders, w)
	}
	for _, h := range holders {
		if c := s.clients[h.Host]; h != by && c != nil && c.is(h) && s.pin(viewer{c, h.Mount}, x) {
			s.noteLocked(h, &fspb.Inval{Id: []byte(id), Kept: true})
		}
	}
}

// replacedTime is for how long the home collects renames of its natives before it looks for files that lost their last name by them. Until then
// such a file lives by the descriptor that the home has of it.
const replacedTime = time.Second

// sweep looks at all files that the home has a descriptor of, 3000 at most that nobody uses, for those that natives have renamed another over.
func (s *Server) sweep() {
	s.replaced.Store(false)
	if s.ctx.Err() != nil { // closed meanwhile
		return
	}
	for _, id := range s.files.orphans() {
		s.mu.Lock()
		s.lostNameLocked(token.Home, id)
		s.objChangedLocked(token.Home, id, &fspb.Inval{Id: []byte(id), Attr: true})
		s.unlock()
	}
}

// pinKey is a file that is kept for a mount of a client.
type pinKey struct {
	mount uint64
	id    string
}

// maxPins bounds what one client can keep alive of removed files, each with a descriptor. What is beyond is gone for it (ESTALE).
const maxPins = 8000

// pin keeps a file alive for a mount that has it open. It reports whether it is kept.
func (s *Server) pin(c viewer, x *obj) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := pinKey{c.mount, x.id}
	if c.pins[key] != nil {
		return true
	}
	if c.gone || len(c.pins) >= maxPins {
		return false
	}
	s.files.hold(x)
	c.pins[key] = x
	return true
}

// unpin: id.
func (s *Server) unpin(_ context.Context, c viewer, op *fspb.Op, _ []byte) (*fspb.Result, []byte, error) {
	c.mu.Lock()
	key := pinKey{c.mount, string(op.Id)}
	x := c.pins[key]
	delete(c.pins, key)
	c.mu.Unlock()
	if x != nil {
		s.files.put(x)
	}
	return &fspb.Result{}, nil, nil
}
