/* SPDX-License-Identifier: MIT */
/*
 * What the benchmark's programs share: a clock, and an end for everything that goes wrong (a benchmark has nothing to clean up:
 * its host is thrown away).
 */
#ifndef NSBOX_BENCH_H
#define NSBOX_BENCH_H

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static inline void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static inline double now_us(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec * 1e6 + (double)ts.tv_nsec / 1e3;
}

#endif
