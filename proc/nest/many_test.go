package nest

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestParallel(t *testing.T) {
	n := openNest(t, testConfig())
	var wg sync.WaitGroup
	for i := range 64 {
		s := base(fmt.Sprintf("echo $$; exit %d", i))
		s.Pid = 1000 + i
		r := start(t, n, s)
		wg.Go(func() {
			ws, out := r.end(t)
			if ws.ExitStatus() != i || strings.TrimSpace(out) != strconv.Itoa(1000+i) {
				t.Errorf("job %d: status %d, %q", i, ws.ExitStatus(), out)
			}
		})
	}
	wg.Wait()
}

// TestSequence starts one process after another, each under the number of the one before, and prints the time beside that of a
// process started here.
func TestSequence(t *testing.T) {
	n := openNest(t, testConfig())
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	times := make([]time.Duration, 0, 1000)
	ends := make([]time.Duration, 0, 1000)
	native := make([]time.Duration, 0, 1000)
	for range 1000 {
		begin := time.Now()
		here, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{Files: []*os.File{null, null, null}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := here.Wait(); err != nil {
			t.Fatal(err)
		}
		native = append(native, time.Since(begin))
		begin = time.Now()
		p, err := n.Start(t.Context(), Spec{
			Pid: 4711, Exe: "/bin/true", Argv: []string{"true"}, Env: os.Environ(), Cwd: "/",
			FDs: []FD{{N: 0, File: null}, {N: 1, File: null}, {N: 2, File: null}},
		})
		if err != nil {
			t.Fatal(err)
		}
		times = append(times, time.Since(begin))
		if ev := <-p.Events(); ev.Kind != Exited || ev.Status != 0 {
			t.Fatalf("%+v", ev)
		}
		ends = append(ends, time.Since(begin))
	}
	slices.Sort(times)
	slices.Sort(ends)
	slices.Sort(native)
	t.Logf("request to exec: median %v, least %v, 90th percentile %v; to the exit event: median %v; started and waited for here: median %v",
		times[500], times[0], times[900], ends[500], native[500])
}

// TestCursor forks past the end of a small block: every number stays inside.
func TestCursor(t *testing.T) {
	cfg := testConfig()
	cfg.PidFirst, cfg.PidLast = 33000, 33511
	n := openNest(t, cfg)
	r := start(t, n, base("i=0; while [ $i -lt 1200 ]; do (exec sh -c 'echo $$'); i=$((i+1)); done"))
	ws, out := r.end(t)
	if ws != 0 {
		t.Fatalf("status %#x", int(ws))
	}
	pids := strings.Fields(out)
	if len(pids) != 1200 {
		t.Fatalf("%d numbers, want 1200", len(pids))
	}
	for i, f := range pids {
		if pid, err := strconv.Atoi(f); err != nil || pid < 33000 || pid > 33511 {
			t.Fatalf("fork %d: pid %s is outside the block", i, f)
		}
	}
}

func TestUsage(t *testing.T) {
	n := openNest(t, testConfig())
	r := start(t, n, base("sh -c 'i=0; while [ $i -lt 100000 ]; do i=$((i+1)); done'; :"))
	ev := r.event(t)
	if ev.Kind != Exited || ev.User+ev.System < 10*time.Millisecond || ev.MaxRSS < 100 {
		t.Errorf("%+v: want the child's CPU time counted", ev)
	}
}

// TestInterrupted: a signal that comes when a process is about to fork, and is handled without SA_RESTART, as dash does SIGCHLD, does not
// fail the fork.
func TestInterrupted(t *testing.T) {
	if _, err := exec.LookPath("dash"); err != nil {
		t.Skip("needs dash")
	}
	n := openNest(t, testConfig())
	r := start(t, n, base("exec dash -c 'i=0; while [ $i -lt 1000 ]; do : | : | :; i=$((i+1)); done; echo over'"))
	if ws, out := r.end(t); ws != 0 || out != "over\n" {
		t.Errorf("status %#x: %q", int(ws), out)
	}
}
