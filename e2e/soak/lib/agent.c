/* An agent: a process that does what the soak tells it, and tells what happens to it. It is in C since all that it does are system calls
 * that Go would make otherwise, or not let it make: it forks without exec, waits for chosen children, and sees the value of each signal.
 *
 * It blocks all signals and takes them from a signalfd, so that each one that was queued is told once. Lines from the soak are "ID VERB ARGUMENTS",
 * answers are "r ID NUMBERS", a signal is "s NUMBER CODE PID VALUE". Its connection is to the loopback of the host that it runs on, where the soak listens: so
 * the soak knows where it runs without asking the product, and the kernel tells the moment at which it dies. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PORT = 7117, LINE = 512, UNREACHED = 99, UNHEARD = 98 };

static int sock = -1, signals = -1;
static char pending[LINE];
static size_t have;

static void tell(const char *format, ...) {
	char line[LINE];
	va_list args;
	va_start(args, format);
	int n = vsnprintf(line, sizeof line, format, args);
	va_end(args);
	if (send(sock, line, n, MSG_NOSIGNAL) != n) _exit(UNHEARD);
}

static void greet(const char *name) {
	struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	have = 0;
	/* A host that has just booted may have no listener yet. */
	for (int tries = 0;; tries++) {
		sock = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (connect(sock, (struct sockaddr *)&at, sizeof at) == 0) break;
		close(sock);
		if (tries == 1000) _exit(UNREACHED);
		nanosleep(&(struct timespec){.tv_nsec = 10 * 1000 * 1000}, 0);
	}
	sigset_t all;
	sigfillset(&all);
	signals = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	tell("h %s %d %d %d %d\n", name, getpid(), getppid(), getpgid(0), getsid(0));
}

/* leave lets a child of fork have nothing of its parent's. */
static void leave(void) {
	close(sock);
	close(signals);
}

static long result(long r) { return r < 0 ? -errno : r; }

static long spawn(const char *program, const char *name) {
	pid_t pid = fork();
	if (pid == 0) {
		leave(); /* at once, not at the exec, which may wait for a host */
		execl(program, program, name, (char *)0);
		_exit(127);
	}
	return result(pid);
}

static long split(const char *name) {
	pid_t pid = fork();
	if (pid == 0) {
		leave();
		greet(name);
		return 0;
	}
	return result(pid);
}

/* die ends this process by a signal. */
static void die(int sig) {
	sigset_t one;
	sigemptyset(&one);
	sigaddset(&one, sig);
	signal(sig, SIG_DFL);
	raise(sig);
	sigprocmask(SIG_UNBLOCK, &one, 0);
	pause();
}

/* fill is what the other end of a pipe does. */
static int fill(long n) {
	char block[4096];
	memset(block, 'x', sizeof block);
	for (long done = 0; done < n;) {
		long r = write(1, block, n - done > (long)sizeof block ? (long)sizeof block : n - done);
		if (r < 0) return 1;
		done += r;
	}
	return n % 200 + 2;
}

/* pipes has a child write n bytes, and tells how many came and how it ended. */
static void pipes(long id, const char *program, const char *n) {
	int p[2], st = 0;
	char block[4096];
	long got = 0, r;
	if (pipe2(p, O_CLOEXEC)) { tell("r %ld %d\n", id, -errno); return; }
	pid_t pid = fork();
	if (pid == 0) {
		leave();
		dup2(p[1], 1);
		execl(program, program, "fill", n, (char *)0);
		_exit(127);
	}
	close(p[1]);
	while ((r = read(p[0], block, sizeof block)) > 0) got += r;
	close(p[0]);
	pid_t w = waitpid(pid, &st, 0);
	tell("r %ld %ld %d %d\n", id, result(pid), w == pid ? st : -errno, (int)got);
}

static void obey(char *line) {
	char verb[32], a[128] = "", b[128] = "", c[128] = "";
	long id;
	if (sscanf(line, "%ld %31s %127s %127s %127s", &id, verb, a, b, c) < 2) _exit(UNHEARD);
	long x = atol(a), y = atol(b), z = atol(c), r;
	errno = 0;
	if (!strcmp(verb, "spawn")) {
		tell("r %ld %ld\n", id, spawn(a, b));
	} else if (!strcmp(verb, "fork")) {
		if ((r = split(a)) != 0) tell("r %ld %ld\n", id, r);
	} else if (!strcmp(verb, "kill")) {
		tell("r %ld %ld\n", id, result(kill(x, y)));
	} else if (!strcmp(verb, "queue")) {
		tell("r %ld %ld\n", id, result(sigqueue(x, y, (union sigval){.sival_int = z})));
	} else if (!strcmp(verb, "pidfd")) {
		int fd = syscall(SYS_pidfd_open, x, 0);
		r = fd < 0 ? -errno : result(syscall(SYS_pidfd_send_signal, fd, y, 0, 0));
		if (fd >= 0) close(fd);
		tell("r %ld %ld\n", id, r);
	} else if (!strcmp(verb, "wait")) {
		int st = 0;
		r = result(waitpid(x, &st, y));
		tell("r %ld %ld %d\n", id, r, st);
	} else if (!strcmp(verb, "waitid")) {
		siginfo_t si = {0};
		r = result(waitid(x == -1 ? P_ALL : P_PID, x, &si, y));
		tell("r %ld %ld %d %d %d\n", id, r, si.si_pid, si.si_code, si.si_status);
	} else if (!strcmp(verb, "exit")) {
		_exit(x);
	} else if (!strcmp(verb, "die")) {
		die(x);
	} else if (!strcmp(verb, "mortal")) {
		sigset_t one;
		sigemptyset(&one);
		sigaddset(&one, x);
		signal(x, SIG_DFL);
		tell("r %ld %ld\n", id, result(sigprocmask(SIG_UNBLOCK, &one, 0)));
	} else if (!strcmp(verb, "setpgid")) {
		tell("r %ld %ld\n", id, result(setpgid(x, y)));
	} else if (!strcmp(verb, "setsid")) {
		tell("r %ld %ld\n", id, result(setsid()));
	} else if (!strcmp(verb, "ids")) {
		tell("r %ld %d %d %d %d\n", id, getpid(), getppid(), getpgid(0), getsid(0));
	} else if (!strcmp(verb, "pipe")) {
		pipes(id, a, b);
	} else {
		_exit(UNHEARD);
	}
}

int main(int argc, char **argv) {
	if (argc == 3 && !strcmp(argv[1], "fill")) return fill(atol(argv[2]));
	sigset_t all;
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, 0);
	greet(argc > 1 ? argv[1] : "nobody");
	for (;;) {
		/* Afresh in each round: a child of fork has others. */
		struct pollfd fds[] = {{.fd = sock, .events = POLLIN}, {.fd = signals, .events = POLLIN}};
		if (poll(fds, 2, -1) < 0 && errno != EINTR) _exit(UNHEARD);
		struct signalfd_siginfo si;
		while (read(signals, &si, sizeof si) == sizeof si)
			tell("s %u %d %d %d\n", si.ssi_signo, si.ssi_code, si.ssi_pid, si.ssi_int);
		if (!fds[0].revents) continue;
		ssize_t n = recv(sock, pending + have, sizeof pending - 1 - have, 0);
		if (n <= 0) return UNHEARD; /* the soak is over */
		have += n;
		char *end;
		while ((end = memchr(pending, '\n', have))) {
			char line[LINE];
			size_t len = end - pending;
			memcpy(line, pending, len);
			line[len] = 0;
			have -= len + 1;
			memmove(pending, end + 1, have);
			obey(line);
		}
	}
}
