/* SPDX-License-Identifier: MIT */
/* What a new home begins with: the box's /etc/skel. */
#ifndef NSBOX_SKEL_H
#define NSBOX_SKEL_H

#include "error.h"

#include <sys/types.h>

/*
 * Copies the files, directories and symlinks of the directory @from (O_PATH,
 * taken; negative: there is none) into the new home @to, with the rights of
 * @uid:@gid and as theirs: what they cannot read is left out. Runs in init, as
 * box root.
 */
int nsbox_skel_copy(int from, int to, uid_t uid, gid_t gid, struct nsbox_error *err);

#endif
