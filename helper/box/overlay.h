/* SPDX-License-Identifier: MIT */
/*
 * A root that can be written: an overlay of the image and of the layers that
 * the keeper keeps for the user. Box half: everything that looks into the
 * layers runs here, with box privileges only, and in a chroot of the overlay.
 * So whatever a link in them says, it leads to the box's own files.
 */
#ifndef NSBOX_OVERLAY_H
#define NSBOX_OVERLAY_H

#include "init.h"

/*
 * With the stage as the current directory, "image" and "layers" attached in it
 * and an empty "root":
 * mounts the overlay, makes it the root and the current directory, and brings
 * the box's own files in it up to date. *ret_outer is the way out, the
 * caller's, and for nsbox_overlay_leave().
 */
int nsbox_overlay_enter(const struct nsbox_init *init, int *ret_outer, struct nsbox_error *err);

/* Back to the root before, for pivot_root(2); the overlay stays the current directory. */
int nsbox_overlay_leave(int outer, struct nsbox_error *err);

#endif
