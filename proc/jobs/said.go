package jobs

import (
	"fmt"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/onehost/onehost/control"
)

// overTime bounds the wait for a session to say that it is done with a job whose end it was told. One that does not, for it is stopped or
// knows nothing of it, is hung up on: it will dial again.
const overTime = time.Second

// said is what a session says of one job, by a connection that may carry others after it.
type said struct {
	c     *control.Conn
	ended atomic.Bool   // the job has, and what is said of it now is of no use
	heard chan struct{} // closed when nobody listens any more; nil: nobody did
	last  bool          // the session said that it is done; to be read when heard is closed
}

// ghost waits until the session says that there is a ghost. It is called before listen. The end of the connection ends it.
func (s *said) ghost() error {
	var o control.JobOrder
	files, err := s.c.Receive(&o)
	closeAll(files)
	if err == nil && !o.Ghost {
		err = fmt.Errorf("a job that has no ghost yet was sent an order: %w", syscall.EINVAL)
	}
	return err
}

// listen hands out the orders of the session, until one cannot be carried out. Then, and when the session is gone, done is called.
func (s *said) listen(order func(*control.JobOrder) error, done func()) {
	s.heard = make(chan struct{})
	go func() {
		defer close(s.heard)
		defer done()
		for {
			var o control.JobOrder
			files, err := s.c.Receive(&o)
			closeAll(files)
			switch {
			case err != nil:
				return
			case o.Over:
				s.last = s.ended.Load() // before that it gives up the job
				return
			case s.ended.Load():
			case order(&o) != nil && !s.ended.Load():
				return
			}
		}
	}()
}

// hush ends the listening, and with it the use of the connection.
func (s *said) hush() {
	_ = s.c.SetDeadline(time.Unix(1, 0)) // wakes who sits in Receive
	<-s.heard
	_ = s.c.SetDeadline(time.Time{})
}

// over waits until the session is done with a job that has ended, and reports whether the connection is free for the next.
func (s *said) over() bool {
	if s.heard == nil || !s.ended.Load() {
		return false
	}
	_ = s.c.SetDeadline(time.Now().Add(overTime)) // of a connection that is closed: heard is, too
	<-s.heard
	return s.c.SetDeadline(time.Time{}) == nil && s.last
}
