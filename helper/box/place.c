/* SPDX-License-Identifier: MIT */
/* Mount points of the policy: see place.h. */
#include "place.h"
#include "cleanup.h"
#include "defence.h"
#include "skel.h"
#include "tree.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* @path below @dir, through no symlink. Returns -1 and errno. */
static int open_beneath(int dir, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};

	if (!nsbox_defends(place))
		return openat(dir, path, O_PATH | O_CLOEXEC);
	return (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));
}

/* Takes the first name off *path; false at its end. */
static bool next_name(const char **path, char name[NAME_MAX + 1])
{
	size_t len;

	*path += strspn(*path, "/");
	len = strcspn(*path, "/");
	if (len == 0 || len > NAME_MAX)
		return false;
	memcpy(name, *path, len);
	name[len] = '\0';
	*path += len;
	return true;
}

static int make(int dir, const char *name, bool file, mode_t mode)
{
	int r = file ? mknodat(dir, name, S_IFREG | 0444, 0) : mkdirat(dir, name, mode);

	return r < 0 && errno != EEXIST ? -errno : 0;
}

/*
 * Makes the missing @name in @dir: as box root in what is box root's, with the
 * user's own rights in what is his (setfsuid(2) takes the capabilities away that
 * matter for files), and nowhere else: a group's directory is for its members.
 */
static int make_missing(int dir, const char *name, bool file, const struct nsbox_step *s)
{
	struct stat st;
	int r;

	if (fstat(dir, &st) < 0)
		return -errno;
	if (st.st_uid == 0)
		return make(dir, name, file, 0755);
	if (st.st_uid != s->uid)
		return -EPERM;
	(void)setfsgid(s->gid);
	(void)setfsuid(s->uid);
	r = make(dir, name, file, 0755);
	(void)setfsuid(0);
	(void)setfsgid(0);
	return r;
}

static int explain(int code, const char *path, struct nsbox_error *err)
{
	if (code == ELOOP)
		return nsbox_error_say(err, code, "/%.100s is not a place in the box: on the way there "
				       "is a symlink, which is not followed", path);
	return nsbox_error_set(err, code, "/%.100s is not there and cannot be made in the box", path);
}

/* The mount point of @s as O_PATH; the caller's. */
static int open_place(const struct nsbox_step *s, struct nsbox_error *err)
{
	cleanup_close int dir = open_beneath(AT_FDCWD, ".");
	const char *rest = s->path;
	char name[NAME_MAX + 1];
	struct stat st;

	while (dir >= 0 && next_name(&rest, name)) {
		int fd = open_beneath(dir, name);

		if (fd < 0 && errno == ENOENT) {
			bool last = rest[strspn(rest, "/")] == '\0';
			int r = make_missing(dir, name, last && s->is_file, s);

			if (r < 0)
				return explain(-r, s->path, err);
			fd = open_beneath(dir, name);
		}
		if (fd < 0)
			return explain(errno, s->path, err);
		(void)nsbox_close(dir);
		dir = fd;
	}
	if (dir < 0 || rest[0] != '\0' || fstat(dir, &st) < 0)
		return explain(dir < 0 ? errno : ENAMETOOLONG, s->path, err);
	if (S_ISDIR(st.st_mode) != !s->is_file)
		return nsbox_error_say(err, ENOTDIR, "/%.100s: a file cannot be bound over a "
				       "directory, nor a directory over a file", s->path);
	return take_fd(&dir);
}

static int move_to(int tree, int at, const char *path, struct nsbox_error *err)
{
	if (syscall(SYS_move_mount, tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH |
		    MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return nsbox_error_set(err, errno, "move_mount to /%.100s", path);
	return 0;
}

int nsbox_place_mount(const struct nsbox_step *s, struct nsbox_error *err)
{
	cleanup_close int at = open_place(s, err);

	return at < 0 ? at : move_to(s->tree, at, s->path, err);
}

int nsbox_place_tmpfs(const struct nsbox_step *s, struct nsbox_error *err)
{
	cleanup_close int at = open_place(s, err), tree = -EBADF;
	bool everybodys;
	struct stat st;
	int r;

	if (at < 0)
		return at;
	everybodys = !s->is_home && fstat(at, &st) == 0 && (st.st_mode & S_IWOTH);
	tree = nsbox_tree_new_tmpfs(s->size, s->inodes, everybodys ? 0 : s->uid,
				    everybodys ? 0 : s->gid, err);
	if (tree < 0)
		return nsbox_error_wrap(err, "/%.100s", s->path);
	if (fchmodat(tree, ".", everybodys ? 01777 : s->mode, 0) < 0)
		return nsbox_error_set(err, errno, "chmod /%.100s", s->path);
	r = s->is_home ? nsbox_skel_copy(open_beneath(AT_FDCWD, "etc/skel"), tree, s->uid, s->gid,
					 err) : 0;
	if (r == 0)
		r = nsbox_tree_set(tree, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
				   (s->ro ? MOUNT_ATTR_RDONLY : 0), err);
	return r < 0 ? nsbox_error_wrap(err, "/%.100s", s->path) : move_to(tree, at, s->path, err);
}

/* What is mounted over the mask's place: nothing to be read, nothing to be written. */
static int new_cover(bool dir, struct nsbox_error *err)
{
	cleanup_close int tree = -EBADF;
	int r;

	if (!dir) {
		tree = (int)syscall(SYS_open_tree, AT_FDCWD, "dev/null",
				    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		return tree < 0 ? nsbox_error_set(err, errno, "open_tree dev/null") : take_fd(&tree);
	}
	tree = nsbox_tree_new_tmpfs(4096, 2, 0, 0, err);
	if (tree < 0)
		return tree;
	if (fchmodat(tree, ".", 0555, 0) < 0)
		return nsbox_error_set(err, errno, "chmod of a mask");
	r = nsbox_tree_set(tree, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV |
			   MOUNT_ATTR_NOEXEC, err);
	return r < 0 ? r : take_fd(&tree);
}

static int mask(const char *path, struct nsbox_error *err)
{
	cleanup_close int at = open_beneath(AT_FDCWD, path), tree = -EBADF;
	struct stat st;

	if (at < 0 && (errno == ENOENT || errno == ENOTDIR))
		return 0;
	if (at < 0 && errno == ELOOP)
		return nsbox_error_say(err, ELOOP, "mask: on the way to /%.100s is a symlink: write "
				       "where it leads to", path);
	if (at < 0 || fstat(at, &st) < 0)
		return nsbox_error_set(err, errno, "mask: /%.100s", path);
	tree = new_cover(S_ISDIR(st.st_mode), err);
	return tree < 0 ? nsbox_error_wrap(err, "mask: /%.100s", path) :
			  move_to(tree, at, path, err);
}

int nsbox_place_masks(const struct nsbox_plan *mounts, struct nsbox_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < mounts->n; i++)
		if (mounts->steps[i].type == NSBOX_STEP_MASK)
			r = mask(mounts->steps[i].path, err);
	return r;
}

/* ------------------------------------------------------------------ over an image */

/* Will step @i lie in another mount, which then has to have the place? */
static bool is_covered(const struct nsbox_plan *mounts, size_t i)
{
	const char *path = mounts->steps[i].path;

	for (size_t j = 0; j < i; j++) {
		const struct nsbox_step *s = &mounts->steps[j];
		size_t len = strlen(s->path);

		if ((s->type == NSBOX_STEP_MOUNT || s->type == NSBOX_STEP_TMPFS) &&
		    strncmp(path, s->path, len) == 0 && path[len] == '/')
			return true;
	}
	return false;
}

/* One directory or file of the way: as the image has it, since ours will lie over its own. */
static int prepare_one(int image, const char *path, bool file, struct nsbox_error *err)
{
	struct stat st = { .st_mode = 0755 };
	cleanup_close int fd = -EBADF;

	if (fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return S_ISLNK(st.st_mode) ? explain(ELOOP, path, err) : 0;
	fd = open_beneath(image, path);
	if (fd < 0 && errno != ENOENT)
		return explain(errno, path, err);
	if (fd >= 0 && fstat(fd, &st) < 0)
		return explain(errno, path, err);
	if (fd >= 0 && !S_ISDIR(st.st_mode) && !file)
		return explain(ENOTDIR, path, err);
	if (make(AT_FDCWD, path, file, st.st_mode & 07777) < 0)
		return nsbox_error_set(err, errno, "make the mount point /%.100s", path);
	if (fd >= 0 && chown(path, st.st_uid, st.st_gid) < 0)
		return nsbox_error_set(err, errno, "chown the mount point /%.100s", path);
	return 0;
}

static int prepare_place(int image, const struct nsbox_step *s, struct nsbox_error *err)
{
	cleanup_close int there = open_beneath(image, s->path);
	cleanup_free char *path = strdup(s->path);
	int r = 0;

	if (there >= 0)
		return 0;
	if (!path)
		return nsbox_error_set(err, ENOMEM, "making mount points");
	for (char *slash = strchr(path, '/'); r == 0 && slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		r = prepare_one(image, path, false, err);
		*slash = '/';
	}
	return r < 0 ? r : prepare_one(image, path, s->is_file, err);
}

int nsbox_place_prepare(const struct nsbox_plan *mounts, const char *image,
			struct nsbox_error *err)
{
	cleanup_close int dir = open(image, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = dir < 0 ? nsbox_error_set(err, errno, "open the image") : 0;

	for (size_t i = 0; r == 0 && i < mounts->n; i++) {
		const struct nsbox_step *s = &mounts->steps[i];

		if (s->place && !is_covered(mounts, i))
			r = prepare_place(dir, s, err);
	}
	return r;
}
