/* SPDX-License-Identifier: MIT */
/*
 * What ends sessions from outside, and does not reach them by itself: logind
 * ends a session by stopping its scope, which the caller has left for the box;
 * userdel(8) removes a user. The keeper watches the files in which both show.
 */
#ifndef NSBOX_WATCH_H
#define NSBOX_WATCH_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct nsbox_watch {
	int fd;			/* inotify(7), readable when a session of logind or /etc/passwd changes */
	size_t have, at;	/* of @events: how much was read, how far it was taken */
	_Alignas(8) char events[4096];
};

#define NSBOX_WATCH_INIT { .fd = -EBADF }

/* Returns 0; a negative errno, -ENOENT where there is nothing to watch. */
int nsbox_watch_open(struct nsbox_watch *ret);

/*
 * Takes the next change: true, and in @ret the name of the file that changed:
 * a session's, or "passwd", or "" if the kernel has lost count of them
 * (IN_Q_OVERFLOW). False when there is none left. Every keeper sees every
 * session's change, so most are to be dropped by their name.
 */
bool nsbox_watch_next(struct nsbox_watch *watch, char *ret, size_t size);

/* Is logind ending the session of that id (pam_systemd's XDG_SESSION_ID), or has it forgotten it? */
bool nsbox_watch_is_ending(const char *id);

/* Has /etc/passwd a line for @name with @uid? A directory's users have none, ever. */
bool nsbox_watch_has_user(const char *name, uid_t uid);

#endif
