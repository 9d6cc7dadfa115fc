package netfs_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/netfs"
)

const heavy = `
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <math.h>
#include <unistd.h>
#include <fcntl.h>
#include <errno.h>
#include <signal.h>
#include <pthread.h>
#include <netdb.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <locale.h>
#include <wchar.h>
#include <time.h>
#include <linux/fs.h>
#include <linux/perf_event.h>
`

// source is a compile of about what a C project's files take: many headers, some code.
func source(functions int) string {
	s := heavy
	for i := range functions {
		s += fmt.Sprintf(`
int f%d(int n, char *p) { int s = 0; for (int i = 0; i < n; i++) { s += p[i] * %d; if (s & 1) s ^= i; else s = s * 3 + 1;
  switch (s %% 7) { case 0: s += strlen(p); break; case 3: s ^= atoi(p); break; case 5: printf("%%d", s); } } return s; }
`, i, i+3)
	}
	return s
}

func cpu(who int) time.Duration {
	var r unix.Rusage
	_ = unix.Getrusage(who, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkCompile compares gcc chrooted into the mounts of this machine's own tree with gcc run natively, both ends of the
// connection in this process. The ratios are what matters; cpu includes the daemons'.
func BenchmarkCompile(b *testing.B) {
	if _, err := exec.LookPath("gcc"); err != nil {
		b.Skip("no gcc here")
	}
	work := b.TempDir()
	put(b, filepath.Join(work, "t.c"), source(150))
	h := newHome(b, "/")
	x := h.mount(b)
	for _, d := range []string{"/proc", "/dev"} {
		if err := unix.Mount(d, x.path(d), "", unix.MS_BIND, ""); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = unix.Unmount(x.path(d), unix.MNT_DETACH) })
	}
	ro := h.mount(b, func(c *netfs.MountConfig) { c.NoOpen = true; c.Subtree = "usr" })
	if os.Getenv("NETFS_BENCH_FULL") == "" {
		if err := unix.Mount(ro.dir, x.path("usr"), "", unix.MS_BIND, ""); err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = unix.Unmount(x.path("usr"), unix.MNT_DETACH) })
	}
	compile := func(root, opt string) (wall, used time.Duration) {
		begin, c0 := time.Now(), cpu(unix.RUSAGE_SELF)+cpu(unix.RUSAGE_CHILDREN)
		// Another process does the chroot and the exec: Go's own fork stops a thread of this process until its child has
		// executed, and the child would wait for this process to serve it what to execute.
		c := exec.Command("chroot", filepath.Join("/", root), "/bin/sh", "-c", "cd "+work+" && exec gcc "+opt+" -c t.c -o t.o")
		if out, err := c.CombinedOutput(); err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		if root != "" {
			x.flush(b)
		}
		return time.Since(begin), cpu(unix.RUSAGE_SELF) + cpu(unix.RUSAGE_CHILDREN) - c0
	}
	for _, opt := range []string{"-O0", "-O2"} {
		b.Run(opt, func(b *testing.B) {
			compile("", opt)
			w, u := compile(x.dir, opt)
			b.ReportMetric(w.Seconds()*1000, "first-ms")
			_ = u
			var nw, nc, mw, mc time.Duration
			for b.Loop() {
				w, c := compile("", opt)
				nw, nc = nw+w, nc+c
				w, c = compile(x.dir, opt)
				mw, mc = mw+w, mc+c
			}
			b.ReportMetric(float64(mw)/float64(nw), "wall-ratio")
			b.ReportMetric(float64(mc)/float64(nc), "cpu-ratio")
			b.ReportMetric(nc.Seconds()*1000/float64(b.N), "native-cpu-ms")
		})
	}
}
