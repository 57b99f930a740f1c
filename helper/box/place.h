/* SPDX-License-Identifier: MIT */
/*
 * Where the policy's own mounts go (home, bind, tmpfs, mask): found, and made
 * if missing, one name after the other and through no symlink, since a place
 * may lie in a tree that the user can write and change meanwhile. Runs in init,
 * as box root, with the box's new root as the current directory.
 */
#ifndef NSBOX_PLACE_H
#define NSBOX_PLACE_H

#include "plan.h"

/* Mounts the step's tree at its path. */
int nsbox_place_mount(const struct nsbox_step *s, struct nsbox_error *err);

/*
 * A tmpfs that belongs to the user; over a directory that everybody may write
 * it is such a one itself. A home is filled from /etc/skel.
 */
int nsbox_place_tmpfs(const struct nsbox_step *s, struct nsbox_error *err);

/* Carries out the masks of the plan. What is not there needs none. */
int nsbox_place_masks(const struct nsbox_plan *mounts, struct nsbox_error *err);

/*
 * rootfs = /dir: makes in the current directory, which is to lie over the
 * image at @image, the mount points that the image lacks.
 */
int nsbox_place_prepare(const struct nsbox_plan *mounts, const char *image,
			struct nsbox_error *err);

#endif
