package split

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"

	"github.com/onehost/onehost/names"
)

// MaxHosts bounds the hosts of one split.
const MaxHosts = 250

// cpusPerHost is how many CPUs a host gets when the person does not say: "fork your system every 4 processors".
const cpusPerHost = 4

// daemonPort is where the hosts' daemons listen.
const daemonPort = 1996

// Config says what Up makes. The zero value divides the machine's CPUs by 4 without daemons.
type Config struct {
	Name    string            // of a private split; empty: the machine's own
	Hosts   int               // 0: the CPUs divided by 4, at least 2
	CPUs    int               // CPUs of each host, pinned when the machine has that many for all; 0: its share, unless Quota is set
	Quota   Quota             // CPU time of each host; 0: unlimited
	Rate    Rate              // of each host's network, each way; 0: unlimited
	Binds   []Bind            // directories of the machine seen inside
	Daemon  string            // path of onehostd; empty: hosts without a daemon
	Onehost string            // path of onehost, seen in the hosts as /usr/local/bin/onehost; empty: none
	Init    string            // program that calls Reexec first thing in main; empty: this one
	Cluster names.ClusterName // empty: "split"
}

var nameRule = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,22}[a-z0-9])?$`)

// checkName checks the name of a split; the machine's own has the empty one.
func checkName(name string) error {
	if name != "" && !nameRule.MatchString(name) {
		return fmt.Errorf("name of a split %q: want 1 to 24 of a-z, 0-9 and -, with no - at either end", name)
	}
	return nil
}

// resolve checks the configuration and fills in what was left open. The notes tell a person what could not be done as asked.
func (c *Config) resolve(allowed int) (notes []string, err error) {
	if err := checkName(c.Name); err != nil {
		return nil, err
	}
	if c.Hosts < 0 || c.Hosts > MaxHosts {
		return nil, fmt.Errorf("%d hosts: want a number from 1 to %d", c.Hosts, MaxHosts)
	}
	if c.CPUs < 0 {
		return nil, fmt.Errorf("%d CPUs for each host: want a number from 1 to %d", c.CPUs, runtime.NumCPU())
	}
	asked := c.CPUs > 0
	switch {
	case c.Hosts == 0:
		per := cpusPerHost
		if asked {
			per = c.CPUs
		}
		c.Hosts = min(max(allowed/per, 2), MaxHosts)
		if !asked && c.Quota == 0 {
			c.CPUs = min(cpusPerHost, allowed/c.Hosts)
		}
	case !asked && c.Quota == 0:
		c.CPUs = allowed / c.Hosts
	}
	if c.CPUs*c.Hosts > allowed {
		notes = append(notes, fmt.Sprintf("%d hosts of %d CPUs need %d, this machine has %d: the hosts share all of them, use --cpu-quota to divide their time", c.Hosts, c.CPUs, c.CPUs*c.Hosts, allowed))
		c.CPUs = 0
	}
	if c.Cluster == "" {
		c.Cluster = "split"
	}
	if _, err := names.ParseClusterName(string(c.Cluster)); err != nil {
		return nil, err
	}
	if c.Init == "" {
		c.Init = "/proc/self/exe"
	}
	for _, p := range []*string{&c.Daemon, &c.Onehost, &c.Init} {
		if *p == "" {
			continue
		}
		real, err := filepath.EvalSymlinks(*p)
		if err != nil {
			return nil, fmt.Errorf("program for the hosts: %w: build it first ('make build')", err)
		}
		if *p, err = filepath.Abs(real); err != nil {
			return nil, err
		}
	}
	for i := range c.Binds {
		if err := c.checkBind(&c.Binds[i]); err != nil {
			return nil, err
		}
	}
	return notes, nil
}

func (c *Config) checkBind(b *Bind) error {
	real, err := filepath.Abs(b.Dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(real); err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("--bind %s: no such directory: make it first", b.Dir)
		}
		return fmt.Errorf("--bind %s: %w", b.Dir, err)
	}
	switch real {
	case "/", "/proc", "/sys", "/dev", "/run":
		return fmt.Errorf("--bind %s: each host has its own %s: bind a directory below it", b.Dir, real)
	}
	b.Dir = real
	if b.Host == "" {
		return nil
	}
	for i := range c.Hosts {
		if hostName(i+1) == b.Host {
			return nil
		}
	}
	return fmt.Errorf("--bind %s:%s: no such host: this split has h1 to h%d", b.Dir, b.Host, c.Hosts)
}

func hostName(n int) names.HostName { return names.HostName("h" + strconv.Itoa(n)) }

// hostAddr gives 10.77.0.n. Splits never meet, so they all may use the same network.
func hostAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 77, 0, byte(n)}) }

const netBits = 16
