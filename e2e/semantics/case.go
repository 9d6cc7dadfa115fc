package semantics

import (
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Shape says where in a case the session stands, and with it which of its processes run elsewhere.
type Shape int

const (
	// Whole says that the case is the command of a run, so that all of it runs elsewhere, in a nest.
	Whole Shape = iota + 1
	// Parent says that the case is a spreader in a run. It runs at home, and what it starts runs elsewhere: it waits for, signals
	// and asks about processes of which it has ghosts.
	Parent
	// Outside says that the case is in no session; it puts the words of $RUN before what it starts. So a shell and its terminal meet runs.
	Outside
)

func (s Shape) String() string {
	return map[Shape]string{Whole: "whole", Parent: "parent", Outside: "outside"}[s]
}

// Case is one thing that programs may rely on.
type Case struct {
	Shape Shape
	// program writes what the case needs into its directory and gives the command.
	program func(b bench, name, dir string) ([]string, error)
	inside  func(w io.Writer) // of a case written in Go: what its process does
}

// Cases holds all of them, by name: area/what.
var Cases = merge(exits, waits, signals, groups, terminals, pidfds, family, limits, memory, execs, inherited, spawning, users, builders, gos)

func merge(areas ...map[string]Case) map[string]Case {
	all := map[string]Case{}
	for _, area := range areas {
		for name, c := range area {
			if _, twice := all[name]; twice {
				panic("two cases are called " + name)
			}
			all[name] = c
		}
	}
	return all
}

// Names gives the names of all cases, in order.
func Names() []string { return slices.Sorted(maps.Keys(Cases)) }

// bench is where the cases of one mode find their tools.
type bench struct {
	bin, lib string
}

// interpreter gives a program under a name that says whether it is a spreader.
func (b bench) interpreter(s Shape, name, path string) string {
	if s == Parent {
		return filepath.Join(b.bin, spreadPrefix+name)
	}
	return path
}

// spreadPrefix begins the names of links to interpreters that the rules of the suite call spreaders.
const spreadPrefix = "spread-"

// interpreters are those that a case of shape Parent may be written for.
var interpreters = map[string]string{"python3": "/usr/bin/python3", "bash": "/bin/bash", "sh": "/bin/dash", "perl": "/usr/bin/perl"}

// rules lets the cases go elsewhere whatever commands they are made of; the built-in rules keep many at home.
func rules() string {
	var text strings.Builder
	text.WriteString("go case.sh kill setsid setpriv nice taskset chrt ionice prlimit find timeout tmux\nstay tool mkfifo sed sleep ls wc sort seq tr grep rm\nspread")
	for _, name := range slices.Sorted(maps.Keys(interpreters)) {
		text.WriteString(" " + spreadPrefix + name)
	}
	return text.String() + " " + spreadPrefix + selfName + " " + spreadPrefix + "c\n"
}

func script(dir, name, text string) (string, error) {
	path := filepath.Join(dir, name)
	return path, os.WriteFile(path, []byte(text), 0o755)
}

// python is a case in Python, with what lib/sem.py has.
func python(s Shape, text string) Case {
	return Case{Shape: s, program: func(b bench, _, dir string) ([]string, error) {
		file, err := script(dir, "case.py", "from sem import *\n"+text)
		return []string{b.interpreter(s, "python3", "/usr/bin/python3"), "-S", file}, err
	}}
}

// shell is a case for bash or sh (dash), with what lib/sem.sh has.
func shell(s Shape, interpreter, text string) Case {
	return Case{Shape: s, program: func(b bench, _, dir string) ([]string, error) {
		file, err := script(dir, "case.sh", ". "+filepath.Join(b.lib, "sem.sh")+"\n"+text)
		return []string{b.interpreter(s, interpreter, interpreters[interpreter]), file}, err
	}}
}

func bash(s Shape, text string) Case { return shell(s, "bash", text) }
func dash(s Shape, text string) Case { return shell(s, "sh", text) }

// command is a case that is a program of the system which spreads what it is told to run; setup is run by sh in the case's directory
// before, outside of any session.
func command(setup string, argv ...string) Case {
	return Case{Shape: Parent, program: func(b bench, _, dir string) ([]string, error) {
		return argv, prepare(b, dir, setup)
	}}
}

// inC is a case in C, compiled in the case's directory.
func inC(s Shape, text string, flags ...string) Case {
	return Case{Shape: s, program: func(b bench, _, dir string) ([]string, error) {
		if _, err := script(dir, "case.c", text); err != nil {
			return nil, err
		}
		out := filepath.Join(dir, "case")
		if s == Parent {
			out = filepath.Join(dir, spreadPrefix+"c")
		}
		args := append([]string{"gcc", "-O1", "-pthread", "-D_GNU_SOURCE", "-I" + b.lib, "-o", out, "case.c"}, flags...)
		if err := run(dir, args...); err != nil {
			return nil, fmt.Errorf("case.c: %w", err)
		}
		return []string{out}, nil
	}}
}

// inGo is a case in Go: a function of this program, which runs itself for it.
func inGo(s Shape, f func(w io.Writer)) Case {
	return Case{Shape: s, inside: f, program: func(b bench, name, _ string) ([]string, error) {
		self := filepath.Join(b.bin, selfName)
		if s == Parent {
			self = filepath.Join(b.bin, spreadPrefix+selfName)
		}
		return []string{self, reexecCase, name}, nil
	}}
}
