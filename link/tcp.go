package link

import (
	"crypto/tls"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// userTimeout is how long the kernel goes on with a peer that acknowledges nothing or keeps its window shut. It is
	// the last resort: membership notices a dead host sooner, and drops its connections.
	userTimeout = 10 * time.Second
	// unsent is how much the kernel takes ahead of what the network does: what it has taken cannot be overtaken.
	unsent = 128 << 10
)

var keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: time.Second, Count: 5}

// tune sets the options of a TCP socket before it connects or listens. A kernel that lacks one works without it.
func tune(_, _ string, raw syscall.RawConn) error {
	return raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout/time.Millisecond))
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, unsent)
	})
}

// rawOf gives the connection under TLS, if there is TLS.
func rawOf(c net.Conn) net.Conn {
	if t, ok := c.(*tls.Conn); ok {
		return t.NetConn()
	}
	return c
}

// closeRaw closes without TLS's parting word, which could wait for a peer that reads nothing.
func closeRaw(c net.Conn) { _ = rawOf(c).Close() }

// roomOf makes the test whether a write of directWrite bytes will surely not block: the socket must hold little that
// is not yet acknowledged. Of what is not a socket nothing is known, and a caller's context does not end a write.
func roomOf(c net.Conn) func() bool {
	sc, ok := rawOf(c).(syscall.Conn)
	if !ok {
		return func() bool { return false }
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return func() bool { return false }
	}
	var n int
	ask := func(fd uintptr) {
		var err error
		if n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ); err != nil {
			n = directWrite
		}
	}
	return func() bool { return raw.Control(ask) == nil && n < directWrite } // called under writer.mu
}

// Signs is what this host's kernel knows of the other end of a connection, whatever the programs at both ends do.
type Signs struct {
	Acked  time.Duration // since the peer's kernel last sent anything, an acknowledgement at least
	Unread bool          // bytes of the peer wait here to be read: it is this host that is late
}

// Signs asks the kernel for signs of life of the peer; false if the connection is not TCP. It does not block. A peer
// that is crashed or cut off acknowledges nothing; one whose programs merely stand still does, as long as it is sent something.
func (c *Conn) Signs() (s Signs, ok bool) {
	sc, is := rawOf(c.rwc).(syscall.Conn)
	if !is {
		return s, false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return s, false
	}
	err = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil || info.State != unix.BPF_TCP_ESTABLISHED {
			return
		}
		unread, err := unix.IoctlGetInt(int(fd), unix.SIOCINQ)
		s, ok = Signs{Acked: time.Duration(info.Last_ack_recv) * time.Millisecond, Unread: err == nil && unread > 0}, true
	})
	return s, ok && err == nil
}
