/* SPDX-License-Identifier: MIT */
/*
 * Takes as much of a resource as it gets, prints "took N", and gives it back
 * when its standard input ends or after 20 seconds.
 *
 *     take inotify|signals|mqueue [MAX]
 *     take ptys MAX
 *     take inodes MAX DIRECTORY
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <mqueue.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/resource.h>
#include <unistd.h>

static int take_inotify(long i, const char *arg)
{
	(void)i, (void)arg;
	return inotify_init1(0);
}

static int take_signal(long i, const char *arg)
{
	const union sigval value = { .sival_int = 0 };

	(void)i, (void)arg;
	return sigqueue(getpid(), SIGRTMIN + 5, value);
}

static int take_mqueue(long i, const char *arg)
{
	struct mq_attr attr = { .mq_maxmsg = 10, .mq_msgsize = 8192 };
	char name[64];
	mqd_t q;

	(void)arg;
	(void)snprintf(name, sizeof(name), "/nsbox-%d-%ld", getpid(), i);
	q = mq_open(name, O_RDWR | O_CREAT | O_EXCL, 0600, &attr);
	if (q >= 0)
		(void)mq_unlink(name);	/* counted as long as it is open */
	return q;
}

static int take_pty(long i, const char *arg)
{
	(void)i, (void)arg;
	return open("/dev/ptmx", O_RDWR | O_NOCTTY);
}

static int take_inode(long i, const char *arg)
{
	char path[256];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/x-%ld", arg, i);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	if (fd >= 0)
		(void)close(fd);
	return fd < 0 ? -1 : 0;
}

static const struct {
	const char *name;
	int (*take)(long i, const char *arg);
} kinds[] = {
	{ "inotify", take_inotify }, { "signals", take_signal }, { "mqueue", take_mqueue },
	{ "ptys", take_pty }, { "inodes", take_inode },
};

int main(int argc, char **argv)
{
	long max = argc > 2 ? atol(argv[2]) : 1000000, n = 0;
	struct rlimit files = { 0 };
	sigset_t set;
	char c;

	(void)alarm(20);
	if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
		files.rlim_cur = files.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &files);
	}
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGRTMIN + 5);
	(void)sigprocmask(SIG_BLOCK, &set, NULL);
	for (size_t k = 0; argc > 1 && k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		if (strcmp(kinds[k].name, argv[1]) != 0)
			continue;
		errno = 0;
		while (n < max && kinds[k].take(n, argc > 3 ? argv[3] : "") >= 0)
			n++;
		(void)printf("took %ld %s\n", n, n < max ? strerrorname_np(errno) : "MAX");
	}
	(void)fflush(stdout);
	while (read(0, &c, 1) > 0)
		;
	return 0;
}
