/* SPDX-License-Identifier: MIT */
/* The id maps of a box: the arithmetic that everything else stands on. */
#include "idmap.h"
#include "test.h"

#include <errno.h>

enum { BASE = 1000000, MANY = 1000 };

static struct nsbox_ids ids;

static int plan(uid_t uid, gid_t gid, const gid_t *gids, size_t n, bool keep)
{
	const struct nsbox_subject subject = {
		.name = "alice", .uid = uid, .gid = gid, .n_groups = n, .gids = gids,
	};
	struct nsbox_error err;

	return nsbox_ids_plan(&subject, BASE, keep, &ids, &err);
}

/* The kernel refuses a map whose extents overlap on either side. */
static bool overlaps(const struct nsbox_id_map *map)
{
	for (unsigned int i = 0; i < map->n; i++)
		for (unsigned int j = 0; j < i; j++) {
			const struct nsbox_extent *a = &map->e[i], *b = &map->e[j];

			if ((a->inside < (uint64_t)b->inside + b->count &&
			     b->inside < (uint64_t)a->inside + a->count) ||
			    (a->outside < (uint64_t)b->outside + b->count &&
			     b->outside < (uint64_t)a->outside + a->count))
				return true;
		}
	return false;
}

static bool sound(const struct nsbox_id_map *map)
{
	char text[NSBOX_MAP_TEXT_MAX + 1];

	return map->n > 0 && map->n <= NSBOX_EXTENTS_MAX && !overlaps(map) &&
	       nsbox_id_map_format(map, text, sizeof(text)) > 0;
}

static void ordinary(void)
{
	const gid_t gids[] = { 1001, 6, 3000 };

	OK(plan(1001, 1001, gids, 3, false) == 0, "an ordinary user has maps");
	OK(sound(&ids.box_uids) && sound(&ids.box_gids), "the box's maps are sound");
	OK(sound(&ids.data_uids) && sound(&ids.data_gids), "the data maps are sound");
	OK(nsbox_id_map_outside(&ids.box_uids, 0) == BASE, "box root is the block's first id");
	OK(nsbox_id_map_outside(&ids.box_uids, 1001) == BASE + 1001, "the user is in the block");
	OK(nsbox_id_map_outside(&ids.box_uids, 65536) == UINT32_MAX, "65536 is no id of the box");
	OK(nsbox_id_map_outside(&ids.data_uids, 1001) == BASE + 1001, "own files are the user's");
	OK(nsbox_id_map_outside(&ids.data_uids, 0) == 0, "root's files stay the host's root's");
	OK(nsbox_id_map_outside(&ids.data_uids, 1002) == 1002, "another's files stay another's");
	OK(nsbox_id_map_outside(&ids.data_gids, 3000) == BASE + 3000,
	   "files of the user's group are his group's");
	OK(nsbox_id_map_outside(&ids.box_gids, 6) == BASE + 6, "disk is a number of the box");
	OK(nsbox_id_map_outside(&ids.data_gids, 6) == 6, "files of disk stay the host's disk's");
	OK(nsbox_id_map_outside(&ids.data_gids, 7) == 7, "a group that he is not in is not");
	OK(nsbox_id_map_outside(&ids.data_uids, BASE + 5) == UINT32_MAX,
	   "ids of the block are a hole in the data map");
	OK(nsbox_id_map_outside(&ids.data_uids, UINT32_MAX - 1) == UINT32_MAX - 1,
	   "the data map goes up to the last id");
	OK(ids.n_groups == 3 && ids.groups[0] == 1001 && ids.n_left_out == 0,
	   "all groups are there, the primary one first");
}

static void large_ids(void)
{
	const gid_t gids[] = { 4000000000u, 100000, 100001 };

	OK(plan(3000000000u, 4000000000u, gids, 3, false) == 0, "ids up to 32 bits");
	OK(sound(&ids.box_uids) && sound(&ids.box_gids) && sound(&ids.data_uids) &&
	   sound(&ids.data_gids), "their maps are sound");
	OK(nsbox_id_map_outside(&ids.box_uids, 3000000000u) == BASE + 65536,
	   "a large uid takes from the upper part of the block");
	OK(nsbox_id_map_outside(&ids.box_gids, 5) == BASE + 5, "tty is mapped");
	OK(nsbox_id_map_outside(&ids.data_uids, 3000000000u) == BASE + 65536,
	   "and is the same in the data map");
	OK(plan(BASE + 7, 100, gids, 0, false) == -EINVAL, "a uid in the block is refused");
	OK(plan(0, 0, gids, 0, false) == -EINVAL, "uid 0 is refused");
	OK(plan(UINT32_MAX, 100, gids, 0, false) == -EINVAL, "uid -1 is refused");
}

static void many_groups(void)
{
	static gid_t gids[MANY];

	for (size_t i = 0; i < 250; i++)
		gids[i] = (gid_t)(20000 + i);
	OK(plan(1001, 1001, gids, 250, false) == 0 && ids.n_groups == 251 && ids.n_left_out == 0,
	   "250 groups in a row are all there (%u)", ids.n_groups);
	OK(sound(&ids.box_gids) && sound(&ids.data_gids), "their maps are sound");
	for (size_t i = 0; i < MANY; i++)
		gids[i] = (gid_t)(2000000 + i * 977);
	OK(plan(1001, 1001, gids, MANY, false) == 0, "1000 scattered groups do not refuse a login");
	OK(ids.n_groups > 80 && ids.n_groups + ids.n_left_out == MANY + 1,
	   "as many as the kernel takes are there (%u), the others counted", ids.n_groups);
	OK(sound(&ids.box_gids) && sound(&ids.data_gids), "their maps are sound");
	OK(ids.groups[0] == 1001, "the primary group is among them");
}

static void keep(void)
{
	const gid_t gids[] = { 1001, 999, 6, 3000 };

	OK(plan(1001, 1001, gids, 4, true) == 0, "keep has maps");
	OK(sound(&ids.box_uids) && sound(&ids.box_gids), "they are sound");
	OK(nsbox_id_map_outside(&ids.box_uids, 1001) == 1001, "the user is himself");
	OK(nsbox_id_map_outside(&ids.box_uids, 0) == BASE, "box root is not the host's");
	OK(nsbox_id_map_outside(&ids.box_gids, 3000) == 3000, "a group from 1000 is itself");
	OK(nsbox_id_map_outside(&ids.box_gids, 999) == BASE + 999, "docker's number is the block's");
	OK(ids.n_groups == 2, "system groups are not the user's inside (%u)", ids.n_groups);
}

int main(void)
{
	ordinary();
	large_ids();
	many_groups();
	keep();
	return test_done();
}
