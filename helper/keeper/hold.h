/* SPDX-License-Identifier: MIT */
/*
 * nsbox.service: under systemd, which owns the cgroup tree, boxes may only be
 * made below a unit that it has delegated (Delegate=yes, see CGROUP_DELEGATION
 * of systemd). This process is that unit's: it prepares the cgroup, says where
 * it is, and waits. It takes no part in a login; when it ends, systemd ends all
 * that is below it, so all boxes.
 */
#ifndef NSBOX_HOLD_H
#define NSBOX_HOLD_H

#include "error.h"

/*
 * Prepares the cgroup that the process was started in, writes NSBOX_BASE_FILE
 * (see cgroup.h), tells systemd (sd_notify(3)) and waits for SIGTERM. Runs on
 * the host, as root, with the environment that systemd gave. Returns 0 when
 * asked to end, or a negative errno.
 */
int nsbox_hold(struct nsbox_error *err);

#endif
