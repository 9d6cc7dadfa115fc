package netfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
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
	Keep    []string                                  // names in the root that others mount on: they are taken to stay what they are
	Hold    time.Duration                             // how long writes are held back before they go home by themselves; default 5 s
	Log     *slog.Logger                              // default: none

	bounds bounds // tests have narrower ones
}

// Mount is a home's tree mounted here.
type Mount struct {
	cfg    MountConfig
	log    *slog.Logger
	num    uint64 // names this mount among those of this host
	fs     *rawFS
	srv    *fuse.Server
	dev    *device
	keep   map[string]struct{}
	abort  string // fusectl's abort file
	dead   atomic.Bool
	bounds bounds
	ctx    context.Context
	stop   context.CancelFunc
	bg     sync.WaitGroup

	connMu  sync.Mutex // held while a new connection is attached
	conn    atomic.Pointer[link.Conn]
	epoch   atomic.Uint64     // counts the connections: the home's grants are good for one
	life    names.Incarnation // of the home; guarded by connMu
	lost    atomic.Int64      // when the connection was first found to have ended, ns of the clock; 0: it has not
	changes atomic.Uint64     // numbers the changes of names
	clock   atomic.Int64      // the home's clock minus ours, ns

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
	if cfg.Hold <= 0 {
		cfg.Hold = holdTime
	}
	m := &Mount{cfg: cfg, log: cfg.Log, num: mountNumbers.Add(1)}
	m.bounds = cfg.bounds
	if m.bounds == (bounds{}) {
		m.bounds = usualBounds
	}
	m.ctx, m.stop = context.WithCancel(context.Background())
	m.inval.init()
	m.keep = make(map[string]struct{}, len(cfg.Keep))
	for _, name := range cfg.Keep {
		m.keep[strings.Trim(name, "/")] = struct{}{}
	}
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
	dev, magic, err := openDevice(cfg.Dir, "host"+cfg.Home.String()+":/"+cfg.Subtree)
	if err != nil {
		return fail(err)
	}
	m.dev = dev
	m.srv, err = fuse.NewServer(m.fs, magic, &fuse.MountOptions{
		Name: fsName, MaxWrite: maxData, MaxReadAhead: maxData, MaxBackground: 64,
		EnableLocks: true, EnableSymlinkCaching: true, ExplicitDataCacheControl: true, DisableReadDirPlus: true, DisableSplice: true,
		// With the second the kernel does not ask for capabilities before each write; see writeKill.
		ExtraCapabilities: fuse.CAP_NO_OPENDIR_SUPPORT | fuse.CAP_HANDLE_KILLPRIV_V2,
	})
	if err != nil {
		_ = unix.Unmount(cfg.Dir, unix.MNT_DETACH)
		dev.close()
		return fail(err)
	}
	m.bg.Add(4)
	go func() { defer m.bg.Done(); m.writeBack() }()
	go func() { defer m.bg.Done(); m.srv.Serve() }()
	go func() { defer m.bg.Done(); m.apply() }()
	go func() { defer m.bg.Done(); m.follow() }()
	dev.served(cfg.Dir, m.srv.KernelSettings())
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
	m.dev.close()
	if err != nil {
		return fmt.Errorf("unmount %s: %w", m.cfg.Dir, err)
	}
	return nil
}
