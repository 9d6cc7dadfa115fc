// Package fspb holds the generated wire headers of netfs.
//
// The generator is pinned to v1.36.3, the last whose output does without unsafe, which only room sys may import.
package fspb

//go:generate protoc --go_out=. --go_opt=paths=source_relative fs.proto
