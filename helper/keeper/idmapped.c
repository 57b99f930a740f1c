/* SPDX-License-Identifier: MIT */
/* Asking for id maps: see idmapped.h. */
#include "idmapped.h"
#include "cleanup.h"
#include "image.h"
#include "places.h"
#include "tree.h"
#include "upper.h"
#include "userns.h"

#include <errno.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/wait.h>

/*
 * A keeper has no children to wait for (nsbox_userns_for_mounts()); who asks here
 * is a command that leaves nothing behind when it ends.
 */
static void reap(void)
{
	while (wait(NULL) > 0 || errno == EINTR)
		;
}

/* Any map will do: the kernel asks the file system whether, and not which. */
static int map_anyhow(int tree, bool recursive, struct nsbox_error *err)
{
	static const struct nsbox_id_map map = {
		.n = 1, .e = { { .inside = 0, .outside = 524288, .count = NSBOX_BLOCK_LOW } },
	};
	cleanup_close int userns = nsbox_userns_for_mounts(&map, &map, err);

	reap();
	return userns < 0 ? userns : nsbox_tree_idmap(tree, recursive, userns, err);
}

int nsbox_idmapped_tree(const char *path, bool recursive, struct nsbox_error *err)
{
	cleanup_close int fd = nsbox_open_trusted(path, err), tree = -EBADF;

	if (fd < 0)
		return fd;
	tree = nsbox_tree_clone(fd, recursive, MOUNT_ATTR_NOSUID, err);
	return tree < 0 ? tree : map_anyhow(tree, recursive, err);
}

int nsbox_idmapped_image(const char *path, struct nsbox_error *err)
{
	cleanup_close int tree = nsbox_image_open(path, NULL, err);
	int r = tree < 0 ? tree : map_anyhow(tree, true, err);

	/* Of the image's own failures, none is about maps. */
	if (tree < 0)
		return r == -EINVAL ? -EIO : r;
	return r == -EINVAL ? nsbox_image_refuse_idmap(tree, err) : r;
}

void nsbox_note_unmapped_usr(struct nsbox_notes *notes)
{
	nsbox_note(notes, "/usr belongs to nobody in the box, since its file system has no "
		   "idmapped mounts");
}

static bool is_in_block(uint32_t id, uint32_t base)
{
	return id >= base && id - base < NSBOX_BLOCK_SIZE;
}

/* A block that the user's own ids are not in, as no keeper would take one that they are. */
static uint32_t some_block(const struct nsbox_subject *s, const struct nsbox_decision *d)
{
	uint32_t base = d->id_first;

	while ((is_in_block(s->uid, base) || is_in_block(s->gid, base)) &&
	       d->id_last - base >= 2 * NSBOX_BLOCK_SIZE - 1)
		base += NSBOX_BLOCK_SIZE;
	return base;
}

static int ask_root(const struct nsbox_decision *policy, struct nsbox_notes *notes,
		    struct nsbox_error *err)
{
	int r;

	if (strcmp(policy->rootfs, "host") == 0) {
		r = nsbox_idmapped_tree("/usr", true, err);
		if (r == -EINVAL)
			nsbox_note_unmapped_usr(notes);
		return r == -EINVAL ? 0 : r;
	}
	r = nsbox_idmapped_image(policy->rootfs, err);
	if (r < 0 || policy->rootfs_mode == NSBOX_ROOTFS_RO)
		return r;
	r = nsbox_idmapped_tree(NSBOX_STATE_DIR, false, err);
	if (r == -EINVAL)
		return nsbox_image_refuse_layers(err);
	return r == -ENOENT ? 0 : r;	/* made with the first such box */
}

int nsbox_idmapped_ask(const struct nsbox_subject *subject, const struct nsbox_decision *policy,
		       struct nsbox_idmapped *ret, struct nsbox_error *err)
{
	struct nsbox_plan content = NSBOX_PLAN_INIT, mounts = NSBOX_PLAN_INIT;
	struct nsbox_ids ids;
	struct nsbox_places places = {
		.subject = subject, .policy = policy, .base = some_block(subject, policy),
		.ids = &ids, .notes = &ret->notes, .data_userns = -EBADF,
	};
	int r;

	*ret = (struct nsbox_idmapped){ .keep = false };
	r = nsbox_places_lend(&places, &content, &mounts, err);
	reap();
	(void)nsbox_close(places.data_userns);
	nsbox_plan_drop(&content);
	nsbox_plan_drop(&mounts);
	if (r < 0)
		return r;
	ret->keep = ids.keep;
	return ask_root(policy, &ret->notes, err);
}
