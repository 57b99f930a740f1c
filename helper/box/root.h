/* SPDX-License-Identifier: MIT */
/* The root of a box, made from inside it: box half of plan.h. */
#ifndef NSBOX_ROOT_H
#define NSBOX_ROOT_H

#include "init.h"

/*
 * A tmpfs over the old root becomes the current directory: the stage. Runs in
 * the box as box root with all capabilities there; the new mount namespace goes
 * with the process. Returns 0 or a negative errno.
 */
int nsbox_root_begin(struct nsbox_error *err);

/*
 * rootfs = host, where the stage will be the root: mounts proc and sysfs, which need
 * nothing of the keeper's. Runs as nsbox_root_begin().
 */
int nsbox_root_mount_early(const struct nsbox_init *init, struct nsbox_error *err);

/* Carries out @p in the current directory, the stage. Runs as nsbox_root_begin(). */
int nsbox_root_run(const struct nsbox_plan *p, struct nsbox_error *err);

/*
 * On the stage, carries out the plan (rootfs = host) or puts the image over it,
 * mounts what else the kernel gives, pivots and detaches the old
 * root. Runs as nsbox_root_begin().
 */
int nsbox_root_make(const struct nsbox_init *init, struct nsbox_error *err);

/* Attaches @tree at /dev/@name, where the keeper has made a file. In the box. */
int nsbox_root_bind_tty(const char *name, int tree, struct nsbox_error *err);

#endif
