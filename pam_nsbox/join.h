/* SPDX-License-Identifier: MIT */
/*
 * The join: a process of the host puts itself into a box and drops what made
 * it root of the host (DESIGN: rules 1, 2, 4, 7, 8).
 */
#ifndef NSBOX_JOIN_H
#define NSBOX_JOIN_H

#include "error.h"
#include "proto.h"

#include <errno.h>
#include <sys/resource.h>

struct nsbox_join_plan {
	const struct nsbox_msg_join *to;
	int init;		/* pidfd of the box's init */
	int ns_dir;		/* our own /proc/self/ns, opened on the host */
	struct rlimit nproc, nofile;	/* as they were */
	bool nproc_raised, nofile_raised;
};

#define NSBOX_JOIN_PLAN_INIT { .ns_dir = -EBADF }

/*
 * Everything that can be checked and done before the first irreversible call:
 * is init alive, are its namespaces those that the keeper named; last, glibc's
 * name service goes on "files". Runs on the host, as root. Returns 0 or a
 * negative errno: after nsbox_join_abandon() nothing has changed then.
 */
int nsbox_join_prepare(const struct nsbox_msg_join *to, int init, struct nsbox_join_plan *plan,
		       struct nsbox_error *err);

/* Puts back what prepare() has changed and closes what it holds. Idempotent. */
void nsbox_join_abandon(struct nsbox_join_plan *plan);

/*
 * Joins. Runs on the host as root and ends in the box as box root with
 * to->caller_caps. *ret_entered tells whether the irreversible setns() was
 * done: false with an error means that nothing happened, true with an error
 * that this process is in the box, without privileges on the host, and must
 * not go on.
 */
int nsbox_join(const struct nsbox_join_plan *plan, bool *ret_entered, struct nsbox_error *err);

#endif
