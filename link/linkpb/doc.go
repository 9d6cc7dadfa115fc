// Package linkpb holds the heads of link's messages, generated from link.proto.
package linkpb

// protoc 3.21.12, protoc-gen-go v1.36.12
//go:generate protoc --go_out=. --go_opt=paths=source_relative link.proto
