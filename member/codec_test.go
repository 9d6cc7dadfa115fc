package member

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"pgregory.net/rapid"

	"github.com/onehost/onehost/names"
)

func TestBeatRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := Beat{From: Life{names.Host(rapid.IntRange(1, 16383).Draw(t, "host")), names.Incarnation(rapid.Uint64().Draw(t, "incarnation"))}}
		b.Leads = rapid.Bool().Draw(t, "leads")
		if load := rapid.SliceOfN(rapid.Byte(), 0, MaxLoad).Draw(t, "load"); len(load) > 0 {
			b.Load = load
		}
		for range rapid.IntRange(0, maxAccused).Draw(t, "accused") {
			b.Accused = append(b.Accused, Life{names.Host(rapid.IntRange(0, 16383).Draw(t, "host")), names.Incarnation(rapid.Uint64().Draw(t, "incarnation"))})
		}
		got, err := parseBeat(b.From.Host, encodeBeat(b))
		if err != nil || !reflect.DeepEqual(got, b) {
			t.Fatalf("got %+v, %v, want %+v", got, err, b)
		}
	})
}

func FuzzBeat(f *testing.F) {
	f.Add(encodeBeat(Beat{From: Life{1, 2}, Load: []byte("x"), Accused: []Life{{3, 4}}}))
	f.Add([]byte{0x1a, 0x02, 0x08, 0xff})
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseBeat(1, data)
		if err != nil {
			return
		}
		if len(b.Load) > MaxLoad || len(b.Accused) > maxAccused {
			t.Fatalf("over the bounds: %d %d", len(b.Load), len(b.Accused))
		}
		again, err := parseBeat(1, encodeBeat(b))
		if err != nil || len(again.Accused) != len(b.Accused) || again.From != b.From || !bytes.Equal(again.Load, b.Load) {
			t.Fatalf("%+v became %+v, %v", b, again, err)
		}
	})
}

func FuzzToken(f *testing.F) {
	f.Add(joinToken{secret: [secretLen]byte{1}}.String())
	f.Add("oh1")
	f.Fuzz(func(t *testing.T, s string) {
		tok, err := parseToken(s)
		if err != nil {
			if strings.Contains(err.Error(), "\n") {
				t.Fatalf("more than a line: %q", err)
			}
			return
		}
		if again, err := parseToken(tok.String()); err != nil || again != tok {
			t.Fatalf("%v became %v, %v", tok, again, err)
		}
	})
}

// Any one letter that is wrong is noticed.
func TestTokenMistyped(t *testing.T) {
	tok := joinToken{caHash: caHash([]byte("x")), secret: [secretLen]byte{1, 2, 3}}.String()
	if strings.ContainsAny(tok, "-+/= ") || len(tok) != len(tokenPrefix)+64 {
		t.Errorf("not one word to paste: %q", tok)
	}
	for i := len(tokenPrefix); i < len(tok); i++ {
		c := byte('a')
		if tok[i] == 'a' {
			c = 'b'
		}
		if _, err := parseToken(tok[:i] + string(c) + tok[i+1:]); err == nil {
			t.Errorf("letter %d may be anything", i)
		}
	}
	if _, err := parseToken(" " + strings.ToUpper(tok) + "\n"); err != nil {
		t.Errorf("as a shell or a mail may change it: %v", err)
	}
}

func FuzzJoinMessage(f *testing.F) {
	var b bytes.Buffer
	if err := writeMessage(&b, joinMessage{Kind: joinKind}); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(binary.BigEndian.AppendUint32(nil, 1<<31))
	f.Fuzz(func(t *testing.T, data []byte) {
		var msg joinMessage
		_ = readMessage(bytes.NewReader(data), maxJoinRequest, &msg)
	})
}

// The proof holds for one session, one request and one secret.
func TestProof(t *testing.T) {
	secret, session, req := []byte("secret"), make([]byte, 32), []byte("request")
	proof := prove(secret, session, req)
	if !proofHolds(secret, session, req, proof) {
		t.Error("it does not hold")
	}
	other := bytes.Clone(session)
	other[0] = 1
	if proofHolds(secret, other, req, proof) || proofHolds(secret, session, []byte("other"), proof) || proofHolds([]byte("guess"), session, req, proof) {
		t.Error("it holds for something else")
	}
}

// The store is raft's log as raft means it, and keeps what was written when it is opened again.
func TestStore(t *testing.T) {
	dir := t.TempDir()
	runs := 0
	rapid.Check(t, func(t *rapid.T) {
		runs++
		if runs > 25 {
			return // each run writes to the disk
		}
		path := filepath.Join(dir, time.Now().Format("150405.000000000"))
		s, err := openStore(path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { s.Close() }()
		model := map[uint64]string{}
		t.Repeat(map[string]func(*rapid.T){
			"store": func(t *rapid.T) {
				first := rapid.Uint64Range(1, 30).Draw(t, "first")
				var logs []*raft.Log
				for i := range rapid.Uint64Range(1, 10).Draw(t, "count") {
					data := rapid.StringN(0, 8, -1).Draw(t, "data")
					logs = append(logs, &raft.Log{Index: first + i, Term: 3, Data: []byte(data)})
					model[first+i] = data
				}
				if err := s.StoreLogs(logs); err != nil {
					t.Fatal(err)
				}
			},
			"delete": func(t *rapid.T) {
				lo := rapid.Uint64Range(0, 40).Draw(t, "min")
				hi := lo + rapid.Uint64Range(0, 20).Draw(t, "more")
				if err := s.DeleteRange(lo, hi); err != nil {
					t.Fatal(err)
				}
				for i := lo; i <= hi; i++ {
					delete(model, i)
				}
			},
			"reopen": func(t *rapid.T) {
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if s, err = openStore(path); err != nil {
					t.Fatal(err)
				}
			},
			"": func(t *rapid.T) {
				var lo, hi uint64
				for i := range model {
					hi = max(hi, i)
					if lo == 0 || i < lo {
						lo = i
					}
				}
				first, err1 := s.FirstIndex()
				last, err2 := s.LastIndex()
				if err1 != nil || err2 != nil || first != lo || last != hi {
					t.Fatalf("got %d to %d (%v, %v), want %d to %d", first, last, err1, err2, lo, hi)
				}
				for i := range uint64(60) {
					var l raft.Log
					err := s.GetLog(i, &l)
					want, ok := model[i]
					if ok != (err == nil) || ok && string(l.Data) != want || !ok && err != raft.ErrLogNotFound {
						t.Fatalf("entry %d: %q, %v, want %q", i, l.Data, err, want)
					}
				}
			},
		})
	})
}

func TestStoreStable(t *testing.T) {
	s, err := openStore(filepath.Join(t.TempDir(), "db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.GetUint64([]byte("k")); err == nil || err.Error() != "not found" {
		t.Errorf("raft looks for another error than %v", err)
	}
	if err := s.SetUint64([]byte("k"), 7); err != nil {
		t.Fatal(err)
	}
	if v, err := s.GetUint64([]byte("k")); v != 7 || err != nil {
		t.Errorf("got %d, %v", v, err)
	}
}

func TestStateDir(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a", "state")
	d, err := openStateDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer d.close()
	if _, err := openStateDir(path); err == nil || !strings.Contains(err.Error(), "another onehostd uses it") {
		t.Errorf("a second one opened it: %v", err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
	id := identity{Cluster: "c", Number: 3, Key: []byte{1}}
	if err := d.save(fileIdentity, id); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(filepath.Join(path, fileIdentity)); info.Mode().Perm() != 0o600 {
		t.Errorf("the key has mode %v", info.Mode())
	}
	var got identity
	if ok, err := d.load(fileIdentity, &got); !ok || err != nil || !reflect.DeepEqual(got, id) {
		t.Errorf("got %+v, %v, %v", got, ok, err)
	}
	if err := os.WriteFile(filepath.Join(path, fileView), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := d.load(fileView, &View{}); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Errorf("got %v", err)
	}
	if err := d.clear(); err != nil {
		t.Fatal(err)
	}
	if ok, err := d.load(fileIdentity, &got); ok || err != nil {
		t.Errorf("it was not cleared: %v", err)
	}
}
