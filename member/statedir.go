package member

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/onehost/onehost/names"
)

// stateDir is where a host keeps who it is. Each file is replaced as a whole and is on disk before the call returns.
//
//	lock        held by the one Member that uses the directory
//	host.json   identity: what makes this host a member
//	view.json   the last view, for the addresses of the others; may be behind or missing
//	registry/   raft's log and snapshots, on voters
type stateDir struct {
	path string
	lock *os.File
}

// identity is host.json.
type identity struct {
	Cluster     names.ClusterName `json:"cluster"`
	Number      names.Host        `json:"number"`
	Name        names.HostName    `json:"name"`
	Incarnation names.Incarnation `json:"incarnation"`     // of the latest life; the next is one more
	Birth       names.Incarnation `json:"birth,omitempty"` // the first of those that the latest goes on with; 0: none before it
	Boot        string            `json:"boot,omitempty"`  // Config.Boot of the latest
	Addr        string            `json:"addr"`
	CA          []byte            `json:"ca"`   // certificate, DER
	Cert        []byte            `json:"cert"` // DER
	Key         []byte            `json:"key"`  // PKCS #8
}

const (
	fileIdentity = "host.json"
	fileView     = "view.json"
	dirRegistry  = "registry"
)

func openStateDir(path string) (*stateDir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := os.Chmod(path, 0o700); err != nil { // it holds keys, whoever made it
		return nil, fmt.Errorf("state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("state directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("state directory %s: another onehostd uses it: %w", path, err)
	}
	return &stateDir{path: path, lock: lock}, nil
}

func (d *stateDir) close() { d.lock.Close() }

func (d *stateDir) registry() string { return filepath.Join(d.path, dirRegistry) }

// load reads a file into v; false if there is none.
func (d *stateDir) load(name string, v any) (bool, error) {
	path := filepath.Join(d.path, name)
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("state directory: %w", err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return false, fmt.Errorf("%s is damaged (%w): restore it, or remove %s and join again", path, err, d.path)
	}
	return true, nil
}

func (d *stateDir) save(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if err := writeFile(filepath.Join(d.path, name), data); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}

// clear forgets the cluster. The identity goes first: without it nothing else is looked at.
func (d *stateDir) clear() error {
	for _, name := range []string{fileIdentity, fileView, dirRegistry} {
		if err := os.RemoveAll(filepath.Join(d.path, name)); err != nil {
			return fmt.Errorf("state directory: %w", err)
		}
	}
	return syncDir(d.path)
}

func (d *stateDir) clearRegistry() error {
	if err := os.RemoveAll(d.registry()); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return syncDir(d.path)
}

// writeFile replaces a file, or leaves it as it was.
func writeFile(path string, data []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(f.Name())
		}
	}()
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

func mkdir(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	return nil
}
