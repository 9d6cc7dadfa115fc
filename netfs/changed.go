package netfs

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/netfs/fspb"
	"github.com/onehost/onehost/token"
)

// watch turns events into invalidations as they come.
func (s *Server) watch() {
	defer s.bg.Done()
	for {
		if err := s.fan.wait(); err != nil {
			if !errors.Is(err, errClosed) {
				s.log.Error("changes of files are not seen any more", "err", err)
			}
			return
		}
		if err := s.readEvents(); err != nil {
			s.log.Error("changes of files cannot be read", "err", err)
			return
		}
	}
}

func (s *Server) readEvents() error {
	s.fanMu.Lock()
	defer s.fanMu.Unlock()
	err := s.fan.drain(s.changed)
	s.mu.Lock()
	s.unlock()
	return err
}

// changed tells the clients of a change made outside of the protocol.
func (s *Server) changed(e *event) {
	if e.overflow {
		s.mu.Lock()
		for _, c := range s.clients {
			s.noteLocked(viewer{c, 0}.holder(), &fspb.Inval{All: true})
		}
		s.mu.Unlock()
		return
	}
	if s.workers.own(e.tid) {
		return
	}
	var dirs, objs []string
	if e.hasDir {
		dirs = s.files.ids(e.dir)
	}
	if e.hasObj {
		objs = s.files.ids(e.obj)
	} else if e.name == "." {
		objs = dirs
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if e.mask&unix.FAN_DELETE != 0 {
		for _, x := range objs {
			s.lostNameLocked(token.Home, x)
		}
	}
	if e.mask&unix.FAN_MOVED_TO != 0 && s.replaced.CompareAndSwap(false, true) { // of what had the name before the kernel says nothing
		time.AfterFunc(replacedTime, s.sweep)
	}
	if e.mask&watchNames != 0 {
		for _, d := range dirs {
			s.nameChangedLocked(token.Home, d, e.name)
		}
	}
	inv := &fspb.Inval{Name: []byte(e.name), Attr: true, Data: e.mask&(unix.FAN_MODIFY|unix.FAN_DELETE|unix.FAN_MOVED_FROM) != 0}
	for i, x := range objs {
		one := proto.Clone(inv).(*fspb.Inval)
		one.Id = []byte(x)
		if len(dirs) == len(objs) && e.name != "." {
			one.Dir = []byte(dirs[i])
		}
		s.objChangedLocked(token.Home, x, one)
	}
}

// nameChangedLocked tells all who keep names of dir, but not by, that name means something else, and dir's attributes too.
func (s *Server) nameChangedLocked(by token.Holder, dir, name string) {
	o := token.Object(dir)
	readers := s.tokens.Readers(o, token.NamesRead)
	for _, h := range readers {
		if h != by {
			s.noteLocked(h, &fspb.Inval{Dir: []byte(dir), Name: []byte(name), Entry: true})
		}
	}
	for _, h := range s.tokens.Readers(o, token.DataRead) {
		if h != by && !slices.Contains(readers, h) {
			s.noteLocked(h, &fspb.Inval{Id: []byte(dir), Attr: true})
		}
	}
}

// objChangedLocked tells all who keep something of the file, but not by, to forget it.
func (s *Server) objChangedLocked(by token.Holder, id string, inv *fspb.Inval) {
	o := token.Object(id)
	tell := func(h token.Holder) {
		if h != by {
			s.noteLocked(h, proto.Clone(inv).(*fspb.Inval))
		}
	}
	for _, h := range s.tokens.Readers(o, token.DataRead) {
		tell(h)
	}
	if w, ok := s.tokens.Writer(o); ok {
		tell(w)
	}
}

// watchDir marks a directory before its content is given away.
func (s *Server) watchDir(x *obj) {
	s.watchFile(x, watchDir)
}

func (s *Server) watchFile(x *obj, mask uint64) {
	if x.m.volatile {
		return
	}
	s.markMu.Lock()
	defer s.markMu.Unlock()
	if _, ok := s.marks[x.id]; ok {
		return
	}
	if err := s.fan.mark(x.fd, mask); err != nil {
		s.log.Warn("a file system does not report changes: nothing of it is cached", "err", err)
		x.m.volatile = true // racy readers see it a call later, which only costs them a cached name without a mark
		return
	}
	s.marks[x.id] = struct{}{}
}
