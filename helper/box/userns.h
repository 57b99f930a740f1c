/* SPDX-License-Identifier: MIT */
/* User namespaces as the kernel wants them: created for the right owner, mapped once. */
#ifndef NSBOX_USERNS_H
#define NSBOX_USERNS_H

#include "error.h"
#include "idmap.h"

#include <sys/types.h>

/*
 * Writes both maps of process @pid. Runs on the host, as root with all
 * capabilities; setgroups stays allowed.
 */
int nsbox_userns_write_maps(pid_t pid, const struct nsbox_id_map *uids,
			    const struct nsbox_id_map *gids, struct nsbox_error *err);

/* Opens the user namespace of @pid. Returns the descriptor, the caller's. */
int nsbox_userns_open(pid_t pid, struct nsbox_error *err);

/*
 * A user namespace that exists only as a map for mounts: made by a process that
 * is killed before this returns (SIGCHLD must be ignored, so that it leaves no
 * zombie). Returns its descriptor, the caller's; the namespace lives as long as
 * that and the mounts that use it.
 */
int nsbox_userns_for_mounts(const struct nsbox_id_map *uids, const struct nsbox_id_map *gids,
			    struct nsbox_error *err);

#endif
