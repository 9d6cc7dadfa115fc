package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs"
)

// treeMounts are the mounts of a home's tree, below its own directory.
var treeMounts = []string{"root", "still"}

// homesDir is where the trees of homes are mounted.
func (c *Config) homesDir() string { return filepath.Join(c.Run, "home") }

// carriersDir is where the sockets of the carriers are.
func (c *Config) carriersDir() string { return filepath.Join(c.Run, "carrier") }

// answers reports whether another daemon has this one's socket.
func (c *Config) answers() bool {
	other, err := net.Dial("unixpacket", c.Control)
	if err == nil {
		other.Close()
	}
	return err == nil
}

// sweep takes away the mounts that killed carriers left, those whose names are not kept: with their server they lost all use. It never looks into a mount.
func (c *Config) sweep(kept func(name string) bool) error {
	homes, err := os.ReadDir(c.homesDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, home := range homes {
		if kept(home.Name()) {
			continue
		}
		dir := filepath.Join(c.homesDir(), home.Name())
		for _, name := range treeMounts {
			at := filepath.Join(dir, name)
			abort(at)
			errs = append(errs, detach(at))
		}
		if err := os.Remove(dir); !errors.Is(err, os.ErrNotExist) { // whoever mounted it may be quicker
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// clear takes away the mounts of a killed carrier.
func (c *Config) clear(prefix string) error {
	return c.sweep(func(name string) bool { return !strings.HasPrefix(name, prefix+".") })
}

// abort ends what waits for a mount's server, which is dead, if there is a mount.
func abort(at string) {
	var st unix.Statx_t
	if unix.Statx(unix.AT_FDCWD, at, unix.AT_STATX_DONT_SYNC, unix.STATX_INO, &st) != nil || st.Dev_major != 0 { // it is on a disk
		return
	}
	if path, err := netfs.AbortPath(at); err == nil {
		_ = os.WriteFile(path, []byte("1"), 0)
	}
}

// notesTime is how long after the start of a daemon sessions may take up what the last one had of theirs.
const notesTime = 10 * time.Second

// sweepNotes takes away what was noted of descriptors that no session has taken up.
func (n *Node) sweepNotes() {
	t := time.NewTimer(notesTime)
	defer t.Stop()
	select {
	case <-t.C:
	case <-n.ctx.Done():
		return
	}
	if err := n.devs.Sweep(); err != nil {
		n.cfg.Log.Warn("notes of an earlier daemon cannot be cleared away", "err", err)
	}
}

// detach unmounts all that is mounted at a place, one over the other, and removes the place.
func detach(at string) error {
	for {
		err := unix.Unmount(at, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		switch {
		case err == nil:
		case errors.Is(err, unix.EINVAL): // nothing is mounted there
			return os.Remove(at)
		case errors.Is(err, unix.ENOENT):
			return nil
		default:
			return fmt.Errorf("unmount %s: %w", at, err)
		}
	}
}
