package member

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/raft"
	bolt "go.etcd.io/bbolt"
)

// store keeps raft's log and its few stable values in one bbolt file. Each write is on disk when it returns. The registry
// writes little, so entries are plain JSON.
type store struct{ db *bolt.DB }

var (
	bucketLog    = []byte("log")
	bucketStable = []byte("stable")
)

// errNoKey has the text that raft looks for.
var errNoKey = errors.New("not found")

func openStore(path string) (*store, error) {
	db, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: time.Second, NoFreelistSync: true, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, fmt.Errorf("registry %s: %w (if another onehostd holds it, stop that one)", path, err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		for _, b := range [][]byte{bucketLog, bucketStable} {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("registry %s: %w", path, err)
	}
	return &store{db}, nil
}

func (s *store) Close() error { return s.db.Close() }

func key(index uint64) []byte { return binary.BigEndian.AppendUint64(nil, index) }

func (s *store) edge(pick func(*bolt.Cursor) ([]byte, []byte)) (index uint64, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		if k, _ := pick(tx.Bucket(bucketLog).Cursor()); k != nil {
			index = binary.BigEndian.Uint64(k)
		}
		return nil
	})
	return index, err
}

// FirstIndex is the index of the oldest entry, 0 if there is none.
func (s *store) FirstIndex() (uint64, error) { return s.edge((*bolt.Cursor).First) }

// LastIndex is the index of the newest entry, 0 if there is none.
func (s *store) LastIndex() (uint64, error) { return s.edge((*bolt.Cursor).Last) }

// GetLog reads one entry; raft.ErrLogNotFound if there is none.
func (s *store) GetLog(index uint64, log *raft.Log) error {
	return s.db.View(func(tx *bolt.Tx) error {
		data := tx.Bucket(bucketLog).Get(key(index))
		if data == nil {
			return raft.ErrLogNotFound
		}
		return json.Unmarshal(data, log)
	})
}

// StoreLog writes one entry.
func (s *store) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// StoreLogs writes entries, all or none.
func (s *store) StoreLogs(logs []*raft.Log) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		b := tx.Bucket(bucketLog)
		for _, log := range logs {
			data, err := json.Marshal(log)
			if err != nil {
				return err
			}
			if err := b.Put(key(log.Index), data); err != nil {
				return err
			}
		}
		return nil
	})
}

// DeleteRange removes the entries from min to max, both included.
func (s *store) DeleteRange(min, max uint64) error {
	return s.db.Update(func(tx *bolt.Tx) error {
		c := tx.Bucket(bucketLog).Cursor()
		// Not Next: after a Delete it may step over an entry.
		for k, _ := c.Seek(key(min)); k != nil && binary.BigEndian.Uint64(k) <= max; k, _ = c.Seek(key(min)) {
			if err := c.Delete(); err != nil {
				return err
			}
		}
		return nil
	})
}

// Set writes a stable value.
func (s *store) Set(k, v []byte) error {
	return s.db.Update(func(tx *bolt.Tx) error { return tx.Bucket(bucketStable).Put(k, v) })
}

// Get reads a stable value.
func (s *store) Get(k []byte) (v []byte, err error) {
	err = s.db.View(func(tx *bolt.Tx) error {
		got := tx.Bucket(bucketStable).Get(k)
		if got == nil {
			return errNoKey
		}
		v = append([]byte{}, got...)
		return nil
	})
	return v, err
}

// SetUint64 writes a stable number.
func (s *store) SetUint64(k []byte, v uint64) error { return s.Set(k, key(v)) }

// GetUint64 reads a stable number.
func (s *store) GetUint64(k []byte) (uint64, error) {
	v, err := s.Get(k)
	if err != nil {
		return 0, err
	}
	if len(v) != 8 {
		return 0, fmt.Errorf("registry: the value of %s is damaged", k)
	}
	return binary.BigEndian.Uint64(v), nil
}
