package carrier

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/link"
	"github.com/onehost/onehost/member"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/nest"
)

// Protocol is the version of what a daemon and its carriers say to each other. Whoever changes the meaning of anything below but opOwn, owned and opEnd,
// which stay what they are, gives it another number.
const Protocol = 1

// Operations of a carrier's socket, a control socket that only root may use. The requests and replies are the structs named after them.
const (
	// opOwn makes a daemon the carrier's, for as long as the connection lasts: ownRequest, owned with the carrier's counter of jobs.
	opOwn     = "own"
	opEnd     = "end"     // it is to end, with all that it runs: endRequest, done, when nothing is left but the carrier itself
	opPart    = "part"    // the daemon is about to end: nothing, parted
	opReach   = "reach"   // it is to have a connection to its home: reachRequest, done
	opHeard   = "heard"   // its home's daemon has been started again: reachRequest, done
	opLost    = "lost"    // its home is silent: it is to end its connection: reachRequest, done
	opDrained = "drained" // its host takes no new jobs, or does: drainedRequest, held
	opNests   = "nests"   // nothing, nestsReply
	opNested  = "nested"  // a process by its number at home: nestedRequest, done with its pidfd
	opProc    = "proc"    // /proc of the nest: nestedRequest, done with it
	opNumbers = "numbers" // nestedRequest, numbersReply
	opApplied = "applied" // it waits for the home's changes: appliedRequest, done
)

// OpCall is the operation of the daemon's control socket by which a carrier has it carry out a call of a process of its nest: callRequest, callReply
// with the descriptor if there is one. The end of the connection ends the call.
const OpCall = "carried-call"

type (
	ownRequest struct {
		Protocol int    `json:"protocol"`
		Version  string `json:"version"`
	}
	owned struct {
		Protocol    int               `json:"protocol"`
		Version     string            `json:"version"`
		Cluster     names.ClusterName `json:"cluster"`
		Host        names.Host        `json:"host"`        // whose carrier it is
		Incarnation names.Incarnation `json:"incarnation"` // its own
		Home        link.Peer         `json:"home"`        // as last heard of
	}
	endRequest struct {
		Gone bool `json:"gone,omitempty"` // the home is: nothing that waits for it is to wait any longer
	}
	parted struct {
		Stays bool `json:"stays"` // it runs jobs; otherwise it ends
	}
	reachRequest struct {
		Home link.Peer `json:"home"`
		Addr string    `json:"addr"`
	}
	drainedRequest struct {
		Drained bool `json:"drained"`
	}
	held struct {
		Jobs int `json:"jobs"`
	}
	nestsReply struct {
		Inits []int `json:"inits"`
	}
	nestedRequest struct {
		Home link.Peer `json:"home"`
		Pid  int       `json:"pid"`
	}
	numbersReply struct {
		Numbers []byte `json:"numbers"` // two bytes each, low first
	}
	appliedRequest struct {
		Home link.Peer `json:"home"`
		Seq  uint64    `json:"seq"`
	}
	callRequest struct {
		Home names.Host `json:"home"`
		Call nest.Call  `json:"call"`
	}
	callReply struct {
		Value int64  `json:"value"`
		Errno uint32 `json:"errno"`
	}
	done struct{}
)

// Setup is what a carrier is started with. It has the host's key, so it travels in memory.
type Setup struct {
	Dir         string             `json:"dir"`     // of its own, for its socket
	Trees       string             `json:"trees"`   // the directory below which it mounts
	Control     string             `json:"control"` // the daemon's socket
	Version     string             `json:"version"`
	Credentials member.Credentials `json:"credentials"` // with its number in the hello
	Home        link.Peer          `json:"home"`
	Addr        string             `json:"addr"` // of the home
	Drained     bool               `json:"drained"`
	Level       slog.Level         `json:"level"` // of its log
}

// incarnation is the carrier's own.
func (s *Setup) incarnation() names.Incarnation {
	return s.Credentials.Hello.Incarnation.Carrier(s.Credentials.Hello.Carrier)
}

// Prefix is how the names of the trees begin that the carrier mounts.
func (s *Setup) Prefix() string { return prefix(s.Home.Number, s.incarnation()) }

// prefix names a carrier among those of its host: the home's number and its own incarnation.
func prefix(home names.Host, inc names.Incarnation) string { return fmt.Sprintf("%d.%d", home, inc) }

// parsePrefix reads what prefix wrote, also before a dot and more.
func parsePrefix(name string) (home names.Host, inc names.Incarnation, ok bool) {
	n, err := fmt.Sscanf(name, "%d.%d", &home, &inc)
	return home, inc, n == 2 && err == nil
}

// socket is a carrier's, in its directory.
func socket(dir string) string { return filepath.Join(dir, "control.sock") }

// keep puts a setup into a file without a name.
func (s *Setup) keep() (*os.File, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	fd, err := unix.MemfdCreate("carrier", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd: %w", err)
	}
	f := os.NewFile(uintptr(fd), "carrier's setup")
	if _, err := f.WriteAt(data, 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// setupOf reads what keep wrote, and closes it.
func setupOf(f *os.File) (*Setup, error) {
	defer f.Close()
	data, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<20))
	if err != nil {
		return nil, err
	}
	s := &Setup{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, errors.Join(errors.New("bad setup of a carrier"), err)
	}
	return s, nil
}
