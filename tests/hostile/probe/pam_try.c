/* SPDX-License-Identifier: MIT */
/* A PAM module that opens, with whatever the caller is by then, the files it is given: w:PATH for writing. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <security/pam_modules.h>

int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags;
	for (int i = 0; i < argc; i++) {
		int write = strncmp(argv[i], "w:", 2) == 0;
		int fd = open(argv[i] + 2 * write, (write ? O_WRONLY : O_RDONLY) | O_CLOEXEC);

		(void)dprintf(1, "=> %s: %s\n", argv[i], fd < 0 ? strerrorname_np(errno) : "ok");
		if (fd >= 0)
			(void)close(fd);
	}
	return PAM_IGNORE;
}

int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh, (void)flags, (void)argc, (void)argv;
	return PAM_IGNORE;
}
