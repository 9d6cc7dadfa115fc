// Package procpb holds the messages of operations on processes of other hosts, generated from proc.proto.
package procpb

// protoc 3.21.12, protoc-gen-go v1.36.12. The generator reaches for unsafe to save one copy of the descriptor at start;
// only sys may, so that is undone.
//go:generate protoc --go_out=. --go_opt=paths=source_relative proc.proto
//go:generate sed -i -f unsafe.sed proc.pb.go
