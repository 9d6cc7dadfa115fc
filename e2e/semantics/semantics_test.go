package semantics

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/onehost/onehost/split"
)

//go:embed lib
var lib embed.FS

// Environment of a run by hand: only cases whose names match the first; what each case says in every mode; how often each is run in every mode; whether
// hosts are frozen now and then in a session (what differs then may be late, or an exception that is not seen, but not wrong); a name of the split, so that
// several runs do not meet.
const (
	onlyEnv   = "SEMANTICS_ONLY"
	showEnv   = "SEMANTICS_SHOW"
	timesEnv  = "SEMANTICS_TIMES"
	freezeEnv = "SEMANTICS_FREEZE"
	prefixEnv = "ONEHOST_E2E_PREFIX"
)

func TestMain(m *testing.M) {
	if split.Reexec(os.Args) {
		return
	}
	if status, ours := Reexec(os.Args); ours {
		os.Exit(status)
	}
	os.Exit(m.Run())
}

// TestSemantics runs every case natively, in a session that keeps everything at home and in one that sends everything away, and
// compares what they say.
func TestSemantics(t *testing.T) {
	c := hosts(t)
	home := c.Host("h1")
	only, err := regexp.Compile(os.Getenv(onlyEnv))
	if err != nil {
		t.Fatal(err)
	}
	times := 1
	if text := os.Getenv(timesEnv); text != "" {
		if times, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	names := slices.DeleteFunc(Names(), func(n string) bool { return !only.MatchString(n) })
	all := map[Mode]map[string]Result{}
	var f *frost
	for _, m := range []Mode{Native, Local, Remote} {
		if m == Local && os.Getenv(freezeEnv) != "" {
			f = freeze(t, c)
		}
		began := time.Now()
		all[m] = carry(t, home, f, m, names, times)
		t.Logf("%s: %d cases in %v", m, len(names), time.Since(began).Round(time.Millisecond))
	}
	if f != nil {
		f.thaw()
	}
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			judge(t, name, all[Native][name], all[Local][name], all[Remote][name])
		})
	}
}

// slow is said of a case that takes longer: all of them together have minutes.
const slow = 3 * time.Second

// judge compares what a case said in the three modes.
func judge(t *testing.T, name string, native, local, remote Result) {
	if os.Getenv(showEnv) != "" {
		t.Logf("%v: %v, %v, %v; %d elsewhere, at home %q\n%s%s", Cases[name].Shape, native.Took, local.Took, remote.Took, remote.Away, remote.Home, native.Out, native.Err)
	}
	for m, r := range map[Mode]Result{Native: native, Local: local, Remote: remote} {
		if r.Took > slow {
			t.Logf("%s: it took %v", m, r.Took.Round(time.Millisecond))
		}
	}
	if native.Failed != "" || native.Out == "" || strings.Contains(native.Out, "TIMEOUT") {
		t.Fatalf("natively: %s\n%s%s", native.Failed, native.Out, native.Err)
	}
	if local.Failed != "" || local.Out != native.Out {
		t.Errorf("in a session that keeps everything at home: %s\n%s%s", local.Failed, diff(native.Out, local.Out), local.Err)
	}
	same := remote.Failed == "" && remote.Out == native.Out
	if why, listed := Exceptions[name]; listed {
		if same {
			t.Errorf("it is listed as an exception (%s) and is the same elsewhere: strike it from the list", why)
		}
	} else if !same {
		t.Errorf("elsewhere: %s\n%s%s", remote.Failed, diff(native.Out, remote.Out), remote.Err)
	}
	if why, listed := AtHome[name]; listed == (remote.Away > 0) {
		t.Errorf("%d processes ran elsewhere, at home because of %q; listed as staying at home: %v %s\n%s", remote.Away, remote.Home, listed, why, remote.Err)
	}
}

// TestLists: every name in the lists is a case.
func TestLists(t *testing.T) {
	for _, list := range []map[string]string{Exceptions, AtHome} {
		for name, why := range list {
			if _, ok := Cases[name]; !ok || why == "" {
				t.Errorf("%q (%s): no such case, or no reason", name, why)
			}
		}
	}
	if n := len(Cases); n < 150 {
		t.Errorf("%d cases", n)
	}
}

// hosts makes three hosts with the tools of the suite in the first, the home.
func hosts(t *testing.T) *split.Cluster {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("hosts on this machine need root")
	}
	for _, need := range []string{"gcc", "make", "parallel", "tmux", "perl", "setpriv", "script", "python3"} {
		if _, err := exec.LookPath(need); err != nil {
			t.Skipf("the cases need %s: scripts/packages.sh installs it", need)
		}
	}
	programs := t.TempDir()
	build := exec.Command("go", "build", "-o", programs+"/", "../../cmd/onehost", "../../cmd/onehostd")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	prefix := "e2e"
	if p := os.Getenv(prefixEnv); p != "" {
		prefix = p
	}
	cfg := split.Config{
		Name: prefix + "-semantics", Hosts: 3,
		Daemon: filepath.Join(programs, "onehostd"), Onehost: filepath.Join(programs, "onehost"),
	}
	_ = split.Down(t.Context(), cfg.Name) // of a run that was killed
	c, err := split.Up(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		if t.Failed() {
			for _, h := range c.Hosts() {
				if out, err := h.Command(ctx, "tail", "-n", "30", "/var/log/onehostd.log").Output(); err == nil && len(out) > 0 {
					t.Logf("%s: %s", h.Name(), out)
				}
			}
		}
		if err := c.Down(ctx); err != nil {
			t.Errorf("split down: %v", err)
		}
	})
	tools(t, c.Host("h1"))
	return c
}

// tools puts this program, the library of the cases and the rules for placing them into the home.
func tools(t *testing.T, home *split.Host) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer program.Close()
	bin := toolDir + "/bin"
	script := fmt.Sprintf("umask 022; mkdir -p %[1]s %[2]s/lib %[3]s /etc/onehost && cat > %[1]s/%[4]s && chmod 755 %[1]s/%[4]s && ln -sf %[4]s %[1]s/%[5]s%[4]s",
		bin, toolDir, Root, selfName, spreadPrefix)
	for name, at := range interpreters {
		script += fmt.Sprintf(" && ln -sf %s %s/%s%s", at, bin, spreadPrefix, name)
	}
	put(t, home, program, script)
	put(t, home, strings.NewReader(rules()), "cat > /etc/onehost/place")
	err = fs.WalkDir(lib, "lib", func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := lib.ReadFile(p)
		if err != nil {
			return err
		}
		put(t, home, bytes.NewReader(text), "cat > "+path.Join(toolDir, p))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put(t, home, nil, "cd "+toolDir+"/lib && python3 -m compileall -q .")
	// The jobs of a run wait for the first load report.
	put(t, home, nil, "onehost run -q --no-local true")
}

func put(t *testing.T, home *split.Host, in io.Reader, script string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := home.Command(ctx, "sh", "-c", script)
	cmd.Stdin = in
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", script, err, out)
	}
}

// carry runs the cases in one mode. Of one that does not always say the same both are kept.
func carry(t *testing.T, home *split.Host, f *frost, m Mode, names []string, times int) map[string]Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var out, errs bytes.Buffer
	cmd := home.Command(ctx, append([]string{path.Join(toolDir, "bin", selfName), reexecRun, string(m)}, slices.Repeat(names, times)...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LC_ALL=C.UTF-8"}
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := f.start(cmd)
	if err == nil {
		err = cmd.Wait()
	}
	if err != nil {
		t.Fatalf("%s: %v\n%s", m, err, errs.String())
	}
	results := map[string]Result{}
	dec := json.NewDecoder(&out)
	for {
		var r Result
		if err := dec.Decode(&r); errors.Is(err, io.EOF) {
			break
		}
		if was, again := results[r.Name]; again && was.Out != r.Out {
			was.Failed += "it is not always the same: " + r.Failed + diff(was.Out, r.Out) + r.Err
			r = was
		}
		results[r.Name] = r
	}
	if len(results) != len(names) {
		t.Fatalf("%s: %d results of %d cases\n%s", m, len(results), len(names), errs.String())
	}
	return results
}

// diff shows the lines that are not the same.
func diff(want, got string) string {
	a, b := strings.Split(want, "\n"), strings.Split(got, "\n")
	var out strings.Builder
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(a) > 0 && len(b) > 0 && a[0] == b[0]:
			a, b = a[1:], b[1:]
		case len(a) > 0 && (len(b) == 0 || !slices.Contains(b, a[0])):
			fmt.Fprintf(&out, "- %s\n", a[0])
			a = a[1:]
		default:
			fmt.Fprintf(&out, "+ %s\n", b[0])
			b = b[1:]
		}
	}
	return out.String()
}
