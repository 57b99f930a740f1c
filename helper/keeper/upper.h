/* SPDX-License-Identifier: MIT */
/*
 * The writable layers of rootfs_mode = ephemeral and persistent, on the disk:
 *
 *	/var/lib/nsbox/UID/IMAGE-HASH/	persistent, one for each rootfs
 *	/var/lib/nsbox/UID/BOX.tmp/	ephemeral, for the life of the box
 *		upper, work		of the overlay
 *		owner			the box that has it, or had it last
 *		image			what it was made over
 *
 * By the image map root's files in them are root's on the disk, setuid ones
 * too, so each directory from /var/lib/nsbox down is root's and 0700, or the
 * login is refused. A keeper holds a lock (flock) on the directory while its
 * box lives. Nothing below upper and work is ever opened here but to be removed.
 */
#ifndef NSBOX_UPPER_H
#define NSBOX_UPPER_H

#include "error.h"
#include "policy.h"

#define NSBOX_STATE_DIR "/var/lib/nsbox"

struct nsbox_upper {
	int parent;			/* of the user */
	int dir;			/* locked */
	char name[96];
	bool ephemeral;
};

#define NSBOX_UPPER_INIT { .parent = -EBADF, .dir = -EBADF }

/*
 * Takes the layers for the box @box of @uid; makes them if need be. A box that
 * has the persistent ones and has no session is asked to end, and waited for;
 * one with sessions makes this a refusal. @notice gets a sentence for the user
 * and the log, or "": the image has changed since. On failure *ret is to be
 * left all the same.
 */
int nsbox_upper_take(uid_t uid, const char *box, const char *socket,
		     const struct nsbox_decision *policy, struct nsbox_upper *ret,
		     char notice[NSBOX_ERROR_MAX], struct nsbox_error *err);

/*
 * Sets the limit of disk_max as it is. Until then there is a little more, so
 * that a full root can be mounted and brought up to date: its user shall come
 * in to empty it. Init alone runs so long.
 */
int nsbox_upper_limit(const struct nsbox_upper *upper, uid_t uid, uint64_t bytes,
		      struct nsbox_error *err);

/* A detached mount of the layers, for init. Returns its descriptor, the caller's. */
int nsbox_upper_clone(const struct nsbox_upper *upper, struct nsbox_error *err);

/* The box is dead: ephemeral layers are removed, persistent ones let go. Idempotent. */
int nsbox_upper_leave(struct nsbox_upper *upper, struct nsbox_error *err);

/* Lets go without removing: what lives in the box may still be alive. */
void nsbox_upper_abandon(struct nsbox_upper *upper);

/*
 * Removes the ephemeral layers of @uid whose keeper was killed and whose box is
 * dead, in a process of its own if there are any: that may take a while.
 */
void nsbox_upper_clear(uid_t uid);

#endif
