/* SPDX-License-Identifier: MIT */
/*
 * net = join:USER: a process of the keeper's that is a session in USER's box, so
 * that the box is opened if it is not there, stays as long as ours, and ours ends
 * with it. Runs in the keeper, on the host; the guest in USER's box, as its root.
 */
#ifndef NSBOX_GUEST_H
#define NSBOX_GUEST_H

#include "error.h"

#include <sys/types.h>

struct nsbox_guest {
	int sock;		/* its end: USER's box has ended; ours: the guest goes */
};

#define NSBOX_GUEST_INIT { .sock = -EBADF }

/* Enters USER's box. Returns the descriptor of its network namespace, the caller's. */
int nsbox_guest_enter(struct nsbox_guest *guest, const char *user, struct nsbox_error *err);
/* Idempotent. */
void nsbox_guest_leave(struct nsbox_guest *guest);

#endif
