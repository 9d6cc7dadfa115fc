package e2e_test

import (
	"strings"
	"testing"
)

// TestNoFalseAlarm: hosts of 0.45 core with many more compilers than they can feed stay alive in each other's eyes, and their
// daemons have their turn: one that stands still for 300 ms says so.
func TestNoFalseAlarm(t *testing.T) {
	c := cluster(t, 3)
	h1 := c.Hosts()[0]
	j := job{host: h1, dir: "/root"}
	j.must(t, `printf 'all: $(shell seq 12)\n%%: ; @timeout 10 awk "BEGIN { while (1) ; }"; true\n' > busy.mk`)
	j.must(t, "onehost run -q --slots 4 make -j12 -f busy.mk")
	still := 0
	for _, h := range c.Hosts() {
		log := job{host: h}.must(t, "cat /var/log/onehostd.log")
		if strings.Contains(log, "a host failed") || strings.Contains(log, "gave this host up") {
			t.Errorf("%s: %s", h.Name(), log)
		}
		still += strings.Count(log, "stood still")
	}
	for name, h := range hosts(t, h1) {
		if h.State != "alive" || h.Incarnation != 1 {
			t.Errorf("%s is %s in its life %d", name, h.State, h.Incarnation)
		}
	}
	t.Logf("the three daemons stood still %d times", still)
}
