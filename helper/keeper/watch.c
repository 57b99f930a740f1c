/* SPDX-License-Identifier: MIT */
/* Watching logind and passwd: see watch.h. */
#include "watch.h"
#include "cleanup.h"
#include "file.h"

#include <ctype.h>
#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#define SESSIONS "/run/systemd/sessions"

int nsbox_watch_open(struct nsbox_watch *ret)
{
	cleanup_close int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	int sessions, etc;

	if (fd < 0)
		return -errno;
	/* Both write a new file and rename it. */
	sessions = inotify_add_watch(fd, SESSIONS, IN_MOVED_TO | IN_DELETE);
	etc = inotify_add_watch(fd, "/etc", IN_MOVED_TO);
	if (sessions < 0 && etc < 0)
		return -ENOENT;
	*ret = (struct nsbox_watch){ .fd = take_fd(&fd) };
	return 0;
}

bool nsbox_watch_next(struct nsbox_watch *watch, char *ret, size_t size)
{
	const struct inotify_event *event;

	if (watch->at >= watch->have) {
		ssize_t n = read(watch->fd, watch->events, sizeof(watch->events));

		if (n <= 0)
			return false;
		watch->have = (size_t)n;
		watch->at = 0;
	}
	event = (const void *)(watch->events + watch->at);
	watch->at += sizeof(*event) + event->len;
	(void)snprintf(ret, size, "%s", event->len ? event->name : "");
	return true;
}

bool nsbox_watch_is_ending(const char *id)
{
	char path[128], text[8192];

	/* It becomes a path, and comes from the caller's environment. */
	for (const char *c = id; *c; c++)
		if (!isalnum((unsigned char)*c))
			return false;
	(void)snprintf(path, sizeof(path), SESSIONS "/%.64s", id);
	if (access(path, F_OK) < 0)
		return errno == ENOENT && access(SESSIONS, F_OK) == 0;
	if (nsbox_file_read(path, text, sizeof(text), NULL) < 0)
		return false;
	return strstr(text, "\nSTATE=closing\n") || strstr(text, "\nSTOPPING=1\n");
}

bool nsbox_watch_has_user(const char *name, uid_t uid)
{
	cleanup_fclose FILE *f = fopen("/etc/passwd", "re");
	struct passwd pw, *found;
	char buf[4096];
	int r = ERANGE;

	/* ERANGE: a line longer than any that is ours; all is well until it can be read. */
	while (f && (r = fgetpwent_r(f, &pw, buf, sizeof(buf), &found)) == 0)
		if (pw.pw_uid == uid && strcmp(pw.pw_name, name) == 0)
			return true;
	return r != ENOENT;
}
