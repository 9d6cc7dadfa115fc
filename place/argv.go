package place

import "strings"

// wrapper describes a program that becomes, or runs, the command among its words.
type wrapper struct {
	known    bool
	values   string // option letters that take a value
	operands int    // words before the command
}

// wrappers are looked through: what counts is the command they run.
var wrappers = map[string]wrapper{
	"builtin": {known: true},
	"chrt":    {known: true, values: "TPD", operands: 1},
	"command": {known: true},
	"env":     {known: true, values: "uC"},
	"exec":    {known: true, values: "a"},
	"ionice":  {known: true, values: "cn"},
	"nice":    {known: true, values: "n"},
	"nohup":   {known: true},
	"setsid":  {known: true},
	"stdbuf":  {known: true, values: "ioe"},
	"taskset": {known: true, operands: 1},
	"time":    {known: true, values: "fo"},
	"timeout": {known: true, values: "sk", operands: 1},
}

// inner gives the words of the wrapped command, none when there is none; query tells "command -v NAME", which runs nothing.
func (w wrapper) inner(argv []string) (words []string, query bool) {
	left := w.operands
	for i := 1; i < len(argv); i++ {
		a := argv[i]
		switch {
		case a == "--":
			if i+1+left < len(argv) {
				return argv[i+1+left:], false
			}
			return nil, false
		case len(a) > 1 && a[0] == '-':
			if argv[0] == "command" && strings.ContainsAny(a, "vV") {
				return nil, true
			}
			if !strings.HasPrefix(a, "--") && strings.IndexByte(w.values, a[len(a)-1]) >= 0 {
				i++
			}
		case a == "-" || assignment(a):
		case left > 0:
			left--
		default:
			return argv[i:], false
		}
	}
	return nil, false
}

// Ways to call a shell.
type shellCall int

const (
	shellCommand  shellCall = iota // -c text
	shellScript                    // a file
	shellTerminal                  // neither: commands come from standard input
)

// shellText finds the text of sh -c, or the script's name, past clusters as -ec and options with a value as -o pipefail.
func shellText(argv []string) (string, shellCall) {
	command := false
	i := 1
options:
	for ; i < len(argv); i++ {
		a := argv[i]
		switch {
		case a == "--" || a == "-":
			i++
			break options
		case a == "--rcfile" || a == "--init-file":
			i++
		case strings.HasPrefix(a, "--"):
		case len(a) > 1 && (a[0] == '-' || a[0] == '+'):
			for _, c := range a[1:] {
				switch c {
				case 'c':
					command = command || a[0] == '-'
				case 'o', 'O':
					i++
				}
			}
		default:
			break options
		}
	}
	switch {
	case i >= len(argv) || hasFlag(argv[1:i], 's') && !command:
		return "", shellTerminal
	case command:
		return argv[i], shellCommand
	}
	return argv[i], shellScript
}

func hasFlag(words []string, letter byte) bool {
	for _, w := range words {
		if len(w) > 1 && w[0] == '-' && w[1] != '-' && strings.IndexByte(w, letter) > 0 {
			return true
		}
	}
	return false
}

// xargsParallel reports whether xargs was told, by -P or --max-procs, to run other than one command at a time. Its own options
// end where its command begins.
func xargsParallel(argv []string) bool {
	const values = "adEILnPs" // take a value; -e, -i and -l only one that is attached
	procs := "1"
	for i := 1; i < len(argv); i++ {
		a := argv[i]
		if name, value, attached := strings.Cut(a, "="); strings.HasPrefix(a, "--") {
			if name == "--" {
				break
			}
			takes := name == "--max-procs" || name == "--arg-file" || name == "--delimiter" || name == "--max-args" ||
				name == "--max-chars" || name == "--process-slot-var"
			if takes && !attached {
				i++
				if i < len(argv) {
					value = argv[i]
				}
			}
			if name == "--max-procs" {
				procs = value
			}
			continue
		}
		if len(a) < 2 || a[0] != '-' {
			break
		}
		for j := 1; j < len(a); j++ {
			if strings.IndexByte("eil", a[j]) >= 0 {
				break
			}
			if strings.IndexByte(values, a[j]) < 0 {
				continue
			}
			value := a[j+1:]
			if value == "" && i+1 < len(argv) {
				i++
				value = argv[i]
			}
			if a[j] == 'P' {
				procs = value
			}
			break
		}
	}
	return procs != "1" && procs != ""
}
