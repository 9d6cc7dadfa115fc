package split

import (
	"os"
	"path/filepath"
	"testing"
)

func TestDaemonOf(t *testing.T) {
	for _, test := range []struct {
		name, want string
		have       []string
	}{
		{"built", "bin/onehostd", []string{"bin/onehostd", "sbin/onehostd"}},
		{"installed", "sbin/onehostd", []string{"sbin/onehostd"}},
		{"neither", "bin/onehostd", nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			prefix := t.TempDir()
			for _, path := range test.have {
				path = filepath.Join(prefix, path)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, nil, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			if got, want := daemonOf(filepath.Join(prefix, "bin/onehost")), filepath.Join(prefix, test.want); got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
	}
}
