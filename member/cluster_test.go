package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/names"
)

// cluster is a real cluster on the loopback, in one process.
type cluster struct {
	t     *testing.T
	dir   string
	hosts map[string]*Member
}

func newCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := &cluster{t: t, dir: t.TempDir(), hosts: map[string]*Member{}}
	t.Cleanup(func() {
		for _, m := range c.hosts {
			m.Close()
		}
	})
	ctx := testContext(t)
	if err := c.open("h1").Init(ctx, "test", "h1", ""); err != nil {
		t.Fatal(err)
	}
	for i := 2; i <= n; i++ {
		c.join(fmt.Sprintf("h%d", i), "h1")
	}
	return c
}

func testContext(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// open is New and Start.
func open(cfg Config) (*Member, error) {
	m, err := New(cfg)
	if err != nil {
		return nil, err
	}
	if err := m.Start(); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

func (c *cluster) open(name string) *Member {
	c.t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo})).With("at", name)
	}
	m, err := open(Config{
		StateDir: filepath.Join(c.dir, name), Router: link.NewRouter(), Listen: "127.0.0.1:0", Slots: 4, Log: log,
		Load: func() []byte { return []byte("load of " + name) },
	})
	if err != nil {
		c.t.Fatal(err)
	}
	c.hosts[name] = m
	return m
}

func (c *cluster) join(name, by string) time.Duration {
	c.t.Helper()
	ctx := testContext(c.t)
	token, addr, err := c.hosts[by].Token(ctx, false)
	if err != nil {
		c.t.Fatal(err)
	}
	m := c.open(name)
	begin := time.Now()
	if err := m.Join(ctx, addr, token, names.HostName(name), ""); err != nil {
		c.t.Fatal(err)
	}
	if err := m.Ready(ctx); err != nil {
		c.t.Fatal(err)
	}
	return time.Since(begin)
}

// kill ends a host as a crash does: it says good-bye to nobody.
func (c *cluster) kill(name string) {
	c.hosts[name].Close()
	delete(c.hosts, name)
}

// until waits until the views of all members satisfy ok, and says how long it took.
func (c *cluster) until(what string, within time.Duration, ok func(View) bool) time.Duration {
	c.t.Helper()
	begin := time.Now()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		bad := ""
		for name, m := range c.hosts {
			if !ok(m.View()) {
				bad = name
			}
		}
		if bad == "" {
			return time.Since(begin)
		}
		if time.Since(begin) > within {
			c.t.Fatalf("after %v, %s: not so in the view of %s: %s", within, what, bad, show(c.hosts[bad].View()))
		}
		<-tick.C
	}
}

// beating waits until every host has the load of every other.
func (c *cluster) beating() {
	c.t.Helper()
	missing := map[[2]string]bool{}
	for at := range c.hosts {
		for of := range c.hosts {
			missing[[2]string{of, at}] = of != at
		}
	}
	c.until("beats of all at all", 20*time.Second, func(View) bool {
		maps.DeleteFunc(missing, func(pair [2]string, other bool) bool {
			n, _, _, _ := c.hosts[pair[0]].Self()
			data, when := c.hosts[pair[1]].Load(n)
			return !other || string(data) == "load of "+pair[0] && time.Since(when) < 3*time.Second
		})
		return len(missing) == 0
	})
}

// show prints a view in one line.
func show(v View) string {
	var b strings.Builder
	fmt.Fprintf(&b, "view %d:", v.Seq)
	for _, h := range v.Hosts {
		fmt.Fprintf(&b, " %s=%d.%d", h.Name, h.Number, h.Incarnation)
		if h.State != Alive {
			fmt.Fprintf(&b, "(%s)", h.State)
		}
		if h.Voter {
			b.WriteString("*")
		}
	}
	return b.String()
}

func is(name string, state HostState) func(View) bool {
	return func(v View) bool {
		h, ok := v.ByName(names.HostName(name))
		return ok && h.State == state
	}
}

func voters(n int) func(View) bool {
	return func(v View) bool {
		have := 0
		for _, h := range v.Hosts {
			if h.Voter {
				if !h.State.Up() {
					return false
				}
				have++
			}
		}
		return have == n
	}
}

func TestInitJoin(t *testing.T) {
	begin := time.Now()
	c := newCluster(t, 1)
	t.Logf("init took %v", time.Since(begin))
	for _, name := range []string{"h2", "h3", "h4"} {
		t.Logf("join of %s took %v", name, c.join(name, "h1"))
	}
	t.Logf("three voters after %v", c.until("three voters", 20*time.Second, voters(3)))
	c.beating()
	for i, name := range []string{"h1", "h2", "h3", "h4"} {
		n, inc, self, cl := c.hosts[name].Self()
		if int(n) != i+1 || inc != 1 || string(self) != name || cl != "test" {
			t.Errorf("%s is %d.%d %s of %s", name, n, inc, self, cl)
		}
	}
	conn, err := c.hosts["h4"].Conn(testContext(t), 2)
	if err != nil {
		t.Fatal(err)
	}
	if p := conn.Peer(); p.Number != 2 || p.Name != "h2" || p.Incarnation != 1 {
		t.Errorf("the connection is to %+v", p)
	}
}

func TestNonVoterCrash(t *testing.T) {
	c := newCluster(t, 4)
	c.until("three voters", 20*time.Second, voters(3))
	c.beating()
	c.kill("h4")
	t.Logf("known everywhere after %v", c.until("h4 failed", 15*time.Second, is("h4", Failed)))
	m := c.open("h4")
	if err := m.Ready(testContext(t)); err != nil {
		t.Fatal(err)
	}
	c.until("h4 alive", 15*time.Second, is("h4", Alive))
	if n, inc, _, _ := m.Self(); n != 4 || inc != 2 {
		t.Errorf("h4 came back as %d.%d, want 4.2", n, inc)
	}
	if _, err := m.Conn(testContext(t), 1); err != nil {
		t.Error(err)
	}
}

func TestLeaderCrash(t *testing.T) {
	c := newCluster(t, 4)
	c.until("three voters", 20*time.Second, voters(3))
	c.beating()
	c.kill("h1")
	t.Logf("known everywhere after %v", c.until("h1 failed", 20*time.Second, is("h1", Failed)))
	t.Logf("three voters again after %v", c.until("three voters", 20*time.Second, voters(3)))
	c.open("h1")
	c.until("h1 alive", 20*time.Second, is("h1", Alive))
	c.join("h5", "h1")
	c.until("h5 alive", 15*time.Second, is("h5", Alive))
	if h, _ := c.hosts["h1"].View().ByName("h5"); h.Number != 5 {
		t.Errorf("h5 has number %d", h.Number)
	}
}

func TestLeave(t *testing.T) {
	c := newCluster(t, 4)
	ctx := testContext(t)
	c.until("three voters", 20*time.Second, voters(3))
	h1 := c.hosts["h1"]
	views, cancel := h1.Subscribe()
	defer cancel()
	if err := h1.Leave(ctx, names.Here); err != nil {
		t.Fatal(err)
	}
	var last View
	for v := range views {
		if v.Seq <= last.Seq {
			t.Errorf("view %d after view %d", v.Seq, last.Seq)
		}
		if last = v; is("h1", Left)(v) {
			break
		}
	}
	if n, _, _, _ := h1.Self(); n != 0 || h1.View().Seq != 0 {
		t.Errorf("h1 is still host %d: %s", n, show(h1.View()))
	}
	delete(c.hosts, "h1")
	defer h1.Close()
	c.until("h1 left", 15*time.Second, is("h1", Left))
	c.until("three voters", 20*time.Second, voters(3))

	if err := c.hosts["h2"].Leave(ctx, 4); err != nil {
		t.Fatal(err)
	}
	h4 := c.hosts["h4"]
	delete(c.hosts, "h4")
	defer h4.Close()
	c.until("h4 left", 15*time.Second, is("h4", Left))
	deadline := time.Now().Add(20 * time.Second)
	for {
		n, _, _, _ := h4.Self()
		entries, err := os.ReadDir(filepath.Join(c.dir, "h4"))
		if n == 0 && len(entries) == 1 { // the lock
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("h4 does not notice that it left: it is host %d, with %v, %v in its state directory", n, entries, err)
		}
		<-time.After(5 * time.Millisecond)
	}
	// It may come back as somebody new.
	token, addr, err := c.hosts["h3"].Token(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := h4.Join(ctx, addr, token, "h4", ""); err != nil {
		t.Fatal(err)
	}
	if n, _, _, _ := h4.Self(); n != 5 {
		t.Errorf("h4 came back as host %d, want 5", n)
	}
}

func TestTokens(t *testing.T) {
	c := newCluster(t, 2)
	ctx := testContext(t)
	token, addr, err := c.hosts["h2"].Token(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	other := &cluster{t: t, dir: t.TempDir(), hosts: map[string]*Member{}}
	if err := other.open("x1").Init(ctx, "other", "x1", ""); err != nil {
		t.Fatal(err)
	}
	defer other.kill("x1")
	foreign, _, err := other.hosts["x1"].Token(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	m := c.open("h3")
	check := func(name, token, addr, host, want string, kind error) {
		t.Helper()
		err := m.Join(ctx, addr, token, names.HostName(host), "")
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || kind != nil && !errors.Is(err, kind) {
			t.Errorf("%s: got %v, want %q of kind %v", name, err, want, kind)
		}
	}
	check("cut", token[:len(token)-1], addr, "h3", "damaged or cut short", nil)
	check("a letter more", token+"x", addr, "h3", "damaged", nil)
	check("no token", "hello", addr, "h3", "is no join token", nil)
	check("foreign", foreign, addr, "h3", "another cluster", nil)
	check("name in use", token, addr, "h1", "in use by host 1", syscall.EEXIST)
	check("bad name", token, addr, "H_3", "host name", nil)
	guess, err := parseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	guess.secret[0] ^= 1
	check("guessed", guess.String(), addr, "h3", "print the current one", syscall.EACCES)
	fresh, _, err := c.hosts["h2"].Token(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	check("rotated", token, addr, "h3", "print the current one", syscall.EACCES)
	check("nobody there", fresh, "127.0.0.1:1", "h3", "127.0.0.1:1: connection refused: is onehostd running there", syscall.ECONNREFUSED)
	if err := m.Join(ctx, addr, fresh, "h3", ""); err != nil { // by way of h2, which does not lead
		t.Fatal(err)
	}
	check("member already", fresh, addr, "h3", "already", nil)
}

func TestTwoHosts(t *testing.T) {
	c := newCluster(t, 2)
	c.until("one voter", 15*time.Second, voters(1))
	c.beating()
	c.kill("h2")
	t.Logf("known after %v", c.until("h2 failed", 15*time.Second, is("h2", Failed)))
	c.open("h2")
	c.until("h2 alive", 15*time.Second, is("h2", Alive))
	c.kill("h1") // the only voter: nothing can be recorded until it is back
	h2 := c.hosts["h2"]
	begin := time.Now()
	for s := h2.Sight(); s.Quorum || s.Silent[1].IsZero(); s = h2.Sight() {
		if time.Since(begin) > 20*time.Second {
			t.Fatal("h2 does not see that it is alone")
		}
		time.Sleep(5 * time.Millisecond)
	}
	t.Logf("the other sees it after %v", time.Since(begin))
	if h, _ := h2.View().Host(1); h.State != Alive {
		t.Errorf("without a voter, the view shows h1 as %s", h.State)
	}
	c.open("h1")
	for name, inc := range map[string]names.Incarnation{"h1": 2, "h2": 2} {
		c.until(name+" alive again", 20*time.Second, func(v View) bool {
			h, _ := v.ByName(names.HostName(name))
			return h.State == Alive && h.Incarnation == inc
		})
	}
}

func TestWholeClusterRestart(t *testing.T) {
	c := newCluster(t, 4)
	c.until("three voters", 20*time.Second, voters(3))
	all := []string{"h1", "h2", "h3", "h4"}
	for _, name := range all {
		c.kill(name)
	}
	for _, name := range slices.Backward(all) {
		c.open(name)
	}
	took := c.until("all alive again", 30*time.Second, func(v View) bool {
		for _, h := range v.Hosts {
			if h.State != Alive || h.Incarnation < 2 {
				return false
			}
		}
		return len(v.Hosts) == 4
	})
	t.Logf("all alive again after %v", took)
}

// A host that is declared failed while it lives finds out, although nobody talks to it, and comes back.
func TestFalselyFailed(t *testing.T) {
	for name, n := range map[string]names.Host{"voter": 2, "other": 4} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, 4)
			c.until("three voters", 20*time.Second, voters(3))
			c.beating()
			if _, err := c.hosts["h1"].current().getQuorum().apply(Command{Op: OpFail, Host: n, Incarnation: 1}); err != nil {
				t.Fatal(err)
			}
			took := c.until("it is back", 20*time.Second, func(v View) bool {
				h, _ := v.Host(n)
				return h.State == Alive && h.Incarnation == 2
			})
			t.Logf("back everywhere after %v", took)
			c.until("three voters", 20*time.Second, voters(3))
			c.beating()
		})
	}
}
