package member

import (
	"slices"
	"time"

	"github.com/onehost/onehost/names"
)

// HostState is what the registry says of a host.
type HostState string

// The states. Alive and drained hosts are up: their links stand and they beat. A failed host may come back by itself, as a
// new incarnation. A host that left is out for good: to come back it joins anew and gets a new number.
const (
	Alive   HostState = "alive"
	Drained HostState = "drained" // takes no new jobs
	Left    HostState = "left"
	Failed  HostState = "failed"
)

// Up reports whether hosts in this state take part in the cluster.
func (s HostState) Up() bool { return s == Alive || s == Drained }

// Host is what a view says of one host.
type Host struct {
	Number      names.Host        `json:"number"`
	Name        names.HostName    `json:"name"`
	Incarnation names.Incarnation `json:"incarnation"`
	Birth       names.Incarnation `json:"birth,omitempty"` // the incarnation in which its present life began; 0: in this one
	State       HostState         `json:"state"`
	Since       time.Time         `json:"since"` // when the state began, by the clock of the registry's leader
	Addr        string            `json:"addr"`  // host:port of its link listener
	Slots       int               `json:"slots"` // jobs it takes at a time
	Voter       bool              `json:"voter"` // it holds a copy of the registry
}

// GoesOn reports whether the host still lives the life that it lived in an incarnation.
func (h Host) GoesOn(was names.Incarnation) bool {
	birth := h.Birth
	if birth == 0 {
		birth = h.Incarnation
	}
	return h.State.Up() && birth <= was && was <= h.Incarnation
}

// View is the cluster at one moment of the registry. All hosts see the same sequence of views, by Seq; a host that was
// away may miss some in the middle. A view is never changed once made: share it, do not write to it.
type View struct {
	Seq     uint64            `json:"seq"` // from 1; 0 is no view at all
	Cluster names.ClusterName `json:"cluster"`
	Hosts   []Host            `json:"hosts"` // by number
}

// Host finds a host by its number.
func (v View) Host(n names.Host) (Host, bool) {
	i, ok := slices.BinarySearchFunc(v.Hosts, n, func(h Host, n names.Host) int { return int(h.Number) - int(n) })
	if !ok {
		return Host{}, false
	}
	return v.Hosts[i], true
}

// ByName finds a host by its name.
func (v View) ByName(name names.HostName) (Host, bool) {
	for _, h := range v.Hosts {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// Up lists the hosts that take part: alive and drained ones.
func (v View) Up() []Host {
	var up []Host
	for _, h := range v.Hosts {
		if h.State.Up() {
			up = append(up, h)
		}
	}
	return up
}

// Life is one life of a host.
type Life struct {
	Host        names.Host        `json:"host"`
	Incarnation names.Incarnation `json:"incarnation"`
}

// Admits says whether a word from this life of a host may be heard: nil, or a Refusal that says why not. A newer
// incarnation than the view knows is admitted: incarnations are counted by the host itself and vouched for by its
// certificate, so the view is merely behind.
func (v View) Admits(l Life) error {
	h, known := v.Host(l.Host)
	switch {
	case v.Seq == 0:
		return nil
	case !known || h.State == Left:
		return refuse(errLeft, "host %d is not a member of cluster %s (any more): join it again with a token", l.Host, v.Cluster)
	case l.Incarnation < h.Incarnation:
		return refuse(errStale, "host %s: incarnation %d is over, %d is known", h.Name, l.Incarnation, h.Incarnation)
	case l.Incarnation == h.Incarnation && h.State == Failed:
		return refuse(errStale, "host %s: incarnation %d was declared failed", h.Name, l.Incarnation)
	}
	return nil
}
