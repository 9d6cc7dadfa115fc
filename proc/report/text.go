package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/onehost/onehost/names"
)

// maxCommand bounds the command in a line of --explain, in bytes before quoting.
const maxCommand = 1000

// live is what the live line shows.
type live struct {
	hosts   map[names.HostName]*tally
	home    int
	done    int
	rate    float64
	elapsed time.Duration
}

func liveLine(l live) string {
	var b strings.Builder
	fmt.Fprintf(&b, "home %d", l.home)
	for _, h := range natural(l.hosts) {
		fmt.Fprintf(&b, "  %s %d", h, l.hosts[h].running)
	}
	fmt.Fprintf(&b, " | %d done, %.1f/s, %s", l.done, l.rate, clock(l.elapsed))
	return b.String()
}

// fit shortens a live line to a width: first the hosts, then whatever is left. Names and numbers are ASCII.
func fit(line string, width int) string {
	if len(line) <= width {
		return line
	}
	hosts, tail, _ := strings.Cut(line, " | ")
	tail = " | " + tail
	for len(hosts)+len(" …")-2+len(tail) > width {
		i := strings.LastIndex(hosts, "  ")
		if i < 0 {
			return line[:max(0, min(width, len(line)))]
		}
		hosts = hosts[:i]
	}
	return hosts + " …" + tail
}

// clock gives 0:13, 12:05, 1:02:03.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// explain gives the line of one job:
//
//	h3   0.84s cc -c foo.c
//	home 0.02s (cheap) mkdir -p x
func explain(j *job, status int, wall time.Duration, width int, color bool) string {
	host, shade := string(j.host), "\x1b[32m"
	var notes []string
	if host == "" {
		host, shade = "home", "\x1b[33m"
		notes = append(notes, reasonOr(j.reason))
	}
	if j.lost != "" {
		notes = append(notes, "lost on "+string(j.lost))
	}
	if status > 0 {
		notes = append(notes, fmt.Sprintf("status %d", status))
	}
	host = fmt.Sprintf("%-*s", width, host)
	if color {
		host = shade + host + "\x1b[0m"
	}
	line := fmt.Sprintf("%s %6.2fs ", host, wall.Seconds())
	if len(notes) > 0 {
		line += "(" + strings.Join(notes, ", ") + ") "
	}
	command := j.command
	if len(command) > maxCommand {
		cut := maxCommand
		for cut > maxCommand-utf8.UTFMax && !utf8.RuneStart(command[cut]) {
			cut--
		}
		command = command[:cut] + " …"
	}
	return line + printable(command) + "\n"
}

// printable gives s on one line that does nothing to a terminal: control characters, what turns the direction of writing, and
// bytes that are no character are written as in a Go string.
func printable(s string) string {
	clean := true
	for _, c := range s {
		if !unicode.IsPrint(c) || c == utf8.RuneError {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		switch {
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == utf8.RuneError && n == 1 || c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case !unicode.IsPrint(c):
			fmt.Fprintf(&b, `\u%04x`, c)
		default:
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// summary gives the last line; r.mu is held.
func (r *Reporter) summary(elapsed time.Duration) string {
	atHome := 0
	for _, n := range r.local {
		atHome += n
	}
	plural := "s"
	if r.total.done == 1 {
		plural = ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d job%s: %d remote, %d local", r.total.done, plural, r.total.done-atHome, atHome)
	if atHome > 0 {
		reasons := slices.SortedFunc(maps.Keys(r.local), func(a, b string) int {
			return cmp.Or(cmp.Compare(r.local[b], r.local[a]), cmp.Compare(a, b))
		})
		for i, reason := range reasons {
			b.WriteString([]string{" (", ", "}[min(i, 1)])
			fmt.Fprintf(&b, "%d %s", r.local[reason], printable(reason))
		}
		b.WriteByte(')')
	}
	if r.again > 0 {
		fmt.Fprintf(&b, ", %d begun again", r.again)
	}
	sep := "; "
	for _, h := range natural(r.hosts) {
		if n := r.hosts[h].done; n > 0 {
			fmt.Fprintf(&b, "%s%s %d", sep, h, n)
			sep = " "
		}
	}
	if r.o.CPUs > 0 && elapsed >= time.Second && r.total.done > atHome {
		cpu := r.remoteCPU + r.o.HomeCPU()
		fmt.Fprintf(&b, "; %.1fx", cpu.Seconds()/(r.o.CPUs*elapsed.Seconds()))
	}
	b.WriteByte('\n')
	return b.String()
}

func droppedLine(n int) string {
	return fmt.Sprintf("onehost: %d lines were dropped because the terminal did not take them\n", n)
}

// reasonOr makes sure that a local job has a reason.
func reasonOr(reason string) string {
	if reason == "" {
		return "no reason given"
	}
	return reason
}

// natural sorts host names with h2 before h10.
func natural(hosts map[names.HostName]*tally) []names.HostName {
	return slices.SortedFunc(maps.Keys(hosts), func(a, b names.HostName) int {
		x, n := trailing(string(a))
		y, m := trailing(string(b))
		return cmp.Or(cmp.Compare(x, y), cmp.Compare(n, m), cmp.Compare(a, b))
	})
}

// trailing splits h10 into h and 10.
func trailing(s string) (string, int) {
	i := len(s)
	for i > 0 && len(s)-i < 9 && s[i-1] >= '0' && s[i-1] <= '9' {
		i--
	}
	n := 0
	for _, c := range s[i:] {
		n = n*10 + int(c-'0')
	}
	return s[:i], n
}
