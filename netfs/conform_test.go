package netfs_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestConformance runs each check natively and over the mount, for each kind of file system that a home may have.
func TestConformance(t *testing.T) {
	for kind, root := range roots {
		t.Run(strings.ReplaceAll(kind, " ", "-"), func(t *testing.T) { conform(t, root) })
	}
}

func conform(t *testing.T, root func(t *testing.T) string) {
	for name, f := range conformance {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			native, err := f(root(t))
			if err != nil {
				t.Skipf("not here natively either: %v", err)
			}
			h := newHome(t, root(t))
			x := h.mount(t)
			got, err := f(x.dir)
			if err != nil {
				t.Fatalf("over the mount: %v", err)
			}
			if got != native {
				t.Fatalf("over the mount: %q\nnatively:       %q", got, native)
			}
			x.flush(t)
			same(t, h.dir, x.dir)
		})
	}
}

// same compares what a tree holds at home and at the helper.
func same(t *testing.T, a, b string) {
	t.Helper()
	list := func(d string) string {
		var out []string
		err := filepath.WalkDir(d, func(p string, e os.DirEntry, err error) error {
			if err != nil || p == d {
				return err
			}
			st, err := os.Lstat(p)
			if err != nil {
				return err
			}
			s := fmt.Sprint(strings.TrimPrefix(p, d), st.Mode(), st.ModTime().UnixNano(), st.Sys().(*syscall.Stat_t).Nlink)
			if st.Mode().IsRegular() {
				c, err := os.ReadFile(p)
				if err != nil {
					return err
				}
				s += fmt.Sprint(st.Size(), len(c), c[:min(len(c), 100)])
			}
			out = append(out, s)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(out, "\n")
	}
	if x, y := list(a), list(b); x != y {
		t.Fatalf("home:\n%s\nhelper:\n%s", x, y)
	}
}
