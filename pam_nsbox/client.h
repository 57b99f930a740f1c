/* SPDX-License-Identifier: MIT */
/*
 * The caller's half of an open: find or start the keeper, say who logs in, move
 * into the box. Used by the module and by nsbox run; knows nothing of PAM.
 */
#ifndef NSBOX_CLIENT_H
#define NSBOX_CLIENT_H

#include "error.h"
#include "proto.h"

#include <stdint.h>
#include <sys/types.h>

/* No open takes longer than this in all. */
enum { NSBOX_OPEN_TIMEOUT_MS = 4500 };

enum nsbox_outcome {
	NSBOX_PASSED,		/* the policy does not box this session */
	NSBOX_ENTERED,		/* the process is in the box now */
	NSBOX_DENIED,		/* the policy says no; nothing has changed */
	NSBOX_REFUSED,		/* it could not be done; nothing has changed; err says why */
	NSBOX_BROKEN,		/* in the box, but not as it should be: must not go on */
};

/* What the caller gets to know. */
struct nsbox_opened {
	/*
	 * What is to be said beside the error, or "": NSBOX_ENTERED, a notice for the
	 * user; NSBOX_DENIED, the administrator's words for him; NSBOX_PASSED, for the
	 * log, what would have happened.
	 */
	char said[NSBOX_ERROR_MAX];
	/* NSBOX_ENTERED only: the user's ids in the box, NAME=value strings, an empty one ends. */
	uid_t uid;
	gid_t gid;
	char env[NSBOX_ENV_MAX];
};

/*
 * Opens a session for @uid as @open says (unfit is filled in here). Runs in the
 * caller, on the host, as root. On NSBOX_REFUSED the caller's namespaces, cwd,
 * groups, cgroups, terminal owners and signal actions are as before.
 */
enum nsbox_outcome nsbox_open(struct nsbox_msg_open *open, uid_t uid, struct nsbox_opened *ret,
			      struct nsbox_error *err);

/*
 * Connects to RUN_DIR/UID/@name until @deadline_ms. Returns the connection, the
 * caller's; -ENOENT if no keeper is there; -EPERM if it is not root's.
 */
int nsbox_connect(uid_t uid, const char *name, uint64_t deadline_ms, struct nsbox_error *err);

#endif
