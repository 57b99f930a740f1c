/* SPDX-License-Identifier: MIT */
/* The root of a box, made from inside it: box half of plan.h. */
#ifndef NSBOX_ROOT_H
#define NSBOX_ROOT_H

#include "init.h"

/*
 * Carries out the plan on a tmpfs (rootfs = host) or over the image, mounts
 * proc, sys and what else the kernel gives, pivots and detaches the old root.
 * Runs in the box as box root with all capabilities there; the new mount
 * namespace goes with the process. Returns 0 or a negative errno.
 */
int nsbox_root_make(const struct nsbox_init *init, struct nsbox_error *err);

/* Attaches @tree at /dev/@name, where the keeper has made a file. In the box. */
int nsbox_root_bind_tty(const char *name, int tree, struct nsbox_error *err);

#endif
