/* SPDX-License-Identifier: MIT */
/* Who a user is, asked of the host's name service once per open. */
#ifndef NSBOX_IDENTITY_H
#define NSBOX_IDENTITY_H

#include "error.h"
#include "policy.h"

#include <pwd.h>

struct nsbox_identity {
	struct nsbox_subject subject;	/* borrows from what follows */
	char *passwd_buf;
	struct passwd pw;
	gid_t *gids;
	char **group_names;
	char *alias;		/* another name of the same uid, or NULL */
};

/*
 * Looks @name up: passwd, groups and their names. Runs on the host, unlocked,
 * for a directory may take its time. Returns 0 and *ret, the caller's
 * (nsbox_identity_drop); -ENOENT if there is no such user; -EINVAL if an entry
 * has characters that could forge a line in the box's passwd.
 */
int nsbox_identity_get(const char *name, struct nsbox_identity *ret, struct nsbox_error *err);

/* Idempotent. */
void nsbox_identity_drop(struct nsbox_identity *id);
#define cleanup_identity __attribute__((cleanup(nsbox_identity_drop)))

#endif
