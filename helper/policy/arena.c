/* SPDX-License-Identifier: MIT */
/*
 * The arena: strings that live and die together. A decision owns one, so that
 * one call releases everything and no path can forget a part.
 */
#include "internal.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 8000

struct block {
	struct block *next;
	size_t used, size;
	char bytes[];
};

struct nsbox_arena {
	struct block *blocks;
};

struct nsbox_arena *nsbox_arena_new(void)
{
	return calloc(1, sizeof(struct nsbox_arena));
}

void nsbox_arena_free(struct nsbox_arena *arena)
{
	if (!arena)
		return;
	while (arena->blocks) {
		struct block *next = arena->blocks->next;

		free(arena->blocks);
		arena->blocks = next;
	}
	free(arena);
}

/* Characters only: what has an alignment is an array. */
char *nsbox_arena_alloc(struct nsbox_arena *arena, size_t size)
{
	struct block *block = arena->blocks;

	if (!block || block->size - block->used < size) {
		size_t bytes = size > BLOCK_BYTES ? size : BLOCK_BYTES;

		block = malloc(sizeof(*block) + bytes);
		if (!block)
			return NULL;
		block->next = arena->blocks;
		block->used = 0;
		block->size = bytes;
		arena->blocks = block;
	}
	block->used += size;
	return block->bytes + block->used - size;
}

void *nsbox_arena_array(struct nsbox_arena *arena, size_t n, size_t size)
{
	const size_t align = _Alignof(max_align_t);
	char *bytes = nsbox_arena_alloc(arena, n * size + align - 1);

	if (!bytes)
		return NULL;
	bytes += -(uintptr_t)bytes & (align - 1);
	return memset(bytes, 0, n * size);
}

char *nsbox_arena_copy(struct nsbox_arena *arena, const char *s, size_t len)
{
	char *copy = nsbox_arena_alloc(arena, len + 1);

	if (!copy)
		return NULL;
	memcpy(copy, s, len);
	copy[len] = '\0';
	return copy;
}
