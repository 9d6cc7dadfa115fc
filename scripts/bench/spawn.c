/*
 * Times what a program does all day, and prints medians.
 *	spawn N CMD [ARG ...]	spawn and wait N times; microseconds
 *	spawn calls		getpid, stat and kill; nanoseconds per call
 *	spawn table		twenty calls, a line each; nanoseconds per call
 *	spawn far N PID		kill(PID, 0) N times, PID on another host; then, as a spreader, spawn and
 *				wait of /bin/true, and kill and wait of a sleep; median and 99th percentile, us
 *	spawn many N [AT]	N sleeps, AT at a time by threads; says "up SECONDS", waits for the end of its
 *				input, ends them all and says "down SECONDS"
 * It spawns with posix_spawn, as make does.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1e9 + t.tv_nsec;
}

static int
compare(const void *a, const void *b)
{
	double d = *(const double *)a - *(const double *)b;

	return (d > 0) - (d < 0);
}

static double
median(double *v, int n)
{
	qsort(v, n, sizeof *v, compare);
	return v[n / 2];
}

static void
spawn(int n, char **argv)
{
	double *took = calloc(n, sizeof *took), begin;
	int i, status;
	pid_t pid;

	if (took == NULL)
		err(1, "calloc");
	for (i = 0; i < n; i++) {
		begin = now();
		if ((errno = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ)) != 0)
			err(1, "%s", argv[0]);
		if (waitpid(pid, &status, 0) != pid)
			err(1, "waitpid");
		took[i] = (now() - begin) / 1e3;
		if (status != 0)
			errx(1, "%s: wait status %#x", argv[0], status);
	}
	printf("%.1f\n", median(took, n));
}

enum { BATCHES = 101, CALLS = 2000 };

static double
call(int which)
{
	double took[BATCHES], begin;
	struct stat st;
	pid_t self = getpid();
	int i, j;

	for (i = 0; i < BATCHES; i++) {
		begin = now();
		for (j = 0; j < CALLS; j++)
			switch (which) {
			case 0: syscall(SYS_getpid); break;
			case 1: stat("/", &st); break;
			case 2: kill(self, 0); break;
			}
		took[i] = (now() - begin) / CALLS;
	}
	return median(took, BATCHES);
}

static const char *const names[] = {
	"getpid", "getppid", "gettid", "kill, signal 0", "tgkill, signal 0", "wait4, no child", "waitid, no child", "getpgid",
	"getsid", "getpriority", "setpriority", "ioprio_get", "sched_getaffinity", "sched_setaffinity", "sched_getscheduler",
	"sched_getparam", "prlimit64", "process_vm_readv", "pidfd_open and close", "open and close",
};

static void
one(int which, pid_t self, cpu_set_t *set)
{
	static char from[64], to[64];
	struct iovec l = { to, sizeof to }, r = { from, sizeof from };
	struct sched_param param;
	struct rlimit limit;
	siginfo_t info;

	switch (which) {
	case 0: syscall(SYS_getpid); break;
	case 1: syscall(SYS_getppid); break;
	case 2: syscall(SYS_gettid); break;
	case 3: kill(self, 0); break;
	case 4: syscall(SYS_tgkill, self, self, 0); break;
	case 5: waitpid(-1, NULL, WNOHANG); break;
	case 6: waitid(P_ALL, 0, &info, WEXITED | WNOHANG); break;
	case 7: getpgid(self); break;
	case 8: getsid(self); break;
	case 9: getpriority(PRIO_PROCESS, self); break;
	case 10: setpriority(PRIO_PROCESS, 0, 0); break;
	case 11: syscall(SYS_ioprio_get, 1, self); break;
	case 12: sched_getaffinity(self, sizeof *set, set); break;
	case 13: sched_setaffinity(0, sizeof *set, set); break;
	case 14: sched_getscheduler(self); break;
	case 15: sched_getparam(self, &param); break;
	case 16: prlimit(self, RLIMIT_NOFILE, NULL, &limit); break;
	case 17: process_vm_readv(self, &l, 1, &r, 1, 0); break;
	case 18: close(syscall(SYS_pidfd_open, self, 0)); break;
	case 19: close(open("/", O_RDONLY)); break;
	}
}

static void
table(void)
{
	double took[BATCHES], begin;
	pid_t self = getpid(); /* once: it is a call itself */
	cpu_set_t set;
	unsigned i;
	int j, k;

	sched_getaffinity(0, sizeof set, &set);
	for (i = 0; i < sizeof names / sizeof *names; i++) {
		for (j = 0; j < BATCHES; j++) {
			begin = now();
			for (k = 0; k < CALLS / 4; k++)
				one(i, self, &set);
			took[j] = (now() - begin) / (CALLS / 4);
		}
		printf("%s\t%.0f\n", names[i], median(took, BATCHES));
	}
}

static void
show(const char *what, double *v, int n)
{
	qsort(v, n, sizeof *v, compare);
	printf("%s\t%.0f\t%.0f\n", what, v[n / 2] / 1e3, v[n - 1 - n / 100] / 1e3);
}

static void
far(int n, pid_t pid)
{
	char *nothing[] = { "/bin/true", NULL }, *sleeper[] = { "/bin/sleep", "1000", NULL };
	double *took = calloc(n, sizeof *took), begin;
	int i, status;
	pid_t child;

	if (took == NULL)
		err(1, "calloc");
	if (pid > 0) {
		for (i = 0; i < n; i++) {
			begin = now();
			if (kill(pid, 0) < 0)
				err(1, "kill %d", (int)pid);
			took[i] = now() - begin;
		}
		show("kill", took, n);
	}
	for (i = 0; i < n; i++) {
		begin = now();
		if ((errno = posix_spawn(&child, nothing[0], NULL, NULL, nothing, environ)) != 0)
			err(1, "%s", nothing[0]);
		if (waitpid(child, &status, 0) != child || status != 0)
			errx(1, "%s: wait status %#x", nothing[0], status);
		took[i] = now() - begin;
	}
	show("exec", took, n);
	for (i = 0; i < n; i++) {
		if ((errno = posix_spawn(&child, sleeper[0], NULL, NULL, sleeper, environ)) != 0)
			err(1, "%s", sleeper[0]);
		usleep(20000); /* it is to run there by then; a signal that comes before is passed on all the same */
		begin = now();
		if (kill(child, SIGTERM) < 0 || waitpid(child, &status, 0) != child || WTERMSIG(status) != SIGTERM)
			errx(1, "%s: wait status %#x", sleeper[0], status);
		took[i] = now() - begin;
	}
	show("wait", took, n);
}

static pid_t *sleepers;
static int wanted, started;

static void *
start(void *unused)
{
	char *sleeper[] = { "/bin/sleep", "100000", NULL };
	int i, e;

	(void)unused;
	while ((i = __atomic_fetch_add(&started, 1, __ATOMIC_RELAXED)) < wanted)
		if ((e = posix_spawn(&sleepers[i], sleeper[0], NULL, NULL, sleeper, environ)) != 0)
			errx(1, "sleep %d: %s", i, strerror(e));
	return NULL;
}

static void
many(int n, int at)
{
	pthread_t *t = calloc(at, sizeof *t);
	double begin = now();
	int i, status, bad = 0;
	char b;

	wanted = n;
	if (t == NULL || (sleepers = calloc(n, sizeof *sleepers)) == NULL)
		err(1, "calloc");
	for (i = 0; i < at; i++)
		if ((errno = pthread_create(&t[i], NULL, start, NULL)) != 0)
			err(1, "pthread_create");
	for (i = 0; i < at; i++)
		pthread_join(t[i], NULL);
	printf("up %.3f\n", (now() - begin) / 1e9);
	fflush(stdout);
	while (read(0, &b, 1) > 0)
		;
	begin = now();
	for (i = 0; i < n; i++)
		if (kill(sleepers[i], SIGTERM) < 0)
			warn("kill %d", (int)sleepers[i]);
	for (i = 0; i < n; i++)
		if (waitpid(sleepers[i], &status, 0) != sleepers[i] || !WIFSIGNALED(status) || WTERMSIG(status) != SIGTERM)
			bad++;
	printf("down %.3f\n", (now() - begin) / 1e9);
	if (bad)
		errx(1, "%d of %d did not end by SIGTERM", bad, n);
}

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "calls") == 0)
		printf("%.0f %.0f %.0f\n", call(0), call(1), call(2));
	else if (argc == 2 && strcmp(argv[1], "table") == 0)
		table();
	else if (argc == 4 && strcmp(argv[1], "far") == 0 && atoi(argv[2]) > 0)
		far(atoi(argv[2]), atoi(argv[3]));
	else if (argc >= 3 && strcmp(argv[1], "many") == 0 && atoi(argv[2]) > 0)
		many(atoi(argv[2]), argc > 3 && atoi(argv[3]) > 0 ? atoi(argv[3]) : 1);
	else if (argc >= 3 && atoi(argv[1]) > 0)
		spawn(atoi(argv[1]), argv + 2);
	else
		errx(2, "usage: spawn N CMD [ARG ...] | spawn calls | spawn table | spawn far N PID | spawn many N [AT]");
	return 0;
}
