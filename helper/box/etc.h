/* SPDX-License-Identifier: MIT */
/*
 * What the box's /etc says. rootfs = host: world-readable files of the host
 * from a list, and generated ones; the user finds himself and the system's
 * entries, nobody else's name. rootfs = /dir: the user's own entries merged
 * into the image's passwd and group.
 */
#ifndef NSBOX_ETC_H
#define NSBOX_ETC_H

#include "error.h"
#include "idmap.h"
#include "plan.h"
#include "policy.h"

struct nsbox_etc {
	const struct nsbox_subject *subject;
	const struct nsbox_decision *policy;
	const struct nsbox_ids *ids;
	int etc;		/* the /etc to start from: the host's or the image's; or -EBADF */
	int made;		/* the box's /etc, for nsbox_etc_make_public() alone */
	int data_userns;	/* map for directories of the host, or -EBADF */
};

/*
 * Plans what is generated in the /etc of rootfs = host. Runs on the host, as root,
 * reading only.
 */
int nsbox_etc_plan_host(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err);

/*
 * Copies what of the host's /etc is for everybody into e->made, a directory that
 * nobody else has, and plans what is bound over it. Runs on the host with the file
 * system rights of box root (setfsuid(2)), who is nobody there: so what only root
 * may read cannot be copied, and what is made is the box root's.
 */
int nsbox_etc_make_public(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err);

/* Plans the files that lie over an image's /etc. Runs on the host, as root, reading only. */
int nsbox_etc_plan_image(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err);

/*
 * What passwd or group (@name) shall say in a root that can be written: what
 * e->etc, the box's own, says, with the user's entries as the host has them.
 * Runs in the box. *ret is the caller's to free; *ret_same: as it is already.
 */
int nsbox_etc_merge(const struct nsbox_etc *e, const char *name, char **ret, size_t *ret_len,
		    bool *ret_same, struct nsbox_error *err);

#endif
