/* SPDX-License-Identifier: MIT */
/* Containers inside the box: see nested.h. */
#include "nested.h"
#include "cleanup.h"
#include "tree.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

/* Older headers name it only in sys/mount.h, which clashes with linux/mount.h. */
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
#ifndef MS_NOSUID
#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#endif

#define PLACE "run/.nested"
#define PROGRAMS_SIZE (4ULL << 20)
enum { PROGRAMS_INODES = 8, PROGRAM_SIZE_MAX = 1 << 20 };

#define CAP(name) (UINT64_C(1) << CAP_##name)

bool nsbox_nested_ids(const struct nsbox_decision *policy)
{
	const uint64_t both = CAP(SETUID) | CAP(SETGID);

	return policy->nested && !policy->no_new_privs && (policy->caps & both) == both;
}

/*
 * A proc that hides nothing: only where one is mounted may another be
 * (mount_too_revealing() in the kernel's fs/namespace.c). /proc keeps its masks.
 */
static int mount_bare_proc(struct nsbox_error *err)
{
	if (mkdir(PLACE "/proc", 0555) < 0)
		return nsbox_error_set(err, errno, "mkdir /" PLACE "/proc");
	if (mount("proc", PLACE "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return nsbox_error_set(err, errno, "mount proc for nested = yes");
	return 0;
}

/* Copies the program @from and gives the copy in @dir the capability @cap. */
static int copy_program(int from, int dir, const char *name, unsigned int cap)
{
	const struct vfs_cap_data caps = {
		.magic_etc = VFS_CAP_REVISION_2 | VFS_CAP_FLAGS_EFFECTIVE,
		.data[0].permitted = 1U << cap,
	};
	cleanup_close int to = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n;

	if (to < 0)
		return -errno;
	while ((n = sendfile(to, from, NULL, PROGRAM_SIZE_MAX)) > 0)
		;
	if (n < 0 || fsetxattr(to, "security.capability", &caps, sizeof(caps), 0) < 0)
		return -errno;
	return 0;
}

static int cover(const char *copy, const char *program)
{
	cleanup_close int tree = (int)syscall(SYS_open_tree, AT_FDCWD, copy,
					      OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (tree < 0 || syscall(SYS_move_mount, tree, "", AT_FDCWD, program,
				MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return -errno;
	return 0;
}

/*
 * Setuid, as it is on the host, the program would write the map as box root,
 * who lacks SYS_ADMIN for that (user_namespaces(7)), and would be box root if
 * it had a hole. With CAP_SETUID alone it writes as the user, and may.
 */
static int empower(int dir, const char *program, unsigned int cap, struct nsbox_error *err)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	cleanup_close int from = (int)syscall(SYS_openat2, AT_FDCWD, program, &how, sizeof(how));
	const char *name = strrchr(program, '/') + 1;
	char copy[64];
	struct stat st;
	int r;

	if (from < 0 || fstat(from, &st) < 0 || !S_ISREG(st.st_mode))
		return 0;	/* the package uidmap is not installed */
	r = copy_program(from, dir, name, cap);
	(void)snprintf(copy, sizeof(copy), PLACE "/bin/%s", name);
	if (r == 0)
		r = cover(copy, program);
	return r < 0 ? nsbox_error_set(err, -r, "/%s for nested = yes", program) : 0;
}

static int empower_map_programs(struct nsbox_error *err)
{
	cleanup_close int dir = nsbox_tree_new_tmpfs(PROGRAMS_SIZE, PROGRAMS_INODES, 0, 0, err);
	int r;

	if (dir < 0)
		return dir;
	if (mkdir(PLACE "/bin", 0755) < 0 || syscall(SYS_move_mount, dir, "", AT_FDCWD, PLACE "/bin",
						     MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return nsbox_error_set(err, errno, "mount a tmpfs on /" PLACE "/bin");
	r = empower(dir, "usr/bin/newuidmap", CAP_SETUID, err);
	if (r == 0)
		r = empower(dir, "usr/bin/newgidmap", CAP_SETGID, err);
	return r < 0 ? r : nsbox_tree_set(dir, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, err);
}

/* v2: the box's own cgroup, to be read. v1: the empty tmpfs that holds the hierarchies elsewhere. */
static int mount_cgroup(bool cgroup2, struct nsbox_error *err)
{
	const char *type = cgroup2 ? "cgroup2" : "tmpfs";

	if (mount(type, "sys/fs/cgroup", type, MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
		  cgroup2 ? NULL : "size=4k,nr_inodes=2,mode=555") < 0)
		return nsbox_error_set(err, errno, "mount %s for nested = yes", type);
	return 0;
}

int nsbox_nested_make(const struct nsbox_decision *policy, bool cgroup2, struct nsbox_error *err)
{
	int r;

	if (mkdir(PLACE, 0700) < 0)
		return nsbox_error_set(err, errno, "mkdir /" PLACE);
	r = mount_bare_proc(err);
	if (r == 0)
		r = mount_cgroup(cgroup2, err);
	if (r == 0 && nsbox_nested_ids(policy))
		r = empower_map_programs(err);
	return r;
}
