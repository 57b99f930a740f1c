/* SPDX-License-Identifier: MIT */
/*
 * What the policy puts into a box beside its root: the home, bind, tmpfs and
 * mask. Host half: opens what is lent and writes the plan; init makes the mount
 * points (place.h). Runs on the host, as root.
 */
#ifndef NSBOX_PLACES_H
#define NSBOX_PLACES_H

#include "idmap.h"
#include "notes.h"
#include "plan.h"
#include "policy.h"

struct nsbox_places {
	const struct nsbox_subject *subject;
	const struct nsbox_decision *policy;
	uint32_t base;			/* of the block of ids */
	struct nsbox_ids *ids;		/* planned here */
	struct nsbox_notes *notes;
	int data_userns;		/* the data map, made here and the caller's; -EBADF with keep */
	const char *unmapped;		/* what took no id map, or NULL; borrowed */
};

/*
 * Decides between shift and keep by what the file systems of the home and of
 * the writable binds can (idmap = auto), then plans all of them. @content gets
 * what is made on the box's own root, @mounts the rest, which comes last: over
 * whatever holds its place. Both are the caller's to drop also after a failure.
 * That it is to be keep, and why, is noted.
 */
int nsbox_places_lend(struct nsbox_places *p, struct nsbox_plan *content,
		      struct nsbox_plan *mounts, struct nsbox_error *err);

/*
 * What a login would be refused for on this machine: a directory that home names,
 * or a bind, that is not there or may not be lent. @wrong hears of each; returns
 * how many. For nsbox check.
 */
typedef void nsbox_places_wrong(enum nsbox_key key, const char *why, void *data);
int nsbox_places_check(const struct nsbox_decision *policy, const struct nsbox_subject *subject,
		       nsbox_places_wrong *wrong, void *data);

/* How many inodes a tmpfs of @size bytes may have: each costs a kilobyte of kernel memory. */
unsigned int nsbox_places_inodes(uint64_t size);

#endif
