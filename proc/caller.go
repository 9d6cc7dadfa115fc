package proc

import (
	"bytes"
	"os"
	"strconv"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/sys"
)

// Caller is whose rights an operation is made with.
type Caller struct {
	UID, GID     [3]uint32 // real, effective, saved
	Groups       []uint32
	Capabilities uint64    // effective
	Pid          names.Pid // of the caller, with his home's number; 0: unknown
}

// Daemon is this daemon itself as a caller.
var Daemon = &Caller{Capabilities: ^uint64(0)}

// ownCapabilities are those that this process has.
var ownCapabilities = sync.OnceValue(func() uint64 {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if unix.Capget(&hdr, &data[0]) != nil || unix.Geteuid() != 0 {
		return ^uint64(0) // nobody has as many
	}
	return uint64(data[0].Effective) | uint64(data[1].Effective)<<32
})

// spared reports whether the caller may do all that this daemon may, so that no other process need act for him.
func (c *Caller) spared() bool {
	if c == Daemon {
		return true
	}
	own := ownCapabilities()
	return c.UID == [3]uint32{} && c.GID == [3]uint32{} && c.Capabilities&own == own
}

func (c *Caller) identity() *sys.Identity {
	return &sys.Identity{UID: c.UID, GID: c.GID, Groups: c.Groups, Capabilities: c.Capabilities}
}

// ReadCaller reads from /proc whose rights the process or thread pid of this host has. ESRCH: there is none.
func ReadCaller(pid int) (*Caller, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return nil, syscall.ESRCH
	}
	c, err := ParseCaller(b)
	if err == nil && !InOwn("user", pid) {
		c.Capabilities = 0
	}
	return c, err
}

// InOwn reports whether a process or thread is in this daemon's name space of the kind. In a user name space of his own an ordinary user
// has every capability, which is none here; in another pid name space the plain numbers are others.
func InOwn(kind string, pid int) bool {
	its, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/ns/" + kind)
	if err != nil {
		return false
	}
	own, err := os.Readlink("/proc/self/ns/" + kind)
	return err == nil && its == own
}

// ParseCaller reads the lines of /proc/PID/status. The capabilities are those in the process's own user name space.
func ParseCaller(status []byte) (*Caller, error) {
	c := &Caller{}
	found := 0
	for line := range bytes.Lines(status) {
		key, value, _ := bytes.Cut(line, []byte(":"))
		switch string(key) {
		case "Uid":
			found += threeOf(value, &c.UID)
		case "Gid":
			found += threeOf(value, &c.GID)
		case "Groups":
			for f := range bytes.FieldsSeq(value) {
				g, err := strconv.ParseUint(string(f), 10, 32)
				if err != nil {
					return nil, syscall.EINVAL
				}
				c.Groups = append(c.Groups, uint32(g))
			}
			found++
		case "CapEff":
			n, err := strconv.ParseUint(string(bytes.TrimSpace(value)), 16, 64)
			if err != nil {
				return nil, syscall.EINVAL
			}
			c.Capabilities = n
			found++
		}
	}
	if found != 4 {
		return nil, syscall.EINVAL
	}
	return c, nil
}

func threeOf(value []byte, to *[3]uint32) int {
	f := bytes.Fields(value)
	if len(f) < len(to) {
		return 0
	}
	for i := range to {
		n, err := strconv.ParseUint(string(f[i]), 10, 32)
		if err != nil {
			return 0
		}
		to[i] = uint32(n)
	}
	return 1
}
