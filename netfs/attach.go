package netfs

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/netfs/fspb"
)

// attached gives a connection that the home knows this mount on. A new one means that notes may have been lost: what the
// daemon keeps is forgotten before it returns, what the kernel keeps soon after, as Applied knows.
func (m *Mount) attached(ctx context.Context) (*link.Conn, error) {
	if c := m.conn.Load(); c != nil {
		select {
		case <-c.Done():
		default:
			return c, nil
		}
		m.lost.CompareAndSwap(0, time.Now().UnixNano())
	}
	m.connMu.Lock()
	defer m.connMu.Unlock()
	conn, err := m.cfg.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w: %w", syscall.EHOSTDOWN, errAway, err)
	}
	if m.conn.Load() == conn {
		return conn, nil
	}
	life := conn.Peer().Incarnation
	if m.epoch.Load() > 0 && !conn.Peer().GoesOn(m.life) {
		m.fs.cache.clear() // else names that are kept would go on answering
		return nil, fmt.Errorf("%w: host %s has been started again: its files have to be mounted again", syscall.EHOSTDOWN, m.cfg.Home)
	}
	h, err := proto.Marshal(&fspb.Op{Mount: m.num, Name2: []byte(m.cfg.Subtree)})
	if err != nil {
		return nil, err
	}
	rep, err := conn.Call(ctx, "fs.attach", h, nil)
	if errors.Is(err, link.ErrClosed) {
		err = fmt.Errorf("%w: %w", errAway, err)
	}
	if err != nil {
		return nil, err
	}
	res := &fspb.Result{}
	if err := proto.Unmarshal(rep.Header, res); err != nil {
		return nil, err
	}
	m.life = life
	if !m.fs.setRoot(res.Entry) {
		return nil, fmt.Errorf("%w: /%s of host %s is another directory now: it has to be mounted again", syscall.ESTALE, m.cfg.Subtree, m.cfg.Home)
	}
	again := m.epoch.Load() > 0
	m.inval.restart(res.Seq, again)
	if again {
		m.fs.cache.clear()
	}
	m.epoch.Add(1) // after restart: a grant that passed its check before has the old number
	m.lost.Store(0)
	m.conn.Store(conn)
	return conn, nil
}

// errAway says that the home is not to be reached now.
var errAway = errors.New("it cannot be reached")

// Operations wait awayTime for a home that was lost from sight: a daemon that is started again takes a part of a second, and one that has failed is
// known to have (Abort). They look every awayEvery.
const (
	awayTime  = 1500 * time.Millisecond
	awayEvery = 20 * time.Millisecond
)

// mayReturn waits a little for a home that was lost from sight. No means that it is no use.
func (m *Mount) mayReturn(ctx context.Context, err error) bool {
	lost := m.lost.Load()
	if !errors.Is(err, errAway) || lost == 0 || time.Now().UnixNano()-lost > int64(awayTime) {
		return false
	}
	t := time.NewTimer(awayEvery)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// Waits between tries to reach a home whose connection was lost.
const (
	attachFirst = 50 * time.Millisecond
	attachLast  = 2 * time.Second
)

// follow attaches again when the connection is lost, for a mount whose users find all they want in the kernel's memory
// would not notice.
func (m *Mount) follow() {
	wait := attachFirst
	for m.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(m.ctx, callTime)
		conn, err := m.attached(ctx)
		cancel()
		if err == nil {
			wait = attachFirst
			select {
			case <-conn.Done():
			case <-m.ctx.Done():
			}
			continue
		}
		m.log.Debug("a home is not reached", "home", m.cfg.Home, "err", err)
		t := time.NewTimer(wait)
		wait = min(2*wait, attachLast)
		select {
		case <-t.C:
		case <-m.ctx.Done():
			t.Stop()
		}
	}
}

// Applied waits until every invalidation of the home up to seq (as Server.Drain gives it) has been applied here, and all
// that was kept from before a loss of the connection is forgotten.
func (m *Mount) Applied(ctx context.Context, seq uint64) error {
	if _, err := m.attached(ctx); err != nil {
		return err
	}
	q := &m.inval
	ch := q.reached(seq)
	if ch == nil {
		return nil
	}
	select {
	case <-ch:
		return nil
	case <-m.ctx.Done():
		return syscall.EHOSTDOWN
	case <-ctx.Done():
		q.mu.Lock()
		delete(q.waiters, ch)
		q.mu.Unlock()
		return ctx.Err()
	}
}
