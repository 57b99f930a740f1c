/* SPDX-License-Identifier: MIT */
/*
 * Where the cgroup hierarchies of this machine are mounted (cgroups(7)): each
 * v1 controller, or several together, on a hierarchy of its own; the unified
 * one; or both (hybrid). Reading only; the keeper makes the box's cgroups there.
 */
#ifndef NSBOX_HIERARCHY_H
#define NSBOX_HIERARCHY_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

enum {
	NSBOX_HIERARCHIES_MAX = 16,
	NSBOX_CGROUPS_TEXT = 16384,
};

struct nsbox_hierarchy {
	bool v2;
	char options[192];	/* v1: super block options: ",rw,pids," */
	char mount[128];	/* where it is mounted */
	char root[256];		/* which cgroup is the root of that mount */
};

/*
 * Reads /proc/self/mountinfo. Fills ret[] and *ret_n; a hierarchy mounted more
 * than once appears once. Returns 0 or a negative errno.
 */
int nsbox_hierarchies_read(struct nsbox_hierarchy ret[NSBOX_HIERARCHIES_MAX], size_t *ret_n,
			   struct nsbox_error *err);

/* Is there but the unified hierarchy? By what is mounted at /sys/fs/cgroup, where it is looked for. */
bool nsbox_hierarchy_is_unified(void);

/* Is @controller ("pids", "name=systemd") on this v1 hierarchy? */
bool nsbox_hierarchy_has(const struct nsbox_hierarchy *h, const char *controller);

/* The same on either: a v2 hierarchy says at its top what it offers (cgroup.controllers). */
bool nsbox_hierarchy_offers(const struct nsbox_hierarchy *h, const char *controller);

/* Reads /proc/PID/cgroup (0: the calling process's). -EFBIG if it is longer than @text. */
int nsbox_hierarchy_cgroups_of(int pid, char text[NSBOX_CGROUPS_TEXT], struct nsbox_error *err);

/*
 * The cgroup in @h of the process whose /proc/PID/cgroup is @text, as a path below
 * the file system root. Returns 0; -ENOENT if it lies outside what is mounted.
 */
int nsbox_hierarchy_path_in(const struct nsbox_hierarchy *h, const char *text, char *ret,
			    size_t size, struct nsbox_error *err);

/* Both in one, for one hierarchy. */
int nsbox_hierarchy_path_of(const struct nsbox_hierarchy *h, int pid, char *ret, size_t size,
			    struct nsbox_error *err);

#endif
