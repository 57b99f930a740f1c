/* SPDX-License-Identifier: MIT */
/*
 * The plan of a box's root: what init shall make in it, in order. The keeper
 * writes it on the host before clone3(), init inherits it with the keeper's
 * memory and carries it out with box privileges only.
 */
#ifndef NSBOX_PLAN_H
#define NSBOX_PLAN_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum nsbox_step_type {
	NSBOX_STEP_DIR,		/* mode, uid, gid */
	NSBOX_STEP_FILE,	/* the same, and data */
	NSBOX_STEP_LINK,	/* data: the target */
	NSBOX_STEP_MOUNT,	/* tree; directory or file made for it if need be */
	NSBOX_STEP_TMPFS,	/* size, inodes, mode, uid, gid */
	NSBOX_STEP_MASK,	/* hides what is there, when all is mounted */
};

struct nsbox_step {
	enum nsbox_step_type type;
	char *path;		/* relative to the box's root */
	uint32_t mode, uid, gid;	/* ids as the box numbers them */
	char *data;
	size_t len;
	int tree;
	bool is_file;
	/*
	 * Of the policy: the mount point is found and made by place.h, with the
	 * rights of uid:gid where a directory is theirs. is_home: a tmpfs to be
	 * filled from /etc/skel; ro: and then read-only.
	 */
	bool place, is_home, ro;
	uint64_t size;
	unsigned int inodes;
};

struct nsbox_plan {
	struct nsbox_step *steps;
	size_t n, room;
	int image;		/* rootfs = /dir: its detached tree; -EBADF: rootfs = host */
	int layers;		/* the tree with upper and work; -EBADF: the root is read-only */
	bool failed;		/* out of memory; checked once, by nsbox_plan_check() */
};

#define NSBOX_PLAN_INIT { .image = -EBADF, .layers = -EBADF }

/* Each appends one step. @path is absolute in the box; parents come earlier. Owned: @tree. */
void nsbox_plan_dir(struct nsbox_plan *p, const char *path, uint32_t mode, uint32_t uid,
		    uint32_t gid);
void nsbox_plan_file(struct nsbox_plan *p, const char *path, uint32_t mode, const char *data,
		     size_t len);
void nsbox_plan_link(struct nsbox_plan *p, const char *path, const char *target);
void nsbox_plan_mount(struct nsbox_plan *p, const char *path, int tree, bool is_file);
void nsbox_plan_tmpfs(struct nsbox_plan *p, const char *path, uint32_t mode, uint64_t size,
		      unsigned int inodes);

void nsbox_plan_mask(struct nsbox_plan *p, const char *path);

/* Makes the missing parents of @path, mode 0755, box root's. */
void nsbox_plan_parents(struct nsbox_plan *p, const char *path);

/* Orders the steps by their paths: what lies in another comes after it. */
void nsbox_plan_sort(struct nsbox_plan *p);

/* Appends the steps of @from, which is empty after. Content directories come once. */
void nsbox_plan_move(struct nsbox_plan *to, struct nsbox_plan *from);

/* Did every append have memory? */
int nsbox_plan_check(const struct nsbox_plan *p, struct nsbox_error *err);

/* Closes the trees and frees everything. Idempotent. */
void nsbox_plan_drop(struct nsbox_plan *p);

#endif
