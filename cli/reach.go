package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/onehost/onehost/control"
)

// dialLimit bounds the attempt to reach one host that the cluster calls failed.
const dialLimit = 2 * time.Second

// checkDaemon asks the daemon about itself and the cluster.
func (a *app) checkDaemon(ctx context.Context) []Finding {
	var st control.StatusReply
	if err := a.call(ctx, askLimit, control.OpStatus, struct{}{}, &st); err != nil {
		mend := "look at its log: journalctl -u onehostd"
		if errors.Is(err, control.ErrNoDaemon) {
			mend = "systemctl start onehostd, or as root: onehostd &"
			err = fmt.Errorf("%w: nobody listens at %s", control.ErrNoDaemon, a.control)
		}
		return []Finding{missing("daemon", mend, "%v", err)}
	}
	found := []Finding{ok("daemon", "onehostd answers at %s", a.control), judgeVersions(a.env.Version, st.Version)}
	if st.Cluster == "" {
		return append(found, warn("cluster", "onehost init NAME, or onehost join ADDR --token T", "this host belongs to none"))
	}
	found = append(found, ok("cluster", "%s is host %s of %s", st.Name, st.Number, st.Cluster))
	var hosts control.HostsReply
	if err := a.call(ctx, askLimit, control.OpHosts, struct{}{}, &hosts); err != nil {
		return append(found, missing("hosts", "look at the daemon's log: journalctl -u onehostd", "%v", err))
	}
	return append(found, judgeAddress(st.Addr, len(hosts.Hosts)), judgeHosts(hosts.Hosts, reach))
}

func judgeVersions(mine, daemon string) Finding {
	if mine != daemon {
		return warn("versions", "install the same version of both and restart onehostd", "onehost is %s, onehostd is %s", mine, daemon)
	}
	return ok("versions", "onehost and onehostd are %s", mine)
}

// judgeAddress looks at the address that this host gives the others.
func judgeAddress(addr string, hosts int) Finding {
	const check, mend = "address", "leave, and join again with --addr and an address that the others can reach"
	ap, err := netip.ParseAddrPort(addr)
	switch {
	case err != nil:
		return ok(check, "%s", addr) // a name: the resolver of each host decides
	case ap.Addr().IsUnspecified():
		return missing(check, mend, "%s is no address that another host can use", addr)
	case ap.Addr().IsLoopback() && hosts > 1:
		return missing(check, mend, "%s is this host's loopback: the other hosts reach themselves by it", addr)
	default:
		return ok(check, "%s", addr)
	}
}

// judgeHosts tells what is known of the others. Heartbeats vouch for the hosts that are alive; those that failed are
// tried, to tell a host that is gone from a daemon that is.
func judgeHosts(hosts []control.Host, reach func(addr string) error) Finding {
	const check = "hosts"
	alive := 0
	var bad []string
	for _, h := range hosts {
		switch h.State {
		case "alive", "drained":
			alive++
		case "failed":
			if err := reach(h.Address); err != nil {
				bad = append(bad, fmt.Sprintf("%s failed %s ago and cannot be reached (%v)", h.Name, ago(time.Since(h.Since)), err))
			} else {
				bad = append(bad, fmt.Sprintf("%s failed %s ago, but %s answers", h.Name, ago(time.Since(h.Since)), h.Address))
			}
		}
	}
	if len(bad) > 0 {
		return warn(check, "start those hosts and their onehostd, or give them up: onehost leave HOST", "%d alive; %s", alive, strings.Join(bad, "; "))
	}
	return ok(check, "%d alive, none failed", alive)
}

// reach opens a TCP connection and closes it.
func reach(addr string) error {
	c, err := net.DialTimeout("tcp", addr, dialLimit)
	if err != nil {
		return err
	}
	return c.Close()
}
