/* SPDX-License-Identifier: MIT */
/*
 * Times a whole command, from before its start until it has ended.
 *
 *   spawntime [-n COUNT] [-g GAP_MS] COMMAND [ARGUMENT...]
 *
 * Prints microseconds, one line per run; stops at a run that fails.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <spawn.h>
#include <sys/wait.h>

static double run(char **argv)
{
	double start = now_us();
	int status, ret;
	pid_t pid;

	ret = posix_spawnp(&pid, argv[0], NULL, NULL, argv, environ);
	if (ret != 0) {
		errno = ret;
		die(argv[0]);
	}
	if (waitpid(pid, &status, 0) < 0)
		die("waitpid");
	if (status != 0) {
		fprintf(stderr, "%s failed: status %#x\n", argv[0], (unsigned int)status);
		exit(1);
	}
	return now_us() - start;
}

int main(int argc, char **argv)
{
	unsigned int count = 50, gap_ms = 100;
	int opt;

	while ((opt = getopt(argc, argv, "+n:g:")) != -1) {
		switch (opt) {
		case 'n': count = (unsigned int)atoi(optarg); break;
		case 'g': gap_ms = (unsigned int)atoi(optarg); break;
		default: argc = 0;
		}
	}
	if (argc <= optind) {
		fprintf(stderr, "usage: spawntime [-n COUNT] [-g GAP_MS] COMMAND [ARGUMENT...]\n");
		return 2;
	}
	for (unsigned int i = 0; i < count; i++) {
		usleep(gap_ms * 1000);
		printf("%.1f\n", run(argv + optind));
		fflush(stdout);
	}
	return 0;
}
