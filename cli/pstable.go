package cli

import (
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/charmbracelet/x/ansi"
	"golang.org/x/term"

	"github.com/onehost/onehost/names"
)

// printable makes a text that another user chose fit for a terminal: what would move the cursor, change colours or hide itself becomes '?'.
func printable(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] >= ' ' && s[i] < 0x7f
	}
	if plain {
		return s
	}
	return strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, s)
}

// columnWidths gives the cells of a table, made fit for a terminal, and how wide each column is.
func columnWidths(columns []psField, rows []*psRow, now time.Time) (cells [][]string, width []int) {
	width = make([]int, len(columns))
	for i, c := range columns {
		width[i] = ansi.StringWidth(c.head)
	}
	for _, r := range rows {
		line := make([]string, len(columns))
		for i, c := range columns {
			line[i] = printable(c.cell(r, now))
			width[i] = max(width[i], ansi.StringWidth(line[i]))
		}
		cells = append(cells, line)
	}
	return cells, width
}

// tableLine joins the cells of a line; wide is how many columns of the terminal it may take, 0 for any number.
func tableLine(columns []psField, cells []string, width []int, wide int) string {
	var b strings.Builder
	for i, cell := range cells {
		pad := strings.Repeat(" ", max(0, width[i]-ansi.StringWidth(cell)))
		if i > 0 {
			b.WriteByte(' ')
		}
		if columns[i].right {
			b.WriteString(pad)
		}
		b.WriteString(cell)
		if !columns[i].right && i < len(cells)-1 {
			b.WriteString(pad)
		}
	}
	line := strings.TrimRight(b.String(), " ")
	if wide > 0 && ansi.StringWidth(line) > wide {
		line = ansi.Truncate(line, wide, "")
	}
	return line
}

// writeRows prints a table of processes. The line of headings is left out if all are empty.
func writeRows(w io.Writer, columns []psField, rows []*psRow, now time.Time, headings bool, wide int) error {
	cells, width := columnWidths(columns, rows, now)
	var out strings.Builder
	heads := make([]string, len(columns))
	for i, c := range columns {
		heads[i] = c.head
	}
	if headings && strings.Join(heads, "") != "" {
		out.WriteString(tableLine(columns, heads, width, wide) + "\n")
	}
	for _, line := range cells {
		out.WriteString(tableLine(columns, line, width, wide) + "\n")
	}
	_, err := io.WriteString(w, out.String())
	return err
}

// screenWidth gives the width of w if it is a terminal, else 0.
func (a *app) screenWidth(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0
	}
	if n, err := strconv.Atoi(a.env.Getenv("COLUMNS")); err == nil && n > 0 {
		return n
	}
	n, _, err := term.GetSize(int(f.Fd()))
	if err != nil || n <= 0 {
		return 80
	}
	return n
}

// forest puts every process below its parent, in the order that rows have, and indents its command.
func forest(rows []*psRow) []*psRow {
	present := map[names.Pid]bool{}
	for _, r := range rows {
		present[r.Pid] = true
	}
	below := map[names.Pid][]*psRow{}
	for _, r := range rows {
		parent := r.PPid
		if !present[parent] || parent == r.Pid {
			parent = 0
		}
		below[parent] = append(below[parent], r)
	}
	tree := make([]*psRow, 0, len(rows))
	var grow func(rows []*psRow, depth int)
	grow = func(rows []*psRow, depth int) {
		for _, r := range rows {
			if !present[r.Pid] { // it has its place
				continue
			}
			delete(present, r.Pid)
			if depth > 0 {
				r.indent = strings.Repeat("    ", depth-1) + ` \_ `
			}
			tree = append(tree, r)
			grow(below[r.Pid], depth+1)
		}
	}
	grow(below[0], 0)
	grow(rows, 0) // hosts are read at different moments: a number used again may have made a circle of parents
	return tree
}
