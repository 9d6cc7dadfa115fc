package link

import (
	"net"
	"time"
)

// slowPipe is net.Pipe at so many bytes a second.
type slowPipe struct {
	net.Conn
	rate int
}

func newSlowPipe(rate int) (net.Conn, net.Conn) {
	a, b := net.Pipe()
	return slowPipe{a, rate}, slowPipe{b, rate}
}

func (p slowPipe) Write(b []byte) (int, error) {
	time.Sleep(time.Duration(len(b)) * time.Second / time.Duration(p.rate)) // the time the wire takes
	return p.Conn.Write(b)
}
