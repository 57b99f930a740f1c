/* SPDX-License-Identifier: MIT */
/*
 * pid 1 of a box. Forked from the keeper by clone3(), never execs. Born in the
 * box's user and pid namespace with one descriptor, the way to the keeper, it
 * makes the other namespaces itself: while it does, the keeper looks for what
 * the host lends, and sends that as a parcel. It has no privilege on the host.
 */
#ifndef NSBOX_INIT_H
#define NSBOX_INIT_H

#include "idmap.h"
#include "parcel.h"
#include "policy.h"

struct nsbox_init {
	int sock;			/* to the keeper; its end ends the box */
	const struct nsbox_plan *content;	/* of the parcel, as soon as that is here */
	const struct nsbox_plan *mounts;
	const struct nsbox_decision *policy;
	const struct nsbox_subject *subject;	/* for the files of a root that can be written */
	const struct nsbox_ids *ids;
	const char *shell;		/* the user's; must be there, or shell_fallback */
	int unshare;			/* the namespaces it was not born in (CLONE_NEW*) */
	bool unshare_cgroup;		/* cgroup v1: clone3() could not do it */
};

/* Is the network namespace the box's own? */
static inline bool nsbox_init_owns_net(const struct nsbox_init *init)
{
	return init->policy->net == NSBOX_NET_NONE || init->policy->net == NSBOX_NET_BRIDGE;
}

/*
 * Waits for BUILD and the parcel, assembles the box, waits for SETTLE, answers
 * READY or REFUSE with the reason, then serves TTY_BIND until the keeper is
 * gone. Does not return.
 */
void nsbox_init_run(const struct nsbox_init *init) __attribute__((noreturn));

#endif
