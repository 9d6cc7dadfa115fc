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

// floors is the architecture: a room may import rooms of strictly lower floors, and itself. It is data that says
// how the house is laid out, not to be changed to fix a build.
var floors = map[string]int{
	"names": 1, "sys": 1,
	"link":   2,
	"member": 3, "token": 3, "place": 3, "intercept": 3, "control": 3,
	"proc": 4, "netfs": 4, "dev": 4, "route": 4, "dns": 4, "cli": 4, "web": 4,
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
		if d.IsDir() || !strings.HasSuffix(path, ".go") || !strings.Contains(path, "/") {
			return nil
		}
		files++
		room, _, _ := strings.Cut(filepath.ToSlash(path), "/")
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
			rest, ours := strings.CutPrefix(name, module)
			if !ours {
				continue
			}
			target, _, _ := strings.Cut(rest, "/")
			if target != room && floors[target] >= floor {
				t.Errorf("%s (%s, F%d) imports %s (F%d): imports go to lower floors only", path, room, floor, target, floors[target])
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
