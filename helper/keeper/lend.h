/* SPDX-License-Identifier: MIT */
/* What the host lends to a box: the two plans of its root, and the trees in them. */
#ifndef NSBOX_LEND_H
#define NSBOX_LEND_H

#include "idmap.h"
#include "notes.h"
#include "plan.h"
#include "policy.h"

enum { NSBOX_SHIFTED_MAX = 16 };

struct nsbox_lent {
	struct nsbox_plan content, mounts;
	struct nsbox_plan home_content, home_mounts;	/* until they are put at the end of those */
	int data_userns;		/* the data map, or -EBADF with keep */
	int dev;			/* the box's /dev, a second descriptor of it */
	struct nsbox_notes notes;	/* for the log */
	/* Trees that get the image map as soon as the box's user namespace has it. */
	int shifted[NSBOX_SHIFTED_MAX];	/* borrowed from the plans */
	unsigned int n_shifted;
};

#define NSBOX_LENT_INIT { .content = NSBOX_PLAN_INIT, .mounts = NSBOX_PLAN_INIT, \
			  .home_content = NSBOX_PLAN_INIT, .home_mounts = NSBOX_PLAN_INIT, \
			  .data_userns = -EBADF, .dev = -EBADF }

/*
 * The home and the policy's places, first of all: what the home's file system
 * can decides between shift and keep (idmap = auto), and so the maps that init
 * needs. Runs on the host, as root; fills @ids and @ret, which is the caller's
 * to drop also after a failure.
 */
int nsbox_lend_home(const struct nsbox_subject *subject, const struct nsbox_decision *policy,
		    uint32_t base, struct nsbox_ids *ids, struct nsbox_lent *ret,
		    struct nsbox_error *err);

/*
 * Plans the rest of the root, after nsbox_lend_home(); with @netns, a network
 * namespace of others, its /sys too. Runs beside init's first steps.
 */
int nsbox_lend(const struct nsbox_subject *subject, const struct nsbox_decision *policy, int netns,
	       const struct nsbox_ids *ids, struct nsbox_lent *ret, struct nsbox_error *err);

/* Maps the shifted trees by @userns. That the host's /usr does not take it is noted. */
int nsbox_lend_shift(struct nsbox_lent *lent, int userns, struct nsbox_error *err);

void nsbox_lent_drop(struct nsbox_lent *lent);

#endif
