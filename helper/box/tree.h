/* SPDX-License-Identifier: MIT */
/*
 * Detached mounts of what the host lends to a box: opened by the keeper, on the
 * host, as root, from paths that the administrator owns; attached by init
 * inside the box. No host-privileged process resolves a name in a tree that a
 * user can write (CVE-2025-6020 and its kin).
 */
#ifndef NSBOX_TREE_H
#define NSBOX_TREE_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

/*
 * Opens @path (absolute) as O_PATH. A symlink is followed only where the
 * directory that holds it is root's and writable by nobody else; elsewhere it
 * is refused, and so is "..". Returns the descriptor, the caller's.
 */
int nsbox_open_trusted(const char *path, struct nsbox_error *err);

/*
 * False for a file of a file system that is a program of a user's (FUSE), which
 * says of owner and mode what it likes.
 */
bool nsbox_tree_tells_truth(int fd);

/*
 * A detached private copy of the mount at @fd, with everything mounted below it
 * if @recursive; @attrs are MOUNT_ATTR_* to set. Returns the mount's
 * descriptor, the caller's; closing it undoes everything.
 */
int nsbox_tree_clone(int fd, bool recursive, uint64_t attrs, struct nsbox_error *err);

/* Sets the MOUNT_ATTR_* @attrs on the detached @tree itself. */
int nsbox_tree_set(int tree, uint64_t attrs, struct nsbox_error *err);

/*
 * Maps the ids of the detached @tree by the user namespace @userns (recursive
 * as cloned). Returns 0, -EINVAL if a file system in it has no idmapped mounts.
 */
int nsbox_tree_idmap(int tree, bool recursive, int userns, struct nsbox_error *err);

/*
 * A new detached tmpfs of at most @size bytes and @inodes inodes, owned by
 * @uid:@gid of the host. Returns its descriptor, the caller's.
 */
int nsbox_tree_new_tmpfs(uint64_t size, unsigned int inodes, uint32_t uid, uint32_t gid,
			 struct nsbox_error *err);

/*
 * A new detached read-only sysfs that shows the network namespace @netns. Changes
 * into that and back. Returns its descriptor, the caller's.
 */
int nsbox_tree_new_sysfs(int netns, struct nsbox_error *err);

#endif
