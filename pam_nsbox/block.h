/* SPDX-License-Identifier: MIT */
/*
 * Which block of host ids a box gets. The keeper takes it (registry.h); the
 * caller, whose name service is loaded already, looks at the likely one while
 * the keeper starts.
 */
#ifndef NSBOX_BLOCK_H
#define NSBOX_BLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	NSBOX_BLOCK_LOW = 65536,	/* box ids 0..65535 */
	NSBOX_BLOCK_HIGH = 1024,	/* for ids above 65535: own uid, own groups */
	NSBOX_BLOCK_SIZE = NSBOX_BLOCK_LOW + NSBOX_BLOCK_HIGH,
};

/* How many blocks there are in the ids @first..@last. */
uint64_t nsbox_block_count(uint32_t first, uint32_t last);

/*
 * The first id of the @choice-th block (from 0) that @uid tries. The same user
 * gets the same block again while it is free. There must be one.
 */
uint32_t nsbox_block_base(uid_t uid, uint32_t first, uint32_t last, uint64_t choice);

/*
 * Does the name service know somebody in the block? SSSD's default range covers
 * the container range, so a few of its ids are asked for.
 */
bool nsbox_block_is_known(uint32_t base);

#endif
