/* SPDX-License-Identifier: MIT */
/* What the host lends to a box: see lend.h. */
#include "lend.h"
#include "cleanup.h"
#include "defence.h"
#include "etc.h"
#include "request.h"
#include "tree.h"
#include "userns.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Sizes of DESIGN's table; an inode of a tmpfs costs about a kilobyte of kernel memory. */
#define TMP_SIZE (1ULL << 30)
#define RUN_SIZE (64ULL << 20)
#define SHM_SIZE (256ULL << 20)
#define DEV_SIZE (1ULL << 20)
enum { TMP_INODES = 65536, RUN_INODES = 8192, SHM_INODES = 8192, DEV_INODES = 256 };

#define OF_HOST (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

struct lender {
	const struct nsbox_subject *subject;
	const struct nsbox_decision *policy;
	struct nsbox_ids *ids;
	struct nsbox_lent *to;
	int data_userns;	/* the data map, or -EBADF with keep */
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
	else if (l->data_userns >= 0)
		/* Where that cannot be, the owners are nobody, which hides secrets as well. */
		(void)nsbox_tree_idmap(tree, true, l->data_userns, NULL);
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

static int lend_host(const struct lender *l, struct nsbox_error *err)
{
	cleanup_close int etc = open("/etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct nsbox_etc e = {
		.subject = l->subject, .policy = l->policy, .ids = l->ids, .etc = etc,
		.data_userns = l->data_userns,
	};
	static const char *const empty[] = { "/mnt", "/srv", "/media", "/var", "/var/cache",
					     "/var/lib", "/var/log", "/var/spool" };
	int r = lend_tree(l, "/usr", false, err);

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

/* The image map makes box root its owner: nobody but root may have had a hand in it. */
static int check_image(int fd, const char *path, struct nsbox_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return nsbox_error_set(err, errno, "rootfs %s", path);
	if (!S_ISDIR(st.st_mode))
		return nsbox_error_say(err, ENOTDIR, "rootfs %s is not a directory", path);
	if (st.st_uid != 0 || (st.st_mode & (S_IWGRP | S_IWOTH)))
		return nsbox_error_say(err, EPERM, "rootfs %s can be written by others than root: "
				       "chown it to root and chmod go-w", path);
	return 0;
}

static int lend_image(const struct lender *l, struct nsbox_error *err)
{
	const char *path = l->policy->rootfs;
	cleanup_close int fd = nsbox_open_trusted(path, err);
	cleanup_close int etc = -EBADF;
	struct nsbox_etc e = {
		.subject = l->subject, .policy = l->policy, .ids = l->ids,
		.data_userns = l->data_userns,
	};
	int r;

	if (fd < 0)
		return nsbox_error_wrap(err, "rootfs");
	r = check_image(fd, path, err);
	if (r < 0)
		return r;
	l->to->content.image = nsbox_tree_clone(fd, true, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, err);
	if (l->to->content.image < 0)
		return nsbox_error_wrap(err, "rootfs %s", path);
	shift_later(l->to, l->to->content.image);
	etc = openat(fd, "etc", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	e.etc = etc;
	return nsbox_etc_plan_image(&e, &l->to->content, err);
}

static int make_node(int dev, const char *name, unsigned int minor, uint32_t owner)
{
	/* major 1: memory devices, 5: tty and ptmx (devices.txt of Linux). */
	unsigned int major = strcmp(name, "tty") == 0 ? 5 : 1;

	if (mknodat(dev, name, S_IFCHR | 0666, makedev(major, minor)) < 0 ||
	    fchownat(dev, name, owner, owner, AT_SYMLINK_NOFOLLOW) < 0 ||
	    fchmodat(dev, name, 0666, 0) < 0)
		return -errno;
	return 0;
}

/*
 * /dev: nodes that the keeper makes on a tmpfs of its own, since nobody may
 * make them inside. The directory stays the host's root's, so that box root
 * can add nothing to it, and the keeper can (a terminal of the host).
 */
static int lend_dev(const struct lender *l, struct nsbox_error *err)
{
	static const struct {
		const char *name;
		unsigned int minor;
	} nodes[] = {
		{ "null", 3 }, { "zero", 5 }, { "full", 7 }, { "random", 8 }, { "urandom", 9 },
		{ "tty", 0 },
	};
	static const char *const dirs[] = { "pts", "shm", "mqueue" };
	static const char *const links[][2] = {
		{ "ptmx", "pts/ptmx" }, { "fd", "/proc/self/fd" },
		{ "stdin", "/proc/self/fd/0" }, { "stdout", "/proc/self/fd/1" },
		{ "stderr", "/proc/self/fd/2" },
	};
	int dev = nsbox_tree_new_tmpfs(DEV_SIZE, DEV_INODES, 0, 0, err);
	int r = 0;

	if (dev < 0)
		return nsbox_error_wrap(err, "/dev");
	nsbox_plan_mount(&l->to->mounts, "/dev", dev, false);
	r = nsbox_tree_set(dev, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, err);
	if (r < 0)
		return nsbox_error_wrap(err, "/dev");
	for (size_t i = 0; r == 0 && i < sizeof(nodes) / sizeof(nodes[0]); i++)
		r = make_node(dev, nodes[i].name, nodes[i].minor, l->ids->base);
	for (size_t i = 0; r == 0 && i < sizeof(dirs) / sizeof(dirs[0]); i++)
		r = mkdirat(dev, dirs[i], 0755) < 0 ? -errno : 0;
	for (size_t i = 0; r == 0 && i < sizeof(links) / sizeof(links[0]); i++)
		r = symlinkat(links[i][1], dev, links[i][0]) < 0 ? -errno : 0;
	l->to->dev = r < 0 ? -EBADF : fcntl(dev, F_DUPFD_CLOEXEC, 3);
	if (r < 0 || l->to->dev < 0)
		return nsbox_error_set(err, r < 0 ? -r : errno, "filling /dev");
	return 0;
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
	struct nsbox_plan *m = &l->to->mounts;
	char path[64];

	nsbox_plan_tmpfs(m, "/dev/shm", 01777, SHM_SIZE, SHM_INODES);
	nsbox_plan_tmpfs(m, "/tmp", 01777, TMP_SIZE, TMP_INODES);
	if (strcmp(l->policy->rootfs, "host") == 0)
		nsbox_plan_tmpfs(m, "/var/tmp", 01777, TMP_SIZE, TMP_INODES);
	nsbox_plan_tmpfs(m, "/run", 0755, RUN_SIZE, RUN_INODES);
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

/* The home must be a directory that is the user's, at a place where it hides nothing. */
static int open_home(const struct nsbox_subject *subject, struct nsbox_error *err)
{
	static const char *const not_home[] = {
		"/", "/usr", "/etc", "/proc", "/sys", "/dev", "/run", "/tmp", "/bin", "/lib",
	};
	cleanup_close int fd = nsbox_open_trusted(subject->home, err);
	struct stat st;

	if (fd < 0)
		return nsbox_error_wrap(err, "the home directory");
	for (size_t i = 0; i < sizeof(not_home) / sizeof(not_home[0]); i++)
		if (strcmp(subject->home, not_home[i]) == 0)
			return nsbox_error_say(err, EINVAL, "the home directory %s is a system "
					       "directory and is not lent to a box", subject->home);
	if (strstr(subject->home, "/../") || strstr(subject->home, "/./"))
		return nsbox_error_say(err, EINVAL, "the home directory %.100s is not a plain path",
				       subject->home);
	if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return nsbox_error_say(err, ENOTDIR, "the home %.100s is not a directory",
				       subject->home);
	if (st.st_uid != subject->uid)
		return nsbox_error_say(err, EPERM, "the home directory %.100s belongs to uid %u and "
				       "not to the user", subject->home, st.st_uid);
	return take_fd(&fd);
}

static int make_data_userns(struct lender *l, struct nsbox_error *err)
{
	/* Without the data map a home gets the image map: see tests/hostile. */
	bool data = nsbox_defends(datamap);

	return nsbox_userns_for_mounts(data ? &l->ids->data_uids : &l->ids->box_uids,
				       data ? &l->ids->data_gids : &l->ids->box_gids, err);
}

/* Clones the home and maps it, or finds out that its file system cannot. */
static int lend_home(struct lender *l, uint32_t base, struct nsbox_error *err)
{
	cleanup_close int fd = open_home(l->subject, err), tree = -EBADF;
	bool keep = l->policy->idmap == NSBOX_IDMAP_KEEP;
	int r;

	if (fd < 0)
		return fd;
	tree = nsbox_tree_clone(fd, false, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV, err);
	if (tree < 0)
		return nsbox_error_wrap(err, "%.100s", l->subject->home);
	r = nsbox_ids_plan(l->subject, base, keep, l->ids, err);
	if (r < 0)
		return r;
	if (!keep) {
		l->data_userns = make_data_userns(l, err);
		if (l->data_userns < 0)
			return l->data_userns;
		r = nsbox_tree_idmap(tree, false, l->data_userns, err);
		if (r < 0 && r != -EINVAL)
			return nsbox_error_wrap(err, "%.100s", l->subject->home);
	}
	if (r == -EINVAL && l->policy->idmap == NSBOX_IDMAP_AUTO &&
	    l->policy->net != NSBOX_NET_HOST && l->policy->net != NSBOX_NET_JOIN_PATH) {
		l->data_userns = nsbox_close(l->data_userns);
		r = nsbox_ids_plan(l->subject, base, true, l->ids, err);
	}
	if (r < 0)
		return nsbox_error_say(err, EINVAL, "the file system of %.80s has no idmapped mounts: "
				       "use idmap = keep and not net = host", l->subject->home);
	nsbox_plan_parents(&l->to->content, l->subject->home);
	nsbox_plan_mount(&l->to->mounts, l->subject->home, take_fd(&tree), false);
	return 0;
}

int nsbox_lend(const struct nsbox_subject *subject, const struct nsbox_decision *policy,
	       uint32_t base, int netns, struct nsbox_ids *ids, struct nsbox_lent *ret,
	       struct nsbox_error *err)
{
	struct lender l = { .subject = subject, .policy = policy, .ids = ids, .to = ret,
			    .data_userns = -EBADF };
	struct nsbox_lent with_home = NSBOX_LENT_INIT;
	int r;

	/* The home decides the maps, but is mounted last, over whatever holds its place. */
	l.to = &with_home;
	r = lend_home(&l, base, err);
	l.to = ret;
	if (r == 0 && strcmp(policy->rootfs, "host") == 0)
		r = lend_host(&l, err);
	else if (r == 0)
		r = lend_image(&l, err);
	if (r == 0)
		r = lend_kernel(&l, netns, err);
	if (r == 0)
		r = lend_hosts(&l, err);
	plan_temporary(&l);
	nsbox_plan_move(&ret->content, &with_home.content);
	nsbox_plan_move(&ret->mounts, &with_home.mounts);
	(void)nsbox_close(l.data_userns);
	nsbox_lent_drop(&with_home);
	if (r == 0)
		r = nsbox_plan_check(&ret->content, err);
	return r < 0 ? r : nsbox_plan_check(&ret->mounts, err);
}

int nsbox_lend_shift(struct nsbox_lent *lent, int userns, bool *ret_mapped,
		     struct nsbox_error *err)
{
	*ret_mapped = true;
	for (unsigned int i = 0; i < lent->n_shifted; i++) {
		int r = nsbox_tree_idmap(lent->shifted[i], true, userns, err);

		if (r == -EINVAL && lent->content.image < 0)
			*ret_mapped = false;	/* rootfs = host works without: it is only read */
		else if (r == -EINVAL)
			return nsbox_error_say(err, EINVAL, "the file system of the rootfs image has "
					       "no idmapped mounts: move it to ext4, xfs or btrfs");
		else if (r < 0)
			return r;
	}
	return 0;
}

void nsbox_lent_drop(struct nsbox_lent *lent)
{
	nsbox_plan_drop(&lent->content);
	nsbox_plan_drop(&lent->mounts);
	lent->dev = nsbox_close(lent->dev);
	lent->n_shifted = 0;
}
