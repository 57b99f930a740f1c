/* SPDX-License-Identifier: MIT */
/* A keeper starts clean, whoever called it. */
#ifndef NSBOX_START_H
#define NSBOX_START_H

#include "error.h"

/*
 * Takes off everything that came from the caller: environment, descriptors but
 * the connection, signals, umask, directory, session, limits (pam_limits has
 * just set the user's), priorities, affinity, keyring, securebits, and its
 * namespaces (those of a hardened sshd.service) for pid 1's. The cgroup
 * follows later, nsbox_cgroup_leave_caller(). Returns 0 or a negative errno.
 */
int nsbox_start_clean(struct nsbox_error *err);

/*
 * What ps(1) and systemd-cgls(1) show this process as, from now on: whose box
 * it keeps, and the name of its cgroup. Nothing where the kernel has no
 * PR_SET_MM (CONFIG_CHECKPOINT_RESTORE).
 */
void nsbox_start_show(const char *user, const char *box);

#endif
