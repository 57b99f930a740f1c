/* SPDX-License-Identifier: MIT */
/* What can be asked of a pidfd (pidfd_open(2)). */
#ifndef NSBOX_PIDFD_H
#define NSBOX_PIDFD_H

#include "error.h"

/*
 * The process behind @pidfd as numbered in our pid namespace, -ESRCH if it has
 * ended. The number may be another's by the time it is used: check alive after.
 */
int nsbox_pidfd_pid(int pidfd, struct nsbox_error *err);

/* Returns 1 while the process lives, 0 when it has ended, a negative errno. */
int nsbox_pidfd_alive(int pidfd, struct nsbox_error *err);

#endif
