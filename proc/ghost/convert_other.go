//go:build !amd64

package ghost

import "errors"

var errArch = errors.New("ghosts need amd64 for now")

func supported() error { return errArch }

// Convert turns the process into a ghost: not on this architecture yet.
func (h *Held) Convert() error { return errArch }
