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

// leaseSize is how many of a home's pids are leased at least: the upper half of the space has 32 blocks of that size.
const leaseSize = 1024

// maxFirst bounds the blocks of a first lease. More are of no use: a number that is given out again after 7000 others surprises nobody.
const maxFirst = 8

const leaseBlocks = (names.MaxLease + 1 - names.FirstLease) / leaseSize

// Leases gives blocks of the home's own pid space (names.FirstLease..names.MaxLease) to helpers, so that processes
// forked there get numbers that are unique in it. A helper keeps its blocks for the life of the home, unless it is gone for good and they are
// needed. The first lease goes with its first job, and is of several blocks where there are few hosts, so that a number is not soon given out
// again; it asks for another block when more than half of what it has is in use.
type Leases struct {
	path  string // where they are kept for the next daemon; empty: nowhere
	boot  string
	gone  func(names.Host) bool
	hosts func() int

	mu  sync.Mutex
	out []lease // in the order in which they were given
}

// lease are blocks that a helper has, one after the other.
type lease struct {
	Block int        `json:"block"` // the first
	To    names.Host `json:"to"`
	More  int        `json:"more,omitempty"` // that follow it
}

// leaseFile is what is kept. There is no need for it to be on a disk: it is worth nothing when the host has been started again.
type leaseFile struct {
	Boot   string       `json:"boot"` // as sys.Boot gives it
	Blocks []lease      `json:"blocks"`
	Owners []names.Host `json:"owners,omitempty"` // of block 0, 1 and so on: as daemons before wrote it
}

// OpenLeases takes up the leases that an earlier daemon gave on the same boot of the host: those who have them go on using them. gone
// says of a helper that nothing of its blocks is in use any more and nothing of it will be; nil: of none. hosts gives the number of hosts
// that there are, which share half of the blocks; nil: too many to share more than one each. Neither may call the leases.
func OpenLeases(path, boot string, gone func(names.Host) bool, hosts func() int) (*Leases, error) {
	l := &Leases{path: path, boot: boot, gone: gone, hosts: hosts}
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return l, nil
	}
	if err == nil {
		l.out, err = parseLeases(data, boot)
	}
	if err != nil {
		return nil, fmt.Errorf("leased pids: %w: restart this host, or remove %s when no process of it runs elsewhere", err, path)
	}
	return l, nil
}

// parseLeases reads what is kept; nothing is left of another boot's.
func parseLeases(data []byte, boot string) ([]lease, error) {
	var was leaseFile
	if err := json.Unmarshal(data, &was); err != nil || was.Boot != boot {
		return nil, err
	}
	for block, to := range was.Owners {
		was.Blocks = append(was.Blocks, lease{Block: block, To: to})
	}
	var seen [leaseBlocks]bool
	for _, b := range was.Blocks {
		switch {
		case b.Block < 0 || b.More < 0 || b.More >= leaseBlocks || b.Block+b.More >= leaseBlocks:
			return nil, fmt.Errorf("there are no %d blocks from %d on", 1+b.More, b.Block)
		case slices.Contains(seen[b.Block:b.Block+b.More+1], true):
			return nil, fmt.Errorf("block %d, or one of %d after it, is there twice", b.Block, b.More)
		case b.To < 1 || b.To > names.MaxHost:
			return nil, fmt.Errorf("block %d belongs to host %d, which cannot be", b.Block, b.To)
		}
		for i := range 1 + b.More {
			seen[b.Block+i] = true
		}
	}
	return was.Blocks, nil
}

// saveLocked keeps the leases, before anybody has a new one.
func (l *Leases) saveLocked(out []lease) error {
	if l.path == "" {
		return nil
	}
	data, err := json.Marshal(leaseFile{Boot: l.boot, Blocks: out})
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

// Lease gives a block of a helper, first and last pid: the one that it got after those that it has already. It fails with EAGAIN when all
// are out; half of them are kept for helpers that have none. Where one has to be found, those of helpers that are gone are taken back.
func (l *Leases) Lease(helper names.Host, has int) (first, last int, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	begun := false // it has a block
	for _, b := range l.out {
		if b.To != helper {
			continue
		}
		begun = true
		if has == 0 {
			first, last = b.span()
			return first, last, nil
		}
		has--
	}
	out := slices.Clone(l.out)
	most := leaseBlocks
	if begun {
		most = leaseBlocks / 2
	}
	for used(out) >= most {
		i := slices.IndexFunc(out, func(b lease) bool { return b.To != helper && l.gone != nil && l.gone(b.To) })
		if i < 0 {
			break
		}
		out = slices.Delete(out, i, i+1)
	}
	switch {
	case used(out) >= leaseBlocks:
		return 0, 0, fmt.Errorf("all %d blocks of this host's pids are leased: %w", leaseBlocks, syscall.EAGAIN)
	case used(out) >= most:
		return 0, 0, fmt.Errorf("half of this host's pids are leased, and the rest is kept for other helpers: %w", syscall.EAGAIN)
	}
	want := 1
	if !begun && l.hosts != nil {
		want = min(max(leaseBlocks/2/max(l.hosts(), 1), 1), maxFirst)
	}
	got := find(out, want)
	got.To = helper
	out = append(out, got)
	if err := l.saveLocked(out); err != nil {
		return 0, 0, err
	}
	l.out = out
	first, last = got.span()
	return first, last, nil
}

// used counts the blocks that are leased.
func used(out []lease) (n int) {
	for _, b := range out {
		n += 1 + b.More
	}
	return n
}

// find gives so many free blocks in a row, or as many as there are in one; of which there is one at least.
func find(out []lease, want int) (best lease) {
	var taken [leaseBlocks]bool
	for _, b := range out {
		for i := range 1 + b.More {
			taken[b.Block+i] = true
		}
	}
	most := 0
	for at := 0; at < leaseBlocks && most < want; at++ {
		n := 0
		for at+n < leaseBlocks && n < want && !taken[at+n] {
			n++
		}
		if n > most {
			best, most = lease{Block: at, More: n - 1}, n
		}
	}
	return best
}

// span gives the first and the last pid of a lease.
func (b lease) span() (first, last int) {
	first = names.FirstLease + b.Block*leaseSize
	return first, first + (1+b.More)*leaseSize - 1
}

// Holder gives the helper that a number of the home's pid space is leased to.
func (l *Leases) Holder(pid int) (names.Host, bool) {
	if pid < names.FirstLease || pid > names.MaxLease {
		return 0, false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.out {
		if first, last := b.span(); first <= pid && pid <= last {
			return b.To, true
		}
	}
	return 0, false
}

// Holders gives every helper that has numbers of the home's pid space, with one of them.
func (l *Leases) Holders() map[names.Host]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := map[names.Host]int{}
	for _, b := range l.out {
		all[b.To] = names.FirstLease + b.Block*leaseSize
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
