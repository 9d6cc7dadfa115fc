package names

import (
	"fmt"
	"strconv"
)

// Host is a host number: 1..MaxHost, or Here.
type Host uint16

// Bounds of host numbers.
const (
	Here    Host = 0     // this host, whichever it is
	MaxHost Host = 16383 // futex words and the sign of pid_t leave 14 bits
)

// Valid reports whether h can be given to a host: 1..MaxHost.
func (h Host) Valid() bool { return h >= 1 && h <= MaxHost }

// String gives the number in decimal.
func (h Host) String() string { return strconv.Itoa(int(h)) }

// ParseHost reads a host number, 1..MaxHost, in decimal.
func ParseHost(s string) (Host, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n < 1 || n > uint64(MaxHost) {
		return 0, fmt.Errorf("host number %q: want a decimal number from 1 to %d", s, MaxHost)
	}
	return Host(n), nil
}

// Incarnation numbers the lives of one host, from 1; 0 is no life at all. Carriers, the processes by which a host runs those of others, have
// incarnations of their own, which Carrier makes.
type Incarnation uint64

// carrierBits is how many bits a carrier's own number has: no daemon starts a million of them.
const carrierBits = 20

// LastCarrier is the highest number of a carrier in one incarnation of its host's daemon.
const LastCarrier = 1<<carrierBits - 1

// Carrier gives the incarnation of the carrier with that number, from 1, which a host's daemon started in this incarnation. A later carrier has a
// higher one, whichever daemon of the host started it.
func (i Incarnation) Carrier(number uint32) Incarnation { return i<<carrierBits | Incarnation(number) }

// Daemon gives the incarnation of the daemon that started the carrier whose incarnation this is.
func (i Incarnation) Daemon() Incarnation { return i >> carrierBits }

// HostName is the name of a host: a DNS label.
type HostName string

// ClusterName is the name of a cluster: a DNS label.
type ClusterName string

// ParseHostName checks that s is a DNS label that is not a number, so that host:pid can be read one way only.
func ParseHostName(s string) (HostName, error) {
	if err := label(s); err != nil {
		return "", fmt.Errorf("host name %q: %w", s, err)
	}
	return HostName(s), nil
}

// ParseClusterName checks that s is a DNS label that is not a number.
func ParseClusterName(s string) (ClusterName, error) {
	if err := label(s); err != nil {
		return "", fmt.Errorf("cluster name %q: %w", s, err)
	}
	return ClusterName(s), nil
}

// label applies the rule of RFC 1123 for one label, in lower case, with at least one letter.
func label(s string) error {
	const rule = "want 1 to 63 of a-z, 0-9 and -, with at least one letter and no - at either end"
	if len(s) < 1 || len(s) > 63 || s[0] == '-' || s[len(s)-1] == '-' {
		return fmt.Errorf("%s", rule)
	}
	letters := 0
	for _, c := range []byte(s) {
		switch {
		case c >= 'a' && c <= 'z':
			letters++
		case c >= '0' && c <= '9', c == '-':
		default:
			return fmt.Errorf("%s", rule)
		}
	}
	if letters == 0 {
		return fmt.Errorf("%s", rule)
	}
	return nil
}
