package link

import (
	"errors"
	"testing"

	"github.com/onehost/onehost/names"
)

// TestCarrierHello: a carrier is its host by its certificate, and has an incarnation of its own, after that of the daemon that started it.
func TestCarrierHello(t *testing.T) {
	ca := newAuthority(t)
	peers := make(chan Peer, 1)
	l, err := Listen("127.0.0.1:0", ca.host(2), hello(2), NewRouter(), ListenOptions{OnConn: func(c *Conn) { peers <- c.Peer(); _ = c.Close() }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	self := hello(1)
	self.Incarnation, self.Carrier = 7, 3
	c, err := Dial(ctxOf(t), l.Addr().String(), ca.host(1), self, 2, NewRouter())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	p := <-peers
	if p.Number != 1 || p.Carrier != 3 || p.Incarnation != names.Incarnation(7).Carrier(3) || p.Incarnation.Daemon() != 7 || p.Birth != 0 {
		t.Errorf("the carrier is %+v", p)
	}
	if c.Peer().Carrier != 0 {
		t.Errorf("a daemon says that it is carrier %d", c.Peer().Carrier)
	}
	self.Carrier = names.LastCarrier + 1
	if c, err := Dial(ctxOf(t), l.Addr().String(), ca.host(1), self, 2, NewRouter()); !errors.Is(err, names.Refused) {
		t.Errorf("a number that no carrier can have: %v, %v", c, err)
	}
}
