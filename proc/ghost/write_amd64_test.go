package ghost

import (
	"bytes"
	"os/exec"
	"runtime"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRoom: the stub lies in the page of the first instruction, and at that if it can.
func TestRoom(t *testing.T) {
	for off := range uint64(pageSize) {
		ip := 0x7f0000001000 + off
		at := room(ip)
		if at/pageSize != ip/pageSize || (at+uint64(len(stub))-1)/pageSize != ip/pageSize {
			t.Fatalf("for %#x: %#x", ip, at)
		}
		if fits := off+uint64(len(stub)) <= pageSize; fits != (at == ip) {
			t.Fatalf("for %#x: %#x, fits %v", ip, at, fits)
		}
	}
}

// Both ways to write the stub into code that the process itself may not write to.
func TestWrite(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for name, write := range map[string]func(*Held, uint64) error{"at once": (*Held).writeAtOnce, "by words": (*Held).writeByWords} {
		cmd := exec.Command("/bin/true")
		cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		h := &Held{Pid: cmd.Process.Pid}
		var status unix.WaitStatus
		if _, err := unix.Wait4(h.Pid, &status, unix.WALL, nil); err != nil || !status.Stopped() {
			t.Fatalf("it did not stop at its exec: %#x, %v", status, err)
		}
		var regs unix.PtraceRegs
		if err := unix.PtraceGetRegs(h.Pid, &regs); err != nil {
			t.Fatal(err)
		}
		if err := write(h, regs.Rip); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		got := make([]byte, len(stub))
		if _, err := unix.PtracePeekText(h.Pid, uintptr(regs.Rip), got); err != nil || !bytes.Equal(got, stub) {
			t.Errorf("%s: what is there now is not the stub (%v)", name, err)
		}
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // killed
	}
}
