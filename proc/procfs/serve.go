package procfs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/proc"
	"github.com/onehost/onehost/sys"
)

// Type is the type of the mounts, as the kernel shows it.
const Type = "fuse.onehost-proc"

const subtype = "onehost-proc"

// Config says where it is to be mounted.
type Config struct {
	ControlPath string // the daemon's socket; empty: control.DefaultPath
	Dir         string // absolute
	// Native is where the real /proc is; empty: it is mounted below Dir, for a Dir that hides it.
	Native string
}

// Server is a /proc of the cluster that is served, and mounted nowhere yet: that is for Attach or Steps.
type Server struct {
	cfg    Config
	f      *fileSystem
	mount  *os.File // the mount, detached until it is attached
	native []move   // likewise, of the native /proc; none with Config.Native
	done   chan struct{}
}

// New makes the file system and serves it. It needs CAP_SYS_ADMIN: EPERM.
func New(cfg Config) (*Server, error) {
	f, err := newFileSystem(&cfg)
	if err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, f: f, done: make(chan struct{})}
	fd, err := unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		f.close()
		return nil, fmt.Errorf("/dev/fuse: %w: load the kernel module with 'modprobe fuse'", err)
	}
	fail := func(err error) (*Server, error) {
		s.release()
		f.close()
		return nil, err
	}
	if s.mount, err = detached(fd); err != nil {
		unix.Close(fd)
		return fail(fmt.Errorf("a /proc of the cluster: %w", err))
	}
	zero := time.Duration(0)
	opts := &fs.Options{EntryTimeout: &zero, AttrTimeout: &zero, NullPermissions: true}
	opts.MountOptions = fuse.MountOptions{Name: subtype, AllowOther: true, DisableReadDirPlus: true, DisableSplice: true, MaxBackground: 64}
	opts.Logger = slog.NewLogLogger(slog.DiscardHandler, 0) // it tells of readers that were killed
	opts.MountOptions.Logger = opts.Logger
	srv, err := fuse.NewServer(fs.NewNodeFS(&root{f: f}, opts), "/dev/fd/"+strconv.Itoa(fd), &opts.MountOptions)
	if err != nil {
		return fail(fmt.Errorf("a /proc of the cluster: %w", err))
	}
	go func() {
		srv.Serve()
		f.close()
		close(s.done)
	}()
	if cfg.Native == "" {
		for _, part := range [][2]string{{"/proc", nativeName}, {"/proc/sys", sysName}} {
			nfd, err := unix.OpenTree(unix.AT_FDCWD, part[0], unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
			if err != nil {
				s.release()
				<-s.done
				return nil, fmt.Errorf("a second mount of %s: %w", part[0], err)
			}
			s.native = append(s.native, move{os.NewFile(uintptr(nfd), part[0]), filepath.Join(cfg.Dir, part[1])})
		}
	}
	return s, nil
}

func newFileSystem(cfg *Config) (*fileSystem, error) {
	f := &fileSystem{
		native: cfg.Native, client: &client{path: cfg.ControlPath}, tables: &tables{path: cfg.ControlPath}, firsts: newPrefetched(), absent: absent{all: map[absentKey]time.Time{}}, turns: turns{all: map[turn]turned{}},
	}
	if f.native == "" {
		f.native, f.sys = filepath.Join(cfg.Dir, nativeName), sysName
	}
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return nil, fmt.Errorf("clock: %w", err)
	}
	f.boot = time.Now().Add(-time.Duration(up.Nano())).Round(0)
	var err error
	if f.rights, err = proc.ReadCaller(os.Getpid()); err != nil {
		return nil, fmt.Errorf("the rights of this process: %w", err)
	}
	if f.proc, err = unix.Open("/proc", unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("/proc: %w", err)
	}
	var st unix.Statfs_t
	if err := unix.Fstatfs(f.proc, &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		unix.Close(f.proc)
		return nil, errors.New("/proc is not the kernel's: a /proc of the cluster is mounted there already, or none at all")
	}
	return f, nil
}

func (f *fileSystem) close() {
	f.client.close()
	unix.Close(f.proc)
}

// detached makes a mount that is nowhere, of which fd is the server's end.
func detached(fd int) (*os.File, error) {
	c, err := unix.Fsopen("fuse", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(c)
	for _, o := range [][2]string{
		{"source", subtype},
		{"subtype", subtype},
		{"fd", strconv.Itoa(fd)},
		{"rootmode", strconv.FormatInt(unix.S_IFDIR, 8)},
		{"user_id", strconv.Itoa(os.Geteuid())},
		{"group_id", strconv.Itoa(os.Getegid())},
	} {
		if err := unix.FsconfigSetString(c, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("%s: %w", o[0], err)
		}
	}
	if err := unix.FsconfigSetFlag(c, "allow_other"); err != nil {
		return nil, fmt.Errorf("allow_other: %w", err)
	}
	if err := unix.FsconfigCreate(c); err != nil {
		return nil, err
	}
	m, err := unix.Fsmount(c, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_RDONLY|unix.MOUNT_ATTR_NOSUID|unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(m), Type), nil
}

// move is a mount and where it goes.
type move struct {
	mount *os.File
	to    string
}

func (s *Server) moves() []move { return append([]move{{s.mount, s.cfg.Dir}}, s.native...) }

// Attach mounts it in this process's mount name space, which must have a native /proc elsewhere, and ends its being detached.
func (s *Server) Attach() error {
	defer s.release()
	if len(s.native) > 0 {
		return fmt.Errorf("%s is hidden by it: %w", s.cfg.Dir, syscall.EINVAL)
	}
	if err := unix.MoveMount(int(s.mount.Fd()), "", unix.AT_FDCWD, s.cfg.Dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount on %s: %w", s.cfg.Dir, err)
	}
	return nil
}

// Steps are what a process has to do that is to see it, and nobody else: the calls give it a mount name space of its own, which goes on following
// the one that it leaves, and mount it there. Once they are made, or will not be, Attached must be called.
func (s *Server) Steps() []*sys.Call {
	empty, none := []byte{0}, []byte("none\x00")
	steps := []*sys.Call{
		sys.NewCall(unix.SYS_UNSHARE, unix.CLONE_NEWNS),
		sys.NewCall(unix.SYS_MOUNT, 0, 0, 0, unix.MS_REC|unix.MS_SLAVE, 0).Buffer(0, none).Buffer(1, []byte("/\x00")),
	}
	for _, m := range s.moves() {
		steps = append(steps, sys.NewCall(unix.SYS_MOVE_MOUNT, int(m.mount.Fd()), 0, unix.AT_FDCWD, 0, unix.MOVE_MOUNT_F_EMPTY_PATH).
			Buffer(1, empty).Buffer(3, append([]byte(m.to), 0)))
	}
	if len(s.native) > 0 {
		from, to := filepath.Join(s.cfg.Dir, pidMaxName)+"\x00", filepath.Join(s.cfg.Dir, sysName, "kernel", "pid_max")+"\x00"
		steps = append(steps, sys.NewCall(unix.SYS_MOUNT, 0, 0, 0, unix.MS_BIND, 0).Buffer(0, []byte(from)).Buffer(1, []byte(to)))
	}
	return steps
}

// Attached gives up the detached mounts: what is mounted nowhere ends.
func (s *Server) Attached() { s.release() }

func (s *Server) release() {
	if s.mount != nil {
		s.mount.Close() // again does no harm
	}
	for _, m := range s.native {
		m.mount.Close()
	}
}

// Done is closed when it is mounted nowhere any more.
func (s *Server) Done() <-chan struct{} { return s.done }

// Wait waits until it is mounted nowhere any more.
func (s *Server) Wait(ctx context.Context) error {
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("a /proc of the cluster is still in use: %w", syscall.EBUSY)
	}
}
