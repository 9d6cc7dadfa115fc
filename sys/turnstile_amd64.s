#include "textflag.h"

// func take(p *int32) int32
TEXT ·take(SB), NOSPLIT, $0-12
	MOVQ p+0(FP), AX
	MOVL $-1, CX
	LOCK
	XADDL CX, 0(AX)
	MOVL CX, ret+8(FP)
	RET
