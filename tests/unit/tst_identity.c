/* SPDX-License-Identifier: MIT */
/* Who a user is, from the caller to a new keeper; and which block he tries first. */
#include "block.h"
#include "cleanup.h"
#include "identity.h"
#include "test.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

static const gid_t gids[] = { 1001, 4000000000U, 7 };
static const char *const names[] = { "alice", NULL, "lab users" };
static const struct nsbox_subject alice = {
	.name = "alice", .uid = 4294967294U, .gid = 1001, .home = "/home/alice", .shell = "/bin/sh",
	.n_groups = 3, .gids = gids, .group_names = names,
};

static void round_trip(void)
{
	cleanup_close int fd = -EBADF;
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	const struct nsbox_subject *s = &id.subject;
	struct nsbox_error err;

	fd = nsbox_identity_pack(&alice, &err);
	OK(fd >= 0, "an identity is packed");
	OK(nsbox_identity_unpack(fd, &id, &err) == 0, "and unpacked");
	OK(s->name && strcmp(s->name, "alice") == 0 && strcmp(s->home, "/home/alice") == 0 &&
	   strcmp(s->shell, "/bin/sh") == 0, "name, home and shell are the same");
	OK(s->uid == alice.uid && s->gid == alice.gid, "uid and gid are the same");
	OK(s->n_groups == 3 && memcmp(s->gids, gids, sizeof(gids)) == 0, "the gids are the same");
	OK(s->group_names[0] && strcmp(s->group_names[0], "alice") == 0 && !s->group_names[1] &&
	   s->group_names[2] && strcmp(s->group_names[2], "lab users") == 0,
	   "the groups' names are the same, and a gid without one has none");
}

static int unpack_text(const char *text, size_t len)
{
	cleanup_close int fd = memfd_create("test", MFD_CLOEXEC);
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_error err;

	if (fd < 0 || write(fd, text, len) != (ssize_t)len)
		return 1;
	return nsbox_identity_unpack(fd, &id, &err);
}

#define UNPACK(text) unpack_text(text, sizeof(text) - 1)

static void something_else(void)
{
	OK(UNPACK("alice\0" "1\0" "2\0/h\0/s\0" "2\0staff\0") == 0, "a short identity is one");
	OK(UNPACK("") == -EPROTO, "nothing is no identity");
	OK(UNPACK("alice\0" "1\0" "2\0/h\0") == -EPROTO, "without a shell it is none");
	OK(UNPACK("alice\0" "1\0" "2\0/h\0/s\0") == -EPROTO, "without a group it is none");
	OK(UNPACK("alice\0" "1\0" "2\0/h\0/s\0" "2\0") == -EPROTO, "a gid without its name is cut");
	OK(UNPACK("alice\0\0" "2\0/h\0/s\0" "2\0staff\0") == -EPROTO, "an empty uid is no uid");
}

static void blocks(void)
{
	const uint32_t first = 524288, last = 1878982656;
	uint64_t n = nsbox_block_count(first, last);

	OK(n > 28000, "the default range has %llu blocks", (unsigned long long)n);
	OK(nsbox_block_base(1001, first, last, 0) == nsbox_block_base(1001, first, last, n),
	   "after the last block comes the first again");
	for (uid_t uid = 0; uid < 5000; uid++) {
		uint32_t base = nsbox_block_base(uid, first, last, 0);

		if (base < first || base + (NSBOX_BLOCK_SIZE - 1) > last)
			OK(false, "the block of uid %u is in the range", uid);
	}
	OK(nsbox_block_is_known(0), "the block that has root in it is known");
}

int main(void)
{
	round_trip();
	something_else();
	blocks();
	return test_done();
}
