/* SPDX-License-Identifier: MIT */
/* The home, bind, tmpfs and mask: see places.h. */
#include "places.h"
#include "cleanup.h"
#include "defence.h"
#include "tree.h"
#include "userns.h"

#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

enum { BYTES_PER_INODE = 16384, INODES_MIN = 1024 };

#define OF_USERS (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)

/* A file system took no id map, and the box is to do without: plan again. */
enum { WANTS_KEEP = 1 };

unsigned int nsbox_places_inodes(uint64_t size)
{
	uint64_t n = size / BYTES_PER_INODE;

	return n < INODES_MIN ? INODES_MIN : n > UINT32_MAX ? UINT32_MAX : (unsigned int)n;
}

/* File systems that show the host's kernel and not its disks. */
static bool is_of_kernel(int fd)
{
	static const unsigned long types[] = {
		PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC,
		DEVPTS_SUPER_MAGIC, DEBUGFS_MAGIC, TRACEFS_MAGIC, SECURITYFS_MAGIC, BPF_FS_MAGIC,
		NSFS_MAGIC, BINFMTFS_MAGIC, EFIVARFS_MAGIC, PSTOREFS_MAGIC, SELINUX_MAGIC,
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return true;
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if ((unsigned long)fs.f_type == types[i])
			return true;
	return false;
}

/* What a bind may lend. @st is of @fd. */
static int check_source(const struct nsbox_bind *bind, int fd, const struct stat *st,
			struct nsbox_error *err)
{
	if (S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode))
		return nsbox_error_say(err, EINVAL, "bind: %.80s is a device, which device = lends",
				       bind->src);
	if (is_of_kernel(fd))
		return nsbox_error_say(err, EPERM, "bind: %.80s shows the host's kernel, which a "
				       "box must not", bind->src);
	return 0;
}

/* Gives the data map to @tree, which is at @path. WANTS_KEEP if its file system cannot. */
static int map_tree(struct nsbox_places *p, const char *path, int tree, struct nsbox_error *err)
{
	int r = p->data_userns < 0 ? 0 : nsbox_tree_idmap(tree, false, p->data_userns, err);

	if (r != -EINVAL)
		return r;
	p->unmapped = path;
	return WANTS_KEEP;
}

/* May the box do without id maps instead? With the host's network the real uid opens sockets. */
static bool may_keep(const struct nsbox_places *p)
{
	return p->policy->idmap == NSBOX_IDMAP_AUTO && p->policy->net != NSBOX_NET_HOST &&
	       p->policy->net != NSBOX_NET_JOIN_PATH;
}

static int refuse_unmapped(const char *path, struct nsbox_error *err)
{
	return nsbox_error_say(err, EINVAL, "the file system of %.80s has no idmapped mounts: "
			       "use idmap = keep and not net = host", path);
}

/* A step whose mount point init makes, with the user's own rights where that is the user's. */
static void mark_place(const struct nsbox_places *p, struct nsbox_plan *mounts, size_t before)
{
	if (mounts->n == before)
		return;
	mounts->steps[before].place = true;
	mounts->steps[before].uid = p->subject->uid;
	mounts->steps[before].gid = p->subject->gid;
}

static void plan_place(const struct nsbox_places *p, struct nsbox_plan *mounts, const char *path,
		       int tree, bool is_file)
{
	size_t before = mounts->n;

	nsbox_plan_mount(mounts, path, tree, is_file);
	mark_place(p, mounts, before);
}

/* A bind's source, as O_PATH, if it may be lent. -ENOENT: it is not there and is left out. */
static int open_bind(const struct nsbox_bind *bind, struct stat *st, struct nsbox_error *err)
{
	cleanup_close int fd = nsbox_open_trusted(bind->src, err);
	int r;

	if (fd < 0 && bind->optional && (fd == -ENOENT || fd == -ENOTDIR))
		return -ENOENT;
	if (fd < 0) {
		(void)nsbox_error_wrap(err, "bind");
		return -EINVAL;
	}
	if (fstat(fd, st) < 0)
		return nsbox_error_set(err, errno, "bind: %.80s", bind->src);
	r = check_source(bind, fd, st, err);
	return r < 0 ? r : take_fd(&fd);
}

/* Clones and maps one source. Returns 0, WANTS_KEEP, or a negative errno. */
static int lend_bind(struct nsbox_places *p, const struct nsbox_bind *bind,
		     struct nsbox_plan *mounts, struct nsbox_error *err)
{
	struct stat st;
	cleanup_close int fd = open_bind(bind, &st, err), tree = -EBADF;
	uint64_t attrs = OF_USERS | (bind->ro ? MOUNT_ATTR_RDONLY : 0) |
			 (bind->noexec ? MOUNT_ATTR_NOEXEC : 0);
	int r;

	if (fd == -ENOENT) {
		nsbox_note(p->notes, "bind: %.200s is not there and left out", bind->src);
		return 0;
	}
	if (fd < 0)
		return fd;
	nsbox_note_source(p->notes, fd);
	tree = nsbox_tree_clone(fd, false, attrs, err);
	if (tree < 0)
		return nsbox_error_wrap(err, "bind: %.80s", bind->src);
	r = map_tree(p, bind->src, tree, err);
	if (r == WANTS_KEEP && bind->ro) {
		/* Worth no map of its own for the whole box: software on NFS, a mounted image. */
		nsbox_note(p->notes, "bind: what is in %.200s belongs to nobody in the box, since "
			   "its file system has no idmapped mounts", bind->src);
		r = 0;
	}
	if (r == WANTS_KEEP && !may_keep(p))
		return refuse_unmapped(bind->src, err);
	if (r < 0)
		return nsbox_error_wrap(err, "bind: %.80s", bind->src);
	if (r == 0)
		plan_place(p, mounts, bind->dst, take_fd(&tree), !S_ISDIR(st.st_mode));
	return r;
}

static int lend_binds(struct nsbox_places *p, struct nsbox_plan *mounts,
		      struct nsbox_error *err)
{
	const struct nsbox_decision *policy = p->policy;
	int r = 0;

	for (size_t i = 0; r == 0 && i < policy->n_bind; i++)
		r = lend_bind(p, &policy->bind[i], mounts, err);
	return r;
}

static void plan_tmpfs(const struct nsbox_places *p, struct nsbox_plan *mounts, const char *path,
		       uint32_t mode, uint64_t size)
{
	size_t before = mounts->n;

	nsbox_plan_tmpfs(mounts, path, mode, size, nsbox_places_inodes(size));
	mark_place(p, mounts, before);
}

static void plan_rest(const struct nsbox_places *p, struct nsbox_plan *mounts)
{
	const struct nsbox_decision *policy = p->policy;

	for (size_t i = 0; i < policy->n_tmpfs; i++)
		plan_tmpfs(p, mounts, policy->tmpfs[i].dst, 0755, policy->tmpfs[i].size);
	/* Whatever was put where: what lies in another is mounted after it. */
	nsbox_plan_sort(mounts);
	for (size_t i = 0; i < policy->n_mask; i++)
		nsbox_plan_mask(mounts, policy->mask[i]);
}

/* ------------------------------------------------------------------ the home */

/* The home, or what home = /dir names in its stead: a directory that is the user's. */
static int open_home(const struct nsbox_subject *subject, const char *path, struct nsbox_error *err)
{
	cleanup_close int fd = nsbox_open_trusted(path, err);
	struct stat st;

	if (fd < 0)
		return nsbox_error_wrap(err, "the home directory");
	if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return nsbox_error_say(err, ENOTDIR, "the home %.100s is not a directory", path);
	if (st.st_uid != subject->uid)
		return nsbox_error_say(err, EPERM, "the home directory %.100s belongs to uid %u and "
				       "not to the user", path, st.st_uid);
	return take_fd(&fd);
}

/* Clones a home of the disk and maps it. Returns 0, WANTS_KEEP, or a negative errno. */
static int lend_home_tree(struct nsbox_places *p, const char *path, struct nsbox_plan *mounts,
			  struct nsbox_error *err)
{
	cleanup_close int fd = open_home(p->subject, path, err), tree = -EBADF;
	int r;

	if (fd < 0)
		return fd;
	nsbox_note_source(p->notes, fd);
	tree = nsbox_tree_clone(fd, false, OF_USERS | (p->policy->home_ro ? MOUNT_ATTR_RDONLY : 0),
				err);
	if (tree < 0)
		return nsbox_error_wrap(err, "%.100s", path);
	r = map_tree(p, path, tree, err);
	if (r == WANTS_KEEP && !may_keep(p))
		return refuse_unmapped(path, err);
	if (r < 0)
		return nsbox_error_wrap(err, "%.100s", path);
	if (r == 0)
		plan_place(p, mounts, p->subject->home, take_fd(&tree), false);
	return r;
}

static int lend_home(struct nsbox_places *p, struct nsbox_plan *content,
		     struct nsbox_plan *mounts, struct nsbox_error *err)
{
	const char *home = p->subject->home;
	size_t before;

	/* Every caller goes there: an empty directory suits all, and none need say a word. */
	if (p->policy->home == NSBOX_HOME_NONE) {
		if (nsbox_home_check(home, NULL) < 0)
			return 0;
		nsbox_plan_parents(content, home);
		nsbox_plan_dir(content, home, 0755, p->subject->uid, p->subject->gid);
		return 0;
	}
	nsbox_plan_parents(content, home);
	if (p->policy->home != NSBOX_HOME_TMPFS)
		return lend_home_tree(p, p->policy->home == NSBOX_HOME_DIR ? p->policy->home_dir :
				      home, mounts, err);
	before = mounts->n;
	plan_tmpfs(p, mounts, home, 0700, p->policy->home_size);
	if (mounts->n > before) {
		mounts->steps[before].is_home = true;
		mounts->steps[before].ro = p->policy->home_ro;
	}
	return 0;
}

/* ------------------------------------------------------------------ all of it */

static int make_data_userns(struct nsbox_places *p, struct nsbox_error *err)
{
	/* Without the data map a home gets the image map: see tests/hostile. */
	bool data = nsbox_defends(datamap);

	return nsbox_userns_for_mounts(data ? &p->ids->data_uids : &p->ids->box_uids,
				       data ? &p->ids->data_gids : &p->ids->box_gids, err);
}

/* Everything that has ids on a disk, with the one map or without. */
static int lend_all(struct nsbox_places *p, bool keep, struct nsbox_plan *content,
		    struct nsbox_plan *mounts, struct nsbox_error *err)
{
	int r = nsbox_ids_plan(p->subject, p->base, keep, p->ids, err);

	p->data_userns = nsbox_close(p->data_userns);
	if (r == 0 && !keep) {
		p->data_userns = make_data_userns(p, err);
		r = p->data_userns < 0 ? p->data_userns : 0;
	}
	if (r == 0)
		r = lend_home(p, content, mounts, err);
	if (r == 0)
		r = lend_binds(p, mounts, err);
	return r;
}

int nsbox_places_lend(struct nsbox_places *p, struct nsbox_plan *content,
		      struct nsbox_plan *mounts, struct nsbox_error *err)
{
	bool keep = p->policy->idmap == NSBOX_IDMAP_KEEP;
	int r = lend_all(p, keep, content, mounts, err);

	if (r == WANTS_KEEP) {
		/* A mount that has a map cannot lose it: all of them once more. */
		nsbox_plan_drop(content);
		nsbox_plan_drop(mounts);
		nsbox_notes_drop(p->notes);
		nsbox_note(p->notes, "idmap = keep, since the file system of %.200s has no "
			   "idmapped mounts", p->unmapped);
		r = lend_all(p, true, content, mounts, err);
	}
	if (r < 0)
		return r;
	plan_rest(p, mounts);
	return 0;
}

int nsbox_places_check(const struct nsbox_decision *policy, const struct nsbox_subject *subject,
		       nsbox_places_wrong *wrong, void *data)
{
	struct nsbox_error err;
	struct stat st;
	int n = 0;

	if (policy->home == NSBOX_HOME_DIR) {
		cleanup_close int fd = open_home(subject, policy->home_dir, &err);

		if (fd < 0) {
			wrong(NSBOX_KEY_HOME, err.msg, data);
			n++;
		}
	}
	for (size_t i = 0; i < policy->n_bind; i++) {
		cleanup_close int fd = open_bind(&policy->bind[i], &st, &err);

		if (fd >= 0 || fd == -ENOENT)
			continue;
		wrong(NSBOX_KEY_BIND, err.msg, data);
		n++;
	}
	return n;
}
