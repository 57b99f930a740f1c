/* SPDX-License-Identifier: MIT */
/*
 * nested = yes: what containers inside the box need of it. Runs in init, as box
 * root, with the box's new root as the current directory.
 */
#ifndef NSBOX_NESTED_H
#define NSBOX_NESTED_H

#include "error.h"
#include "policy.h"

#include <stdbool.h>

/*
 * Mounts below /run/.nested, where box root alone gets, what the kernel wants
 * to see before it lets a user namespace inside mount a proc; gives
 * newuidmap(1) and newgidmap(1), where the box has them, the one capability
 * that each needs; and shows at /sys/fs/cgroup which version it is, since crun
 * and runc ask even if they are to make no cgroup. /run and /sys are mounted.
 */
int nsbox_nested_make(const struct nsbox_decision *policy, bool cgroup2, struct nsbox_error *err);

/* May the user give ids of /etc/subuid to his containers? */
bool nsbox_nested_ids(const struct nsbox_decision *policy);

#endif
