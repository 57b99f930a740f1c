/* SPDX-License-Identifier: MIT */
/*
 * log = host: what a box writes to its /dev/log goes to the host's, marked as
 * the box's. The socket is box root's alone (0600): sshd, su and sudo, which
 * are that after the join, can write to it, the user cannot.
 */
#ifndef NSBOX_BOXLOG_H
#define NSBOX_BOXLOG_H

#include "error.h"

#include <stdint.h>

struct nsbox_boxlog {
	int box;		/* /dev/log of the box, bound; -EBADF: none */
	int host;		/* connects to the host's anew for each line */
	uint64_t since_ms;	/* begin of the interval that is counted */
	unsigned int lines, lost;	/* in it */
};

#define NSBOX_BOXLOG_INIT { .box = -EBADF, .host = -EBADF }

/*
 * Makes /dev/log in the box's /dev (@dev, which only the host's root can write)
 * for box root, who is @owner on the host. Runs in the keeper, as root; undone
 * by nsbox_boxlog_close() and the end of @dev.
 */
int nsbox_boxlog_open(struct nsbox_boxlog *log, int dev, uint32_t owner, struct nsbox_error *err);

/*
 * Forwards what has come, without ever waiting: "nsbox[USER]: " before it, no
 * control characters in it, at most 1000 lines in 30 seconds. What is too much
 * is counted, and the number logged.
 */
void nsbox_boxlog_forward(struct nsbox_boxlog *log, const char *user);

/* Idempotent. */
void nsbox_boxlog_close(struct nsbox_boxlog *log);

#endif
