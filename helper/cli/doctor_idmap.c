/* SPDX-License-Identifier: MIT */
/*
 * The file systems that boxes are made of: which of them take an id map, and
 * what comes of it where one does not. Asked of the kernel by the keeper's own
 * code (idmapped.h), each in a child.
 */
#include "doctor.h"
#include "cleanup.h"
#include "idmapped.h"

#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

#define LAYERS "/var/lib/nsbox"

static int probe_tree(const char *path)
{
	return -nsbox_idmapped_tree(path, false, NULL);
}

static int probe_all_below(const char *path)
{
	return -nsbox_idmapped_tree(path, true, NULL);
}

static int probe_image(const char *path)
{
	return -nsbox_idmapped_image(path, NULL);
}

/* Returns whether it can be mapped. */
static bool check(struct nsbox_doctor *d, int (*probe)(const char *), const char *path,
		  const char *comes_of_it)
{
	int r = nsbox_doctor_try(probe, path);

	if (r == 0)
		nsbox_find(d, NSBOX_OK, "kernel.idmap", "%s has idmapped mounts", path);
	else if (r == EINVAL)
		nsbox_find(d, NSBOX_WARNING, "kernel.idmap", "the file system of %s has no idmapped "
			   "mounts: %s", path, comes_of_it);
	else
		nsbox_find(d, NSBOX_WARNING, "kernel.idmap", "whether %s has idmapped mounts cannot be "
			   "told: %s", path, strerror(r));
	return r == 0;
}

void nsbox_doctor_idmap_homes(struct nsbox_doctor *d, const char *parent)
{
	struct statfs fs;

	/* Each home will be another file system, and asking for it would mount it. */
	if (statfs(parent, &fs) == 0 && fs.f_type == AUTOFS_SUPER_MAGIC) {
		nsbox_find(d, NSBOX_OK, "kernel.idmap", "%s is autofs: nsbox explain says of a user "
			   "what idmap comes to", parent);
		return;
	}
	if (!check(d, probe_tree, parent, "boxes with homes there get idmap = keep, and are refused "
		   "with net = host"))
		nsbox_find_fix(d, "move %s to ext4, xfs or btrfs, or write idmap = keep", parent);
}

/* Two sections may name one image. */
static bool is_said(const struct nsbox_doctor *d, const char *path)
{
	char text[PATH_MAX + 8];

	(void)snprintf(text, sizeof(text), "%s has ", path);
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->findings[i].check, "kernel.idmap") == 0 && d->findings[i].text &&
		    strstr(d->findings[i].text, text))
			return true;
	return false;
}

static void check_image(const char *path, const struct nsbox_origin *where, void *data)
{
	struct nsbox_doctor *d = data;

	/* With a % it is another for each user: nsbox explain. */
	if (path[0] != '/' || strchr(path, '%') || is_said(d, path))
		return;
	if (!check(d, probe_image, path, "no box can be made of it"))
		nsbox_find_fix(d, "%s:%u: move the image to ext4, xfs or btrfs, or make it an erofs file",
			       where->file, where->line);
}

static void note_mode(const char *mode, const struct nsbox_origin *where, void *data)
{
	(void)where;
	*(bool *)data |= strcmp(mode, "ro") != 0;
}

static void check_images(struct nsbox_doctor *d)
{
	struct nsbox_policy *policy;
	bool writable = false;

	if (nsbox_policy_load(NSBOX_POLICY_DIR, NULL, &policy, NULL) < 0)
		return;		/* said by others */
	(void)nsbox_policy_each_value(policy, NSBOX_KEY_ROOTFS, check_image, d, NULL);
	(void)nsbox_policy_each_value(policy, NSBOX_KEY_ROOTFS_MODE, note_mode, &writable, NULL);
	nsbox_policy_free(policy);
	if (writable && access(LAYERS, F_OK) == 0 &&
	    !check(d, probe_tree, LAYERS, "no box with rootfs_mode = ephemeral or persistent can be "
		   "made"))
		nsbox_find_fix(d, "move " LAYERS " to ext4, xfs or btrfs");
}

void nsbox_doctor_idmap(struct nsbox_doctor *d)
{
	if (!check(d, probe_all_below, "/usr", "files in it belong to nobody in a box with "
		   "rootfs = host, where root should own them"))
		nsbox_find_fix(d, "move /usr to ext4, xfs or btrfs");
	nsbox_doctor_idmap_homes(d, "/home");
	check_images(d);
}
