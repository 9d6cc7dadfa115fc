//go:build amd64

package ghost

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestStub holds the bytes against their source.
func TestStub(t *testing.T) {
	for _, p := range []string{"as", "objcopy"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
	dir := t.TempDir()
	object, binary := filepath.Join(dir, "stub.o"), filepath.Join(dir, "stub.bin")
	for _, argv := range [][]string{{"as", "-o", object, "stub_amd64.S"}, {"objcopy", "-O", "binary", "-j", ".text", object, binary}} {
		if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", argv, err, out)
		}
	}
	want, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(stub, want) {
		t.Fatalf("stub_amd64.go is not stub_amd64.S assembled (%d bytes, want %d)", len(stub), len(want))
	}
	if len(want) > 4096 {
		t.Errorf("the stub is %d bytes long and must fit a page", len(want))
	}
}
