package node

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// treeMounts are the mounts of a home's tree, below its own directory.
var treeMounts = []string{"root", "still"}

// homesDir is where the trees of homes are mounted.
func (c *Config) homesDir() string { return filepath.Join(c.Run, "home") }

// sweep takes away the mounts that a killed daemon left: with their server they lost all use, and each new life would lay
// its own over them. It never looks into a mount. A daemon that answers keeps what is its.
func (c *Config) sweep() error {
	if other, err := net.Dial("unixpacket", c.Control); err == nil {
		return other.Close() // control.Listen will refuse
	}
	homes, err := os.ReadDir(c.homesDir())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	var errs []error
	for _, home := range homes {
		dir := filepath.Join(c.homesDir(), home.Name())
		for _, name := range treeMounts {
			errs = append(errs, detach(filepath.Join(dir, name)))
		}
		errs = append(errs, os.Remove(dir))
	}
	return errors.Join(errs...)
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
