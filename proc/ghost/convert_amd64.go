package ghost

import (
	"fmt"
	"io"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/onehost/onehost/sys"
)

func supported() error { return nil }

// redZone keeps the stub's frame off the initial stack, in bytes.
const redZone = 128

// Convert turns the process into a ghost and lets it go. It must be registered before: its kill of Hello may come at
// once. On an error the process is still held.
func (h *Held) Convert() error {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(h.Pid, &regs); err != nil {
		return fmt.Errorf("registers of %d: %w", h.Pid, err)
	}
	if regs.Cs != userCS {
		return fmt.Errorf("it is no x86-64 program")
	}
	at := room(regs.Rip)
	if err := h.write(at); err != nil {
		return fmt.Errorf("writing the stub into %d: %w", h.Pid, err)
	}
	regs.R12 = regs.Rsp
	regs.Rsp = (regs.Rsp - redZone) &^ 15
	regs.Rip = at
	regs.Orig_rax = ^uint64(0) // no system call is to be restarted
	if err := sys.PtraceSetSignalMask(h.Pid, ^uint64(0)); err != nil {
		return fmt.Errorf("signal mask of %d: %w", h.Pid, err)
	}
	if err := unix.PtraceSetRegs(h.Pid, &regs); err != nil {
		return fmt.Errorf("registers of %d: %w", h.Pid, err)
	}
	if err := sys.PtraceDetach(h.Pid, 0); err != nil {
		return fmt.Errorf("detach of %d: %w", h.Pid, err)
	}
	return nil
}

// write puts the stub there. /proc/PID/mem takes it at once; but a kernel may be told to let nobody write to code that way.
func (h *Held) write(at uint64) error {
	if h.writeAtOnce(at) == nil {
		return nil
	}
	return h.writeByWords(at)
}

func (h *Held) writeAtOnce(at uint64) error {
	fd, err := unix.Open("/proc/"+strconv.Itoa(h.Pid)+"/mem", unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	n, err := unix.Pwrite(fd, stub, int64(at))
	if err == nil && n < len(stub) {
		err = io.ErrShortWrite
	}
	return err
}

func (h *Held) writeByWords(at uint64) error {
	_, err := unix.PtracePokeText(h.Pid, uintptr(at), stub)
	return err
}

// userCS is the code segment of 64-bit programs.
const userCS = 0x33

// pageSize is that of the smallest mapping.
const pageSize = 4096

// room gives where the stub fits: at the first instruction, or at the start of the page that one is in, which is mapped as a whole. What lies beyond
// that page may be something else, or nothing.
func room(ip uint64) uint64 {
	if ip%pageSize+uint64(len(stub)) <= pageSize {
		return ip
	}
	return ip &^ (pageSize - 1)
}
