/* SPDX-License-Identifier: MIT */
/* Detached mounts: see tree.h. */
#include "tree.h"
#include "cleanup.h"
#include "defence.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

enum { SYMLINKS_MAX = 40 };

/* The kernel's own wrappers: glibc 2.36's sys/mount.h clashes with linux/mount.h. */
static int sys_open_tree(int fd, const char *path, unsigned int flags)
{
	return (int)syscall(SYS_open_tree, fd, path, flags);
}

static int sys_mount_setattr(int fd, unsigned int flags, struct mount_attr *attr)
{
	return (int)syscall(SYS_mount_setattr, fd, "", flags, attr, sizeof(*attr));
}

/* The number of the mount that @fd is on, -1 if it cannot be told. */
static int mount_of(int fd)
{
	cleanup_fclose FILE *f = NULL;
	char path[64], line[128];
	int id = -1;

	(void)snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	while (f && id < 0 && fgets(line, sizeof(line), f))
		(void)sscanf(line, "mnt_id: %d", &id);
	return id;
}

/* user_id= is who has mounted it (fuse(4)), which virtiofs leaves out. There is no blank in options. */
static bool is_mounted_by_root(int id)
{
	cleanup_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t size = 0;
	int found;

	while (f && getline(&line, &size, f) > 0) {
		const char *options = strrchr(line, ' '), *user;

		if (!options || sscanf(line, "%d", &found) != 1 || found != id)
			continue;
		user = strstr(options, ",user_id=");
		return !user || strncmp(user, ",user_id=0,", strlen(",user_id=0,")) == 0;
	}
	return false;
}

bool nsbox_tree_tells_truth(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	return fs.f_type != FUSE_SUPER_MAGIC || is_mounted_by_root(mount_of(fd));
}

/* May a symlink in @dir be believed: could only root have put it there? */
static bool is_roots(int dir)
{
	struct stat st;

	if (!nsbox_defends(symlink))
		return true;
	return fstat(dir, &st) == 0 && st.st_uid == 0 && !(st.st_mode & (S_IWGRP | S_IWOTH)) &&
	       nsbox_tree_tells_truth(dir);
}

/*
 * Replaces the symlink @fd in @dir and what was to come after it by one path.
 * Returns 0 and the new path in @path, relative to @dir unless it begins with /.
 */
static int follow(int dir, int fd, const char *name, char path[PATH_MAX], struct nsbox_error *err)
{
	char target[PATH_MAX], rest[PATH_MAX];
	ssize_t n;

	if (!is_roots(dir))
		return nsbox_error_say(err, ELOOP, "%.80s is a symlink in a directory that others "
				       "than root can write", name);
	n = readlinkat(fd, "", target, sizeof(target) - 1);
	if (n < 0)
		return nsbox_error_set(err, errno, "readlink %.80s", name);
	target[n] = '\0';
	strcpy(rest, path);
	if ((size_t)snprintf(path, PATH_MAX, "%s/%s", target, rest) >= PATH_MAX)
		return nsbox_error_set(err, ENAMETOOLONG, "symlink %.80s", name);
	return 0;
}

/* Takes the first name off @path: 0 at its end. */
static size_t next_name(char path[PATH_MAX], char name[NAME_MAX + 1])
{
	size_t skip = strspn(path, "/"), len = strcspn(path + skip, "/");

	if (len > NAME_MAX)
		len = NAME_MAX;
	memcpy(name, path + skip, len);
	name[len] = '\0';
	memmove(path, path + skip + len, strlen(path + skip + len) + 1);
	return len;
}

/*
 * One name, whatever it is, and no symlink followed. As a directory first: only
 * so is a place of an automounter mounted that looks like a directory before.
 */
static int open_name(int dir, const char *name)
{
	int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	return fd < 0 && errno == ENOTDIR ? openat(dir, name, O_PATH | O_NOFOLLOW | O_CLOEXEC) : fd;
}

int nsbox_open_trusted(const char *path, struct nsbox_error *err)
{
	cleanup_close int dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	char rest[PATH_MAX], name[NAME_MAX + 1];
	int links = 0;

	if (dir < 0)
		return nsbox_error_set(err, errno, "open /");
	if (path[0] != '/' || strlen(path) >= sizeof(rest))
		return nsbox_error_say(err, EINVAL, "%.80s is not an absolute path", path);
	strcpy(rest, path);
	while (next_name(rest, name) > 0) {
		cleanup_close int fd = -EBADF;
		struct stat st;
		int r;

		if (strcmp(name, "..") == 0 && !is_roots(dir))
			return nsbox_error_say(err, EPERM, "%.80s leads through a user's ..", path);
		fd = open_name(dir, name);
		if (fd < 0 || fstat(fd, &st) < 0)
			return nsbox_error_set(err, errno, "%.120s", path);
		if (!S_ISLNK(st.st_mode)) {
			(void)nsbox_close(dir);
			dir = take_fd(&fd);
			continue;
		}
		if (++links > SYMLINKS_MAX)
			return nsbox_error_set(err, ELOOP, "%.120s", path);
		r = follow(dir, fd, name, rest, err);
		if (r < 0)
			return r;
		if (rest[0] == '/') {
			(void)nsbox_close(dir);
			dir = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
			if (dir < 0)
				return nsbox_error_set(err, errno, "open /");
		}
	}
	return take_fd(&dir);
}

int nsbox_tree_clone(int fd, bool recursive, uint64_t attrs, struct nsbox_error *err)
{
	unsigned int depth = recursive ? AT_RECURSIVE : 0;
	struct mount_attr attr = { .attr_set = attrs, .propagation = MS_PRIVATE };
	cleanup_close int tree = sys_open_tree(fd, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC |
					       AT_EMPTY_PATH | depth);

	if (!nsbox_defends(nosuid))
		attr.attr_set &= ~(uint64_t)MOUNT_ATTR_NOSUID;
	if (tree < 0)
		return nsbox_error_set(err, errno, "open_tree");
	if (sys_mount_setattr(tree, AT_EMPTY_PATH | depth, &attr) < 0)
		return nsbox_error_set(err, errno, "mount_setattr");
	return take_fd(&tree);
}

int nsbox_tree_set(int tree, uint64_t attrs, struct nsbox_error *err)
{
	struct mount_attr attr = { .attr_set = attrs };

	if (sys_mount_setattr(tree, AT_EMPTY_PATH, &attr) < 0)
		return nsbox_error_set(err, errno, "mount_setattr");
	return 0;
}

int nsbox_tree_idmap(int tree, bool recursive, int userns, struct nsbox_error *err)
{
	struct mount_attr attr = {
		.attr_set = MOUNT_ATTR_IDMAP,
		.userns_fd = (uint64_t)userns,
	};

	if (sys_mount_setattr(tree, AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0), &attr) < 0)
		return nsbox_error_set(err, errno, "mount_setattr(MOUNT_ATTR_IDMAP)");
	return 0;
}

static int config(int fs, const char *key, unsigned long long value, const char *format)
{
	char text[32];

	(void)snprintf(text, sizeof(text), format[0] == 'o' ? "%llo" : "%llu", value);
	return (int)syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, key, text, 0);
}

int nsbox_tree_new_tmpfs(uint64_t size, unsigned int inodes, uint32_t uid, uint32_t gid,
			 struct nsbox_error *err)
{
	cleanup_close int fs = (int)syscall(SYS_fsopen, "tmpfs", FSOPEN_CLOEXEC);
	int mnt;

	if (fs < 0)
		return nsbox_error_set(err, errno, "fsopen tmpfs");
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", "nsbox", 0) < 0 ||
	    config(fs, "size", size, "u") < 0 || config(fs, "nr_inodes", inodes, "u") < 0 ||
	    config(fs, "mode", 0755, "o") < 0 || config(fs, "uid", uid, "u") < 0 ||
	    config(fs, "gid", gid, "u") < 0)
		return nsbox_error_set(err, errno, "fsconfig of a tmpfs");
	if (syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return nsbox_error_set(err, errno, "making a tmpfs");
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	if (mnt < 0)
		return nsbox_error_set(err, errno, "fsmount of a tmpfs");
	return mnt;
}

/* Runs in the namespace that it is to show. */
static int make_sysfs(struct nsbox_error *err)
{
	cleanup_close int fs = (int)syscall(SYS_fsopen, "sysfs", FSOPEN_CLOEXEC);
	int mnt;

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return nsbox_error_set(err, errno, "making a sysfs");
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY |
			   MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return mnt < 0 ? nsbox_error_set(err, errno, "fsmount of a sysfs") : mnt;
}

int nsbox_tree_new_sysfs(int netns, struct nsbox_error *err)
{
	cleanup_close int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC), mnt = -EBADF;

	if (host < 0 || setns(netns, CLONE_NEWNET) < 0)
		return nsbox_error_set(err, errno, "enter the network namespace to join");
	mnt = make_sysfs(err);
	if (setns(host, CLONE_NEWNET) < 0)
		return nsbox_error_set(err, errno, "leave the network namespace to join");
	return take_fd(&mnt);
}
