/* SPDX-License-Identifier: MIT */
/*
 * pid 1 of a box. Forked from the keeper by clone3(), never execs: inherits the
 * plan as memory and the trees as descriptors. Runs inside the box's
 * namespaces from its first instruction and has no privilege on the host.
 */
#ifndef NSBOX_INIT_H
#define NSBOX_INIT_H

#include "idmap.h"
#include "plan.h"
#include "policy.h"


struct nsbox_init {
	int sock;			/* to the keeper; its end ends the box */
	struct nsbox_plan *content;	/* what is made on the root's own file system */
	struct nsbox_plan *mounts;	/* what is mounted over it, in order */
	const struct nsbox_decision *policy;
	const struct nsbox_subject *subject;	/* for the files of a root that can be written */
	const struct nsbox_ids *ids;
	const char *shell;		/* the user's; must be there, or shell_fallback */
	bool unshare_cgroup;		/* cgroup v1: clone3() could not do it */
};

/* Is the network namespace the box's own? */
static inline bool nsbox_init_owns_net(const struct nsbox_init *init)
{
	return init->policy->net == NSBOX_NET_NONE || init->policy->net == NSBOX_NET_BRIDGE;
}

/*
 * Waits for BUILD, assembles the box, waits for SETTLE, answers READY or
 * REFUSE with the reason, then serves TTY_BIND until the keeper is gone. Does not return.
 */
void nsbox_init_run(const struct nsbox_init *init) __attribute__((noreturn));

#endif
