#include "textflag.h"

// func cloneBare(ca *bareArgs, size uintptr, arg unsafe.Pointer, entry uintptr) (tid, errno uintptr)
TEXT ·cloneBare(SB), NOSPLIT, $0-48
	MOVQ ca+0(FP), DI
	MOVQ size+8(FP), SI
	MOVQ arg+16(FP), R12
	MOVQ entry+24(FP), R13
	MOVL $435, AX      // clone3
	SYSCALL
	TESTQ AX, AX
	JZ   child
	CMPQ AX, $0xfffffffffffff001
	JCC  failed
	MOVQ AX, tid+32(FP)
	MOVQ $0, errno+40(FP)
	RET

failed:
	NEGQ AX
	MOVQ $0, tid+32(FP)
	MOVQ AX, errno+40(FP)
	RET

child:
	// On the new stack. By Go's convention the first argument is in AX, and X15 is zero.
	XORL BP, BP
	XORPS X15, X15
	MOVQ R12, AX
	CALL R13
	INT  $3

// func take(p *int32) int32
TEXT ·take(SB), NOSPLIT, $0-12
	MOVQ p+0(FP), AX
	MOVL $-1, CX
	LOCK
	XADDL CX, 0(AX)
	MOVL CX, ret+8(FP)
	RET
