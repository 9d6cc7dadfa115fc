package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/onehost/onehost/control"
)

// hostCell is how wide the bar of a host with what belongs to it is, at least.
const hostCell = 38

// hostLines says how the hosts are laid out: so many beside each other, on so many lines, which are not more than a third of the screen.
func (m *topModel) hostLines() (beside, lines int) {
	beside = max(1, m.width/hostCell)
	lines = (len(m.sample.hosts) + beside - 1) / beside
	return beside, max(1, min(lines, m.height/3))
}

// listHeight is how many processes are on the screen.
func (m *topModel) listHeight() int {
	_, lines := m.hostLines()
	return max(1, m.height-lines-3) // the headline, the headings, the last line
}

// View draws the screen, as tea.Model wants it.
func (m *topModel) View() tea.View {
	v := tea.NewView(strings.Join(m.lines(), "\n"))
	v.AltScreen = true
	return v
}

func (m *topModel) lines() []string {
	if m.mode == topHelp {
		return m.cut(strings.Split(strings.TrimSuffix(topKeys, "\n"), "\n"))
	}
	lines := []string{m.style("1", m.sample.headline()+m.note())}
	lines = append(lines, m.bars()...)
	shown := m.rows[min(m.top, len(m.rows)):min(m.top+m.listHeight(), len(m.rows))]
	cells, width := columnWidths(m.columns, shown, m.sample.at)
	heads := make([]string, len(m.columns))
	for i, c := range m.columns {
		heads[i] = c.head
	}
	for i, w := range m.fixed() {
		width[i] = max(width[i], w)
	}
	lines = append(lines, m.reverse(tableLine(m.columns, heads, width, m.width)))
	for i, r := range shown {
		line := tableLine(m.columns, cells[i], width, m.width)
		switch {
		case r.Pid == m.chosen:
			line = m.reverse(line)
		case r.State == "R":
			line = m.style("1", line)
		case r.State == "?", r.State == "Z":
			line = m.style(yellow, line)
		}
		lines = append(lines, line)
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return m.cut(append(lines, m.lastLine()))
}

// fixed is how wide columns are at least, so that the table does not jump from one sample to the next.
func (m *topModel) fixed() []int {
	widths := make([]int, len(m.columns))
	for i, c := range m.columns {
		widths[i] = map[string]int{"pid": 8, "user": 8, "nice": 3, "pcpu": 5, "time": 8, "rss": 7}[c.names[0]]
	}
	return widths
}

// cut makes lines fit the screen.
func (m *topModel) cut(lines []string) []string {
	lines = lines[:min(len(lines), max(1, m.height))]
	for i, l := range lines {
		if ansi.StringWidth(l) > m.width {
			lines[i] = ansi.Truncate(l, m.width, "")
		}
	}
	return lines
}

func (m *topModel) style(sgr, text string) string {
	if !m.colored || text == "" {
		return text
	}
	return "\x1b[" + sgr + "m" + text + "\x1b[m"
}

// reverse marks a line over the whole width, without colours too.
func (m *topModel) reverse(line string) string {
	return "\x1b[7m" + line + strings.Repeat(" ", max(0, m.width-ansi.StringWidth(line))) + "\x1b[m"
}

// note says what the list leaves out.
func (m *topModel) note() string {
	if m.filter == "" {
		return ""
	}
	return fmt.Sprintf("  (%d with %q)", len(m.rows), printable(m.filter))
}

// bars draws the hosts, as many as there is room for.
func (m *topModel) bars() []string {
	beside, lines := m.hostLines()
	cell := m.width / beside
	name := 4
	for _, h := range m.sample.hosts {
		name = max(name, min(12, len(h.Name)))
	}
	var out []string
	for i := range lines {
		var b strings.Builder
		for k := range beside {
			n := k*lines + i // down, and then across
			if n >= len(m.sample.hosts) {
				break
			}
			last := k == beside-1 && i == lines-1
			if left := len(m.sample.hosts) - beside*lines; last && left > 0 {
				fmt.Fprintf(&b, "and %d more", left+1)
				break
			}
			b.WriteString(m.bar(&m.sample.hosts[n], name, cell))
		}
		out = append(out, strings.TrimRight(b.String(), " "))
	}
	return out
}

// bar draws one host: its name, its CPUs in use, and its jobs of the slots it has.
func (m *topModel) bar(h *control.Host, name, cell int) string {
	head := ansi.Truncate(string(h.Name), name, "")
	head += strings.Repeat(" ", name-len(head)+1)
	why := ""
	if _, silent := m.sample.failed[h.Name]; silent {
		why = "does not answer"
	} else if h.State != "alive" && h.State != "drained" {
		why = h.State
	}
	if why != "" {
		text := ansi.Truncate(why, max(0, cell-len(head)-1), "")
		return head + m.style(red, text) + strings.Repeat(" ", max(0, cell-len(head)-len(text)))
	}
	tail := fmt.Sprintf(" %3.0f%% %d/%d jobs", 100*h.Load, h.Jobs, h.Slots)
	tail += strings.Repeat(" ", max(0, 16-len(tail)))
	room := max(2, cell-len(head)-len(tail)-3)
	full := max(0, min(room, int(h.Load*float64(room)+0.5)))
	color := green
	switch {
	case h.State == "drained":
		color = yellow
	case h.Load > 0.9:
		color = red
	}
	return head + "[" + m.style(color, strings.Repeat("|", full)) + strings.Repeat(" ", room-full) + "]" + tail + " "
}

// lastLine is what is typed or asked, what was last said, or what the keys are.
func (m *topModel) lastLine() string {
	switch m.mode {
	case topFilter:
		return "show what contains: " + m.typed + "_"
	case topSignal:
		return fmt.Sprintf("signal to send to %s %s [TERM]: %s_", m.victim.Name, printable(m.victim.Comm), m.typed)
	case topConfirm:
		return m.style(red, fmt.Sprintf("send %s to %s %s of %s on %s? (y/n)", signalName(m.signal), m.victim.Name, printable(m.victim.Comm), printable(m.victim.User), m.victim.Host))
	}
	if m.say != "" {
		return printable(m.say)
	}
	var silent []string
	for _, h := range slices.Sorted(maps.Keys(m.sample.failed)) {
		silent = append(silent, fmt.Sprintf("%s: %s", h, m.sample.failed[h]))
	}
	if len(silent) > 0 {
		return m.style(red, printable(strings.Join(silent, "; ")))
	}
	return "q quit  / filter  k kill  P M T N U H C sort  R reverse  h help"
}

const topKeys = `onehost top: the hosts with their CPUs in use and their jobs of the slots they
have, and the processes of all of them. %CPU is since the list before.

  arrows, page up, page down, home, end   choose a process
  k      send a signal to the chosen process
  / f    show only what contains a text: command, user, pid, or the host's name
  esc    show all again, and choose none
  P M T  order by CPU in use, memory, CPU time
  N U H C  order by pid, user, host, command
  R      the other way round
  q      end

Any key goes back to the list.
`
