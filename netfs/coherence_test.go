package netfs_test

import (
	"os"
	"strings"
	"testing"
	"time"
)

// TestChangesAtHome makes each kind of change at home behind a warm cache, and looks after the drain.
func TestChangesAtHome(t *testing.T) {
	for name, f := range map[string]func(t *testing.T, h *home, x *helper){
		"new header after a negative lookup": func(t *testing.T, h *home, x *helper) {
			absent(t, x.path("new.h"))
			absent(t, x.path("new.h"))
			put(t, h.path("new.h"), "new")
			x.sync(t)
			want(t, x.path("new.h"), "new")
		},
		"content": func(t *testing.T, h *home, x *helper) {
			put(t, h.path("f"), "old")
			x.sync(t)
			want(t, x.path("f"), "old")
			put(t, h.path("f"), "newer content")
			x.sync(t)
			want(t, x.path("f"), "newer content")
		},
		"content of an open file": func(t *testing.T, h *home, x *helper) {
			put(t, h.path("f"), "aaaa")
			x.sync(t)
			f, err := os.Open(x.path("f"))
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b := make([]byte, 4)
			if _, err := f.ReadAt(b, 0); err != nil || string(b) != "aaaa" {
				t.Fatal(err, string(b))
			}
			put(t, h.path("f"), "bbbb")
			x.sync(t)
			if _, err := f.ReadAt(b, 0); err != nil || string(b) != "bbbb" {
				t.Fatal(err, string(b))
			}
		},
		"chmod": func(t *testing.T, h *home, x *helper) {
			put(t, h.path("f"), "x")
			x.sync(t)
			want(t, x.path("f"), "x")
			if err := os.Chmod(h.path("f"), 0o751); err != nil {
				t.Fatal(err)
			}
			x.sync(t)
			st, err := os.Stat(x.path("f"))
			if err != nil || st.Mode().Perm() != 0o751 {
				t.Fatal(err, st)
			}
		},
		"rename over": func(t *testing.T, h *home, x *helper) {
			put(t, h.path("a"), "first")
			put(t, h.path("b"), "second")
			x.sync(t)
			want(t, x.path("a"), "first")
			want(t, x.path("b"), "second")
			if err := os.Rename(h.path("b"), h.path("a")); err != nil {
				t.Fatal(err)
			}
			x.sync(t)
			want(t, x.path("a"), "second")
			absent(t, x.path("b"))
		},
		"rmdir": func(t *testing.T, h *home, x *helper) {
			if err := os.MkdirAll(h.path("d/e"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, h.path("d/e/f"), "x")
			x.sync(t)
			want(t, x.path("d/e/f"), "x")
			if err := os.RemoveAll(h.path("d/e")); err != nil {
				t.Fatal(err)
			}
			x.sync(t)
			absent(t, x.path("d/e"))
			absent(t, x.path("d/e/f"))
			if l, err := os.ReadDir(x.path("d")); err != nil || len(l) != 0 {
				t.Fatal(err, l)
			}
		},
		"listing": func(t *testing.T, h *home, x *helper) {
			put(t, h.path("a"), "")
			if l, err := os.ReadDir(x.dir); err != nil || len(l) != 1 {
				t.Fatal(err, l)
			}
			put(t, h.path("b"), "")
			x.sync(t)
			if l, err := os.ReadDir(x.dir); err != nil || len(l) != 2 {
				t.Fatal(err, l)
			}
		},
		"through another name": func(t *testing.T, h *home, x *helper) {
			put(t, h.path("a"), "one")
			if err := os.Mkdir(h.path("elsewhere"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Link(h.path("a"), h.path("elsewhere/b")); err != nil {
				t.Fatal(err)
			}
			want(t, x.path("a"), "one")
			put(t, h.path("elsewhere/b"), "two!")
			x.sync(t)
			want(t, x.path("a"), "two!")
		},
		"directory replaced": func(t *testing.T, h *home, x *helper) {
			if err := os.Mkdir(h.path("d"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, h.path("d/f"), "old")
			x.sync(t)
			want(t, x.path("d/f"), "old")
			if err := os.Rename(h.path("d"), h.path("d.old")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(h.path("d"), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, h.path("d/f"), "new")
			x.sync(t)
			want(t, x.path("d/f"), "new")
			want(t, x.path("d.old/f"), "old")
		},
	} {
		for kind, root := range roots {
			t.Run(strings.ReplaceAll(name+"/"+kind, " ", "-"), func(t *testing.T) {
				h := newHome(t, root(t))
				f(t, h, h.mount(t))
			})
		}
	}
}

// TestManyChanges alternates changes at home with looks at the helper, which must never see an old state.
func TestManyChanges(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	for i := range 500 {
		text := strings.Repeat("x", i)
		put(t, h.path("f"), text)
		x.sync(t)
		want(t, x.path("f"), text)
		if err := os.Remove(h.path("f")); err != nil {
			t.Fatal(err)
		}
		x.sync(t)
		absent(t, x.path("f"))
	}
}

// eventually asks until the answer is right: between drains a change takes a moment.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func reads(path, text string) func() bool {
	return func() bool { b, err := os.ReadFile(path); return err == nil && string(b) == text }
}

// TestTwoHelpers has one write what the other sees, through the home's token and without a flush.
func TestTwoHelpers(t *testing.T) {
	h := newHome(t, t.TempDir())
	a, b := h.mount(t), h.mount(t)
	absent(t, b.path("f"))
	put(t, a.path("f"), "from a")
	eventually(t, "b reads what a wrote", reads(b.path("f"), "from a"))
	put(t, b.path("f"), "from b, longer")
	eventually(t, "a reads what b wrote", reads(a.path("f"), "from b, longer"))
	a.flush(t)
	b.flush(t)
	want(t, h.path("f"), "from b, longer")
	if err := os.Remove(a.path("f")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "b sees that a removed it", func() bool { _, err := os.Lstat(b.path("f")); return os.IsNotExist(err) })
}

// TestFlush holds writes back until the barrier, and only until then.
func TestFlush(t *testing.T) {
	h := newHome(t, t.TempDir())
	x := h.mount(t)
	for _, size := range []int{0, 1, 4095, 1 << 20, 3<<20 + 17} {
		text := strings.Repeat("z", size)
		put(t, x.path("f"), text)
		want(t, x.path("f"), text)
		x.flush(t)
		want(t, h.path("f"), text)
		want(t, x.path("f"), text)
	}
	put(t, x.path("tmp"), "never crosses")
	if err := os.Remove(x.path("tmp")); err != nil {
		t.Fatal(err)
	}
	x.flush(t)
	absent(t, h.path("tmp"))
	absent(t, x.path("tmp"))
}
