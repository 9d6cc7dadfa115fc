package proc

import (
	"context"
	"encoding/binary"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

// Limit implements Process.
func (l *Local) Limit(ctx context.Context, who *Caller, resource int, set *Limit) (Limit, error) {
	var to []byte
	if set != nil {
		to = set.Bytes()
	}
	was := make([]byte, 16)
	if _, err := one(ctx, who, sys.NewCall(unix.SYS_PRLIMIT64, l.number(), resource).Buffer(2, to).Buffer(3, was)); err != nil {
		return Limit{}, err
	}
	return ParseLimit(was), nil
}

// Bytes gives a struct rlimit64.
func (l Limit) Bytes() []byte {
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, l.Soft), l.Hard)
}

// ParseLimit reads the 16 bytes of a struct rlimit64.
func ParseLimit(b []byte) Limit {
	return Limit{Soft: binary.NativeEndian.Uint64(b), Hard: binary.NativeEndian.Uint64(b[8:])}
}
