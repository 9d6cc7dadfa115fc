package member

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/onehost/onehost/names"
)

// A beat is a protobuf message, written by hand because it is sent five times a second to every host:
//
//	message Beat {
//	  uint64 incarnation = 1;                // the sender's; its number is the link's
//	  bytes load = 2;
//	  repeated Life accused = 3;
//	  bool leads = 4;                        // the sender leads the registry
//	}
//	message Life { uint32 host = 1; uint64 incarnation = 2; }
const (
	fieldIncarnation = 1
	fieldLoad        = 2
	fieldAccused     = 3
	fieldLeads       = 4
)

// maxAccused bounds the accusations of one beat: no host monitors more.
const maxAccused = 4 * monitorsOf

func encodeBeat(beat Beat) []byte {
	b := protowire.AppendTag(nil, fieldIncarnation, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(beat.From.Incarnation))
	if len(beat.Load) > 0 {
		b = protowire.AppendTag(b, fieldLoad, protowire.BytesType)
		b = protowire.AppendBytes(b, beat.Load)
	}
	for _, l := range beat.Accused[:min(len(beat.Accused), maxAccused)] {
		var life []byte
		life = protowire.AppendTag(life, 1, protowire.VarintType)
		life = protowire.AppendVarint(life, uint64(l.Host))
		life = protowire.AppendTag(life, 2, protowire.VarintType)
		life = protowire.AppendVarint(life, uint64(l.Incarnation))
		b = protowire.AppendTag(b, fieldAccused, protowire.BytesType)
		b = protowire.AppendBytes(b, life)
	}
	if beat.Leads {
		b = protowire.AppendTag(b, fieldLeads, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}

// parseBeat reads a beat of host from. Unknown fields are skipped.
func parseBeat(from names.Host, b []byte) (Beat, error) {
	beat := Beat{From: Life{Host: from}}
	err := fields(b, func(n protowire.Number, v uint64, data []byte) error {
		switch n {
		case fieldIncarnation:
			beat.From.Incarnation = names.Incarnation(v)
		case fieldLeads:
			beat.Leads = v != 0
		case fieldLoad:
			if len(data) > MaxLoad {
				return fmt.Errorf("beat of host %d: a load of %d bytes is over the limit of %d", from, len(data), MaxLoad)
			}
			beat.Load = append([]byte(nil), data...)
		case fieldAccused:
			if len(beat.Accused) == maxAccused {
				return fmt.Errorf("beat of host %d: more than %d accusations", from, maxAccused)
			}
			var l Life
			if err := fields(data, func(n protowire.Number, v uint64, _ []byte) error {
				switch n {
				case 1:
					if v > uint64(names.MaxHost) {
						return fmt.Errorf("beat of host %d: it accuses host %d, which is over %d", from, v, names.MaxHost)
					}
					l.Host = names.Host(v)
				case 2:
					l.Incarnation = names.Incarnation(v)
				}
				return nil
			}); err != nil {
				return err
			}
			beat.Accused = append(beat.Accused, l)
		}
		return nil
	})
	return beat, err
}

// fields calls f for each varint (v) and bytes (data) field.
func fields(b []byte, f func(n protowire.Number, v uint64, data []byte) error) error {
	for len(b) > 0 {
		n, typ, size := protowire.ConsumeTag(b)
		if size < 0 {
			return fmt.Errorf("beat: %w", protowire.ParseError(size))
		}
		b = b[size:]
		var v uint64
		var data []byte
		switch typ {
		case protowire.VarintType:
			v, size = protowire.ConsumeVarint(b)
		case protowire.BytesType:
			data, size = protowire.ConsumeBytes(b)
		default:
			size = protowire.ConsumeFieldValue(n, typ, b)
			n = 0
		}
		if size < 0 {
			return fmt.Errorf("beat: %w", protowire.ParseError(size))
		}
		b = b[size:]
		if n == 0 {
			continue
		}
		if err := f(n, v, data); err != nil {
			return err
		}
	}
	return nil
}
