package link

import "net"

// Pipe joins host a and host b in memory, with the same protocol as over a network: the first Conn is a's end (its
// Peer is b and ra serves it), the second is b's. Nothing it waits for is outside of a testing/synctest bubble.
func Pipe(a, b Peer, ra, rb *Router) (*Conn, *Conn) {
	ea, eb := net.Pipe()
	return NewConn(ea, b, ra, true), NewConn(eb, a, rb, false)
}
