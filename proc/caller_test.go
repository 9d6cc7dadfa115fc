package proc

import (
	"fmt"
	"iter"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"
)

func itoa(n int) string { return strconv.Itoa(n) }

func words(b []byte) iter.Seq[string] { return strings.FieldsSeq(string(b)) }

func hexDigit(c byte) int { return strings.IndexByte("0123456789abcdef", c) }

func TestParseCaller(t *testing.T) {
	const status = "Name:\tUid: 7\nUid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t9 10 \nCapEff:\t00000000000000a0\n"
	want := &Caller{UID: [3]uint32{1, 2, 3}, GID: [3]uint32{5, 6, 7}, Groups: []uint32{9, 10}, Capabilities: 0xa0}
	if got, err := ParseCaller([]byte(status)); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, cut := range []string{"Uid:\t1\t2\t3\t4\n", "Gid:\t5\t6\t7\t8\n", "Groups:\t9 10 \n", "CapEff:\t00000000000000a0\n", "\t3\t4", "00a0", "10 "} {
		if got, err := ParseCaller([]byte(strings.Replace(status, cut, "x", 1))); err == nil {
			t.Errorf("without %q: %+v", cut, got)
		}
	}
	us, err := ReadCaller(os.Getpid())
	if err != nil || us.UID[1] != uint32(os.Geteuid()) || us.GID[1] != uint32(os.Getegid()) {
		t.Errorf("this process: %+v, %v", us, err)
	}
	if c, err := ReadCaller(1 << 30); err == nil {
		t.Errorf("nobody: %+v", c)
	}
}

func FuzzParseCaller(f *testing.F) {
	f.Add([]byte("Uid:\t1\t2\t3\t4\nGid:\t5\t6\t7\t8\nGroups:\t\nCapEff:\t00\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := ParseCaller(b); (c == nil) != (err != nil) {
			t.Fatal(fmt.Sprint(c, err))
		}
	})
}
