// Package mancheck holds man pages against the commands they describe: every command and flag is in its page, and no
// page promises a flag that is not there. A page is the contract; this is what keeps it one.
//
// Terms. The page of "onehost A B" is onehost-A.1 where that exists, else onehost.1; a page speaks for its own command
// and for the commands below it that have no page of their own. A flag counts as documented where it is the subject:
// in the SYNOPSIS or in the head of a list item (.It). Elsewhere pages may speak of other programs' flags.
//
// Traps. Only what these pages use of mdoc(7) is understood: Nm, Cm, Fl, lists. A Cm is a command only when it stands
// before the flags and arguments of its line, so that "Fl -fallback Ns = Ns Cm never" is a flag with a word.
package mancheck

import (
	"bufio"
	"io"
	"strings"
)

// page is what a man page says, by command; "" is the page's own.
type page struct {
	commands map[string]bool            // that head a list item or stand in the SYNOPSIS
	synopsis map[string]bool            // that stand in the SYNOPSIS
	flags    map[string]map[string]bool // command → flags, as "-q" and "--quiet"
}

// parsePage reads mdoc. Lines it does not understand say nothing.
func parsePage(r io.Reader) (*page, error) {
	p := &page{commands: map[string]bool{}, synopsis: map[string]bool{}, flags: map[string]map[string]bool{}}
	lists := []string{""} // the command that each open list's current item speaks of
	inSynopsis := false
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := macroWords(lines.Text())
		if len(words) == 0 {
			continue
		}
		top := len(lists) - 1
		switch words[0] {
		case "Sh":
			inSynopsis = len(words) > 1 && words[1] == "SYNOPSIS"
			lists = []string{""}
		case "Bl":
			lists = append(lists, lists[top])
		case "El":
			if top > 0 {
				lists = lists[:top]
			}
		case "It":
			if top > 0 {
				lists[top] = lists[top-1]
			}
			p.note(words[1:], &lists[top], false)
		case "Nm":
			if inSynopsis {
				lists[top] = ""
				p.note(words[1:], &lists[top], true)
			}
		default:
			if inSynopsis {
				p.note(words, &lists[top], true)
			}
		}
	}
	return p, lines.Err()
}

// note takes what one line says of commands and flags; a command in it becomes the current one.
func (p *page) note(words []string, command *string, synopsis bool) {
	const none, cm, fl, other = 0, 1, 2, 3
	mode, past := none, false // past: a flag or an argument was seen, so no command can follow
	var path []string
	for _, w := range words {
		switch {
		case w == "Cm":
			mode = cm
			continue
		case w == "Fl":
			mode, past = fl, true
			continue
		case w == "Ar":
			mode, past = other, true
			continue
		case isMacro(w):
			mode = other
			continue
		case w == "," || w == "|":
			continue
		}
		switch {
		case mode == cm && !past:
			path = append(path, w)
			*command = strings.Join(path, " ")
			p.commands[*command] = true
			if synopsis {
				p.synopsis[*command] = true
			}
		case mode == fl:
			name, _, _ := strings.Cut(strings.ReplaceAll(w, `\-`, "-"), "=")
			if name == "-" { // "--", which ends the flags
				continue
			}
			if p.flags[*command] == nil {
				p.flags[*command] = map[string]bool{}
			}
			p.flags[*command]["-"+name] = true
		}
	}
}

// macroWords splits a macro line into its words, without the dot; a line of text has none.
func macroWords(line string) []string {
	rest, ok := strings.CutPrefix(line, ".")
	if !ok || strings.HasPrefix(rest, `\"`) {
		return nil
	}
	return strings.Fields(strings.ReplaceAll(rest, `"`, " "))
}

// isMacro reports whether a word on a macro line is a macro: two letters, the first a capital.
func isMacro(w string) bool {
	return len(w) == 2 && w[0] >= 'A' && w[0] <= 'Z' && w[1] >= 'a' && w[1] <= 'z'
}
