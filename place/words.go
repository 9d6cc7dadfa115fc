package place

import "strings"

// Bounds of what is read of a shell's text: substitutions inside substitutions, simple commands in all, and the bytes of all the texts
// that are split for one command. What lies beyond is not looked at.
const (
	maxDepth    = 12
	maxCommands = 4096
	maxText     = maxScripts * MaxScript
)

// commands splits a shell's text into its simple commands, each as its words with the quotes taken off, in the
// order written; those inside substitutions come along. Reserved words, assignments before a command, redirections,
// patterns of case, comments and bodies of here-documents are left out; a text of assignments alone has no command.
// Expansions stay as they are written ("$MAKE"). It never fails: a text the shell would refuse gives what can be made of it.
func commands(text string) [][]string {
	var out [][]string
	(&lexer{s: text, out: &out}).run()
	return out
}

type lexer struct {
	s     string
	i     int
	depth int
	out   *[][]string

	cmd     []string // words of the simple command being read
	skip    bool     // the next word is the target of a redirection
	cases   int      // open case … esac
	pattern bool     // in the patterns of a case, up to their )
	here    []heredoc
}

type heredoc struct {
	end  string
	tabs bool // <<- strips leading tabs
}

func (l *lexer) run() {
	for l.i < len(l.s) && len(*l.out) < maxCommands {
		switch c := l.s[l.i]; c {
		case ' ', '\t', '\r':
			l.i++
		case '\n':
			l.i++
			l.end()
			l.bodies()
		case '#':
			if n := strings.IndexByte(l.s[l.i:], '\n'); n >= 0 {
				l.i += n
			} else {
				l.i = len(l.s)
			}
		case ';', '&', '|', '(', ')':
			l.operator(c)
		case '<', '>':
			l.redirect()
		default:
			word, quoted := l.word()
			l.take(word, quoted)
		}
	}
	l.end()
}

// operator ends a command; l.s[l.i] is c.
func (l *lexer) operator(c byte) {
	l.i++
	if c == '&' && l.i < len(l.s) && l.s[l.i] == '>' { // &>file
		l.redirect()
		return
	}
	l.end()
	if c == ')' {
		l.pattern = false
	}
	if c == ';' && l.cases > 0 && l.i < len(l.s) && (l.s[l.i] == ';' || l.s[l.i] == '&') {
		l.i++
		l.pattern = true
	}
}

// redirect reads <, >, >>, <<, <<<, <<-, >&, <&, <>, >| and leaves the target to be skipped.
func (l *lexer) redirect() {
	start := l.i
	for l.i < len(l.s) && l.i < start+3 && (l.s[l.i] == '<' || l.s[l.i] == '>') {
		l.i++
	}
	op := l.s[start:l.i]
	if l.i < len(l.s) && l.s[l.i] == '(' { // <(list), of bash: its commands count
		l.i++
		l.nested(')')
		return
	}
	tabs := false
	if l.i < len(l.s) {
		switch c := l.s[l.i]; {
		case c == '-' && op == "<<":
			tabs = true
			l.i++
		case c == '&' || c == '|':
			l.i++
		}
	}
	if op == "<<" {
		for l.i < len(l.s) && (l.s[l.i] == ' ' || l.s[l.i] == '\t') {
			l.i++
		}
		if l.i < len(l.s) && !strings.ContainsRune("\n;&|()<>", rune(l.s[l.i])) {
			end, _ := l.word()
			l.here = append(l.here, heredoc{end: end, tabs: tabs})
		}
		return
	}
	l.skip = true
}

// bodies skips the here-documents announced on the line just read.
func (l *lexer) bodies() {
	for _, h := range l.here {
		for l.i < len(l.s) {
			line, _, more := strings.Cut(l.s[l.i:], "\n")
			l.i += len(line)
			if more {
				l.i++
			}
			if h.tabs {
				line = strings.TrimLeft(line, "\t")
			}
			if line == h.end {
				break
			}
		}
	}
	l.here = l.here[:0]
}

// word reads one word and takes its quotes off; quoted tells a reserved word from one that only looks like it.
func (l *lexer) word() (word string, quoted bool) {
	start := l.i
	for l.i < len(l.s) && plain[l.s[l.i]] {
		l.i++
	}
	if l.i == len(l.s) || separator(l.s[l.i]) {
		return l.s[start:l.i], false // the common case needs no copy
	}
	var b strings.Builder
	b.WriteString(l.s[start:l.i])
	for l.i < len(l.s) && !separator(l.s[l.i]) {
		switch c := l.s[l.i]; c {
		case '\\':
			l.i++
			if l.i < len(l.s) {
				if l.s[l.i] != '\n' { // a joined line leaves nothing
					b.WriteByte(l.s[l.i])
					quoted = true
				}
				l.i++
			}
		case '\'':
			quoted = true
			rest := l.s[l.i+1:]
			body, _, closed := strings.Cut(rest, "'")
			b.WriteString(body)
			l.i += 1 + len(body)
			if closed {
				l.i++
			}
		case '"':
			quoted = true
			l.i++
			l.double(&b)
		case '$', '`':
			l.expansion(&b)
		default:
			b.WriteByte(c)
			l.i++
		}
	}
	return b.String(), quoted
}

// double reads to the closing quote.
func (l *lexer) double(b *strings.Builder) {
	for l.i < len(l.s) {
		switch c := l.s[l.i]; c {
		case '"':
			l.i++
			return
		case '\\':
			l.i++
			if l.i < len(l.s) {
				b.WriteByte(l.s[l.i])
				l.i++
			}
		case '$', '`':
			l.expansion(b)
		default:
			b.WriteByte(c)
			l.i++
		}
	}
}

// expansion copies $name, ${…} and $((…)) as written, and reads the commands of $(…) and `…`.
func (l *lexer) expansion(b *strings.Builder) {
	start := l.i
	rest := l.s[l.i:]
	switch {
	case rest[0] == '`':
		l.i++
		l.nested('`')
	case strings.HasPrefix(rest, "$(("):
		if n := strings.Index(rest, "))"); n >= 0 {
			l.i += n + 2
		} else {
			l.i = len(l.s)
		}
	case strings.HasPrefix(rest, "$("):
		l.i += 2
		l.nested(')')
	case strings.HasPrefix(rest, "${"):
		if n := strings.IndexByte(rest, '}'); n >= 0 {
			l.i += n + 1
		} else {
			l.i = len(l.s)
		}
	default:
		l.i++
	}
	b.WriteString(l.s[start:l.i])
}

// nested reads the commands up to the closing byte and steps over it.
func (l *lexer) nested(closing byte) {
	end := l.matching(closing)
	if l.depth < maxDepth {
		inner := lexer{s: l.s[l.i:end], depth: l.depth + 1, out: l.out}
		inner.run()
	}
	l.i = min(end+1, len(l.s))
}

// matching finds the closing byte of what begins at l.i, past quotes and, for ), past inner parentheses.
func (l *lexer) matching(closing byte) int {
	open := 0
	for i := l.i; i < len(l.s); i++ {
		switch c := l.s[i]; {
		case c == closing && open == 0:
			return i
		case c == '\\':
			i++
		case c == '(' && closing == ')':
			open++
		case c == ')' && closing == ')':
			open--
		case c == '\'' && closing == ')':
			n := strings.IndexByte(l.s[i+1:], '\'')
			if n < 0 {
				return len(l.s)
			}
			i += n + 1
		case c == '"' && closing == ')':
			for i++; i < len(l.s) && l.s[i] != '"'; i++ {
				if l.s[i] == '\\' {
					i++
				}
			}
		}
	}
	return len(l.s)
}

// take adds a word to the command, or sees that it is not one.
func (l *lexer) take(word string, quoted bool) {
	if l.skip {
		l.skip = false
		return
	}
	if l.pattern {
		if word == "esac" && !quoted {
			l.cases--
			l.pattern = false
		}
		return
	}
	if l.i < len(l.s) && (l.s[l.i] == '<' || l.s[l.i] == '>') && digits(word) && !quoted {
		return // the descriptor of 2>file
	}
	if len(l.cmd) == 0 && !quoted {
		switch word {
		case "if", "then", "else", "elif", "fi", "while", "until", "do", "done", "!", "{", "}", "time":
			return
		case "esac":
			if l.cases > 0 {
				l.cases--
			}
			return
		}
	}
	if len(l.cmd) == 0 && assignment(word) {
		return
	}
	if len(l.cmd) == 2 && word == "in" && l.cmd[0] == "case" && !quoted {
		l.cmd = nil
		l.cases++
		l.pattern = true
		return
	}
	l.cmd = append(l.cmd, word)
}

func (l *lexer) end() {
	l.skip = false
	if len(l.cmd) > 0 && len(*l.out) < maxCommands {
		*l.out = append(*l.out, l.cmd)
		l.cmd = nil
	}
}

// plain bytes may stand anywhere in a word and mean themselves.
var plain = func() (t [256]bool) {
	for c := range t {
		t[c] = !separator(byte(c)) && !strings.ContainsRune("\\'\"`$", rune(c))
	}
	return t
}()

func separator(c byte) bool {
	switch c {
	case ' ', '\t', '\r', '\n', ';', '&', '|', '(', ')', '<', '>':
		return true
	}
	return false
}

func digits(s string) bool {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// assignment reports whether a word is NAME=value.
func assignment(s string) bool {
	name, _, ok := strings.Cut(s, "=")
	name = strings.TrimSuffix(name, "+")
	if !ok || name == "" || name[0] >= '0' && name[0] <= '9' {
		return false
	}
	for _, c := range []byte(name) {
		if c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') {
			return false
		}
	}
	return true
}
