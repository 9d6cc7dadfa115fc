package split

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

const (
	bridgeName = "switch"
	nicName    = "eth0"
)

// makeSwitch makes the switch's network name space with its bridge and pins it to a file. The thread goes back to where it came from; if it
// cannot, it stays locked and dies with this goroutine.
func (i instance) makeSwitch() error {
	done := make(chan error)
	go func() { done <- i.pinSwitch() }()
	if err := <-done; err != nil {
		return err
	}
	nl, err := i.openSwitch()
	if err != nil {
		return err
	}
	defer nl.Close()
	br := &netlink.Bridge{LinkAttrs: netlink.NewLinkAttrs()}
	br.Name = bridgeName
	if err := nl.LinkAdd(br); err != nil {
		return missing(err, "bridge", "load it with 'modprobe bridge', or use a kernel built with CONFIG_BRIDGE")
	}
	if err := nl.LinkSetUp(br); err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return nil
}

func (i instance) pinSwitch() error {
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("network name space: %w", err)
	}
	defer home.Close()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return missing(err, "network name space", "use one built with CONFIG_NET_NS")
	}
	// The switch speaks for itself nowhere: no IPv6 addresses on its ports.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/default/disable_ipv6", []byte("1"), 0o644)
	err = os.WriteFile(i.switchPin(), nil, 0o600)
	if err == nil {
		err = unix.Mount(fmt.Sprintf("/proc/self/task/%d/ns/net", unix.Gettid()), i.switchPin(), "", unix.MS_BIND, "")
	}
	if back := netns.Set(home); back != nil {
		return fmt.Errorf("return from the switch's name space: %w", back)
	}
	runtime.UnlockOSThread()
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return nil
}

// openSwitch gives a netlink handle into the switch's name space.
func (i instance) openSwitch() (*netlink.Handle, error) {
	ns, err := netns.GetFromPath(i.switchPin())
	if err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("switch: %w", err)
	}
	return nl, nil
}

// mac is fixed for each host, so that its neighbours' tables stay right when it boots again.
func mac(n int) net.HardwareAddr { return net.HardwareAddr{0x02, 0x6f, 0x68, 0, 0, byte(n)} }

// plug gives a host whose init is pid its loopback and its eth0, the other end of which is a port of the switch.
func (i instance) plug(h *hostState, pid int, rate Rate) error {
	nl, err := i.openSwitch()
	if err != nil {
		return err
	}
	defer nl.Close()
	if err := unplug(nl, h.Name); err != nil { // left by an earlier life
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = string(h.Name)
	veth := netlink.NewVeth(attrs)
	veth.PeerName, veth.PeerHardwareAddr, veth.PeerNamespace = nicName, mac(h.Number), netlink.NsPid(pid)
	if err := nl.LinkAdd(veth); err != nil {
		return missing(err, "veth", "load it with 'modprobe veth', or use a kernel built with CONFIG_VETH")
	}
	port, err := nl.LinkByName(string(h.Name))
	if err != nil {
		return fmt.Errorf("%s's port: %w", h.Name, err)
	}
	if !h.Cut {
		if err := attach(nl, port); err != nil {
			return err
		}
	}
	if err := shape(nl, port, rate); err != nil {
		return err
	}
	if err := nl.LinkSetUp(port); err != nil {
		return fmt.Errorf("%s's port: %w", h.Name, err)
	}
	return addressHost(h, pid, rate)
}

// addressHost sets up the host's end.
func addressHost(h *hostState, pid int, rate Rate) error {
	ns, err := netns.GetFromPid(pid)
	if err != nil {
		return fmt.Errorf("%s's network: %w", h.Name, err)
	}
	defer ns.Close()
	nl, err := netlink.NewHandleAt(ns, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("%s's network: %w", h.Name, err)
	}
	defer nl.Close()
	lo, err := nl.LinkByName("lo")
	if err == nil {
		err = nl.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("%s's loopback: %w", h.Name, err)
	}
	nic, err := nl.LinkByName(nicName)
	if err != nil {
		return fmt.Errorf("%s's eth0: %w", h.Name, err)
	}
	addr := &netlink.Addr{IPNet: &net.IPNet{IP: hostAddr(h.Number).AsSlice(), Mask: net.CIDRMask(netBits, 32)}}
	if err := nl.AddrAdd(nic, addr); err != nil {
		return fmt.Errorf("%s's address: %w", h.Name, err)
	}
	if err := shape(nl, nic, rate); err != nil {
		return err
	}
	if err := nl.LinkSetUp(nic); err != nil {
		return fmt.Errorf("%s's eth0: %w", h.Name, err)
	}
	return nil
}

// shape bounds what leaves by a link. The bucket holds 2 ms, or what the kernel hands over at a time (64 KiB); the queue 50 ms.
func shape(nl *netlink.Handle, link netlink.Link, rate Rate) error {
	if rate == 0 {
		return nil
	}
	bytes := uint64(rate) / 8
	bucket := max(bytes/500, 64<<10)
	tbf := &netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: link.Attrs().Index, Handle: netlink.MakeHandle(1, 0), Parent: netlink.HANDLE_ROOT},
		Rate:       bytes,
		Buffer:     netlink.Xmittime(bytes, uint32(bucket)),
		Limit:      uint32(min(bytes/20+bucket, 1<<31)),
	}
	if err := nl.QdiscAdd(tbf); err != nil {
		return missing(err, "tbf queue (--rate)", "load it with 'modprobe sch_tbf', or use a kernel built with CONFIG_NET_SCH_TBF")
	}
	return nil
}

func attach(nl *netlink.Handle, port netlink.Link) error {
	br, err := nl.LinkByName(bridgeName)
	if err == nil {
		err = nl.LinkSetMaster(port, br)
	}
	if err != nil {
		return fmt.Errorf("switch: %w", err)
	}
	return nil
}

// setCut takes a host's port out of the bridge or puts it back: the carrier stays up, and what the host sends goes nowhere.
func (i instance) setCut(name names.HostName, cut bool) error {
	nl, err := i.openSwitch()
	if err != nil {
		return err
	}
	defer nl.Close()
	port, err := nl.LinkByName(string(name))
	if absent(err) {
		return nil // a dead host has no port; it gets one as it boots
	}
	if err != nil {
		return fmt.Errorf("%s's port: %w", name, err)
	}
	if !cut {
		return attach(nl, port)
	}
	if err := nl.LinkSetNoMaster(port); err != nil {
		return fmt.Errorf("%s's port: %w", name, err)
	}
	return nil
}

// unplug removes a host's port, and with it its eth0.
func unplug(nl *netlink.Handle, name names.HostName) error {
	port, err := nl.LinkByName(string(name))
	if err == nil {
		err = nl.LinkDel(port)
	}
	if err != nil && !absent(err) {
		return fmt.Errorf("%s's port: %w", name, err)
	}
	return nil
}

// absent also takes ENODEV: the port went with the host's name space between the look and the deed.
func absent(err error) bool {
	var no netlink.LinkNotFoundError
	return errors.As(err, &no) || errors.Is(err, syscall.ENODEV)
}
