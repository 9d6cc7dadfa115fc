package place

import (
	"maps"
	"strings"
)

// Reasons that this package gives itself; rules of a file may give others.
const (
	ReasonSpreader    = "spreader"    // it starts jobs of its own, which are striped from home
	ReasonCheap       = "cheap"       // it costs less to run than to send; may be overruled, since it could go
	ReasonInteractive = "interactive" // it talks to the person at the terminal
	ReasonDaemon      = "daemon"      // it asks the daemon of this host
)

// Rules say which programs are spreaders and which commands stay at home. A name is the last part of a program's
// path, or a whole path. Rules do not change once made and may be used by several goroutines.
type Rules struct {
	spread map[string]spread
	stay   map[string]string // name to reason; goes: the name may go, whatever else it is
	shell  map[string]bool
}

// spread is what is known of a spreader.
type spread struct {
	on    bool
	rerun bool // its commands may be run again
}

// goes in place of a reason: the command may go.
const goes = ""

func newRules() *Rules {
	return &Rules{spread: map[string]spread{}, stay: map[string]string{}, shell: map[string]bool{}}
}

// Merge gives the rules of r and later together; where both speak of a name, later wins. Neither is changed.
func (r *Rules) Merge(later *Rules) *Rules {
	m := newRules()
	for _, from := range []*Rules{r, later} {
		maps.Copy(m.spread, from.spread)
		maps.Copy(m.stay, from.stay)
		maps.Copy(m.shell, from.shell)
	}
	return m
}

// Spreader reports whether the children of the program are candidates to go elsewhere. image is the path of the program, argv its
// words. xargs counts only when it was told to run several commands at a time, onehost only as "onehost run".
func (r *Rules) Spreader(image string, argv []string) bool {
	name := r.program(image, argv)
	s := r.spread[name]
	if !s.on {
		s = r.spread[image]
	}
	if !s.on {
		return false
	}
	switch name {
	case "xargs":
		return xargsParallel(argv)
	case "onehost":
		return runAt(argv) > 0
	}
	return true
}

// SpreaderNames gives the names that a program must have to be a spreader, in no order: what has none of them need not be looked at.
func (r *Rules) SpreaderNames() []string {
	var names []string
	for name, s := range r.spread {
		if s.on {
			names = append(names, name)
		}
	}
	return names
}

// Joins reports whether the program is a "onehost run" without --local: in a session it becomes its command, which is a candidate by
// that alone.
func (r *Rules) Joins(image string, argv []string) bool {
	at := 0
	if base(image) == "onehost" {
		at = runAt(argv)
	}
	if at == 0 {
		return false
	}
	for i := at + 1; i < len(argv) && strings.HasPrefix(argv[i], "-") && argv[i] != "--"; i++ {
		switch argv[i] {
		case "--local", "--local=true":
			return false
		case "--control", "--fallback", "--hosts", "--slots":
			i++
		}
	}
	return true
}

// runAt finds the word "run" of a "onehost run"; 0 if there is none.
func runAt(argv []string) int {
	for i := 1; i < len(argv); i++ {
		switch {
		case argv[i] == "--control":
			i++
		case argv[i] == "run":
			return i
		case !strings.HasPrefix(argv[i], "-"):
			return 0
		}
	}
	return 0
}

// Rerunnable reports whether the commands that this spreader starts may be run a second time when the first one was lost with
// its host: so it is for make and ninja by contract, since they start over what a crash left half done.
func (r *Rules) Rerunnable(spreaderImage string) bool {
	if s, ok := r.spread[spreaderImage]; ok {
		return s.rerun
	}
	return r.spread[base(spreaderImage)].rerun
}

// Stay reports whether a command stays at home, and why. It looks at the words, and at the scripts of shells as read gives them; a
// set-user-id image and standard input from a terminal are for the caller to see.
func (r *Rules) Stay(image string, argv []string, read Read) (reason string, stay bool) {
	return (&look{Rules: r, read: read}).stays(image, argv, 0)
}

// look is one look at a command.
type look struct {
	*Rules
	read Read
	seen []string // the scripts that were read
	text int      // bytes of shell text that were split
}

func (l *look) stays(image string, argv []string, depth int) (string, bool) {
	reason, ok := l.stay[image]
	name := base(image)
	if !ok {
		reason, ok = l.stay[name]
	}
	if !ok && len(argv) > 0 { // one image with many names, as busybox
		reason, ok = l.stay[base(argv[0])]
	}
	if ok {
		return reason, reason != goes
	}
	if l.Spreader(image, argv) {
		return ReasonSpreader, true
	}
	if depth > maxDepth {
		return "", false
	}
	name = l.program(image, argv)
	if name == "onehost" { // "onehost run" is a spreader
		return ReasonDaemon, true
	}
	if w, ok := wrappers[name]; ok {
		inner, query := w.inner(argv)
		if len(inner) == 0 || query {
			return ReasonCheap, true
		}
		return l.stays(inner[0], inner, depth+1)
	}
	if l.shell[name] {
		return l.shellStays(argv, depth)
	}
	if strings.Contains(image, "/") {
		return l.scriptStays(image, true, depth)
	}
	return "", false
}

// program is the name that the rules for shells, spreaders and wrappers go by.
func (r *Rules) program(image string, argv []string) string {
	name := base(image)
	if len(argv) == 0 || r.shell[name] || r.spread[name].on || wrappers[name].known {
		return name
	}
	if alias := base(argv[0]); r.shell[alias] || r.spread[alias].on {
		return alias
	}
	return name
}

// shellStays looks at a call of a shell: its -c text, its script, or neither.
func (l *look) shellStays(argv []string, depth int) (string, bool) {
	text, kind := shellText(argv)
	switch kind {
	case shellTerminal:
		return ReasonInteractive, true
	case shellScript:
		if reason, ok := l.stay[base(text)]; ok {
			return reason, reason != goes
		}
		return l.scriptStays(text, false, depth)
	}
	return l.textStays(text, depth)
}

// textStays looks at every command of a shell's text: one that must stay keeps all of it; one that costs something lets
// a text of cheap commands go.
func (l *look) textStays(text string, depth int) (string, bool) {
	if l.text += len(text); depth > maxDepth || l.text > maxText { // substitutions in evals multiply
		return "", false
	}
	cheap := true
	for _, words := range commands(text) {
		name := words[0]
		if name == "eval" {
			if reason, stay := l.textStays(strings.Join(words[1:], " "), depth+1); stay && reason != ReasonCheap {
				return reason, true
			} else if !stay {
				cheap = false
			}
			continue
		}
		if name == "." || name == "source" {
			cheap = false
			if len(words) > 1 {
				if reason, stay := l.scriptStays(words[1], false, depth+1); stay {
					return reason, true
				}
			}
			continue
		}
		if builtins[name] {
			continue
		}
		if strings.HasPrefix(name, "$") {
			if makeVariable(name) {
				return ReasonSpreader, true
			}
			cheap = false
			continue
		}
		reason, stay := l.stays(name, words, depth+1)
		if stay && reason != ReasonCheap {
			return reason, true
		}
		if !stay {
			cheap = false
		}
	}
	if cheap {
		return ReasonCheap, true
	}
	return "", false
}

// makeVariable reports whether an unexpanded word is the name of make: $MAKE, ${MAKE}, ${MAKE:-gmake}, $(MAKE).
func makeVariable(word string) bool {
	word = strings.TrimLeft(word[1:], "({")
	rest, ok := strings.CutPrefix(word, "MAKE")
	return ok && (rest == "" || strings.ContainsRune(")}:-", rune(rest[0])))
}

// builtins of the shell that cost nothing by themselves, words of its grammar that begin a command among them.
var builtins = map[string]bool{
	":": true, "break": true, "case": true, "cd": true, "continue": true, "exit": true, "export": true,
	"for": true, "getopts": true, "hash": true, "local": true, "popd": true, "pushd": true, "read": true,
	"readonly": true, "return": true, "select": true, "set": true, "shift": true, "shopt": true, "times": true,
	"trap": true, "type": true, "ulimit": true, "umask": true, "unalias": true, "unset": true, "wait": true,
	"alias": true, "declare": true, "typeset": true, "let": true, "[[": true,
}

func base(path string) string {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[i+1:]
	}
	return path
}
