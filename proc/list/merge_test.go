package list

import (
	"fmt"
	"strings"
	"testing"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
	"github.com/onehost/onehost/proc/list/listpb"
)

func hostName(h names.Host) names.HostName { return names.HostName(fmt.Sprintf("h%d", h)) }

// native, ghost and nested make rows of a host.
func native(pid, ppid, pgid, sid uint32) *listpb.Proc {
	return &listpb.Proc{Pid: pid, Ppid: ppid, Pgid: pgid, Session: sid, Uid: 1000, State: 'S', Rss: 4096, CpuNs: 10, Comm: []byte("native"), Command: []byte("native")}
}

func ghost(p *listpb.Proc, to uint32) *listpb.Proc {
	p.Elsewhere, p.Tty, p.Command = to, "pts/3", []byte("ghost")
	return p
}

func nested(home uint32, p *listpb.Proc, job uint32) *listpb.Proc {
	p.Home, p.Job, p.Command = home, job, []byte("nested")
	return p
}

func merged(answers map[names.Host][]*listpb.Proc, want func(control.Proc) bool, order ...names.Host) string {
	m := newMerger(hostName)
	for _, h := range order {
		users := map[uint32]string{}
		if h == 1 {
			users[1000] = "ada"
		}
		m.add(h, &answer{procs: answers[h], users: users})
	}
	var b strings.Builder
	for _, p := range m.list(want) {
		fmt.Fprintf(&b, "%s on %s: parent %d:%d group %d:%d session %d:%d %s %s %q %d %s\n", p.Name, p.Host, p.PPid.Host(), p.PPid.Local(), p.PGid.Host(), p.PGid.Local(),
			p.Session.Host(), p.Session.Local(), p.User, p.State, p.TTY, p.RSS, p.Command)
	}
	return b.String()
}

// TestMerge: each process once, with what it has at home, whichever host answers first.
func TestMerge(t *testing.T) {
	answers := map[names.Host][]*listpb.Proc{
		1: {
			native(1, 0, 1, 1), native(50, 1, 50, 40),
			ghost(native(60, 50, 50, 40), 2), // runs on h2
			ghost(native(61, 50, 50, 40), 2), // on its way there
			ghost(native(62, 50, 50, 40), 3), // h3 does not answer
			native(63, 50, 50, 40),           // had not gone yet when h1 was asked, runs on h2
			ghost(native(64, 50, 64, 40), 2), // leader of a group, as a shell's jobs are
		},
		2: {
			native(1, 0, 1, 1),
			nested(1, native(60, 0, 60, 1), 60),
			nested(1, native(32768, 60, 60, 1), 60),        // its child
			nested(1, native(32769, 1, 60, 0), 32769),      // an orphan of it
			nested(1, native(32770, 60, 32770, 32770), 60), // a child that called setsid
			nested(1, native(63, 0, 63, 1), 63),
			nested(1, native(64, 0, 64, 1), 64),
			nested(7, native(5, 0, 5, 1), 5), // of a home that did not answer
		},
	}
	want := `h1:1 on h1: parent 0:0 group 1:1 session 1:1 ada S "" 4096 native
h1:50 on h1: parent 1:1 group 1:50 session 1:40 ada S "" 4096 native
h1:60 on h2: parent 1:50 group 1:50 session 1:40 ada S "pts/3" 4096 nested
h1:61 on h2: parent 1:50 group 1:50 session 1:40 ada ? "pts/3" 0 ghost
h1:62 on h3: parent 1:50 group 1:50 session 1:40 ada ? "pts/3" 0 ghost
h1:63 on h2: parent 0:0 group 1:63 session 1:1 ada S "" 4096 nested
h1:64 on h2: parent 1:50 group 1:64 session 1:40 ada S "pts/3" 4096 nested
h1:32768 on h2: parent 1:60 group 1:50 session 1:40 ada S "pts/3" 4096 nested
h1:32769 on h2: parent 1:1 group 1:50 session 1:40 ada S "pts/3" 4096 nested
h1:32770 on h2: parent 1:60 group 1:32770 session 1:32770 ada S "" 4096 nested
h2:1 on h2: parent 0:0 group 2:1 session 2:1 1000 S "" 4096 native
h7:5 on h2: parent 0:0 group 7:5 session 7:1 1000 S "" 4096 nested
`
	all := func(control.Proc) bool { return true }
	for _, order := range [][]names.Host{{1, 2}, {2, 1}} {
		if got := merged(answers, all, order...); got != want {
			t.Errorf("order %v:\n%s\nwant:\n%s", order, got, want)
		}
	}
	if got := merged(answers, func(p control.Proc) bool { return p.Host == "h3" }, 1, 2); got != "h1:62 on h3: parent 1:50 group 1:50 session 1:40 ada ? \"pts/3\" 0 ghost\n" {
		t.Errorf("of h3: %s", got)
	}
}

// TestHomes: whose processes were found, and who was not asked.
func TestHomes(t *testing.T) {
	m := newMerger(hostName)
	m.add(2, &answer{procs: []*listpb.Proc{nested(1, native(60, 0, 60, 1), 60), nested(7, native(5, 0, 5, 1), 5), nested(7, native(6, 0, 5, 1), 6)}, users: map[uint32]string{}})
	m.add(7, &answer{users: map[uint32]string{}})
	if homes := m.homes(); len(homes) != 1 || homes[0] != 1 {
		t.Errorf("%v", homes)
	}
}
