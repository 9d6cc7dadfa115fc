package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/onehost/onehost/control"
)

func (a *app) hostsCommand() *cobra.Command {
	var asJSON, noColor bool
	cmd := &cobra.Command{
		Use:   "hosts",
		Short: "List the hosts of the cluster, the failed ones too",
		Args:  Arguments(0, 0, ""),
		RunE: func(cmd *cobra.Command, _ []string) error {
			var r control.HostsReply
			if err := a.call(cmd.Context(), askLimit, control.OpHosts, struct{}{}, &r); err != nil {
				return failed("hosts", err)
			}
			if r.Standstill {
				fmt.Fprintln(a.env.Stderr, standstill)
			}
			if asJSON {
				if r.Hosts == nil {
					r.Hosts = []control.Host{} // an array, empty or not
				}
				return writeJSON(a.env.Stdout, r.Hosts)
			}
			return hostTable(r.Hosts, time.Now()).write(a.env.Stdout, a.colored(a.env.Stdout, noColor))
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON array")
	cmd.Flags().BoolVar(&noColor, "no-color", false, "no colour on a terminal")
	return cmd
}

// standstill is said on standard error, so that what reads the list is not disturbed by it.
const standstill = "onehost: hosts: too few of the cluster's voters answer: the list stands still until most of them are back; " +
	"what does not answer this host is shown as failed"

func hostTable(hosts []control.Host, now time.Time) *table {
	t := &table{head: []string{"NAME", "NUMBER", "STATE", "SINCE", "ADDRESS", "SLOTS", "JOBS", "LOAD"}, right: "01000111"}
	for _, h := range hosts {
		slots, jobs, load := strconv.Itoa(h.Slots), strconv.Itoa(h.Jobs), strconv.FormatFloat(h.Load, 'f', 2, 64)
		color := ""
		switch h.State {
		case "alive":
			color = green
		case "failed":
			color = red
		case "drained":
			color = yellow
		}
		if h.State == "failed" || h.State == "left" {
			slots, jobs, load = "-", "-", "-" // what was last heard says nothing of now
		}
		t.add(color, string(h.Name), h.Number.String(), h.State, ago(now.Sub(h.Since)), h.Address, slots, jobs, load)
	}
	return t
}

// ago prints a duration in one word of at most two units, as 3d4h, 5m12s or 7s.
func ago(d time.Duration) string {
	s := max(0, int64(d/time.Second))
	switch {
	case s >= 86400:
		return fmt.Sprintf("%dd%dh", s/86400, s%86400/3600)
	case s >= 3600:
		return fmt.Sprintf("%dh%dm", s/3600, s%3600/60)
	case s >= 60:
		return fmt.Sprintf("%dm%ds", s/60, s%60)
	default:
		return fmt.Sprintf("%ds", s)
	}
}

// Colours of a terminal, as the parameter of SGR.
const (
	red    = "31"
	green  = "32"
	yellow = "33"
)

// table prints columns as wide as their widest cell, two blanks apart.
type table struct {
	head  []string
	right string // a 1 for each column that is aligned to the right
	rows  [][]string
	color []string // of each row's STATE column, "" for none
}

func (t *table) add(color string, cells ...string) {
	t.rows = append(t.rows, cells)
	t.color = append(t.color, color)
}

// colorColumn is where a row's colour goes, in every table of this package.
const colorColumn = 2

func (t *table) write(w io.Writer, colored bool) error {
	width := make([]int, len(t.head))
	for _, row := range append([][]string{t.head}, t.rows...) {
		for i, cell := range row {
			width[i] = max(width[i], len(cell))
		}
	}
	var out strings.Builder
	line := func(row []string, color string) {
		var b strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-len(cell))
			if t.right[i] == '1' {
				b.WriteString(pad)
			}
			if colored && color != "" && i == colorColumn {
				cell = "\x1b[" + color + "m" + cell + "\x1b[0m"
			}
			b.WriteString(cell)
			if t.right[i] != '1' {
				b.WriteString(pad)
			}
			b.WriteString("  ")
		}
		out.WriteString(strings.TrimRight(b.String(), " ") + "\n")
	}
	line(t.head, "")
	for i, row := range t.rows {
		line(row, t.color[i])
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // it is read by people, too: '&' stays '&'
	return e.Encode(v)
}
