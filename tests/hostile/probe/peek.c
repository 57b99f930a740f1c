/* SPDX-License-Identifier: MIT */
/*
 * Reaches for other processes of the box the way box root would.
 *
 *     peek PID             each way in, "WAY: ok" or "WAY: ERRNO"
 *     peek watch NAME...   until standard input ends: every process that has one of these names is tried
 *                          as soon as it is there; prints "reached NAME: WAY" for each success, "tried N"
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static int try_file(int pid, const char *name, int flags)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd >= 0)
		(void)close(fd);
	return fd < 0 ? errno : 0;
}

/* Opening is not enough: of a process that is ending these open, and are empty. */
static int read_maps(int pid, char *text, size_t size)
{
	char path[64];
	int fd, code;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/maps", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	n = read(fd, text, size - 1);
	code = n < 0 ? errno : n == 0 ? ESRCH : 0;
	text[n < 0 ? 0 : n] = '\0';
	(void)close(fd);
	return code;
}

static int try_maps(int pid)
{
	char text[4096];

	return read_maps(pid, text, sizeof(text));
}

static int try_mem(int pid)
{
	char path[64], text[4096], c;
	int fd, code;

	(void)snprintf(path, sizeof(path), "/proc/%d/mem", pid);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return errno;
	code = read_maps(pid, text, sizeof(text));
	if (code == 0 && pread(fd, &c, 1, (off_t)strtoul(text, NULL, 16)) != 1)
		code = errno;
	(void)close(fd);
	return code;
}

static int try_root(int pid) { return try_file(pid, "root", O_PATH | O_DIRECTORY); }
static int try_cwd(int pid) { return try_file(pid, "cwd", O_PATH | O_DIRECTORY); }

static int try_environ(int pid)
{
	char path[64], c;
	int fd, r;

	(void)snprintf(path, sizeof(path), "/proc/%d/environ", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	errno = 0;
	r = read(fd, &c, 1) == 1 ? 0 : errno ? errno : ESRCH;
	(void)close(fd);
	return r;
}

static int try_fds(int pid)
{
	char path[64];
	DIR *d;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	d = opendir(path);
	if (!d)
		return errno;
	(void)closedir(d);
	return 0;
}

static int try_getfd(int pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), r = ENOENT;

	if (pidfd < 0)
		return errno;
	for (int fd = 0; fd < 64; fd++) {
		int got = (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0);

		if (got >= 0) {
			(void)close(got);
			r = 0;
			break;
		}
		if (errno != EBADF)
			r = errno;
	}
	(void)close(pidfd);
	return r;
}

static int try_ptrace(int pid)
{
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) < 0)
		return errno;
	(void)ptrace(PTRACE_INTERRUPT, pid, 0, 0);
	(void)waitpid(pid, NULL, __WALL);
	(void)ptrace(PTRACE_DETACH, pid, 0, 0);
	return 0;
}

static const struct {
	const char *name;
	int (*attempt)(int pid);
} ways[] = {
	{ "mem", try_mem }, { "maps", try_maps }, { "environ", try_environ }, { "fd", try_fds },
	{ "root", try_root }, { "cwd", try_cwd }, { "pidfd_getfd", try_getfd }, { "ptrace", try_ptrace },
};

static void name_of(int pid, char name[32])
{
	char path[64];
	int fd;
	ssize_t n;

	(void)snprintf(path, sizeof(path), "/proc/%d/comm", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, name, 31);
	if (fd >= 0)
		(void)close(fd);
	name[n < 0 ? 0 : n] = '\0';
	name[strcspn(name, "\n")] = '\0';
}

static int is_wanted(const char *name, char **wanted)
{
	for (; *wanted; wanted++)
		if (strcmp(*wanted, name) == 0)
			return 1;
	return 0;
}

static long watch_once(char **wanted)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	long tried = 0;

	while (d && (e = readdir(d))) {
		int pid = atoi(e->d_name);
		char name[32];

		if (pid <= 1 || pid == getpid())
			continue;
		name_of(pid, name);
		if (!is_wanted(name, wanted))
			continue;
		for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
			int r = ways[i].attempt(pid);

			tried++;
			/* Only if it has not become a program of the user's meanwhile. */
			name_of(pid, name);
			if (r == 0 && is_wanted(name, wanted))
				(void)printf("reached %s: %s\n", name, ways[i].name);
		}
	}
	if (d)
		(void)closedir(d);
	return tried;
}

int main(int argc, char **argv)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	long tried = 0;

	if (argc < 2)
		return 2;
	(void)alarm(150);
	if (strcmp(argv[1], "watch") == 0) {
		(void)printf("watching\n");
		(void)fflush(stdout);
		while (poll(&in, 1, 0) == 0)
			tried += watch_once(argv + 2);
		(void)printf("tried %ld\n", tried);
		return 0;
	}
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		int r = ways[i].attempt(atoi(argv[1]));

		(void)printf("%s: %s\n", ways[i].name, r ? strerrorname_np(r) : "ok");
	}
	return 0;
}
