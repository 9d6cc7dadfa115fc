package split

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/names"
)

// Down ends the split of that name, "" being the machine's own, and leaves nothing of it, whatever state a killed command left it in.
// ErrNone if there is nothing to end.
func Down(ctx context.Context, name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errPrivilege
	}
	i := instance(name)
	l, err := i.lock(ctx)
	if err != nil {
		return err
	}
	left, err := i.leftovers()
	if err != nil {
		l.release()
		return err
	}
	if len(left) == 0 {
		l.remove()
		return fmt.Errorf("%w: nothing to end", ErrNone)
	}
	if err := i.clean(ctx); err != nil {
		l.release()
		return err
	}
	l.remove()
	return nil
}

// leftovers lists what of this split is on the machine, found by its name.
func (i instance) leftovers() ([]string, error) {
	g, err := i.cgroups()
	if err != nil {
		return nil, err
	}
	var left []string
	if n := len(g.procs("")); n > 0 {
		left = append(left, fmt.Sprintf("%d processes", n))
	}
	mounts, err := mountsOf("self")
	if err != nil {
		return nil, err
	}
	for _, m := range mounts {
		if within(m.point, i.dir()) {
			left = append(left, "the mount "+m.point)
		}
	}
	for _, t := range g.trees {
		if _, err := os.Stat(g.path(t, "")); err == nil {
			left = append(left, "the cgroup "+g.path(t, ""))
		}
	}
	if _, err := os.Stat(i.dir()); err == nil {
		left = append(left, "the directory "+i.dir())
	}
	return left, nil
}

// clean removes all that leftovers finds: processes, then cgroups, then mounts (and with its pin the switch and its ports), then files.
func (i instance) clean(ctx context.Context) error {
	g, err := i.cgroups()
	if err != nil {
		return err
	}
	for _, host := range g.hosts() {
		if err := g.kill(ctx, host); err != nil {
			return err
		}
	}
	if err := g.kill(ctx, ""); err != nil {
		return err
	}
	if err := g.remove(ctx, ""); err != nil {
		return err
	}
	for { // one at a time, as a stack; a mount that is not there is EINVAL
		err := unix.Unmount(i.dir(), unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			break
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", i.dir(), err)
		}
	}
	if err := os.RemoveAll(i.dir()); err != nil {
		return fmt.Errorf("directory of the split: %w", err)
	}
	return nil
}

// hosts lists the hosts that have cgroups.
func (g *cgroups) hosts() []names.HostName {
	seen := map[names.HostName]bool{}
	var all []names.HostName
	for _, t := range g.trees {
		entries, err := os.ReadDir(g.path(t, ""))
		if err != nil {
			continue // none there
		}
		for _, e := range entries {
			name := names.HostName(filepath.Base(e.Name()))
			if e.IsDir() && !seen[name] {
				seen[name] = true
				all = append(all, name)
			}
		}
	}
	return all
}
