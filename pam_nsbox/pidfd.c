/* SPDX-License-Identifier: MIT */
/* Questions to a pidfd: see pidfd.h. */
#include "pidfd.h"
#include "file.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

int nsbox_pidfd_pid(int pidfd, struct nsbox_error *err)
{
	char path[64], text[512];
	const char *line;
	int pid;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	if (nsbox_file_read(path, text, sizeof(text), NULL) > 0) {
		line = strstr(text, "\nPid:");
		if (line && sscanf(line, " Pid: %d", &pid) == 1 && pid > 0)
			return pid;
	}
	return nsbox_error_say(err, ESRCH, "a process has ended or cannot be seen in /proc");
}

int nsbox_pidfd_alive(int pidfd, struct nsbox_error *err)
{
	struct pollfd pfd = { .fd = pidfd, .events = POLLIN };
	int r;

	do
		r = poll(&pfd, 1, 0);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return nsbox_error_set(err, errno, "poll of a pidfd");
	return r == 0;
}
