/* SPDX-License-Identifier: MIT */
/* Blocks of ids: see block.h. */
#include "block.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stddef.h>

uint64_t nsbox_block_count(uint32_t first, uint32_t last)
{
	return ((uint64_t)last - first + 1) / NSBOX_BLOCK_SIZE;
}

uint32_t nsbox_block_base(uid_t uid, uint32_t first, uint32_t last, uint64_t choice)
{
	/* Knuth's multiplier spreads neighbouring uids over the range. */
	uint64_t index = ((uint64_t)uid * 2654435761U + choice) % nsbox_block_count(first, last);

	return first + (uint32_t)(index * NSBOX_BLOCK_SIZE);
}

/* The _r functions: the caller's program may still need what its own look-up returned. */
static bool has_user(uid_t uid)
{
	struct passwd pw, *found = NULL;
	char buf[4096];

	return getpwuid_r(uid, &pw, buf, sizeof(buf), &found) == ERANGE || found;
}

static bool has_group(gid_t gid)
{
	struct group gr, *found = NULL;
	char buf[4096];

	return getgrgid_r(gid, &gr, buf, sizeof(buf), &found) == ERANGE || found;
}

bool nsbox_block_is_known(uint32_t base)
{
	return has_user(base) || has_user(base + NSBOX_BLOCK_LOW - 1) || has_group(base);
}
