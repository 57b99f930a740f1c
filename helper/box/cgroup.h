/* SPDX-License-Identifier: MIT */
/*
 * The cgroups of a box (cgroups(7)): on every hierarchy that carries one of
 * our controllers a directory BASE/NAME, and where pids is, in it `main` (its
 * pids.max is the policy's pids_max) and `rescue` (a few more: the kernel never
 * refuses to move a process into a full pids cgroup, only its forks after).
 * Runs on the host, as root; undone by nsbox_cgroup_remove().
 *
 * BASE is what NSBOX_BASE_FILE says (nsbox.service has written it), on each
 * hierarchy that it names and where that directory exists; else MOUNT/nsbox.
 */
#ifndef NSBOX_CGROUP_H
#define NSBOX_CGROUP_H

#include "error.h"
#include "hierarchy.h"
#include "policy.h"

#include <stdbool.h>

/* Lines "MOUNT CGROUP": the delegated cgroup on that hierarchy, as a path. */
#define NSBOX_BASE_FILE "/run/nsbox/base"

enum {
	NSBOX_RESCUE_PIDS = 16,
	/* A session that finds main within this many of its limit goes to rescue. */
	NSBOX_RESCUE_MARGIN = 8,
	NSBOX_CGROUP_NAME_MAX = 48,
};

enum nsbox_cgroup_leaf { NSBOX_LEAF_MAIN, NSBOX_LEAF_RESCUE, NSBOX_LEAF_COUNT };

/* What each login asks for is kept open, from the first that does. */
enum nsbox_cgroup_file { NSBOX_CGROUP_PROCS, NSBOX_CGROUP_STATE, NSBOX_CGROUP_CURRENT,
			 NSBOX_CGROUP_MAX, NSBOX_CGROUP_FILE_COUNT };

struct nsbox_cgroup_dir {
	struct nsbox_hierarchy hierarchy;
	bool pids, cpu, memory, freezer;	/* what this hierarchy limits for us */
	char base[448];				/* BASE */
	char path[512];				/* BASE/NAME */
	int kept[NSBOX_CGROUP_FILE_COUNT];	/* of `main`, but the state; or -EBADF */
};

struct nsbox_cgroup {
	size_t n;
	struct nsbox_cgroup_dir dirs[NSBOX_HIERARCHIES_MAX];
	char missing[64];	/* controllers this machine lacks, for the log; "" */
};

/* Where the directories of the box @name are to be, or are: of an earlier keeper, what is left. */
int nsbox_cgroup_find(const char *name, struct nsbox_cgroup *ret, struct nsbox_error *err);

/*
 * Makes the directories and writes the limits of @policy. A limit that cannot be
 * set is an error if an administrator asked for it, and is named in cg->missing
 * if it is only a default. pids must be there. On failure everything made is
 * removed again.
 */
int nsbox_cgroup_create(struct nsbox_cgroup *cg, const struct nsbox_decision *policy,
			struct nsbox_error *err);

/* Closes what is kept open. Idempotent; what comes after opens it again. */
void nsbox_cgroup_drop(struct nsbox_cgroup *cg);

/*
 * Opens cgroup.procs of every directory for the process @pid, that shall be in
 * @leaf, and after those, in the same order, of every cgroup that it is in now:
 * the way back. Fills fds[] and *ret_n, the caller's to close.
 */
int nsbox_cgroup_open_procs(struct nsbox_cgroup *cg, enum nsbox_cgroup_leaf leaf, int pid,
			    int fds[2 * NSBOX_HIERARCHIES_MAX], unsigned int *ret_n,
			    struct nsbox_error *err);

/* O_PATH descriptor for CLONE_INTO_CGROUP, or -ENOTSUP: into v1, and into several, it has to be moved. */
int nsbox_cgroup_open_for_clone(const struct nsbox_cgroup *cg, struct nsbox_error *err);

/* Moves @pid into @leaf, on every hierarchy. */
int nsbox_cgroup_move(const struct nsbox_cgroup *cg, enum nsbox_cgroup_leaf leaf, int pid,
		      struct nsbox_error *err);

/* Reads /proc/PID/cgroup back: is @pid in @leaf, on every hierarchy? */
int nsbox_cgroup_verify(const struct nsbox_cgroup *cg, enum nsbox_cgroup_leaf leaf, int pid,
			struct nsbox_error *err);

/* Where a new session belongs: main, or rescue when main is all but full. */
enum nsbox_cgroup_leaf nsbox_cgroup_choose(struct nsbox_cgroup *cg);

bool nsbox_cgroup_is_frozen(struct nsbox_cgroup *cg);

/* Kills every process in the box's cgroups, waiting for them until @deadline_ms. */
int nsbox_cgroup_kill(const struct nsbox_cgroup *cg, uint64_t deadline_ms,
		      struct nsbox_error *err);

/* Removes the directories; the processes must be gone. Tries until @deadline_ms. */
int nsbox_cgroup_remove(const struct nsbox_cgroup *cg, uint64_t deadline_ms,
			struct nsbox_error *err);

/*
 * Makes the cgroup that this process was started in the BASE of all boxes, on
 * every hierarchy where it is not the root: goes into a child of it ("hold", as
 * a cgroup of v2 with controllers has no processes of its own), enables the
 * controllers and writes NSBOX_BASE_FILE.
 */
int nsbox_cgroup_offer_base(struct nsbox_error *err);

/*
 * Takes @pid out of the cgroup of whoever started the keeper, on every
 * hierarchy: into BASE/keepers where we have one, to the top elsewhere (v1).
 */
int nsbox_cgroup_leave_caller(const struct nsbox_cgroup *cg, int pid, struct nsbox_error *err);

#endif
