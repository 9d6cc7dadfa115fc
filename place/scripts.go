package place

import (
	"slices"
	"strings"
)

// Bounds of what is read of scripts for one command: the bytes of one of them, and how many. What is larger is mostly a program
// of its own (a configure, a libtool), and reading it would cost more than sending it away.
const (
	MaxScript  = 64 << 10
	maxScripts = 16
)

// Read gives the text of a file as the process that is about to execute it would see it under that name. ok is false for what is no
// regular file of at most MaxScript bytes, and for what cannot be read. It may be called several times for a command. A nil Read reads
// nothing.
type Read func(name string) (text string, ok bool)

// scriptStays looks into a script: one that the kernel executes by its first line, or one that a shell was told to read. A script that
// does nothing but what is cheap may go: it can be long in doing so.
func (l *look) scriptStays(name string, executed bool, depth int) (string, bool) {
	if l.read == nil || len(l.seen) == maxScripts || slices.Contains(l.seen, name) || strings.HasPrefix(name, "$") {
		return "", false
	}
	l.seen = append(l.seen, name)
	text, ok := l.read(name)
	if !ok || executed && !l.shell[interpreter(text)] || strings.IndexByte(text, 0) >= 0 {
		return "", false
	}
	if reason, stay := l.textStays(text, depth+1); stay && reason != ReasonCheap {
		return reason, true
	}
	return "", false
}

// interpreter gives the program that a script's first line names, past env; "" for what has no such line.
func interpreter(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	line, ok := strings.CutPrefix(line, "#!")
	if !ok {
		return ""
	}
	words := strings.Fields(line)
	if len(words) > 0 && base(words[0]) == "env" {
		words, _ = wrappers["env"].inner(words)
	}
	if len(words) == 0 {
		return ""
	}
	return base(words[0])
}
