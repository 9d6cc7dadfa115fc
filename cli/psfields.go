package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/onehost/onehost/control"
	"github.com/onehost/onehost/names"
)

// psRow is a process as it is shown.
type psRow struct {
	control.Proc
	cpu    float64                // per cent of one CPU
	indent string                 // of its command, in a tree
	named  func(names.Pid) string // host:pid of another process
}

// psField is a column: its names, as ps(1) has them where it does, what is in it, and how rows are put in order by it.
type psField struct {
	names   []string
	head    string
	right   bool
	cell    func(r *psRow, now time.Time) string
	compare func(a, b *psRow) int
}

// by makes an order from a key.
func by[K cmp.Ordered](key func(r *psRow) K) func(a, b *psRow) int {
	return func(a, b *psRow) int { return cmp.Compare(key(a), key(b)) }
}

func psFields() []psField {
	pid := func(of func(r *psRow) names.Pid) func(*psRow, time.Time) string {
		return func(r *psRow, _ time.Time) string { return r.named(of(r)) }
	}
	text := func(of func(r *psRow) string) func(*psRow, time.Time) string {
		return func(r *psRow, _ time.Time) string { return of(r) }
	}
	field := func(words, head string, right bool, cell func(*psRow, time.Time) string, compare func(a, b *psRow) int) psField {
		return psField{names: strings.Fields(words), head: head, right: right, cell: cell, compare: compare}
	}
	const left, right = false, true
	started := by(func(r *psRow) int64 { return r.Started.UnixNano() })
	younger := func(a, b *psRow) int { return started(b, a) }
	user := by(func(r *psRow) string { return r.User })
	command := by(func(r *psRow) string { return r.Command })
	return []psField{
		field("pid", "PID", left, pid(func(r *psRow) names.Pid { return r.Pid }), by(func(r *psRow) names.Pid { return r.Pid })),
		field("number num", "NUMBER", right, text(func(r *psRow) string { return r.Pid.String() }), by(func(r *psRow) names.Pid { return r.Pid })),
		field("ppid", "PPID", left, pid(func(r *psRow) names.Pid { return r.PPid }), by(func(r *psRow) names.Pid { return r.PPid })),
		field("pgid pgrp", "PGID", left, pid(func(r *psRow) names.Pid { return r.PGid }), by(func(r *psRow) names.Pid { return r.PGid })),
		field("sid sess session", "SID", left, pid(func(r *psRow) names.Pid { return r.Session }), by(func(r *psRow) names.Pid { return r.Session })),
		field("host", "HOST", left, text(func(r *psRow) string { return string(r.Host) }), by(func(r *psRow) names.HostName { return r.Host })),
		field("home", "HOME", left, text(func(r *psRow) string { return string(r.Home) }), by(func(r *psRow) names.HostName { return r.Home })),
		field("user ruser uname", "USER", left, text(func(r *psRow) string { return r.User }), user),
		field("uid ruid", "UID", right, text(func(r *psRow) string { return strconv.FormatUint(uint64(r.UID), 10) }), by(func(r *psRow) uint32 { return r.UID })),
		field("stat", "STAT", left, text(stat), by(stat)),
		field("state s", "S", left, text(func(r *psRow) string { return r.State }), by(func(r *psRow) string { return r.State })),
		field("tty tt tname", "TTY", left, text(func(r *psRow) string { return cmp.Or(r.TTY, "?") }), by(func(r *psRow) string { return r.TTY })),
		field("nice ni", "NI", right, text(func(r *psRow) string { return strconv.Itoa(r.Nice) }), by(func(r *psRow) int { return r.Nice })),
		field("pcpu %cpu cpu c", "%CPU", right, text(func(r *psRow) string { return strconv.FormatFloat(r.cpu, 'f', 1, 64) }), by(func(r *psRow) float64 { return r.cpu })),
		field("time cputime", "TIME", right, text(func(r *psRow) string { return clock(r.CPU, true) }), by(func(r *psRow) time.Duration { return r.CPU })),
		field("rss rssize rsz", "RSS", right, text(func(r *psRow) string { return strconv.FormatInt(r.RSS>>10, 10) }), by(func(r *psRow) int64 { return r.RSS })),
		field("started start stime bsdstart", "STARTED", right, func(r *psRow, now time.Time) string { return begun(r.Started.In(now.Location()), now) }, started),
		field("lstart", "STARTED", left, func(r *psRow, now time.Time) string { return r.Started.In(now.Location()).Format(time.ANSIC) }, started),
		field("etime", "ELAPSED", right, func(r *psRow, now time.Time) string { return clock(now.Sub(r.Started), false) }, younger),
		field("etimes", "ELAPSED", right, func(r *psRow, now time.Time) string {
			return strconv.FormatInt(int64(max(0, now.Sub(r.Started))/time.Second), 10)
		}, younger),
		field("comm ucmd ucomm", "COMMAND", left, text(func(r *psRow) string { return r.indent + r.Comm + defunct(r) }), by(func(r *psRow) string { return r.Comm })),
		field("command args cmd", "COMMAND", left, text(func(r *psRow) string { return r.indent + r.Command + defunct(r) }), command),
	}
}

func defunct(r *psRow) string {
	if r.State == "Z" {
		return " <defunct>"
	}
	return ""
}

// stat is the state with what ps adds to it: < and N for niceness, s for the leader of a session.
func stat(r *psRow) string {
	s := r.State
	switch {
	case r.Nice < 0:
		s += "<"
	case r.Nice > 0:
		s += "N"
	}
	if r.Session == r.Pid {
		s += "s"
	}
	return s
}

// clock prints a time as ps does: [days-]hours:minutes:seconds, or with the hours left out when they are 0 unless full.
func clock(d time.Duration, full bool) string {
	s := int64(max(0, d) / time.Second)
	text := fmt.Sprintf("%02d:%02d", s/60%60, s%60)
	if full || s >= 3600 {
		text = fmt.Sprintf("%02d:", s/3600%24) + text
	}
	if s >= 86400 {
		text = fmt.Sprintf("%d-", s/86400) + text
	}
	return text
}

// begun prints when something began in 5 letters: the time of day, the day of the year, or the year.
func begun(t, now time.Time) string {
	switch {
	case now.Sub(t) < 24*time.Hour && t.Day() == now.Day():
		return t.Format("15:04")
	case t.Year() == now.Year():
		return t.Format("Jan02")
	}
	return t.Format("2006")
}

func columnCalled(name string) (psField, bool) {
	for _, f := range psFields() {
		if slices.Contains(f.names, name) {
			return f, true
		}
	}
	return psField{}, false
}

// psFieldNames lists the first name of each column.
func psFieldNames() string {
	var all []string
	for _, f := range psFields() {
		all = append(all, f.names[0])
	}
	return strings.Join(all, ", ")
}

// psColumns reads the values of -o: names with commas or blanks between, each perhaps with =HEADING.
func psColumns(words []string) ([]psField, error) {
	var columns []psField
	for _, word := range words {
		for name := range strings.FieldsFuncSeq(word, func(r rune) bool { return r == ',' || r == ' ' }) {
			name, head, own := strings.Cut(name, "=")
			f, ok := columnCalled(name)
			if !ok {
				return nil, fmt.Errorf("no column is called %q: the columns are %s", name, psFieldNames())
			}
			if own {
				f.head = head
			}
			columns = append(columns, f)
		}
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("-o names no column: the columns are %s", psFieldNames())
	}
	return columns, nil
}

// psOrder reads the value of --sort: names of columns with commas between, + or - before each for rising and falling.
func psOrder(words string) (func(a, b *psRow) int, error) {
	var keys []func(a, b *psRow) int
	for word := range strings.SplitSeq(words, ",") {
		name, falling := strings.CutPrefix(word, "-")
		f, ok := columnCalled(strings.TrimPrefix(name, "+"))
		if !ok {
			return nil, fmt.Errorf("no column is called %q: the columns are %s", strings.TrimPrefix(name, "+"), psFieldNames())
		}
		compare := f.compare
		if falling {
			compare = func(a, b *psRow) int { return f.compare(b, a) }
		}
		keys = append(keys, compare)
	}
	return func(a, b *psRow) int {
		for _, k := range keys {
			if c := k(a, b); c != 0 {
				return c
			}
		}
		return cmp.Compare(a.Pid, b.Pid)
	}, nil
}
