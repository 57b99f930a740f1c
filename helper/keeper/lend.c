/* SPDX-License-Identifier: MIT */
/* What the host lends to a box: see lend.h. */
#include "lend.h"
#include "cleanup.h"
#include "device.h"
#include "etc.h"
#include "idmapped.h"
#include "image.h"
#include "places.h"
#include "request.h"
#include "tree.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

#define DEV_SIZE (1ULL << 20)
#define ETC_SIZE (16ULL << 20)
enum { DEV_INODES = 1024, ETC_INODES = 8192 };

#define OF_HOST (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

struct lender {
	const struct nsbox_subject *subject;
	const struct nsbox_decision *policy;
	const struct nsbox_ids *ids;
	struct nsbox_lent *to;
};

/* The image map comes later, when the box's user namespace has its maps. */
static void shift_later(struct nsbox_lent *to, int tree)
{
	if (to->n_shifted < NSBOX_SHIFTED_MAX)
		to->shifted[to->n_shifted++] = tree;
}

/* A tree of the host's software, if it is there. @data: by the data map, as may hold secrets. */
static int lend_tree(const struct lender *l, const char *path, bool data, struct nsbox_error *err)
{
	cleanup_close int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int tree;

	if (fd < 0)
		return errno == ENOENT ? 0 : nsbox_error_set(err, errno, "open %s", path);
	tree = nsbox_tree_clone(fd, true, OF_HOST, err);
	if (tree < 0)
		return nsbox_error_wrap(err, "%s", path);
	if (!data)
		shift_later(l->to, tree);
	else if (l->to->data_userns >= 0)
		/* Where that cannot be, the owners are nobody, which hides secrets as well. */
		(void)nsbox_tree_idmap(tree, true, l->to->data_userns, NULL);
	nsbox_plan_mount(&l->to->mounts, path, tree, false);
	return 0;
}

/* /bin, /lib and so on: the links of a merged /usr, or directories. */
static int lend_usr_links(const struct lender *l, struct nsbox_error *err)
{
	static const char *const names[] = {
		"/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32",
	};
	char target[256];
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(names) / sizeof(names[0]); i++) {
		ssize_t n = readlink(names[i], target, sizeof(target) - 1);

		if (n > 0) {
			target[n] = '\0';
			nsbox_plan_link(&l->to->content, names[i], target);
		} else {
			r = lend_tree(l, names[i], false, err);
		}
	}
	return r;
}

/* The host's public files, and places for what is bound and generated: see etc.h. */
static int make_etc(const struct lender *l, int etc, struct nsbox_error *err)
{
	const uint32_t base = l->ids->base;
	struct nsbox_etc e = { .etc = etc, .data_userns = l->to->data_userns };
	int r;

	e.made = nsbox_tree_new_tmpfs(ETC_SIZE, ETC_INODES, base, base, err);
	if (e.made < 0)
		return nsbox_error_wrap(err, "/etc");
	nsbox_plan_dir(&l->to->content, "/etc", 0755, 0, 0);
	nsbox_plan_mount(&l->to->content, "/etc", e.made, false);
	r = nsbox_tree_set(e.made, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	if (r < 0)
		return nsbox_error_wrap(err, "/etc");
	/* setfsuid(2): the capabilities that overrule permissions go, too, and come back. */
	(void)setfsgid(base);
	(void)setfsuid(base);
	if ((uid_t)setfsuid((uid_t)-1) == base)
		r = nsbox_etc_make_public(&e, &l->to->content, err);
	else
		r = nsbox_error_say(err, EPERM, "setfsuid %u has no effect", base);
	(void)setfsuid(0);
	(void)setfsgid(0);
	return r;
}

static int lend_host(const struct lender *l, struct nsbox_error *err)
{
	cleanup_close int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct nsbox_etc e = {
		.subject = l->subject, .policy = l->policy, .ids = l->ids, .etc = etc,
		.data_userns = l->to->data_userns,
	};
	static const char *const empty[] = { "/mnt", "/srv", "/media", "/var", "/var/cache",
					     "/var/lib", "/var/log", "/var/spool" };
	int r = etc < 0 ? nsbox_error_set(err, errno, "open /etc") : make_etc(l, etc, err);

	if (r == 0)
		r = lend_tree(l, "/usr", false, err);
	/* The administrator's own software: what only root may read there stays so. */
	if (r == 0)
		r = lend_tree(l, "/usr/local", true, err);
	if (r == 0)
		r = lend_tree(l, "/opt", true, err);
	if (r == 0)
		r = lend_usr_links(l, err);
	if (r == 0)
		r = nsbox_etc_plan_host(&e, &l->to->content, err);
	for (size_t i = 0; i < sizeof(empty) / sizeof(empty[0]); i++)
		nsbox_plan_dir(&l->to->content, empty[i], 0755, 0, 0);
	nsbox_plan_link(&l->to->content, "/var/run", "/run");
	nsbox_plan_link(&l->to->content, "/var/lock", "/run/lock");
	nsbox_plan_link(&l->to->content, "/var/log/wtmp", "/run/log/wtmp");
	nsbox_plan_link(&l->to->content, "/var/log/lastlog", "/run/log/lastlog");
	return r;
}

static int lend_image(const struct lender *l, struct nsbox_error *err)
{
	struct nsbox_plan *content = &l->to->content;
	cleanup_close int etc = -EBADF;
	struct nsbox_etc e = {
		.subject = l->subject, .policy = l->policy, .ids = l->ids,
		.data_userns = l->to->data_userns,
	};

	content->image = nsbox_image_open(l->policy->rootfs, &l->to->notes, err);
	if (content->image < 0)
		return content->image;
	shift_later(l->to, content->image);
	if (content->layers >= 0)
		shift_later(l->to, content->layers);
	etc = openat(content->image, "etc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	e.etc = etc;
	return nsbox_etc_plan_image(&e, content, err);
}

/*
 * /dev: nodes that the keeper makes on a tmpfs of its own, since nobody may
 * make them inside. The directory stays the host's root's, so that box root
 * can add nothing to it, and the keeper can (a terminal of the host).
 */
static int lend_dev(const struct lender *l, struct nsbox_error *err)
{
	int dev = nsbox_tree_new_tmpfs(DEV_SIZE, DEV_INODES, 0, 0, err);
	int r;

	if (dev < 0)
		return nsbox_error_wrap(err, "/dev");
	nsbox_plan_mount(&l->to->mounts, "/dev", dev, false);
	r = nsbox_tree_set(dev, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
	if (r < 0)
		return nsbox_error_wrap(err, "/dev");
	r = nsbox_devices_begin(dev, l->ids->base, err);
	if (r < 0)
		return r;
	l->to->dev = fcntl(dev, F_DUPFD_CLOEXEC, 3);
	if (l->to->dev < 0)
		return nsbox_error_set(err, errno, "filling /dev");
	return nsbox_devices_make(dev, l->policy, l->subject, l->ids, &l->to->notes, err);
}

/*
 * isolate = no: the boxes of a network find each other by name, also those that
 * come later. So it is one file, which nsbox-net keeps, in all of them.
 */
static int lend_hosts(const struct lender *l, struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	char path[128];
	int tree;

	if (l->policy->net != NSBOX_NET_BRIDGE || l->policy->network.isolate)
		return 0;
	(void)mkdir(NSBOX_NET_DIR, 0700);
	(void)snprintf(path, sizeof(path), NSBOX_NET_DIR "/%s.hosts", l->policy->network.name);
	fd = open(path, O_RDONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0 || fchmod(fd, 0644) < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	tree = nsbox_tree_clone(fd, false, OF_HOST | MOUNT_ATTR_NOEXEC, err);
	if (tree < 0)
		return nsbox_error_wrap(err, "/etc/hosts");
	nsbox_plan_mount(&l->to->mounts, "/etc/hosts", tree, true);
	return 0;
}

/* proc and sys are mount points only; sysfs of a shared network is lent by the host. */
static int lend_kernel(const struct lender *l, int netns, struct nsbox_error *err)
{
	nsbox_plan_dir(&l->to->content, "/proc", 0555, 0, 0);
	nsbox_plan_dir(&l->to->content, "/sys", 0555, 0, 0);
	if (netns >= 0) {
		int tree = nsbox_tree_new_sysfs(netns, err);

		if (tree < 0)
			return nsbox_error_wrap(err, "/sys");
		nsbox_plan_mount(&l->to->mounts, "/sys", tree, false);
	} else if (l->policy->net == NSBOX_NET_HOST) {
		cleanup_close int fd = open("/sys", O_PATH | O_DIRECTORY | O_CLOEXEC);
		int tree = fd < 0 ? -EBADF : nsbox_tree_clone(fd, false, OF_HOST |
							      MOUNT_ATTR_NOEXEC, err);

		if (tree < 0)
			return nsbox_error_set(err, errno, "lending /sys");
		nsbox_plan_mount(&l->to->mounts, "/sys", tree, false);
	}
	return lend_dev(l, err);
}

/* The tmpfs of the box, and in /run the marker and the user's runtime directory. */
static void plan_temporary(const struct lender *l)
{
	const struct nsbox_decision *d = l->policy;
	struct nsbox_plan *m = &l->to->mounts;
	char path[64];

	nsbox_plan_tmpfs(m, "/dev/shm", 01777, d->shm_size, nsbox_places_inodes(d->shm_size));
	nsbox_plan_tmpfs(m, "/tmp", 01777, d->tmp_size, nsbox_places_inodes(d->tmp_size));
	if (strcmp(d->rootfs, "host") == 0)
		nsbox_plan_tmpfs(m, "/var/tmp", 01777, d->tmp_size,
				 nsbox_places_inodes(d->tmp_size));
	nsbox_plan_tmpfs(m, "/run", 0755, d->run_size, nsbox_places_inodes(d->run_size));
	nsbox_plan_file(m, "/run/.nsbox", 0444, "", 0);
	/* What sshd and login write after the join; the host's are the keeper's to write. */
	nsbox_plan_file(m, "/run/utmp", 0644, "", 0);
	nsbox_plan_dir(m, "/run/log", 0755, 0, 0);
	nsbox_plan_file(m, "/run/log/wtmp", 0644, "", 0);
	nsbox_plan_file(m, "/run/log/lastlog", 0644, "", 0);
	nsbox_plan_dir(m, "/run/lock", 01777, 0, 0);
	nsbox_plan_dir(m, "/run/user", 0755, 0, 0);
	(void)snprintf(path, sizeof(path), "/run/user/%u", l->subject->uid);
	nsbox_plan_dir(m, path, 0700, l->subject->uid, l->subject->gid);
	nsbox_plan_dir(&l->to->content, "/root", 0700, 0, 0);
	nsbox_plan_dir(&l->to->content, "/home", 0755, 0, 0);
}

int nsbox_lend_home(const struct nsbox_subject *subject, const struct nsbox_decision *policy,
		    uint32_t base, struct nsbox_ids *ids, struct nsbox_lent *ret,
		    struct nsbox_error *err)
{
	struct nsbox_places places = { .subject = subject, .policy = policy, .base = base,
				       .ids = ids, .notes = &ret->notes, .data_userns = -EBADF };
	int r = nsbox_places_lend(&places, &ret->home_content, &ret->home_mounts, err);

	ret->data_userns = places.data_userns;
	return r;
}

int nsbox_lend(const struct nsbox_subject *subject, const struct nsbox_decision *policy, int netns,
	       const struct nsbox_ids *ids, struct nsbox_lent *ret, struct nsbox_error *err)
{
	const struct lender l = { .subject = subject, .policy = policy, .ids = ids, .to = ret };
	int r = strcmp(policy->rootfs, "host") == 0 ? lend_host(&l, err) : lend_image(&l, err);

	if (r == 0)
		r = lend_kernel(&l, netns, err);
	if (r == 0)
		r = lend_hosts(&l, err);
	plan_temporary(&l);
	/* Mounted last, over whatever holds its place. */
	nsbox_plan_move(&ret->content, &ret->home_content);
	nsbox_plan_move(&ret->mounts, &ret->home_mounts);
	if (r == 0)
		r = nsbox_plan_check(&ret->content, err);
	return r < 0 ? r : nsbox_plan_check(&ret->mounts, err);
}

int nsbox_lend_shift(struct nsbox_lent *lent, int userns, struct nsbox_error *err)
{
	bool mapped = true;

	for (unsigned int i = 0; i < lent->n_shifted; i++) {
		int r = nsbox_tree_idmap(lent->shifted[i], true, userns, err);

		if (r == -EINVAL && lent->content.image < 0)
			mapped = false;	/* rootfs = host works without: it is only read */
		else if (r == -EINVAL && lent->shifted[i] == lent->content.layers)
			return nsbox_image_refuse_layers(err);
		else if (r == -EINVAL)
			return nsbox_image_refuse_idmap(lent->shifted[i], err);
		else if (r < 0)
			return r;
	}
	if (!mapped)
		nsbox_note_unmapped_usr(&lent->notes);
	return 0;
}

void nsbox_lent_drop(struct nsbox_lent *lent)
{
	nsbox_plan_drop(&lent->content);
	nsbox_plan_drop(&lent->mounts);
	nsbox_plan_drop(&lent->home_content);
	nsbox_plan_drop(&lent->home_mounts);
	lent->data_userns = nsbox_close(lent->data_userns);
	nsbox_notes_drop(&lent->notes);
	lent->dev = nsbox_close(lent->dev);
	lent->n_shifted = 0;
}
