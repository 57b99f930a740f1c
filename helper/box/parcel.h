/* SPDX-License-Identifier: MIT */
/*
 * The two plans of a box's root on their way from the keeper to init, which was
 * born before they were made: the steps in a memfd, the trees beside it.
 */
#ifndef NSBOX_PARCEL_H
#define NSBOX_PARCEL_H

#include "plan.h"

struct nsbox_parcel {
	struct nsbox_plan content;	/* what is made on the root's own file system */
	struct nsbox_plan mounts;	/* what is mounted over it, in order */
	void *map;			/* steps, paths and data of both */
	size_t size;
};

#define NSBOX_PARCEL_INIT { .content = NSBOX_PLAN_INIT, .mounts = NSBOX_PLAN_INIT }

/*
 * Sends both plans over @sock, as LENT messages. Runs on the host. The plans
 * and their trees stay the caller's. Returns 0 or a negative errno.
 */
int nsbox_parcel_send(int sock, const struct nsbox_plan *content, const struct nsbox_plan *mounts,
		      struct nsbox_error *err);

/*
 * Receives what the keeper sent, however long that takes. Runs in init. *ret is
 * the caller's, who calls nsbox_parcel_drop() also after a failure; the plans in
 * it are for reading, not to be appended to or dropped. -EPIPE: the keeper ended.
 */
int nsbox_parcel_receive(int sock, struct nsbox_parcel *ret, struct nsbox_error *err);

/* Closes the trees and frees everything. Idempotent. */
void nsbox_parcel_drop(struct nsbox_parcel *parcel);

#endif
