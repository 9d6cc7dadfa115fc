#include "textflag.h"

// func cloneShared(ca *cloneArgs, size uintptr, arg unsafe.Pointer, entry, pass uintptr) (pid, errno uintptr)
TEXT ·cloneShared(SB), NOSPLIT, $0-56
	MOVQ ca+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ arg+16(FP), R12 // the child has the parent's registers, R14, the goroutine, among them
	MOVQ entry+24(FP), R13
	MOVQ pass+32(FP), DX
	MOVL $435, AX      // clone3
	SYSCALL
	TESTQ AX, AX
	JZ   child
	CMPQ AX, $0xfffffffffffff001
	JCC  failed
	MOVQ AX, pid+40(FP)
	MOVQ $0, errno+48(FP)
	RET

failed:
	NEGQ AX
	MOVQ $0, pid+40(FP)
	MOVQ AX, errno+48(FP)
	RET

child:
	// On the new stack. By Go's convention the first argument is in AX, and X15 is zero.
	XORL BP, BP
	XORPS X15, X15
	MOVQ R12, AX
	CALL R13
	INT  $3
