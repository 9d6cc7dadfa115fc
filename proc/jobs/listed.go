package jobs

import (
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list"
)

// Elsewhere gives the processes of this home that are on other hosts now, or on their way there, by the numbers of their ghosts.
func (h *Home) Elsewhere() map[int]names.Host {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := map[int]names.Host{}
	for _, w := range h.runs {
		for r := range w.jobs {
			all[r.pid] = r.host
		}
	}
	return all
}

// Nests gives the nests of this host that can have processes.
func (h *Helper) Nests() []list.Nest {
	h.mu.Lock()
	defer h.mu.Unlock()
	var all []list.Nest
	for home, hm := range h.homes {
		select {
		case <-hm.ready:
		default:
			continue
		}
		if hm.err != nil || hm.nest == nil {
			continue
		}
		if init := hm.nest.InitPid(); init != 0 {
			all = append(all, list.Nest{Home: home, Init: init})
		}
	}
	return all
}
