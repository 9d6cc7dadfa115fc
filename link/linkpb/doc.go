// Package linkpb holds the heads of link's messages, generated from link.proto.
package linkpb

// protoc 3.21.12, protoc-gen-go v1.36.12. The generator reaches for unsafe to save one copy of the descriptor at start;
// only sys may, so that is undone.
//go:generate protoc --go_out=. --go_opt=paths=source_relative link.proto
//go:generate sed -i -f unsafe.sed link.pb.go
