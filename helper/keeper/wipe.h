/* SPDX-License-Identifier: MIT */
/* Removing a tree that somebody else could write, as root of the host. */
#ifndef NSBOX_WIPE_H
#define NSBOX_WIPE_H

#include "error.h"

/*
 * Removes the directory @name of @dir with all that is in it. The directory
 * itself and @dir must be root's alone; below it anything may lie: no symlink
 * is followed, no mount entered, however deep it goes two descriptors are
 * open, and it does not matter who renames what meanwhile. Returns 0 also if
 * there is none.
 */
int nsbox_wipe(int dir, const char *name, struct nsbox_error *err);

#endif
