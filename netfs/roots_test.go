package netfs_test

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// roots is the kinds of file systems that a home may have; each gives an empty directory on a new one.
var roots = map[string]func(t *testing.T) string{
	"plain":                   func(t *testing.T) string { return t.TempDir() },
	"overlay with handles":    func(t *testing.T) string { return overlay(t, "index=on,nfs_export=on") }, // as the hosts of a split have
	"overlay without handles": func(t *testing.T) string { return overlay(t, "index=off,nfs_export=off") },
}

func overlay(t *testing.T, opts string) string { return overlayOn(t, t.TempDir(), opts) }

func overlayOn(t *testing.T, lower, opts string) string {
	t.Helper()
	upper := tmpfs(t, "")
	for _, d := range []string{"up", "work", "merged"} {
		if err := os.Mkdir(filepath.Join(upper, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir := filepath.Join(upper, "merged")
	opts += ",lowerdir=" + lower + ",upperdir=" + filepath.Join(upper, "up") + ",workdir=" + filepath.Join(upper, "work")
	if err := unix.Mount("overlay", dir, "overlay", 0, opts); err != nil {
		t.Fatalf("overlay with %s: %v", opts, err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// TestCopyUp changes at home, and from a helper, what an overlay has in its lower layer, behind warm caches.
func TestCopyUp(t *testing.T) {
	for name, opts := range map[string]string{"handles": "index=on,nfs_export=on", "no handles": "index=off,nfs_export=off"} {
		t.Run(name, func(t *testing.T) { // a comma in the name would be one in the options
			lower := t.TempDir()
			for _, d := range []string{"d/e", "gone"} {
				if err := os.MkdirAll(filepath.Join(lower, d), 0o755); err != nil {
					t.Fatal(err)
				}
			}
			for _, f := range []string{"here", "there", "d/e/deep", "gone/x", "chmod"} {
				put(t, filepath.Join(lower, f), "old "+f)
			}
			h := newHome(t, overlayOn(t, lower, opts))
			x := h.mount(t)
			for _, f := range []string{"here", "there", "d/e/deep", "gone/x", "chmod"} {
				want(t, x.path(f), "old "+f)
			}
			put(t, h.path("here"), "changed at home")
			put(t, h.path("d/e/deep"), "changed at home")
			put(t, x.path("there"), "changed here")
			if err := os.Chmod(h.path("chmod"), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.RemoveAll(h.path("gone")); err != nil {
				t.Fatal(err)
			}
			x.sync(t)
			x.flush(t)
			want(t, x.path("here"), "changed at home")
			want(t, x.path("d/e/deep"), "changed at home")
			want(t, x.path("there"), "changed here")
			want(t, h.path("there"), "changed here")
			absent(t, x.path("gone/x"))
			absent(t, x.path("gone"))
			if st, err := os.Stat(x.path("chmod")); err != nil || st.Mode().Perm() != 0o600 {
				t.Fatal(st, err)
			}
			put(t, h.path("there"), "and again at home")
			x.sync(t)
			want(t, x.path("there"), "and again at home")
		})
	}
}
