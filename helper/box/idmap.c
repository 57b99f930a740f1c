/* SPDX-License-Identifier: MIT */
/* The id maps of a box: see idmap.h. */
#include "idmap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* -1 is "no id" everywhere in the kernel: the last id that can be mapped. */
#define LAST_ID 0xFFFFFFFEu
#define NO_ID 0xFFFFFFFFu
/* Below it are the system's groups (Debian Policy 9.2.2). */
#define FIRST_USER_ID 1000u

/* An id that does not follow the rule of its map. */
struct special {
	uint32_t inside, outside;
};

/* The rule for all other ids 0..last: outside = inside + delta, none inside the hole. */
struct rule {
	uint32_t last, delta;
	uint32_t hole, hole_size;	/* hole_size 0: none */
};

static int by_inside(const void *a, const void *b)
{
	const struct special *x = a, *y = b;

	return x->inside < y->inside ? -1 : x->inside > y->inside;
}

/* Appends an extent, or lengthens the last one if it goes on there. */
static int add(struct nsbox_id_map *map, uint32_t inside, uint32_t outside, uint32_t count)
{
	struct nsbox_extent *last = map->n ? &map->e[map->n - 1] : NULL;

	if (count == 0)
		return 0;
	if (last && last->inside + last->count == inside && last->outside + last->count == outside) {
		last->count += count;
		return 0;
	}
	if (map->n == NSBOX_EXTENTS_MAX)
		return -E2BIG;
	map->e[map->n++] = (struct nsbox_extent){ inside, outside, count };
	return 0;
}

/* Ids @from up to, not including, @to by the rule. */
static int add_by_rule(struct nsbox_id_map *map, const struct rule *rule, uint64_t from, uint64_t to)
{
	uint64_t hole = rule->hole, hole_end = hole + rule->hole_size;
	int r = 0;

	if (to > (uint64_t)rule->last + 1)
		to = (uint64_t)rule->last + 1;
	if (from >= to)
		return 0;
	if (rule->hole_size == 0 || to <= hole || from >= hole_end)
		return add(map, (uint32_t)from, (uint32_t)from + rule->delta,
			   (uint32_t)(to - from));
	if (from < hole)
		r = add(map, (uint32_t)from, (uint32_t)from + rule->delta,
			(uint32_t)(hole - from));
	if (r == 0 && to > hole_end)
		r = add(map, (uint32_t)hole_end, (uint32_t)hole_end + rule->delta,
			(uint32_t)(to - hole_end));
	return r;
}

/* A map of the rule with @special ids (sorted, distinct) cut out and put elsewhere. */
static int build(struct nsbox_id_map *map, const struct rule *rule, const struct special *special,
		 size_t n)
{
	uint64_t next = 0;
	char text[NSBOX_MAP_TEXT_MAX + 1];
	int r = 0;

	map->n = 0;
	for (size_t i = 0; r == 0 && i < n; i++) {
		r = add_by_rule(map, rule, next, special[i].inside);
		if (r == 0)
			r = add(map, special[i].inside, special[i].outside, 1);
		next = (uint64_t)special[i].inside + 1;
	}
	if (r == 0)
		r = add_by_rule(map, rule, next, (uint64_t)rule->last + 1);
	if (r == 0 && nsbox_id_map_format(map, text, sizeof(text)) < 0)
		r = -E2BIG;
	return r;
}

/*
 * Where own ids live outside: with keep at themselves, else in the block; the
 * ones above 65535 in its upper part, in ascending order, so that neighbours
 * stay neighbours and share an extent. -E2BIG if that part is full.
 */
static int place(struct special *own, size_t n, uint32_t base, bool keep)
{
	uint32_t high = 0;

	qsort(own, n, sizeof(*own), by_inside);
	for (size_t i = 0; i < n; i++) {
		if (keep)
			own[i].outside = own[i].inside;
		else if (own[i].inside < NSBOX_BLOCK_LOW)
			own[i].outside = base + own[i].inside;
		else if (high < NSBOX_BLOCK_HIGH)
			own[i].outside = base + NSBOX_BLOCK_LOW + high++;
		else
			return -E2BIG;
	}
	return 0;
}

/*
 * What the data map takes of the own ids: not the system groups (disk, docker)
 * that the user is in. A box must not be able to make a setgid file of theirs.
 */
static size_t without_system(const struct special *own, size_t n, uint32_t primary,
			     struct special *ret)
{
	size_t kept = 0;

	for (size_t i = 0; i < n; i++)
		if (own[i].inside >= FIRST_USER_ID || own[i].inside == primary)
			ret[kept++] = own[i];
	return kept;
}

/* Both maps for the given own ids: the box's, and the one for files of the host. */
static int build_pair(struct nsbox_id_map *box, struct nsbox_id_map *data, struct special *own,
		      size_t n, uint32_t primary, uint32_t base, bool keep)
{
	struct special in_data[NSBOX_IDS_GROUPS_MAX];
	const struct rule shifted = { .last = NSBOX_BLOCK_LOW - 1, .delta = base };
	const struct rule as_it_is = { .last = LAST_ID, .hole = base,
				       .hole_size = NSBOX_BLOCK_SIZE };
	int r = place(own, n, base, keep);

	if (r == 0)
		r = build(box, &shifted, own, n);
	if (r == 0 && !keep)
		r = build(data, &as_it_is, in_data, without_system(own, n, primary, in_data));
	return r;
}

/* Is @gid in the first @n of the list? */
static bool listed(const gid_t *list, size_t n, gid_t gid)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == gid)
			return true;
	return false;
}

/*
 * The groups that may be in the box, primary first, each once. With keep, a
 * system group (docker, disk) would be the host's own: left out.
 */
static size_t candidates(const struct nsbox_subject *subject, uint32_t base, bool keep,
			 gid_t out[NSBOX_IDS_GROUPS_MAX])
{
	size_t n = 0;

	out[n++] = subject->gid;
	for (size_t i = 0; i < subject->n_groups && n < NSBOX_IDS_GROUPS_MAX; i++) {
		gid_t gid = subject->gids[i];

		if (listed(out, n, gid) || gid == NO_ID || (keep && gid < FIRST_USER_ID) ||
		    (gid >= base && gid - base < NSBOX_BLOCK_SIZE))
			continue;
		out[n++] = gid;
	}
	return n;
}

/* The user's groups, the primary one too, each once. */
static size_t count_distinct(const struct nsbox_subject *subject)
{
	size_t n = 1;

	for (size_t i = 0; i < subject->n_groups; i++)
		if (subject->gids[i] != subject->gid && !listed(subject->gids, i, subject->gids[i]))
			n++;
	return n;
}

/* Tries the first @n groups; keeps them in @ids if they fit. */
static int try_groups(struct nsbox_ids *ids, const gid_t *groups, size_t n)
{
	struct special own[NSBOX_IDS_GROUPS_MAX];
	int r;

	for (size_t i = 0; i < n; i++)
		own[i] = (struct special){ .inside = groups[i] };
	r = build_pair(&ids->box_gids, &ids->data_gids, own, n, groups[0], ids->base,
		       ids->keep);
	if (r == 0) {
		memcpy(ids->groups, groups, n * sizeof(*groups));
		ids->n_groups = (uint32_t)n;
	}
	return r;
}

int nsbox_ids_plan(const struct nsbox_subject *subject, uint32_t base, bool keep,
		   struct nsbox_ids *ret, struct nsbox_error *err)
{
	gid_t groups[NSBOX_IDS_GROUPS_MAX];
	struct special own = { .inside = subject->uid };
	size_t fits = 0, too_many, n;

	if (subject->uid == 0 || subject->uid == NO_ID || subject->gid == NO_ID)
		return nsbox_error_say(err, EINVAL, "uid %u, gid %u cannot be mapped into a box",
				       subject->uid, subject->gid);
	if ((subject->uid >= base && subject->uid - base < NSBOX_BLOCK_SIZE) ||
	    (subject->gid >= base && subject->gid - base < NSBOX_BLOCK_SIZE))
		return nsbox_error_say(err, EINVAL, "the user's own ids lie in the block of ids at "
				       "%u: choose another id_range", base);
	ret->base = base;
	ret->keep = keep;
	if (build_pair(&ret->box_uids, &ret->data_uids, &own, 1, own.inside, base, keep) < 0)
		return nsbox_error_say(err, EINVAL, "uid %u cannot be mapped", subject->uid);
	n = candidates(subject, base, keep, groups);
	/* The longest part of the list that the kernel takes, by bisection. */
	for (too_many = n + 1; too_many - fits > 1;) {
		size_t middle = fits == 0 && too_many == n + 1 ? n : fits + (too_many - fits) / 2;

		if (try_groups(ret, groups, middle) == 0)
			fits = middle;
		else
			too_many = middle;
	}
	if (fits == 0 || try_groups(ret, groups, fits) < 0)
		return nsbox_error_say(err, EINVAL, "gid %u cannot be mapped", subject->gid);
	ret->n_left_out = count_distinct(subject) - fits;
	return 0;
}

uint32_t nsbox_id_map_outside(const struct nsbox_id_map *map, uint32_t inside)
{
	for (unsigned int i = 0; i < map->n; i++)
		if (inside >= map->e[i].inside && inside - map->e[i].inside < map->e[i].count)
			return map->e[i].outside + (inside - map->e[i].inside);
	return NO_ID;
}

int nsbox_id_map_format(const struct nsbox_id_map *map, char *buf, size_t size)
{
	size_t used = 0;

	for (unsigned int i = 0; i < map->n; i++) {
		int n = snprintf(buf + used, size - used, "%u %u %u\n", map->e[i].inside,
				 map->e[i].outside, map->e[i].count);

		used += (size_t)n;
		if (used >= size || used > NSBOX_MAP_TEXT_MAX)
			return -E2BIG;
	}
	return (int)used;
}
