package place

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxLine bounds a line of a rules file, in bytes.
const maxLine = 64 << 10

// ParseRules reads rules in the format of onehost-place(5); name is the file's name, for errors, each of which shows name:line,
// the rule, and what is right.
func ParseRules(in io.Reader, name string) (*Rules, error) {
	r := newRules()
	sc := bufio.NewScanner(in)
	sc.Buffer(nil, maxLine)
	line := 0
	for sc.Scan() {
		line++
		text, _, _ := strings.Cut(sc.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		if err := r.add(words); err != nil {
			return nil, fmt.Errorf("%s:%d: %q: %w", name, line, strings.TrimSpace(text), err)
		}
	}
	if err := sc.Err(); errors.Is(err, bufio.ErrTooLong) {
		return nil, fmt.Errorf("%s:%d: the line is longer than %d bytes", name, line+1, maxLine)
	} else if err != nil {
		return nil, fmt.Errorf("%s:%d: %w", name, line+1, err)
	}
	return r, nil
}

// add takes one rule.
func (r *Rules) add(words []string) error {
	verb, args := words[0], words[1:]
	reason := goes
	switch verb {
	case "spread", "rerun", "nospread", "go", "shell":
	case "cheap":
		reason = ReasonCheap
	case "stay":
		if len(args) < 2 {
			return fmt.Errorf(`want a reason and at least one program, as in "stay interactive vi nano"`)
		}
		reason, args = args[0], args[1:]
		if !word(reason) {
			return fmt.Errorf("reason %q: want letters, digits and - only", reason)
		}
	default:
		return fmt.Errorf("unknown rule %q: want spread, rerun, nospread, stay, cheap, go or shell", verb)
	}
	if len(args) == 0 {
		return fmt.Errorf(`want at least one program, as in "%s NAME"`, verb)
	}
	for _, n := range args {
		if err := programName(n); err != nil {
			return err
		}
		switch verb {
		case "spread":
			r.spread[n] = spread{on: true}
		case "rerun":
			r.spread[n] = spread{on: true, rerun: true}
		case "nospread":
			r.spread[n] = spread{}
		case "shell":
			r.shell[n] = true
		default:
			r.stay[n] = reason
		}
	}
	return nil
}

// programName checks one name of a rule.
func programName(s string) error {
	if strings.HasSuffix(s, "/") || strings.Contains(s, "/") && s[0] != '/' {
		return fmt.Errorf("program %q: want the last part of its path, or its whole path from /", s)
	}
	if strings.ContainsAny(s, "*?\"'\\") {
		return fmt.Errorf("program %q: names are taken as they are, without patterns or quotes", s)
	}
	for _, c := range s {
		if c < ' ' || c == 0x7f {
			return fmt.Errorf("program %q: a control character cannot be part of a name", s)
		}
	}
	return nil
}

// word reports whether s is made of letters, digits and - only.
func word(s string) bool {
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return s != ""
}
