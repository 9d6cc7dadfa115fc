package member

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/onehost/onehost/names"
)

// childEnv makes the test program a host of its own: "DIR NAME [ADDR TOKEN]".
const childEnv = "ONEHOST_MEMBER_TEST_CHILD"

func TestMain(m *testing.M) {
	if args := os.Getenv(childEnv); args != "" {
		if err := child(strings.Fields(args)); err != nil {
			fmt.Println("error:", err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// child is a host until its standard input ends. It says how to join it when it is ready.
func child(args []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	m, err := open(Config{StateDir: args[0], Listen: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	defer m.Close()
	if len(args) == 2 {
		err = m.Init(ctx, "test", names.HostName(args[1]), "")
	} else {
		err = m.Join(ctx, args[2], args[3], names.HostName(args[1]), "")
	}
	if err != nil {
		return err
	}
	if err := m.Ready(ctx); err != nil {
		return err
	}
	token, addr, err := m.Token(ctx, false)
	if err != nil {
		return err
	}
	fmt.Println(addr, token)
	_, _ = io.Copy(io.Discard, os.Stdin)
	return nil
}

// spawn starts a child and waits until it is ready; join is what an earlier child said.
func spawn(t *testing.T, dir, name, join string) (*os.Process, string) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+strings.TrimSpace(filepath.Join(dir, name)+" "+name+" "+join))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		in.Close()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "error") {
		t.Fatalf("%s: %s %v", name, line, err)
	}
	return cmd.Process, strings.TrimSpace(line)
}

// Hosts that are processes of their own: they are frozen, thawed and killed from outside.
func TestFreezeAndKill(t *testing.T) {
	dir := t.TempDir()
	h1, join := spawn(t, dir, "h1", "")
	h2, _ := spawn(t, dir, "h2", join)
	h3, _ := spawn(t, dir, "h3", join)
	c := &cluster{t: t, dir: dir, hosts: map[string]*Member{}}
	addr, token, _ := strings.Cut(join, " ")
	for _, name := range []string{"h4", "h5"} { // in this process
		m := c.open(name)
		defer m.Close()
		if err := m.Join(testContext(t), addr, token, names.HostName(name), ""); err != nil {
			t.Fatal(err)
		}
	}
	c.until("three voters", 20*time.Second, voters(3))
	c.until("beats of all", 20*time.Second, func(View) bool {
		for _, m := range c.hosts {
			for n := names.Host(1); n <= 3; n++ {
				if _, at := m.Load(n); at.IsZero() {
					return false
				}
			}
		}
		return true
	})
	signal := func(p *os.Process, s os.Signal) {
		t.Helper()
		if err := p.Signal(s); err != nil {
			t.Fatal(err)
		}
	}
	life := func(name string, inc names.Incarnation) func(View) bool {
		return func(v View) bool {
			h, _ := v.ByName(names.HostName(name))
			return h.State == Alive && h.Incarnation == inc
		}
	}
	for _, p := range []*os.Process{h3, h1} { // a voter, and the leader: starved, but not dead
		signal(p, syscall.SIGSTOP)
		time.Sleep(patience - 500*time.Millisecond)
		signal(p, syscall.SIGCONT)
	}
	c.until("it was not taken for dead", time.Second, func(v View) bool { return life("h3", 1)(v) && life("h1", 1)(v) })

	signal(h3, syscall.SIGSTOP)
	t.Logf("a frozen voter is failed after %v", c.until("h3 failed", 20*time.Second, is("h3", Failed)))
	signal(h3, syscall.SIGCONT)
	t.Logf("thawed, it is back after %v", c.until("h3 back", 30*time.Second, life("h3", 2)))
	c.until("three voters", 20*time.Second, voters(3))

	signal(h1, syscall.SIGSTOP)
	t.Logf("a frozen leader is failed after %v", c.until("h1 failed", 30*time.Second, is("h1", Failed)))
	signal(h1, syscall.SIGCONT)
	t.Logf("thawed, it is back after %v", c.until("h1 back", 30*time.Second, life("h1", 2)))
	c.until("nobody else was failed", time.Second, life("h2", 1))
	c.until("three voters", 20*time.Second, voters(3))

	signal(h2, syscall.SIGKILL)
	t.Logf("a killed host is failed after %v", c.until("h2 failed", 30*time.Second, is("h2", Failed)))
	c.until("three voters", 20*time.Second, voters(3))
}
