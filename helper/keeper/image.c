/* SPDX-License-Identifier: MIT */
/* Images as mounts: see image.h. */
#include "image.h"
#include "cleanup.h"
#include "tree.h"

#include <fcntl.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

/* How often another program may be quicker to take the free loop device. */
enum { LOOP_TRIES = 64 };

/* The image map makes box root its owner: nobody but root may have had a hand in it. */
static int check_owner(int fd, const char *path, struct stat *ret, struct nsbox_error *err)
{
	if (fstat(fd, ret) < 0)
		return nsbox_error_set(err, errno, "rootfs %s", path);
	if (!S_ISDIR(ret->st_mode) && !S_ISREG(ret->st_mode))
		return nsbox_error_say(err, ENOTDIR, "rootfs %s is neither a directory nor a file",
				       path);
	if (ret->st_uid != 0 || (ret->st_mode & (S_IWGRP | S_IWOTH)) || !nsbox_tree_tells_truth(fd))
		return nsbox_error_say(err, EPERM, "rootfs %s can be written by others than root: "
				       "chown it to root and chmod go-w", path);
	return 0;
}

static int open_checked(const char *path, struct stat *ret, struct nsbox_error *err)
{
	cleanup_close int fd = nsbox_open_trusted(path, err);
	int r;

	if (fd < 0)
		return nsbox_error_wrap(err, "rootfs");
	r = check_owner(fd, path, ret, err);
	return r < 0 ? r : take_fd(&fd);
}

/* The file system in the file, by its magic number; NULL: none that we know. */
static const char *find_type(int file)
{
	uint32_t magic;

	/* Both are little-endian on the disk; so is every machine we build for, or no match. */
	if (pread(file, &magic, sizeof(magic), 1024) == sizeof(magic) &&
	    magic == EROFS_SUPER_MAGIC_V1)
		return "erofs";
	if (pread(file, &magic, sizeof(magic), 0) == sizeof(magic) && magic == SQUASHFS_MAGIC)
		return "squashfs";
	return NULL;
}

/* Returns the mount, or a negative errno: -ENOTBLK if only a block device will do. */
static int mount_source(const char *type, int fd, struct nsbox_error *err)
{
	cleanup_close int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	char source[32];
	int mnt;

	if (fs < 0 && errno == ENODEV)
		return nsbox_error_say(err, ENODEV, "this kernel has no %s: unpack the image into a "
				       "directory", type);
	if (fs < 0)
		return nsbox_error_set(err, errno, "fsopen %s", type);
	/* By the descriptor, so that it is the very file that was checked. */
	(void)snprintf(source, sizeof(source), "/proc/self/fd/%d", fd);
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", source, 0) < 0 ||
	    syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return nsbox_error_set(err, errno, "mount it as %s", type);
	mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV);
	return mnt < 0 ? nsbox_error_set(err, errno, "fsmount of %s", type) : mnt;
}

/*
 * A loop device for @file that the kernel frees with its last user: that is us
 * until it is mounted, then the mount. So a keeper that is killed leaves none.
 */
static int open_loop(int file, struct nsbox_error *err)
{
	const struct loop_config config = {
		.fd = (uint32_t)file,
		.info.lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
	};
	cleanup_close int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);

	if (control < 0)
		return nsbox_error_set(err, errno, "/dev/loop-control, which an image file needs here");
	for (int i = 0; i < LOOP_TRIES; i++) {
		int number = ioctl(control, LOOP_CTL_GET_FREE);
		cleanup_close int loop = -EBADF;
		char path[32];

		if (number < 0)
			return nsbox_error_set(err, errno, "a free loop device");
		(void)snprintf(path, sizeof(path), "/dev/loop%d", number);
		loop = open(path, O_RDONLY | O_CLOEXEC);
		if (loop < 0)
			return nsbox_error_set(err, errno, "%s", path);
		if (ioctl(loop, LOOP_CONFIGURE, &config) == 0)
			return take_fd(&loop);
		if (errno != EBUSY)
			return nsbox_error_set(err, errno, "set up %s", path);
	}
	return nsbox_error_set(err, EBUSY, "a free loop device");
}

static int mount_file(int fd, const char *path, struct nsbox_error *err)
{
	cleanup_close int file = -EBADF, loop = -EBADF;
	const char *type;
	char own[32];
	int mnt;

	(void)snprintf(own, sizeof(own), "/proc/self/fd/%d", fd);
	file = open(own, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return nsbox_error_set(err, errno, "rootfs %s", path);
	type = find_type(file);
	if (!type)
		return nsbox_error_say(err, EINVAL, "rootfs %s is neither a directory nor an erofs or "
				       "squashfs file", path);
	mnt = mount_source(type, file, err);
	if (mnt == -ENOTBLK) {
		loop = open_loop(file, err);
		mnt = loop < 0 ? loop : mount_source(type, loop, err);
	}
	return mnt < 0 ? nsbox_error_wrap(err, "rootfs %s", path) : mnt;
}

int nsbox_image_open(const char *path, struct nsbox_notes *notes, struct nsbox_error *err)
{
	struct stat st;
	cleanup_close int fd = open_checked(path, &st, err);
	int tree;

	if (fd < 0)
		return fd;
	if (S_ISREG(st.st_mode))
		return mount_file(fd, path, err);
	/* An overlay shows of a layer one mount only; more could but have no id maps. */
	if (notes)
		nsbox_note_source(notes, fd);
	tree = nsbox_tree_clone(fd, false, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, err);
	return tree < 0 ? nsbox_error_wrap(err, "rootfs %s", path) : tree;
}

static uint64_t mix(uint64_t hash, uint64_t value)
{
	/* FNV-1a; only an accident has to be told from an update. */
	for (unsigned int i = 0; i < 64; i += 8)
		hash = (hash ^ ((value >> i) & 0xff)) * 0x100000001b3ULL;
	return hash;
}

static uint64_t mix_file(uint64_t hash, int dir, const char *name)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT,
	};
	cleanup_close int fd = (int)syscall(SYS_openat2, dir, name, &how, sizeof(how));
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return mix(hash, 0);
	/* No device number: it is another after a reboot. */
	hash = mix(mix(hash, st.st_ino), S_ISREG(st.st_mode) ? (uint64_t)st.st_size : 0);
	return mix(mix(hash, (uint64_t)st.st_mtim.tv_sec), (uint64_t)st.st_mtim.tv_nsec);
}

int nsbox_image_identify(const char *path, char *ret, size_t size, struct nsbox_error *err)
{
	/* What package managers and people touch; a whole image cannot be read at each login. */
	static const char *const stamps[] = {
		"/", "/etc", "/usr", "/usr/bin", "/usr/lib", "/bin", "/etc/os-release",
		"/etc/debian_version", "/var/lib/dpkg/status", "/lib/apk/db/installed",
		"/var/lib/rpm", "/var/lib/pacman/local",
	};
	uint64_t hash = 0xcbf29ce484222325ULL;
	struct stat st;
	cleanup_close int fd = open_checked(path, &st, err);

	if (fd < 0)
		return fd;
	if (S_ISREG(st.st_mode)) {
		hash = mix(mix(hash, st.st_ino), (uint64_t)st.st_size);
		hash = mix(mix(hash, (uint64_t)st.st_mtim.tv_sec), (uint64_t)st.st_mtim.tv_nsec);
	}
	for (size_t i = 0; S_ISDIR(st.st_mode) && i < sizeof(stamps) / sizeof(stamps[0]); i++)
		hash = mix_file(hash, fd, stamps[i]);
	(void)snprintf(ret, size, "%016llx", (unsigned long long)hash);
	return 0;
}

int nsbox_image_refuse_idmap(int tree, struct nsbox_error *err)
{
	struct statfs fs;

	if (fstatfs(tree, &fs) == 0 && fs.f_type == SQUASHFS_MAGIC)
		return nsbox_error_say(err, EINVAL, "this kernel has no idmapped mounts of squashfs "
				       "(Linux 6.2 has): make the image an erofs file or a directory");
	return nsbox_error_say(err, EINVAL, "the file system of the rootfs image has no idmapped "
			       "mounts: move it to ext4, xfs or btrfs");
}

int nsbox_image_refuse_layers(struct nsbox_error *err)
{
	return nsbox_error_say(err, EINVAL, "the file system of /var/lib/nsbox has no idmapped "
			       "mounts: put it on ext4, xfs or btrfs");
}
