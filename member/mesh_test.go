//go:build !race

package member

import (
	"testing"
	"time"
)

// The race detector makes 18 hosts in one process slower than their own heartbeats, so this runs without it.
//
// In a cluster where not all beat to all, everybody still has the views and the loads, and a crash is known.
func TestManyHosts(t *testing.T) {
	c := newCluster(t, fullMesh+2)
	c.until("five voters", 30*time.Second, voters(5))
	begin := time.Now()
	c.beating()
	t.Logf("all loads known after %v", time.Since(begin))
	c.kill("h12")
	t.Logf("known everywhere after %v", c.until("h12 failed", 20*time.Second, is("h12", Failed)))
	c.until("nobody else", time.Second, func(v View) bool { return len(v.Up()) == fullMesh+1 })
}
