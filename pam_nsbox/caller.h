/* SPDX-License-Identifier: MIT */
/*
 * The caller: the process that called PAM. Whether it can be put into a box at
 * all, and everything that must be put back if it is not: its cgroups and the
 * owner of its terminals. All of it runs on the host, as root, before the join.
 */
#ifndef NSBOX_CALLER_H
#define NSBOX_CALLER_H

#include "error.h"

#include <stdbool.h>
#include <sys/types.h>

enum { NSBOX_TERMINALS_MAX = 3, NSBOX_CGROUPS_MAX = 16 };

struct nsbox_terminal {
	int fd;			/* O_PATH: pins the inode, keeps no terminal open */
	dev_t dev, rdev;	/* which devpts, which terminal */
	uid_t uid;		/* owner to give it back to */
	gid_t gid;
	bool given;
};

struct nsbox_caller {
	struct nsbox_terminal terminals[NSBOX_TERMINALS_MAX];
	unsigned int n_terminals;
	int old_cgroups[NSBOX_CGROUPS_MAX];	/* cgroup.procs of where it was */
	unsigned int n_moved;			/* how many of those must be written back */
};

#define NSBOX_CALLER_INIT { .n_terminals = 0 }

enum nsbox_place {
	NSBOX_PLACE_HOST,	/* the initial user namespace */
	NSBOX_PLACE_BOX,	/* a box of ours already */
	NSBOX_PLACE_OTHER,	/* somebody else's user namespace */
};

/* Made by init in every box, owned by box root. */
#define NSBOX_MARKER "/run/.nsbox"

/* Is the marker where it is in a box, and its owner uid 0 as seen from here? */
bool nsbox_sees_marker(void);

/* Where the calling process is. A failure to tell is NSBOX_PLACE_OTHER and @why. */
enum nsbox_place nsbox_caller_place(struct nsbox_error *why);

/*
 * Can this process join a box? Not if it has threads (setns(2) refuses), if it
 * will exec without forking (systemd's PAMName=), if descriptor 0, 1 or 2 is a
 * way out, or if fs.suid_dumpable would undo PR_SET_DUMPABLE. Returns 0, or a
 * negative errno and the reason. Changes nothing.
 */
int nsbox_caller_fit(struct nsbox_error *err);

/* Finds the terminals among descriptors 0, 1, 2, and those whose master the caller has too. */
int nsbox_caller_find_terminals(struct nsbox_caller *caller, struct nsbox_error *err);

/*
 * Moves the process into the cgroups whose cgroup.procs are the first half of
 * @procs; the second half, which is taken, is the way back. After a failure,
 * nsbox_caller_restore().
 */
int nsbox_caller_move(struct nsbox_caller *caller, int *procs, unsigned int n,
		      struct nsbox_error *err);

/* Gives the terminals to the host ids @uid and @gid: login fchown()s them later. */
int nsbox_caller_give_terminals(struct nsbox_caller *caller, uid_t uid, gid_t gid,
				struct nsbox_error *err);

/* Undoes move and give_terminals. Returns 0, or the first failure; does not stop at it. */
int nsbox_caller_restore(struct nsbox_caller *caller, struct nsbox_error *err);

/* Closes everything held. Idempotent. */
void nsbox_caller_drop(struct nsbox_caller *caller);
#define cleanup_caller __attribute__((cleanup(nsbox_caller_drop)))

#endif
