package netfs

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"

	"github.com/onehost/onehost/netfs/fspb"
)

// credCache remembers supplementary groups, which the kernel does not tell with a request.
type credCache struct {
	mu    sync.Mutex
	byPid map[credKey]credEntry
}

type credKey struct{ pid, uid, gid uint32 }

type credEntry struct {
	cred  *fspb.Cred
	until time.Time
}

// credTime is how long a process's groups are believed. It changes them, or its pid passes to another of the same user,
// more seldom than that.
const credTime = 500 * time.Millisecond

// of gives who makes a request. Root needs no groups.
func (c *credCache) of(h *fuse.InHeader) *fspb.Cred {
	if h.Uid == 0 {
		return &fspb.Cred{Gid: h.Gid}
	}
	key := credKey{h.Pid, h.Uid, h.Gid}
	now := time.Now()
	c.mu.Lock()
	e, ok := c.byPid[key]
	c.mu.Unlock()
	if ok && now.Before(e.until) {
		return e.cred
	}
	cred := &fspb.Cred{Uid: h.Uid, Gid: h.Gid, Groups: groupsOf(h.Pid)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.byPid) > 1000 {
		clear(c.byPid)
	}
	c.byPid[key] = credEntry{cred, now.Add(credTime)}
	return cred
}

func groupsOf(pid uint32) []uint32 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return nil
	}
	return parseGroups(b)
}

// parseGroups finds the line Groups: of /proc/PID/status.
func parseGroups(status []byte) []uint32 {
	for line := range bytes.Lines(status) {
		list, ok := bytes.CutPrefix(line, []byte("Groups:"))
		if !ok {
			continue
		}
		var all []uint32
		for f := range bytes.FieldsSeq(list) {
			if g, err := strconv.ParseUint(string(f), 10, 32); err == nil {
				all = append(all, uint32(g))
			}
		}
		return all
	}
	return nil
}
