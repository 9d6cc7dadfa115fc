//go:build !amd64

package sys

import "syscall"

// hasGate says that this machine has none: its thread needs code in assembly.
const hasGate = false

func startGate(*gateState) (int, syscall.Errno) { return 0, syscall.ENOSYS }

func (s *gateState) plain(*[gateName]byte, uint64) bool { return false }

func (s *gateState) parent(uint32) uint32 { return 0 }

func has(*[GatePids / 32]uint32, uint32) bool { return false }
