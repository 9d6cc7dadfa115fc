package member

import (
	"fmt"
	"net"
	"strconv"
)

// ownAddr completes the address that peers reach this host by and checks that it can be listened at, before anything is
// changed. Joiners may leave the host part empty: the connection to the cluster will tell it.
func (m *Member) ownAddr(addr string, joining bool) (string, error) {
	listenHost, listenPort, err := net.SplitHostPort(m.cfg.Listen)
	if err != nil {
		if m.cfg.Listen != "" {
			return "", fmt.Errorf("listen address %q: want host:port", m.cfg.Listen)
		}
		listenPort = strconv.Itoa(DefaultPort)
	}
	if ip := net.ParseIP(listenHost); ip != nil && ip.IsUnspecified() {
		listenHost = ""
	}
	host, port := listenHost, listenPort
	if addr != "" {
		if host, port, err = net.SplitHostPort(addr); err != nil {
			host, port = addr, listenPort
		}
	}
	if host == "" && !joining {
		host = firstAddr()
	}
	ln, err := net.Listen("tcp", m.listenAt(net.JoinHostPort(host, port)))
	if err != nil {
		return "", fmt.Errorf("own address: %w", err)
	}
	defer ln.Close()
	if port == "0" {
		port = strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
	}
	addr = net.JoinHostPort(host, port)
	if host == "" {
		return addr, nil
	}
	return addr, checkAddr(addr)
}

// firstAddr is an address of this machine that others may reach: the first IPv4 address that is not of the loopback.
func firstAddr() string {
	addrs, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
				return n.IP.String()
			}
		}
	}
	return "127.0.0.1"
}

// checkAddr checks an address that others are to dial.
func checkAddr(addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("address %q: want host:port", addr)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		return fmt.Errorf("address %q: want an address that the other hosts can reach", addr)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("address %q: want a port from 1 to 65535", addr)
	}
	return nil
}
