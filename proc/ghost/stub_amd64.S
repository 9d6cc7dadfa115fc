# The ghost: what stands at home in the place of a process that runs elsewhere.
#
# Position independent, one thread, every signal blocked. On entry r12 is the image's initial stack (argc), rsp lies
# well below it. rbp is the frame; orders are read at rsp. ebx is the socket, r13d the signals; r15d counts the SIGCONTs
# that were sent.
#
# Build: as -o stub.o stub_amd64.S && objcopy -O binary -j .text stub.o stub.bin; the test of this package
# compares the result with stub_amd64.go.
	.intel_syntax noprefix
	.text

	.set HELLO,   0x7fff0001	# pids of a host that cannot be: always notified
	.set RESTORE, 0x7fff0002
	.set MASK,    -8
	.set PFD,     -32		# two struct pollfd
	.set INFO,    -160		# struct signalfd_siginfo
	.set ACT,     -192		# struct sigaction as the kernel has it
	.set OLD,     -224
	.set FRAME,   4608		# from rbp down to the order buffer
	.set ORDER,   4352		# bytes of the order buffer

stub:
	mov	rbp, rsp
	sub	rsp, FRAME
	xor	r15d, r15d

	xor	edi, edi		# close_range(0, ~0, 0)
	mov	esi, -1
	xor	edx, edx
	mov	eax, 436
	syscall

	mov	edi, HELLO		# kill(HELLO, 0): the answer is a socket
	xor	esi, esi
	mov	eax, 62
	syscall
	test	eax, eax
	js	kill9
	mov	ebx, eax

	mov	qword ptr [rbp+MASK], -1 # signalfd4(-1, every signal, CLOEXEC|NONBLOCK)
	mov	rdi, -1
	lea	rsi, [rbp+MASK]
	mov	edx, 8
	mov	r10d, 0x80800
	mov	eax, 289
	syscall
	test	eax, eax
	js	kill9
	mov	r13d, eax

loop:
	mov	dword ptr [rbp+PFD], ebx	# ppoll({socket, signals}, 2, no timeout)
	mov	dword ptr [rbp+PFD+4], 1
	mov	dword ptr [rbp+PFD+8], r13d
	mov	dword ptr [rbp+PFD+12], 1
	lea	rdi, [rbp+PFD]
	mov	esi, 2
	xor	edx, edx
	xor	r10d, r10d
	mov	eax, 271
	syscall

signals:
	mov	edi, r13d		# read(signals)
	lea	rsi, [rbp+INFO]
	mov	edx, 128
	xor	eax, eax
	syscall
	cmp	eax, 128
	jne	orders
	mov	edi, ebx		# sendto(socket, MSG_NOSIGNAL)
	lea	rsi, [rbp+INFO]
	mov	edx, 128
	mov	r10d, 0x4000
	xor	r8d, r8d
	xor	r9d, r9d
	mov	eax, 44
	syscall
	test	eax, eax
	js	kill9
	cmp	dword ptr [rbp+INFO], 18
	jne	signals
	inc	r15d
	jmp	signals

orders:
	mov	edi, ebx		# recvfrom(socket, MSG_DONTWAIT)
	mov	rsi, rsp
	mov	edx, ORDER
	mov	r10d, 0x40
	xor	r8d, r8d
	xor	r9d, r9d
	mov	eax, 45
	syscall
	cmp	eax, -11		# EAGAIN
	je	loop
	cmp	eax, -4			# EINTR
	je	loop
	test	eax, eax
	jle	kill9			# nobody is there any more
	mov	eax, [rsp]
	mov	r14d, [rsp+4]
	cmp	eax, 1
	je	exit
	cmp	eax, 2
	je	die
	cmp	eax, 3
	je	stop
	cmp	eax, 4
	je	reexec
	cmp	eax, 5
	je	group
	cmp	eax, 6
	je	session
	jmp	loop

group:
	xor	edi, edi		# setpgid(0, group)
	mov	esi, r14d
	mov	eax, 109
	syscall
	jmp	loop

session:
	mov	eax, 112		# setsid()
	syscall
	jmp	loop

exit:
	mov	edi, r14d		# exit_group(code)
	mov	eax, 231
	syscall

die:
	mov	qword ptr [rbp+ACT], 0	# prlimit64(0, RLIMIT_CORE, {0, 0}, 0)
	mov	qword ptr [rbp+ACT+8], 0
	xor	edi, edi
	mov	esi, 4
	lea	rdx, [rbp+ACT]
	xor	r10d, r10d
	mov	eax, 302
	syscall
	mov	edi, 4			# prctl(PR_SET_DUMPABLE, 0): no core through a pipe either
	xor	esi, esi
	mov	eax, 157
	syscall
	call	default
	call	send
	call	unblock
	lea	edi, [r14+128]		# a signal that does not end us: as a shell would say it
	mov	eax, 231
	syscall

stop:
	cmp	[rsp+8], r15d		# there is a SIGCONT that who sent the order did not know of
	jne	loop
	call	send			# pending, so that a SIGCONT from here on takes it back
	call	default
	call	unblock
	mov	edi, r14d		# continued: rt_sigaction(signal, old)
	lea	rsi, [rbp+OLD]
	xor	edx, edx
	mov	r10d, 8
	mov	eax, 13
	syscall
	mov	rax, -1
	call	setmask
	jmp	loop

reexec:
	mov	edi, RESTORE		# kill(RESTORE, 0): the supervisor puts the descriptors back
	xor	esi, esi
	mov	eax, 62
	syscall
	test	eax, eax
	js	kill9
	mov	rax, [rsp+8]
	call	setmask
	lea	rdi, [rsp+16]
	call	exec
	lea	rdi, [rip+self]
	call	exec
	mov	edi, 126
	mov	eax, 231
	syscall

# exec rdi with the arguments and environment of the initial stack.
exec:
	mov	rcx, [r12]
	lea	rsi, [r12+8]
	lea	rdx, [r12+rcx*8+16]
	mov	eax, 59
	syscall
	ret

# default disposition for signal r14; the old one is kept.
default:
	xor	eax, eax
	mov	[rbp+ACT], rax
	mov	[rbp+ACT+8], rax
	mov	[rbp+ACT+16], rax
	mov	[rbp+ACT+24], rax
	mov	edi, r14d
	lea	rsi, [rbp+ACT]
	lea	rdx, [rbp+OLD]
	mov	r10d, 8
	mov	eax, 13
	syscall
	ret

# send signal r14 to ourselves.
send:
	mov	eax, 39
	syscall
	mov	edi, eax
	mov	esi, r14d
	mov	eax, 62
	syscall
	ret

# block every signal but r14.
unblock:
	mov	ecx, r14d
	dec	ecx
	mov	rax, -1
	btr	rax, rcx

# block the signals in rax.
setmask:
	mov	[rbp+MASK], rax
	mov	edi, 2
	lea	rsi, [rbp+MASK]
	xor	edx, edx
	mov	r10d, 8
	mov	eax, 14
	syscall
	ret

kill9:
	mov	eax, 39
	syscall
	mov	edi, eax
	mov	esi, 9
	mov	eax, 62
	syscall
	jmp	kill9

self:
	.asciz	"/proc/self/exe"
