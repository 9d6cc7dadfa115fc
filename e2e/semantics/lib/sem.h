/* What the cases in C share. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* start runs a bit of Python as a child; *out, unless out is 0, is a pipe from its output. */
static pid_t __attribute__((unused)) start(int *out, const char *code) {
	char text[4096];
	snprintf(text, sizeof text, "from kid import *\n%s", code);
	char *argv[] = {"python3", "-S", "-c", text, 0};
	int p[2] = {-1, -1};
	setbuf(stdout, 0);
	if (out && pipe2(p, O_CLOEXEC)) { perror("pipe"); exit(99); }
	pid_t pid = fork();
	if (pid == 0) {
		if (out) dup2(p[1], 1);
		execv("/usr/bin/python3", argv);
		_exit(127);
	}
	if (out) { close(p[1]); *out = p[0]; }
	return pid;
}

/* want reads a line, which has to be this one. */
static void __attribute__((unused)) want(int fd, const char *line) {
	char got[100];
	size_t n = 0;
	while (n < sizeof got - 1 && read(fd, got + n, 1) == 1 && got[n] != '\n') n++;
	got[n] = 0;
	if (strcmp(got, line)) { printf("not %s but: %s\n", line, got); exit(99); }
}

static int __attribute__((unused)) waits(pid_t pid, int options) {
	int st, r;
	do r = waitpid(pid, &st, options); while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : st;
}

/* tell says how a process changed its state. */
static void __attribute__((unused)) tell(const char *what, int st) {
	if (st < 0) printf("%s: %s\n", what, strerrorname_np(-st));
	else if (WIFEXITED(st)) printf("%s: exit %d\n", what, WEXITSTATUS(st));
	else if (WIFSIGNALED(st)) printf("%s: signal %d\n", what, WTERMSIG(st));
	else if (WIFSTOPPED(st)) printf("%s: stopped %d\n", what, WSTOPSIG(st));
	else printf("%s: continued\n", what);
}
