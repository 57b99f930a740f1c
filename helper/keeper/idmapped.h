/* SPDX-License-Identifier: MIT */
/*
 * Which of the file systems under a box take an id map, asked of the kernel as
 * a login asks, but without a box: for nsbox explain and nsbox doctor. Runs on
 * the host, as root, with SIGCHLD ignored (see userns.h). Nothing is left.
 */
#ifndef NSBOX_IDMAPPED_H
#define NSBOX_IDMAPPED_H

#include "notes.h"
#include "policy.h"

struct nsbox_idmapped {
	bool keep;			/* the user's own ids are themselves in the box */
	struct nsbox_notes notes;	/* what the log will say of it; the caller's to drop */
};

/*
 * What idmap comes to for @subject. Returns 0, or a negative errno with the
 * sentence that a login would be refused with. *ret is to be dropped all the same.
 */
int nsbox_idmapped_ask(const struct nsbox_subject *subject, const struct nsbox_decision *policy,
		       struct nsbox_idmapped *ret, struct nsbox_error *err);

/*
 * Can the tree at @path be mapped, with all that is mounted below it if
 * @recursive? Returns 0, -EINVAL if not, another negative errno if that cannot
 * be told.
 */
int nsbox_idmapped_tree(const char *path, bool recursive, struct nsbox_error *err);

/* Can rootfs = @path be? Otherwise as nsbox_idmapped_tree(). */
int nsbox_idmapped_image(const char *path, struct nsbox_error *err);

/* The host's /usr cannot be mapped, and the box is made all the same. */
void nsbox_note_unmapped_usr(struct nsbox_notes *notes);

#endif
