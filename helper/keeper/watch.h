/* SPDX-License-Identifier: MIT */
/*
 * What ends sessions from outside, and does not reach them by itself: logind
 * ends a session by stopping its scope, which the caller has left for the box;
 * userdel(8) removes a user. The keeper watches the files in which both show.
 */
#ifndef NSBOX_WATCH_H
#define NSBOX_WATCH_H

#include <stdbool.h>
#include <sys/types.h>

/*
 * Returns an inotify(7) descriptor, the caller's, that becomes readable when a
 * session of logind or /etc/passwd changes; a negative errno, or -ENOENT where
 * there is nothing to watch.
 */
int nsbox_watch_open(void);

/* Takes what is in it, so that it waits for the next change. */
void nsbox_watch_drain(int fd);

/* Is logind ending the session of that id (pam_systemd's XDG_SESSION_ID), or has it forgotten it? */
bool nsbox_watch_is_ending(const char *id);

/* Has /etc/passwd a line for @name with @uid? A directory's users have none, ever. */
bool nsbox_watch_has_user(const char *name, uid_t uid);

#endif
