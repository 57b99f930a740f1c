/* SPDX-License-Identifier: MIT */
/*
 * Which ids a box sees as what (user_namespaces(7)), and the second map, for
 * mounts, that keeps files of the host what they are (mount_setattr(2),
 * MOUNT_ATTR_IDMAP). Pure arithmetic: no system call is made here.
 *
 * A box owns a block of NSBOX_BLOCK_SIZE host ids. Box ids 0..65535 are the
 * first 65536 of it, in order; the user's own ids above 65535 take from the rest.
 */
#ifndef NSBOX_IDMAP_H
#define NSBOX_IDMAP_H

#include "block.h"
#include "error.h"
#include "policy.h"

#include <stdbool.h>
#include <stdint.h>

enum {
	NSBOX_EXTENTS_MAX = 340,	/* UID_GID_MAP_MAX_EXTENTS */
	NSBOX_MAP_TEXT_MAX = 4095,	/* one write of at most a page less one */
	NSBOX_IDS_GROUPS_MAX = 1024,
};

/* The gid of terminals: sshd and login look it up as "tty" and Debian fixes it at 5. */
#define NSBOX_TTY_GID 5u

struct nsbox_extent {
	uint32_t inside, outside, count;
};

struct nsbox_id_map {
	unsigned int n;
	struct nsbox_extent e[NSBOX_EXTENTS_MAX];
};

struct nsbox_ids {
	uint32_t base;			/* first host id of the block: box root */
	bool keep;			/* the user's ids are themselves in the box */
	struct nsbox_id_map box_uids, box_gids;	/* /proc/INIT/uid_map, gid_map */
	/* Of home and every bind; not with keep, and without system groups. */
	struct nsbox_id_map data_uids, data_gids;
	uint32_t n_groups;		/* the user's groups that the box knows, primary first */
	gid_t groups[NSBOX_IDS_GROUPS_MAX];
	size_t n_left_out;		/* groups that did not fit */
};

/*
 * Plans the maps for @subject with the block at @base. Groups that do not fit
 * into what the kernel takes are left out and counted; uid, primary gid and the
 * terminals' gid always fit. Returns 0, -EINVAL for ids that no map can hold.
 */
int nsbox_ids_plan(const struct nsbox_subject *subject, uint32_t base, bool keep,
		   struct nsbox_ids *ret, struct nsbox_error *err);

/* The host's id of box id @inside, or (uint32_t)-1. */
uint32_t nsbox_id_map_outside(const struct nsbox_id_map *map, uint32_t inside);

/*
 * Writes the map as the lines that /proc/PID/uid_map takes. Returns the length,
 * or -E2BIG if the kernel would not take it.
 */
int nsbox_id_map_format(const struct nsbox_id_map *map, char *buf, size_t size);

#endif
