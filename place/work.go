package place

import (
	"path"
	"strings"
)

// Describe tells what a command is, for Costs. size gives the size of a regular file by the name that the command uses for it,
// relative ones as the command sees them, and 0 for what is none; only names that look like sources or objects are asked for.
func (r *Rules) Describe(image string, argv []string, size func(name string) int64) Work {
	d := describer{rules: r, size: size}
	d.command(image, argv, 0)
	if d.work.Kind == "" {
		d.work.Kind = base(image)
	}
	return d.work
}

type describer struct {
	rules *Rules
	size  func(string) int64
	dir   string // where cd has led, relative to where the command began
	work  Work
}

func (d *describer) command(image string, argv []string, depth int) {
	if depth > maxDepth || len(argv) == 0 {
		return
	}
	name := d.rules.program(image, argv)
	if w, ok := wrappers[name]; ok {
		if inner, query := w.inner(argv); len(inner) > 0 && !query {
			d.command(inner[0], inner, depth+1)
		}
		return
	}
	if d.rules.shell[name] {
		if text, kind := shellText(argv); kind == shellCommand {
			for _, words := range commands(text) {
				d.command(words[0], words, depth+1)
			}
		}
		return
	}
	if name == "cd" && len(argv) == 2 {
		d.dir = d.file(argv[1])
		return
	}
	if reason, stay := d.rules.stay[name]; builtins[name] || stay && reason == ReasonCheap {
		return
	}
	d.program(name, argv)
}

// program takes a command that costs something. Of several, the one that reads most sources says what kind of work it is.
func (d *describer) program(name string, argv []string) {
	kind, bytes := name, int64(0)
	for i, a := range argv[1:] {
		switch {
		case argv[i] == "-o": // what it makes, of which an old one may be there
		case a == "-c", a == "-S", a == "-E", strings.HasPrefix(a, "-O"):
			kind += " " + a
		case a == "-M", a == "-MM":
			kind += " -M"
		case sourceName[path.Ext(a)] && !strings.HasPrefix(a, "-"):
			bytes += d.size(d.file(a))
		case objectName[path.Ext(a)] && !strings.HasPrefix(a, "-"):
			d.work.Moves += d.size(d.file(a))
		}
	}
	if d.work.Kind == "" || bytes > d.work.Bytes {
		d.work.Kind = kind
	}
	d.work.Bytes += bytes
}

func (d *describer) file(name string) string {
	if d.dir == "" || path.IsAbs(name) {
		return name
	}
	return path.Join(d.dir, name)
}

// objectName has the suffixes of what links are made of.
var objectName = map[string]bool{".o": true, ".lo": true, ".a": true, ".so": true, ".obj": true, ".rlib": true}

// sourceName has the suffixes of files whose size says how long it takes to translate them.
var sourceName = map[string]bool{
	".c": true, ".cc": true, ".cpp": true, ".cxx": true, ".c++": true, ".C": true, ".i": true, ".ii": true, ".m": true, ".mm": true,
	".s": true, ".S": true, ".f": true, ".F": true, ".f90": true, ".F90": true, ".go": true, ".rs": true, ".ml": true, ".hs": true,
	".adb": true, ".java": true, ".l": true, ".y": true,
}
