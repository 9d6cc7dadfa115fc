package jobs

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/jobs/jobspb"
)

// leaseSize is how many of a home's pids are leased at a time: the upper half of the space has 32 blocks of that size.
const leaseSize = 1024

const leaseBlocks = (names.MaxLease + 1 - names.FirstLease) / leaseSize

// Leases gives blocks of the home's own pid space (names.FirstLease..names.MaxLease) to helpers, so that processes
// forked there get numbers that are unique in it. A helper keeps its blocks for the life of the home. The first goes with its first
// job; it asks for another when more than half of what it has is in use.
type Leases struct {
	path string // where they are kept for the next daemon; empty: nowhere
	boot string

	mu     sync.Mutex
	owners []names.Host // of the blocks, in the order of their numbers
}

// leaseFile is what is kept. There is no need for it to be on a disk: it is worth nothing when the host has been started again.
type leaseFile struct {
	Boot   string       `json:"boot"` // as sys.Boot gives it
	Owners []names.Host `json:"owners"`
}

// OpenLeases takes up the leases that an earlier daemon gave on the same boot of the host: those who have them go on using them.
func OpenLeases(path, boot string) (*Leases, error) {
	l := &Leases{path: path, boot: boot}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	var was leaseFile
	if err == nil {
		err = json.Unmarshal(data, &was)
	}
	if err != nil {
		return nil, fmt.Errorf("leased pids: %w: restart this host, or remove %s when no process of it runs elsewhere", err, path)
	}
	if was.Boot == boot {
		l.owners = was.Owners
	}
	return l, nil
}

// saveLocked keeps the leases, before anybody has a new one.
func (l *Leases) saveLocked(owners []names.Host) error {
	if l.path == "" {
		return nil
	}
	data, err := json.Marshal(leaseFile{l.boot, owners})
	if err == nil {
		err = os.WriteFile(l.path+".new", data, 0o600)
	}
	if err == nil {
		err = os.Rename(l.path+".new", l.path)
	}
	if err != nil {
		return fmt.Errorf("leased pids: %w", err)
	}
	return nil
}

// Lease gives a block of a helper, first and last pid: the one after those that it has already. It fails with EAGAIN when all are
// out; half of them are kept for helpers that have none.
func (l *Leases) Lease(helper names.Host, has int) (first, last int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := -1
	for i, owner := range l.owners {
		if owner != helper {
			continue
		}
		if has == 0 {
			at = i
			break
		}
		has--
	}
	if at < 0 {
		at = len(l.owners)
		switch first := !slices.Contains(l.owners, helper); {
		case at >= leaseBlocks:
			return 0, 0, fmt.Errorf("all %d blocks of this host's pids are leased: %w", at, syscall.EAGAIN)
		case !first && at >= leaseBlocks/2:
			return 0, 0, fmt.Errorf("half of this host's pids are leased, and the rest is kept for other helpers: %w", syscall.EAGAIN)
		}
		owners := append(slices.Clone(l.owners), helper)
		if err := l.saveLocked(owners); err != nil {
			return 0, 0, err
		}
		l.owners = owners
	}
	first = names.FirstLease + at*leaseSize
	return first, first + leaseSize - 1, nil
}

// Holder gives the helper that a number of the home's pid space is leased to.
func (l *Leases) Holder(pid int) (names.Host, bool) {
	if pid < names.FirstLease || pid > names.MaxLease {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if i := (pid - names.FirstLease) / leaseSize; i < len(l.owners) {
		return l.owners[i], true
	}
	return 0, false
}

// Holders gives every helper that has numbers of the home's pid space, with one of them.
func (l *Leases) Holders() map[names.Host]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[names.Host]int{}
	for i, owner := range l.owners {
		all[owner] = names.FirstLease + i*leaseSize
	}
	return all
}

// leaseMethod is the call by which a helper asks a home for one more block. The header is how many it has, a varint; the reply is a
// jobspb.Home.
const leaseMethod = "proc.lease"

// Register serves what helpers ask of a home.
func (h *Home) Register(r *link.Router) { r.HandleCall(leaseMethod, h.serveLease) }

func (h *Home) serveLease(_ context.Context, r *link.Request) (link.Reply, error) {
	has, n := binary.Uvarint(r.Header)
	if n <= 0 || n != len(r.Header) || has > leaseBlocks {
		return link.Reply{}, fmt.Errorf("bad lease message: %w", syscall.EBADMSG)
	}
	first, last, err := h.cfg.Lease(r.From.Number, int(has))
	if err != nil {
		return link.Reply{}, err
	}
	body, err := proto.Marshal(&jobspb.Home{PidFirst: uint32(first), PidLast: uint32(last)})
	return link.Reply{Body: body}, err
}

// more asks a home for one more block.
func (h *Helper) more(ctx context.Context, home names.Host, has int) (first, last int, err error) {
	ctx, cancel := context.WithTimeout(ctx, leaseTime)
	defer cancel()
	conn, err := h.cfg.Links.Conn(ctx, home)
	if err != nil {
		return 0, 0, err
	}
	reply, err := conn.Call(ctx, leaseMethod, binary.AppendUvarint(nil, uint64(has)), nil)
	if err != nil {
		return 0, 0, err
	}
	var b jobspb.Home
	if err := proto.Unmarshal(reply.Body, &b); err != nil {
		return 0, 0, fmt.Errorf("bad lease reply: %w: %w", err, syscall.EBADMSG)
	}
	return int(b.PidFirst), int(b.PidLast), nil
}
