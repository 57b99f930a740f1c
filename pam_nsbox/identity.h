/* SPDX-License-Identifier: MIT */
/* Who a user is, asked of the host's name service once per open. */
#ifndef NSBOX_IDENTITY_H
#define NSBOX_IDENTITY_H

#include "error.h"
#include "policy.h"

#include <pwd.h>

struct nsbox_identity {
	struct nsbox_subject subject;	/* borrows from what follows */
	char *passwd_buf;	/* or what was unpacked */
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

/*
 * getgrouplist(3) has no way to say that a source failed: it returns what the
 * others know, and a group less may be a box less. So it is asked twice, and
 * must say the same: before the user gets anywhere by what nsbox_identity_get()
 * said. Apart from that, since the second time can be beside other work.
 * Returns 0; -EAGAIN if the answers differ; another negative errno.
 */
int nsbox_identity_confirm(const struct nsbox_identity *id, struct nsbox_error *err);

/*
 * Writes what a new keeper has to know of @subject into a memfd (memfd_create(2)),
 * so that it need not ask the name service a second time. Returns the
 * descriptor, the caller's.
 */
int nsbox_identity_pack(const struct nsbox_subject *subject, struct nsbox_error *err);

/*
 * Reads what nsbox_identity_pack() wrote. Returns 0 and *ret, the caller's
 * (nsbox_identity_drop), without pw and alias; -EPROTO if it is something else.
 */
int nsbox_identity_unpack(int fd, struct nsbox_identity *ret, struct nsbox_error *err);

/* Idempotent. */
void nsbox_identity_drop(struct nsbox_identity *id);
#define cleanup_identity __attribute__((cleanup(nsbox_identity_drop)))

#endif
