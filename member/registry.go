package member

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/onehost/onehost/names"
)

// Op names what a Command does.
type Op string

// The commands of the registry.
const (
	OpCreate  Op = "create"  // the cluster, with its first host: Cluster, CA, Token, Name, Addr, Slots
	OpJoin    Op = "join"    // a new host: Name, Addr, Slots, Generation of the token it showed, Request
	OpRejoin  Op = "rejoin"  // a host's new incarnation: Host, Incarnation, Birth, Addr, Slots
	OpDrain   Op = "drain"   // Host takes no new jobs
	OpResume  Op = "resume"  // Host takes jobs again
	OpLeave   Op = "leave"   // Host is out for good
	OpFail    Op = "fail"    // this Incarnation of Host is dead
	OpPromote Op = "promote" // Host holds a copy of the registry
	OpDemote  Op = "demote"  // Host holds none
	OpToken   Op = "token"   // Token replaces the one before
)

// Command is one entry of the registry's log. At is the proposer's time: the state machine has no clock.
type Command struct {
	Op          Op                `json:"op"`
	At          time.Time         `json:"at"`
	Host        names.Host        `json:"host,omitempty"`
	Incarnation names.Incarnation `json:"incarnation,omitempty"`
	Birth       names.Incarnation `json:"birth,omitempty"` // in which the life began that Incarnation goes on with
	Name        names.HostName    `json:"name,omitempty"`
	Addr        string            `json:"addr,omitempty"`
	Slots       int               `json:"slots,omitempty"`
	Cluster     names.ClusterName `json:"cluster,omitempty"`
	CA          *CA               `json:"ca,omitempty"`
	Token       *Secret           `json:"token,omitempty"`
	Generation  uint64            `json:"generation,omitempty"`
	Request     []byte            `json:"request,omitempty"` // tells one request to join from another
}

// CA is the cluster's certificate authority; voters hold its key.
type CA struct {
	Cert []byte `json:"cert"` // DER
	Key  []byte `json:"key"`  // PKCS #8, DER
}

// Secret is the shared half of the join token.
type Secret struct {
	Generation uint64    `json:"generation"` // counts the tokens of the cluster, set by the registry
	Bytes      []byte    `json:"bytes"`
	Expires    time.Time `json:"expires"`
}

// maxLeft bounds how many hosts that left are remembered in views.
const maxLeft = 64

// State is the registry: commands in, views out. It holds no goroutine, clock or socket. The same commands in the same order
// give the same state on every voter.
type State struct {
	View  View       `json:"view"`
	Next  names.Host `json:"next"` // the next host number to give; numbers are never given twice
	CA    CA         `json:"ca"`
	Token Secret     `json:"token"`

	// Joins has the request by which a host came in. A leader that is lost after the request was carried out and before its
	// answer is asked for the same again, through another: it gets the same host, not a refusal because of its own name.
	Joins map[names.Host][]byte `json:"joins,omitempty"`
}

// Apply carries out a command. It returns the host the command was about, as it is now, and whether there is a new view. An
// error is a Refusal, and then nothing has changed. A command that changes nothing (a host failed twice) is no error.
func (s *State) Apply(c Command) (Host, bool, error) {
	if c.Op == OpCreate {
		return s.create(c)
	}
	if s.View.Seq == 0 {
		return Host{}, false, refuse(errState, "the registry is empty: create a cluster first")
	}
	switch c.Op {
	case OpJoin:
		return s.join(c)
	case OpToken:
		if c.Token == nil || len(c.Token.Bytes) == 0 {
			return Host{}, false, refuse(errState, "command token: no secret")
		}
		generation := s.Token.Generation + 1
		s.Token = *c.Token
		s.Token.Generation = generation
		return Host{}, false, nil
	}
	h, known := s.View.Host(c.Host)
	if !known || h.State == Left && c.Op != OpLeave {
		return Host{}, false, refuse(errLeft, "host %d is not a member of cluster %s (any more): join it again with a token", c.Host, s.View.Cluster)
	}
	was := h
	switch c.Op {
	case OpRejoin:
		switch {
		case c.Incarnation < h.Incarnation, c.Incarnation == h.Incarnation && h.State == Failed:
			return Host{}, false, refuse(errStale, "host %s: incarnation %d is over, %d is known", h.Name, c.Incarnation, h.Incarnation)
		case c.Incarnation > h.Incarnation:
			h.Birth = c.Birth
			if h.State == Failed { // what it had has been given up
				h.Birth = c.Incarnation
			}
			h.Incarnation, h.Since = c.Incarnation, c.At
			if h.State != Drained {
				h.State = Alive
			}
		}
		h.Addr, h.Slots = c.Addr, c.Slots
	case OpDrain:
		if h.State == Failed {
			return Host{}, false, refuse(errState, "host %s is failed: it takes no jobs anyway", h.Name)
		}
		h.State = Drained
	case OpResume:
		if h.State == Failed {
			return Host{}, false, refuse(errState, "host %s is failed: it comes back when its onehostd does", h.Name)
		}
		h.State = Alive
	case OpLeave:
		h.State, h.Voter = Left, false
	case OpFail:
		if c.Incarnation == h.Incarnation {
			h.State = Failed
		}
	case OpPromote:
		h.Voter = true
	case OpDemote:
		h.Voter = false
	default:
		return Host{}, false, refuse(errState, "registry: unknown command %q: is this host's onehost older than the leader's?", c.Op)
	}
	if h == was {
		return h, false, nil
	}
	if h.State != was.State {
		h.Since = c.At
	}
	s.put(h)
	return h, true, nil
}

func (s *State) create(c Command) (Host, bool, error) {
	if s.View.Seq != 0 {
		return Host{}, false, refuse(errState, "the cluster exists already: %s", s.View.Cluster)
	}
	if c.CA == nil || c.Token == nil {
		return Host{}, false, refuse(errState, "command create: no CA or no token")
	}
	s.CA, s.Token, s.Next = *c.CA, *c.Token, 2
	s.Token.Generation = 1
	h := Host{Number: 1, Name: c.Name, Incarnation: 1, State: Alive, Since: c.At, Addr: c.Addr, Slots: c.Slots, Voter: true}
	s.View = View{Cluster: c.Cluster}
	s.put(h)
	return h, true, nil
}

func (s *State) join(c Command) (Host, bool, error) {
	if c.Generation != s.Token.Generation {
		return Host{}, false, refuse(errToken, "the token was replaced by a newer one: print it with 'onehost token' on a member and join with that")
	}
	if c.At.After(s.Token.Expires) {
		return Host{}, false, refuse(errToken, "the token expired at %s: print a new one with 'onehost token' on a member", s.Token.Expires.UTC().Format(time.RFC3339))
	}
	if old, known := s.View.ByName(c.Name); known {
		if old.State.Up() && len(c.Request) > 0 && bytes.Equal(s.Joins[old.Number], c.Request) {
			return old, false, nil
		}
		if old.State.Up() {
			return Host{}, false, refuse(errTaken, "the name %s is in use by host %d at %s: choose another with --host-name, or 'onehost leave %s' first", c.Name, old.Number, old.Addr, c.Name)
		}
		// A machine installed anew has lost its certificate: its old number is gone with it.
		s.remove(old.Number)
	}
	for _, h := range s.View.Up() {
		if c.Addr != "" && h.Addr == c.Addr {
			return Host{}, false, refuse(errTaken, "the address %s is that of host %d, %s: give the one of this host with --addr", c.Addr, h.Number, h.Name)
		}
	}
	if !s.Next.Valid() {
		return Host{}, false, refuse(errFull, "cluster %s has given out all %d host numbers: make a new cluster", s.View.Cluster, names.MaxHost)
	}
	h := Host{Number: s.Next, Name: c.Name, Incarnation: 1, State: Alive, Since: c.At, Addr: c.Addr, Slots: c.Slots}
	s.Next++
	s.put(h)
	if len(c.Request) > 0 {
		s.remember(h.Number, c.Request)
	}
	return h, true, nil
}

// remember keeps the request of a host that came in, and forgets those of hosts that are gone. Snapshots share the map, so it
// is copied.
func (s *State) remember(n names.Host, request []byte) {
	joins := map[names.Host][]byte{n: request}
	for _, h := range s.View.Up() {
		if r, ok := s.Joins[h.Number]; ok {
			joins[h.Number] = r
		}
	}
	s.Joins = joins
}

// put makes the next view, with h in it. Views are shared, so the list is copied.
func (s *State) put(h Host) {
	hosts := slices.Clone(s.View.Hosts)
	i, known := slices.BinarySearchFunc(hosts, h.Number, func(h Host, n names.Host) int { return int(h.Number) - int(n) })
	if known {
		hosts[i] = h
	} else {
		hosts = slices.Insert(hosts, i, h)
	}
	left := 0
	oldest := -1
	for i, h := range hosts {
		if h.State == Left {
			left++
			if oldest < 0 || h.Since.Before(hosts[oldest].Since) {
				oldest = i
			}
		}
	}
	if left > maxLeft {
		hosts = slices.Delete(hosts, oldest, oldest+1)
	}
	s.View.Hosts = hosts
	s.View.Seq++
}

func (s *State) remove(n names.Host) {
	s.View.Hosts = slices.DeleteFunc(slices.Clone(s.View.Hosts), func(h Host) bool { return h.Number == n })
}

// wantVoters is how many copies of the registry a cluster of n hosts that are up holds. With two voters the death of either
// stops the registry, with one only that of the one: so a cluster of two hosts has one.
func wantVoters(n int) int {
	switch {
	case n < 3:
		return 1
	case n <= 8:
		return 3
	}
	return 5
}

// voterChange is one step towards the voters a view wants.
type voterChange struct {
	Host names.Host
	Add  bool // or remove
}

func (c voterChange) String() string {
	if c.Add {
		return fmt.Sprintf("add %d", c.Host)
	}
	return fmt.Sprintf("remove %d", c.Host)
}

// nextVoterChange says which single step the leader takes next. It is pure: the same view and voters give the same step. Dead
// voters go first, so that the quorum is of living ones; then new ones are added; then surplus ones go, the leader last. From one to three it is two for
// a moment, of which neither may die: so the one that has been up for longest comes first, and one that has just come back last.
func nextVoterChange(v View, voters []names.Host, leader names.Host) (voterChange, bool) {
	up := map[names.Host]Host{}
	alive := 0
	for _, h := range v.Up() {
		up[h.Number] = h
		if h.State == Alive {
			alive++
		}
	}
	eligible := func(n names.Host) bool {
		h, ok := up[n]
		return ok && (h.State == Alive || alive == 0)
	}
	pool := alive
	if pool == 0 {
		pool = len(up)
	}
	good := 0
	for _, n := range voters {
		if _, ok := up[n]; !ok && len(voters) > 1 {
			return voterChange{Host: n}, true
		}
		if eligible(n) {
			good++
		}
	}
	want := wantVoters(pool)
	if good < want {
		var oldest *Host
		for i, h := range v.Hosts {
			if eligible(h.Number) && !slices.Contains(voters, h.Number) && (oldest == nil || h.Since.Before(oldest.Since)) {
				oldest = &v.Hosts[i]
			}
		}
		if oldest != nil {
			return voterChange{Host: oldest.Number, Add: true}, true
		}
	}
	sorted := slices.Clone(voters)
	slices.Sort(sorted)
	for _, n := range sorted { // drained ones, the leader after the others
		if n != leader && !eligible(n) && good > 0 {
			return voterChange{Host: n}, true
		}
	}
	if !eligible(leader) && slices.Contains(voters, leader) && good > 0 {
		return voterChange{Host: leader}, true
	}
	for _, n := range slices.Backward(sorted) {
		if n != leader && good > want {
			return voterChange{Host: n}, true
		}
	}
	return voterChange{}, false
}
