package netfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/netfs/fspb"
)

// fsName is the kind of our mounts, as in fuse.onehost.
const fsName = "onehost"

// MountConfig says what to mount where.
type MountConfig struct {
	Home    names.Host                                // whose tree
	Dir     string                                    // mount point, a directory
	Conn    func(context.Context) (*link.Conn, error) // gives a live connection to Home, or an error in bounded time
	Clients *Clients                                  // takes the home's notes and recalls; registered with the router of Conn
	NoOpen  bool                                      // for trees that are mostly read: open and close never leave the kernel
	Subtree string                                    // the part of the home's tree to mount; default "/"
	Log     *slog.Logger                              // default: none
}

// Mount is a home's tree mounted here.
type Mount struct {
	cfg   MountConfig
	log   *slog.Logger
	num   uint64 // names this mount among those of this host
	fs    *rawFS
	srv   *fuse.Server
	abort string // fusectl's abort file
	dead  atomic.Bool
	ctx   context.Context
	stop  context.CancelFunc
	bg    sync.WaitGroup

	connMu sync.Mutex // held while a new connection is attached
	conn   atomic.Pointer[link.Conn]
	clock  atomic.Int64 // the home's clock minus ours, ns

	inval invalQueue
}

var mountNumbers atomic.Uint64 // numbers only have to differ within this process

// NewMount mounts the tree of a home. It serves until Unmount or Abort. It needs root.
func NewMount(ctx context.Context, cfg MountConfig) (*Mount, error) {
	if cfg.Conn == nil || cfg.Clients == nil {
		return nil, errors.New("netfs: a mount needs Conn and Clients")
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	m := &Mount{cfg: cfg, log: cfg.Log, num: mountNumbers.Add(1)}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.inval.init()
	m.fs = newRawFS(m)
	cfg.Clients.add(m)
	fail := func(err error) (*Mount, error) {
		m.stop()
		cfg.Clients.remove(m)
		return nil, fmt.Errorf("mount the tree of host %s on %s: %w", cfg.Home, cfg.Dir, err)
	}
	if _, err := m.attached(ctx); err != nil {
		return fail(err)
	}
	opts := &fuse.MountOptions{
		FsName: "host" + cfg.Home.String() + ":/" + cfg.Subtree, Name: fsName,
		AllowOther: true, Options: []string{"default_permissions"},
		DirectMountStrict: true, DirectMountFlags: unix.MS_NODEV | unix.MS_NOATIME,
		MaxWrite: maxData, MaxReadAhead: maxData, MaxBackground: 64,
		EnableLocks: true, EnableSymlinkCaching: true, ExplicitDataCacheControl: true, DisableReadDirPlus: true, DisableSplice: true,
		ExtraCapabilities: fuse.CAP_NO_OPENDIR_SUPPORT,
	}
	srv, err := fuse.NewServer(m.fs, cfg.Dir, opts)
	if err != nil {
		return fail(err)
	}
	m.srv = srv
	m.bg.Add(2)
	go func() { defer m.bg.Done(); srv.Serve() }()
	go func() { defer m.bg.Done(); m.apply() }()
	if err := srv.WaitMount(); err != nil {
		_ = unix.Unmount(cfg.Dir, unix.MNT_DETACH)
		return fail(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(cfg.Dir, &st); err == nil {
		m.abort = abortFile(st.Dev)
		dev := fmt.Sprintf("/sys/class/bdi/%d:%d/read_ahead_kb", unix.Major(st.Dev), unix.Minor(st.Dev))
		_ = os.WriteFile(dev, []byte(strconv.Itoa(maxData>>10)), 0) // only speed depends on it
	}
	return m, nil
}

func abortFile(dev uint64) string {
	return filepath.Join("/sys/fs/fuse/connections", strconv.FormatUint(uint64(unix.Minor(dev)), 10), "abort")
}

// AbortPath gives the file of the kernel that ends the FUSE connection of the mount on dir when something is written to
// it. Whoever watches over the daemon should have it open before it is needed: a daemon killed while it notifies the
// kernel leaves its callers waiting until then.
func AbortPath(dir string) (string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st); err != nil {
		return "", fmt.Errorf("abort path of %s: %w", dir, err)
	}
	p := abortFile(unix.Mkdev(st.Dev_major, st.Dev_minor))
	if _, err := os.Stat(p); err != nil {
		return "", fmt.Errorf("abort path of %s: %w: mount fusectl on /sys/fs/fuse/connections", dir, err)
	}
	return p, nil
}

// Abort ends the mount at once: every operation, those under way too, fails. Use it when the home is dead.
func (m *Mount) Abort() {
	m.dead.Store(true)
	m.stop()
	if m.abort != "" {
		_ = os.WriteFile(m.abort, []byte("1"), 0)
	}
}

// Unmount writes back what is held, and takes the mount away. What is still open keeps failing with ENOTCONN.
func (m *Mount) Unmount(ctx context.Context) error {
	var err error
	if !m.dead.Load() {
		err = m.Flush(ctx)
	}
	if e := unix.Unmount(m.cfg.Dir, 0); e != nil {
		if e := unix.Unmount(m.cfg.Dir, unix.MNT_DETACH); e != nil && !errors.Is(e, syscall.EINVAL) && err == nil {
			err = e
		}
		m.Abort() // somebody has files open: they must not hold us
	}
	m.dead.Store(true)
	m.stop()
	m.inval.close()
	m.cfg.Clients.remove(m)
	done := make(chan struct{})
	go func() { m.bg.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		m.Abort()
		<-done
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.cfg.Dir, err)
	}
	return nil
}

// callTime bounds a call on a connection that lives but does not answer, as when the home's disk hangs.
const callTime = 5 * time.Minute

// graceTime is how long an idempotent call goes on after a signal. A signal that does not kill must not be seen by programs
// that know no EINTR from files, and one that kills must not leave the process waiting.
const graceTime = 2 * time.Second

// do calls the home, whatever signals come.
func (m *Mount) do(method string, op *fspb.Op, body []byte) (*fspb.Result, []byte, syscall.Errno) {
	ctx, cancel := context.WithTimeout(m.ctx, callTime)
	defer cancel()
	return m.call(ctx, method, op, body)
}

// ask calls the home for something that may be asked twice.
func (m *Mount) ask(stop <-chan struct{}, method string, op *fspb.Op) (*fspb.Result, []byte, syscall.Errno) {
	res, b, e := m.call(stopCtx{m.ctx, stop}, method, op, nil)
	if e == syscall.EINTR && m.ctx.Err() == nil {
		ctx, cancel := context.WithTimeout(m.ctx, graceTime)
		defer cancel()
		res, b, e = m.call(ctx, method, op, nil)
		if ctx.Err() != nil {
			e = syscall.EINTR
		}
	}
	return res, b, e
}

// wait calls the home until it answers or a signal comes.
func (m *Mount) wait(stop <-chan struct{}, method string, op *fspb.Op, body []byte) (*fspb.Result, []byte, syscall.Errno) {
	return m.call(stopCtx{m.ctx, stop}, method, op, body)
}

// stopCtx ends when a FUSE request is interrupted. It costs nothing to make.
type stopCtx struct {
	context.Context
	stop <-chan struct{}
}

func (c stopCtx) Done() <-chan struct{} { return c.stop }

func (c stopCtx) Err() error {
	select {
	case <-c.stop:
		return context.Canceled
	default:
		return c.Context.Err()
	}
}

func (m *Mount) call(ctx context.Context, method string, op *fspb.Op, body []byte) (*fspb.Result, []byte, syscall.Errno) {
	op.Mount = m.num
	h, err := proto.Marshal(op)
	if err != nil {
		return nil, nil, syscall.EIO
	}
	for try := 0; ; try++ {
		if m.dead.Load() {
			return nil, nil, syscall.EHOSTDOWN
		}
		conn, err := m.attached(ctx)
		if err != nil {
			return nil, nil, m.errno(ctx, err)
		}
		rep, err := conn.Call(ctx, method, h, body)
		if err != nil {
			var re *link.RemoteError
			if errors.As(err, &re) && re.Errno == errDetached && try == 0 {
				m.conn.CompareAndSwap(conn, nil)
				continue
			}
			return nil, nil, m.errno(ctx, err)
		}
		res := &fspb.Result{}
		if err := proto.Unmarshal(rep.Header, res); err != nil {
			return nil, nil, syscall.EBADMSG
		}
		if res.Now != 0 {
			m.clock.Store(res.Now - time.Now().UnixNano())
		}
		if err := conn.WaitNotes(ctx, "fs.inval"); err != nil { // what was sent before the reply comes before it
			return nil, nil, m.errno(ctx, err)
		}
		return res, rep.Body, 0
	}
}

func (m *Mount) errno(ctx context.Context, err error) syscall.Errno {
	var e syscall.Errno
	switch {
	case m.dead.Load() || m.ctx.Err() != nil:
		return syscall.EHOSTDOWN
	case errors.Is(ctx.Err(), context.Canceled):
		return syscall.EINTR
	case errors.Is(err, link.ErrClosed), ctx.Err() != nil:
		return syscall.EHOSTDOWN
	case errors.As(err, &e) && e == syscall.ETIMEDOUT:
		return syscall.EHOSTDOWN
	case errors.As(err, &e):
		return e
	default:
		return syscall.EIO
	}
}

// attached gives a connection that the home knows this mount on. A new one means that notes may have been lost, so
// everything kept is forgotten first.
func (m *Mount) attached(ctx context.Context) (*link.Conn, error) {
	if c := m.conn.Load(); c != nil {
		select {
		case <-c.Done():
		default:
			return c, nil
		}
	}
	m.connMu.Lock()
	defer m.connMu.Unlock()
	conn, err := m.cfg.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", syscall.EHOSTDOWN, err)
	}
	old := m.conn.Load()
	if old == conn {
		return conn, nil
	}
	h, err := proto.Marshal(&fspb.Op{Mount: m.num, Name2: []byte(m.cfg.Subtree)})
	if err != nil {
		return nil, err
	}
	rep, err := conn.Call(ctx, "fs.attach", h, nil)
	if err != nil {
		return nil, err
	}
	res := &fspb.Result{}
	if err := proto.Unmarshal(rep.Header, res); err != nil {
		return nil, err
	}
	m.fs.setRoot(res.Entry)
	m.inval.restart(res.Seq, m.srv != nil)
	m.conn.Store(conn)
	return conn, nil
}
