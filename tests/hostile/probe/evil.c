/* SPDX-License-Identifier: MIT */
/*
 * A name service module of a hostile box: leaves a marker, named by who loaded
 * it and with which ids, in the box's /tmp and /run. Built as libnss_*.so.2.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <unistd.h>

static void __attribute__((constructor)) leave_marker(void)
{
	static const char *const places[] = { "/tmp", "/run", "/dev/shm" };
	char comm[17] = "", path[128];

	(void)prctl(PR_GET_NAME, comm);
	for (unsigned int i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int fd;

		(void)snprintf(path, sizeof(path), "%s/evil-%s-uid%u-pid%d", places[i], comm,
			       geteuid(), getpid());
		fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
		if (fd >= 0)
			(void)close(fd);
	}
}
