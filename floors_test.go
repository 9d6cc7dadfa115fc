package onehost_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/onehost/onehost/"

// root is the room of the files in the repository's own directory: package onehost, which other people's programs import. Whatever it
// imports they have to carry along.
const root = ""

// rootMay are the rooms that root may import, beside the standard library.
var rootMay = map[string]bool{"control": true, "names": true}

// floors is the architecture: a room may import rooms of strictly lower floors, and itself. It is data that says
// how the house is laid out, not to be changed to fix a build.
var floors = map[string]int{
	"names": 1, "sys": 1,
	"link":   2,
	"member": 3, "token": 3, "place": 3, "intercept": 3, "control": 3,
	"proc": 4, "netfs": 4, "dev": 4, "route": 4, "dns": 4, "cli": 4, "web": 4,
	root:      4, // the client for Go programs
	"migrate": 5, "gang": 5,
	"node":  6,
	"split": 7,
	"cmd":   8,
	"e2e":   8, // tests from outside, over real hosts
}

// unsafeRooms may import unsafe: the kernel's interface, and nobody else.
var unsafeRooms = map[string]bool{"sys": true}

func TestFloors(t *testing.T) {
	fset := token.NewFileSet()
	files := 0
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != "." && (strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") {
			return nil
		}
		files++
		room, _, below := strings.Cut(filepath.ToSlash(path), "/")
		if !below {
			room = root
		}
		floor, known := floors[room]
		if !known {
			t.Errorf("%s: room %q is on no floor", path, room)
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			if name == "unsafe" && !unsafeRooms[room] && !strings.HasSuffix(path, ".pb.go") { // protoc-gen-go's own
				t.Errorf("%s imports unsafe: only sys may", path)
			}
			rest, ours := strings.CutPrefix(name+"/", module)
			target, _, _ := strings.Cut(rest, "/")
			if room == root && !strings.HasSuffix(path, "_test.go") {
				domain, _, _ := strings.Cut(name, "/")
				if ours && !rootMay[target] || !ours && strings.Contains(domain, ".") {
					t.Errorf("%s (package onehost) imports %s: only control, names and the standard library", path, name)
				}
			}
			if !ours {
				continue
			}
			if target != room && floors[target] >= floor {
				t.Errorf("%s (%s, F%d) imports %s (F%d): imports go to lower floors only", path, room, floor, name, floors[target])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Fatal("no Go file found: the test looked in the wrong place")
	}
}
