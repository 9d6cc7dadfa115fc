/*
 * Times what a program does all day, and prints medians.
 *	spawn N CMD [ARG ...]	spawn and wait N times; microseconds
 *	spawn calls		getpid, stat and kill; nanoseconds per call
 * It spawns with posix_spawn, as make does.
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
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

int
main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "calls") == 0)
		printf("%.0f %.0f %.0f\n", call(0), call(1), call(2));
	else if (argc >= 3 && atoi(argv[1]) > 0)
		spawn(atoi(argv[1]), argv + 2);
	else
		errx(2, "usage: spawn N CMD [ARG ...] | spawn calls");
	return 0;
}
