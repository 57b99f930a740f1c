/* SPDX-License-Identifier: MIT */
/*
 * rootfs = PATH as a mount: a directory, or a file with a file system in it
 * (erofs, or squashfs where the kernel can map its ids). Runs on the host, as
 * root. The kernel parses what is in the file with its own privileges, so the
 * file is the administrator's, like the directory.
 */
#ifndef NSBOX_IMAGE_H
#define NSBOX_IMAGE_H

#include "error.h"
#include "notes.h"

#include <stddef.h>

/*
 * A detached, read-only mount of the image, nodev, without what is mounted below
 * it, which @notes (or NULL) name. Returns its descriptor, the caller's. What a
 * file needs of the kernel beside it (a loop device before Linux 6.12, and for
 * squashfs) goes with the last mount of it.
 */
int nsbox_image_open(const char *path, struct nsbox_notes *notes, struct nsbox_error *err);

/*
 * Writes what tells this image from another, or from itself after an update,
 * as one line without spaces.
 */
int nsbox_image_identify(const char *path, char *ret, size_t size, struct nsbox_error *err);

/* The reason why the ids of the image @tree cannot be mapped. Returns -EINVAL. */
int nsbox_image_refuse_idmap(int tree, struct nsbox_error *err);
/* The same of the layers that are written to. */
int nsbox_image_refuse_layers(struct nsbox_error *err);

#endif
