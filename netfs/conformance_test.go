package netfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// conformance is what programs expect of a file system. Each runs in an empty directory, natively and over a mount, and
// returns what it saw; both must have seen the same.
var conformance = map[string]func(d string) (string, error){
	"excl": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		f, err := os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
		if err != nil {
			return "", err
		}
		f.Close()
		_, err = os.OpenFile(p, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
		st, _ := os.Stat(p)
		return fmt.Sprint(errors.Is(err, syscall.EEXIST), st.Mode(), st.Size()), nil
	},
	"append": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		if err := os.WriteFile(p, []byte("one "), 0o644); err != nil {
			return "", err
		}
		a, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		b, err := os.OpenFile(p, os.O_APPEND|os.O_WRONLY, 0)
		if err != nil {
			return "", err
		}
		fmt.Fprint(a, "two ")
		fmt.Fprint(b, "three ")
		fmt.Fprint(a, "four")
		a.Close()
		b.Close()
		x, err := os.ReadFile(p)
		return string(x), err
	},
	"truncate": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		if err := os.WriteFile(p, bytes.Repeat([]byte("a"), 10000), 0o644); err != nil {
			return "", err
		}
		var out []string
		for _, n := range []int64{5000, 8000, 0, 100} {
			if err := os.Truncate(p, n); err != nil {
				return "", err
			}
			b, err := os.ReadFile(p)
			if err != nil {
				return "", err
			}
			out = append(out, fmt.Sprint(len(b), bytes.Count(b, []byte("a"))))
		}
		f, err := os.OpenFile(p, os.O_TRUNC|os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		st, err := f.Stat()
		return fmt.Sprint(out, st.Size()), err
	},
	"shrink and grow a new file": func(d string) (string, error) {
		f, err := os.Create(filepath.Join(d, "f"))
		if err != nil {
			return "", err
		}
		defer f.Close()
		fmt.Fprint(f, "abcdef")
		if err := f.Truncate(3); err != nil {
			return "", err
		}
		if err := f.Truncate(6); err != nil {
			return "", err
		}
		b, err := os.ReadFile(f.Name())
		return fmt.Sprintf("%q", b), err
	},
	"write everywhere": func(d string) (string, error) {
		f, err := os.Create(filepath.Join(d, "f"))
		if err != nil {
			return "", err
		}
		defer f.Close()
		for i := range 200 {
			if _, err := f.WriteAt([]byte(fmt.Sprint(i)), int64((i*7919)%5000)); err != nil {
				return "", err
			}
		}
		b, err := os.ReadFile(f.Name())
		return string(b), err
	},
	"rewrite": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		if err := os.WriteFile(p, bytes.Repeat([]byte("0123456789"), 300000), 0o644); err != nil {
			return "", err
		}
		f, err := os.OpenFile(p, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		defer f.Close()
		for i := int64(0); i < 3000000; i += 100000 {
			if _, err := f.WriteAt([]byte("####"), i); err != nil {
				return "", err
			}
			b := make([]byte, 8)
			if _, err := f.ReadAt(b, i-min(i, 2)); err != nil {
				return "", err
			}
			if !strings.Contains(string(b), "####") {
				return "", fmt.Errorf("at %d: %q", i, b)
			}
		}
		b, err := os.ReadFile(p)
		return fmt.Sprint(len(b), bytes.Count(b, []byte("####"))), err
	},
	"unlink open": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		f, err := os.Create(p)
		if err != nil {
			return "", err
		}
		defer f.Close()
		fmt.Fprint(f, "alive")
		if err := os.Remove(p); err != nil {
			return "", err
		}
		if _, err := f.WriteAt([]byte("AL"), 0); err != nil {
			return "", err
		}
		b := make([]byte, 5)
		if _, err := f.ReadAt(b, 0); err != nil {
			return "", err
		}
		st, err := f.Stat()
		if err != nil {
			return "", err
		}
		return fmt.Sprint(string(b), st.Size(), st.Sys().(*syscall.Stat_t).Nlink), nil
	},
	"unlink open for reading": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		if err := os.WriteFile(p, []byte("alive"), 0o644); err != nil {
			return "", err
		}
		f, err := os.Open(p)
		if err != nil {
			return "", err
		}
		defer f.Close()
		if err := os.Remove(p); err != nil {
			return "", err
		}
		b, err := io.ReadAll(f)
		return string(b), err
	},
	"rename": func(d string) (string, error) {
		a, b := filepath.Join(d, "a"), filepath.Join(d, "b")
		if err := os.WriteFile(a, []byte("A"), 0o644); err != nil {
			return "", err
		}
		if err := os.WriteFile(b, []byte("B"), 0o644); err != nil {
			return "", err
		}
		e1 := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_NOREPLACE)
		e2 := unix.Renameat2(unix.AT_FDCWD, a, unix.AT_FDCWD, b, unix.RENAME_EXCHANGE)
		x, _ := os.ReadFile(a)
		y, _ := os.ReadFile(b)
		e3 := os.Rename(a, b)
		z, _ := os.ReadFile(b)
		_, e4 := os.Stat(a)
		return fmt.Sprint(e1, e2, string(x), string(y), e3, string(z), errors.Is(e4, os.ErrNotExist)), nil
	},
	"rename directories": func(d string) (string, error) {
		if err := os.MkdirAll(filepath.Join(d, "x/y"), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(d, "x/y/f"), []byte("F"), 0o644); err != nil {
			return "", err
		}
		e1 := unix.Rename(filepath.Join(d, "x"), filepath.Join(d, "x/y/z"))
		e2 := os.Rename(filepath.Join(d, "x"), filepath.Join(d, "w"))
		b, err := os.ReadFile(filepath.Join(d, "w/y/f"))
		e3 := unix.Rmdir(filepath.Join(d, "w"))
		return fmt.Sprint(e1, e2, string(b), e3), err
	},
	"links": func(d string) (string, error) {
		a, b, s := filepath.Join(d, "a"), filepath.Join(d, "b"), filepath.Join(d, "s")
		if err := os.WriteFile(a, []byte("A"), 0o644); err != nil {
			return "", err
		}
		if err := os.Link(a, b); err != nil {
			return "", err
		}
		if err := os.WriteFile(b, []byte("through b"), 0o644); err != nil {
			return "", err
		}
		x, _ := os.ReadFile(a)
		st, _ := os.Stat(a)
		sb, _ := os.Stat(b)
		if err := os.Remove(b); err != nil {
			return "", err
		}
		s2, _ := os.Stat(a)
		e1 := os.Symlink("a", s)
		to, e2 := os.Readlink(s)
		y, _ := os.ReadFile(s)
		nl := func(f os.FileInfo) any { return f.Sys().(*syscall.Stat_t).Nlink } // 32 or 64 bits
		return fmt.Sprint(string(x), nl(st), os.SameFile(st, sb), nl(s2), e1, to, e2, string(y)), nil
	},
	"directory": func(d string) (string, error) {
		var names []string
		for i := range 1500 {
			n := fmt.Sprintf("a-rather-long-file-name-%04d", i)
			if err := os.WriteFile(filepath.Join(d, n), nil, 0o644); err != nil {
				return "", err
			}
		}
		l, err := os.ReadDir(d)
		for _, e := range l {
			names = append(names, e.Name())
		}
		slices.Sort(names)
		for i := range 1500 {
			if err := os.Remove(filepath.Join(d, fmt.Sprintf("a-rather-long-file-name-%04d", i))); err != nil {
				return "", err
			}
		}
		l2, err2 := os.ReadDir(d)
		return fmt.Sprint(len(slices.Compact(names)), err, len(l2), err2), nil
	},
	"times": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		if err := os.WriteFile(p, []byte("x"), 0o644); err != nil {
			return "", err
		}
		s1, _ := os.Stat(p)
		fresh := time.Since(s1.ModTime()).Abs() < time.Minute
		if err := os.Chtimes(p, time.Unix(1000, 5), time.Unix(2000, 7)); err != nil {
			return "", err
		}
		s2, _ := os.Stat(p)
		if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, nil, 0); err != nil {
			return "", err
		}
		s3, _ := os.Stat(p)
		return fmt.Sprint(fresh, s2.ModTime().UnixNano(), time.Since(s3.ModTime()).Abs() < time.Minute), nil
	},
	"modes": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		old := unix.Umask(0o027)
		err := os.WriteFile(p, nil, 0o666)
		err2 := os.Mkdir(filepath.Join(d, "d"), 0o777)
		unix.Umask(old)
		if err != nil || err2 != nil {
			return "", errors.Join(err, err2)
		}
		s1, _ := os.Stat(p)
		s2, _ := os.Stat(filepath.Join(d, "d"))
		e3 := unix.Chmod(p, 0o4755)
		s3, _ := os.Stat(p)
		e4 := os.Chown(p, 12, 34)
		s4, _ := os.Stat(p)
		st := s4.Sys().(*syscall.Stat_t)
		return fmt.Sprint(s1.Mode(), s2.Mode(), e3, s3.Mode(), e4, st.Uid, st.Gid), nil
	},
	"sparse": func(d string) (string, error) {
		f, err := os.Create(filepath.Join(d, "f"))
		if err != nil {
			return "", err
		}
		defer f.Close()
		if _, err := f.WriteAt([]byte("end"), 1<<20); err != nil {
			return "", err
		}
		h, e1 := unix.Seek(int(f.Fd()), 0, unix.SEEK_DATA)
		if err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 1<<20, 4096); err != nil {
			return "", err
		}
		b, err := os.ReadFile(f.Name())
		if e := unix.Fallocate(int(f.Fd()), 0, 0, 2<<20); e != nil {
			return "", e
		}
		st, _ := f.Stat()
		return fmt.Sprint(h >= 0, e1, len(b), bytes.Count(b, []byte{0}), st.Size()), err
	},
	"small sparse": func(d string) (string, error) { // nothing was written to most of it, so it takes hardly any room
		saw := ""
		for name, fill := range map[string]func(f *os.File) error{
			"cut":     func(f *os.File) error { return f.Truncate(256 << 10) },
			"written": func(f *os.File) error { _, err := f.WriteAt([]byte("end"), 256<<10); return err },
		} {
			f, err := os.Create(filepath.Join(d, name))
			if err != nil {
				return "", err
			}
			if err := fill(f); err != nil {
				return "", err
			}
			var st unix.Stat_t
			err = unix.Fstat(int(f.Fd()), &st)
			if err = errors.Join(err, f.Close()); err != nil {
				return "", err
			}
			var after unix.Stat_t
			if err := unix.Stat(f.Name(), &after); err != nil {
				return "", err
			}
			if room := max(st.Blocks, after.Blocks) * 512; room > 64<<10 {
				saw += fmt.Sprintf("%s takes %d bytes ", name, room)
			}
		}
		return saw, nil
	},
	"old times": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			return "", err
		}
		saw := ""
		for _, at := range []unix.Timespec{{Sec: -2, Nsec: 250_000_000}, {Sec: -1e9}, {Sec: -1, Nsec: 999_999_999}, {}, {Sec: 4e9, Nsec: 1}} {
			if err := unix.UtimesNanoAt(unix.AT_FDCWD, p, []unix.Timespec{at, at}, 0); err != nil {
				return "", err
			}
			var st unix.Stat_t
			if err := unix.Stat(p, &st); err != nil {
				return "", err
			}
			saw += fmt.Sprint(st.Mtim, st.Atim)
		}
		return saw, nil
	},
	"copy range": func(d string) (string, error) {
		a, err := os.Create(filepath.Join(d, "a"))
		if err != nil {
			return "", err
		}
		defer a.Close()
		b, err := os.Create(filepath.Join(d, "b"))
		if err != nil {
			return "", err
		}
		defer b.Close()
		fmt.Fprint(a, "0123456789")
		fmt.Fprint(b, "abcdefghij")
		in, out := int64(2), int64(5)
		n, err := unix.CopyFileRange(int(a.Fd()), &in, int(b.Fd()), &out, 3, 0)
		x, _ := os.ReadFile(b.Name())
		return fmt.Sprint(n, err, string(x)), nil
	},
	"xattr": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		if err := os.WriteFile(p, nil, 0o644); err != nil {
			return "", err
		}
		e1 := unix.Setxattr(p, "trusted.onehost", []byte("value"), 0)
		b := make([]byte, 100)
		n, e2 := unix.Getxattr(p, "trusted.onehost", b)
		_, e3 := unix.Getxattr(p, "trusted.onehost", make([]byte, 2))
		e4 := unix.Removexattr(p, "trusted.onehost")
		_, e5 := unix.Getxattr(p, "trusted.onehost", b)
		return fmt.Sprint(e1, string(b[:max(n, 0)]), e2, e3, e4, e5), nil
	},
	"mmap": mapElsewhere,
	"locks": func(d string) (string, error) {
		p := filepath.Join(d, "f")
		a, err := os.OpenFile(p, os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return "", err
		}
		b, err := os.OpenFile(p, os.O_RDWR, 0)
		if err != nil {
			return "", err
		}
		defer b.Close()
		e1 := unix.Flock(int(a.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		e2 := unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		a.Close()
		var e3 error
		for range 1000 { // release is not waited for by close
			if e3 = unix.Flock(int(b.Fd()), unix.LOCK_EX|unix.LOCK_NB); e3 == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
		l := unix.Flock_t{Type: unix.F_WRLCK, Start: 10, Len: 5}
		e4 := unix.FcntlFlock(b.Fd(), unix.F_SETLK, &l)
		return fmt.Sprint(e1, e2, e3, e4), nil
	},
	"tmpfile": func(d string) (string, error) {
		fd, err := unix.Open(d, unix.O_TMPFILE|unix.O_RDWR, 0o600)
		if err != nil {
			return "", err
		}
		f := os.NewFile(uintptr(fd), "tmp")
		defer f.Close()
		fmt.Fprint(f, "hello")
		e1 := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", fd), unix.AT_FDCWD, filepath.Join(d, "named"), unix.AT_SYMLINK_FOLLOW)
		b, e2 := os.ReadFile(filepath.Join(d, "named"))
		return fmt.Sprint(e1, string(b), e2), nil
	},
	"errors": func(d string) (string, error) {
		var out []any
		out = append(out, unix.Mkdir(filepath.Join(d, "a/b"), 0o755), unix.Rmdir(filepath.Join(d, "none")), unix.Unlink(d))
		if err := os.WriteFile(filepath.Join(d, "f"), nil, 0o644); err != nil {
			return "", err
		}
		_, e := os.ReadDir(filepath.Join(d, "f"))
		out = append(out, errors.Is(e, syscall.ENOTDIR), unix.Mkdir(filepath.Join(d, "f"), 0o755))
		_, e = os.Stat(filepath.Join(d, strings.Repeat("n", 256)))
		out = append(out, errors.Is(e, syscall.ENAMETOOLONG))
		return fmt.Sprint(out...), nil
	},
	"exec": func(d string) (string, error) {
		p := filepath.Join(d, "prog")
		b, err := os.ReadFile("/bin/true")
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(p, b, 0o755); err != nil {
			return "", err
		}
		return "", exec.Command("/bin/sh", "-c", "exec "+p).Run()
	},
	"odd names": func(d string) (string, error) {
		n := "not utf-8 \xff\xfe\nnew line"
		if err := os.WriteFile(filepath.Join(d, n), []byte("x"), 0o644); err != nil {
			return "", err
		}
		l, err := os.ReadDir(d)
		if err != nil || len(l) != 1 {
			return "", fmt.Errorf("%v %v", l, err)
		}
		return l[0].Name(), os.Remove(filepath.Join(d, n))
	},
}
