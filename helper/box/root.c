/* SPDX-License-Identifier: MIT */
/* Assembling the root inside the box: see root.h. Everything here runs as box root. */
#include "root.h"
#include "cleanup.h"
#include "defence.h"
#include "idmap.h"
#include "nested.h"
#include "overlay.h"
#include "place.h"
#include "tree.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Older headers name these only in sys/mount.h, which clashes with linux/mount.h. */
extern int mount(const char *, const char *, const char *, unsigned long, const void *);
extern int umount2(const char *, int);
#ifndef MS_NOSUID
#define MS_RDONLY 1
#define MS_NOSUID 2
#define MS_NODEV 4
#define MS_NOEXEC 8
#define MS_REC 16384
#define MS_PRIVATE (1 << 18)
#endif
#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

enum { ROOT_INODES = 8192 };
#define ROOT_SIZE (16ULL << 20)

static int attach(int tree, int dir, const char *path, struct nsbox_error *err)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
	};
	cleanup_close int at = (int)syscall(SYS_openat2, dir, path, &how, sizeof(how));

	if (at < 0)
		return nsbox_error_set(err, errno, "the mount point %s", path);
	if (syscall(SYS_move_mount, tree, "", at, "", MOVE_MOUNT_F_EMPTY_PATH |
		    MOVE_MOUNT_T_EMPTY_PATH) < 0)
		return nsbox_error_set(err, errno, "move_mount to %s", path);
	return 0;
}

static int write_file(const struct nsbox_step *s, struct nsbox_error *err)
{
	cleanup_close int fd = open(s->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
				    s->mode);

	if (fd < 0)
		return nsbox_error_set(err, errno, "create /%s", s->path);
	for (size_t done = 0; done < s->len;) {
		ssize_t n = write(fd, s->data + done, s->len - done);

		if (n < 0)
			return nsbox_error_set(err, errno, "write /%s", s->path);
		done += (size_t)n;
	}
	return 0;
}

static int make_dir(const struct nsbox_step *s, struct nsbox_error *err)
{
	if (mkdir(s->path, s->mode) < 0)
		return errno == EEXIST ? 0 : nsbox_error_set(err, errno, "mkdir /%s", s->path);
	if ((s->uid || s->gid) && chown(s->path, s->uid, s->gid) < 0)
		return nsbox_error_set(err, errno, "chown /%s", s->path);
	if ((s->mode & ~0777U) && chmod(s->path, s->mode) < 0)
		return nsbox_error_set(err, errno, "chmod /%s", s->path);
	return 0;
}

static int mount_tmpfs(const struct nsbox_step *s, struct nsbox_error *err)
{
	char options[128];

	if (nsbox_defends(inodes))
		(void)snprintf(options, sizeof(options), "size=%llu,nr_inodes=%u,mode=%o",
			       (unsigned long long)s->size, s->inodes, s->mode);
	else
		(void)snprintf(options, sizeof(options), "size=%llu,mode=%o",
			       (unsigned long long)s->size, s->mode);
	if (mount("tmpfs", s->path, "tmpfs", MS_NOSUID | MS_NODEV, options) < 0)
		return nsbox_error_set(err, errno, "mount a tmpfs on /%s", s->path);
	return 0;
}

/* One step, with the new root as the current directory. */
static int run_step(const struct nsbox_step *s, struct nsbox_error *err)
{
	switch (s->type) {
	case NSBOX_STEP_DIR:
		return make_dir(s, err);
	case NSBOX_STEP_FILE:
		return write_file(s, err);
	case NSBOX_STEP_LINK:
		if (symlink(s->data, s->path) < 0)
			return nsbox_error_set(err, errno, "symlink /%s", s->path);
		return 0;
	case NSBOX_STEP_MOUNT:
		return s->place ? nsbox_place_mount(s, err) :
				  attach(s->tree, AT_FDCWD, s->path, err);
	case NSBOX_STEP_TMPFS:
		return s->place ? nsbox_place_tmpfs(s, err) : mount_tmpfs(s, err);
	case NSBOX_STEP_MASK:
		return 0;	/* later: see nsbox_place_masks() */
	}
	return -EINVAL;
}

int nsbox_root_run(const struct nsbox_plan *p, struct nsbox_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->n; i++)
		r = run_step(&p->steps[i], err);
	return r;
}

/* The mount points of the second plan, where it does not make them itself. */
static int make_mount_points(const struct nsbox_plan *mounts, struct nsbox_error *err)
{
	for (size_t i = 0; i < mounts->n; i++) {
		const struct nsbox_step *s = &mounts->steps[i];

		if ((s->type != NSBOX_STEP_MOUNT && s->type != NSBOX_STEP_TMPFS) || s->place)
			continue;
		/* ENOENT: below another mount, whose own directory it will be. */
		if (mkdir(s->path, 0755) < 0 && errno != EEXIST && errno != ENOENT)
			return nsbox_error_set(err, errno, "mkdir /%s", s->path);
	}
	return 0;
}

/* The old root stays below: the kernel wants its proc and sysfs seen when new ones are mounted. */
int nsbox_root_begin(struct nsbox_error *err)
{
	cleanup_close int tmpfs = -EBADF;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return nsbox_error_set(err, errno, "make / private");
	tmpfs = nsbox_tree_new_tmpfs(ROOT_SIZE, ROOT_INODES, 0, 0, err);
	if (tmpfs < 0)
		return nsbox_error_wrap(err, "the box's root");
	if (syscall(SYS_move_mount, tmpfs, "", AT_FDCWD, "/", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		return nsbox_error_set(err, errno, "move_mount of the box's root");
	if (fchdir(tmpfs) < 0)
		return nsbox_error_set(err, errno, "chdir to the box's root");
	return 0;
}

/* Is there a program at @path, seen from the directory @root as the root? */
static bool has_program(const char *root, const char *path)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	cleanup_close int dir = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	cleanup_close int fd = dir < 0 ? -1 : (int)syscall(SYS_openat2, dir, path, &how,
							   sizeof(how));
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

static int make_parents(const char *path)
{
	char copy[512];

	if (strlen(path) >= sizeof(copy))
		return -ENAMETOOLONG;
	strcpy(copy, path);
	for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(copy, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

/*
 * The callers exec the shell of the host's passwd. Where the box lacks it, a
 * script of that name runs shell_fallback: not a symlink, since busybox goes by
 * argv[0], which is "-zsh" then. @root is where the box's programs are, the
 * current directory where the script can be made.
 */
static int provide_shell(const struct nsbox_init *init, const char *root, struct nsbox_error *err)
{
	const char *fallback = init->policy->shell_fallback;
	const char *path = init->shell + strspn(init->shell, "/");
	char script[1024];
	int r;

	if (has_program(root, init->shell))
		return 0;
	if (strcmp(fallback, "none") == 0)
		return nsbox_error_say(err, ENOENT, "the box has no %.60s, the user's shell, and "
				       "shell_fallback is none", init->shell);
	if (!has_program(root, fallback))
		return nsbox_error_say(err, ENOENT, "the box has neither %.60s, the user's shell, "
				       "nor the shell_fallback %.60s", init->shell, fallback);
	(void)snprintf(script, sizeof(script), "#!%s\n[ $# -gt 0 ] || exec %s -l\nexec %s \"$@\"\n",
		       fallback, fallback, fallback);
	const struct nsbox_step s = {
		.path = (char *)(uintptr_t)path, .mode = 0755, .data = script,
		.len = strlen(script),
	};
	r = make_parents(path);
	if (r < 0)
		return nsbox_error_set(err, -r, "make a place for %.80s", init->shell);
	return write_file(&s, err);
}

/* The image under layers that can be written; ends in a chroot of it, see overlay.h. */
static int overlay_writable(const struct nsbox_init *init, int *ret_outer,
			    struct nsbox_error *err)
{
	int r;

	if (mkdir("layers", 0700) < 0)
		return nsbox_error_set(err, errno, "mkdir in the stage");
	r = attach(init->content->layers, AT_FDCWD, "layers", err);
	if (r == 0)
		r = nsbox_overlay_enter(init, ret_outer, err);
	if (r == 0)
		r = make_mount_points(init->mounts, err);
	return r < 0 ? r : provide_shell(init, ".", err);
}

/*
 * rootfs = /dir: the image, read-only, under what the plan made. Two lower
 * layers and no upper one; overlayfs copies the layers' mounts, so the stage
 * can go. Ends with the overlay as the current directory.
 */
static int overlay_image(const struct nsbox_init *init, int *ret_outer, struct nsbox_error *err)
{
	int r;

	if (mkdir("skeleton", 0755) < 0 || mkdir("image", 0755) < 0 || mkdir("root", 0755) < 0)
		return nsbox_error_set(err, errno, "mkdir in the stage");
	r = attach(init->content->image, AT_FDCWD, "image", err);
	if (r < 0)
		return r;
	if (init->content->layers >= 0)
		return overlay_writable(init, ret_outer, err);
	if (chdir("skeleton") < 0)
		return nsbox_error_set(err, errno, "chdir to the skeleton");
	r = nsbox_root_run(init->content, err);
	if (r == 0)
		r = make_mount_points(init->mounts, err);
	if (r == 0)
		r = nsbox_place_prepare(init->mounts, "../image", err);
	if (r == 0)
		r = provide_shell(init, "../image", err);
	if (r < 0)
		return r;
	if (chdir("..") < 0)
		return nsbox_error_set(err, errno, "chdir to the stage");
	if (mount("overlay", "root", "overlay", MS_RDONLY | MS_NODEV,
		  "lowerdir=skeleton:image,userxattr") < 0)
		return nsbox_error_set(err, errno, "mount the image's overlay");
	if (chdir("root") < 0)
		return nsbox_error_set(err, errno, "chdir to the overlay");
	return 0;
}

static int set_user_namespaces_max(struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;

	if (!nsbox_defends(usernsmax))
		return 0;
	fd = open("proc/sys/user/max_user_namespaces", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) != 1)
		return nsbox_error_set(err, errno, "write user.max_user_namespaces in the box");
	return 0;
}

static int bind_over(const char *from, const char *to, uint64_t attrs, struct nsbox_error *err)
{
	struct mount_attr attr = { .attr_set = attrs };
	cleanup_close int tree = -EBADF;

	/* First: a copy that is dropped again costs a grace period of the kernel's. */
	if (access(to, F_OK) < 0)	/* this kernel may have no such file */
		return errno == ENOENT ? 0 : nsbox_error_set(err, errno, "look for %s", to);
	tree = (int)syscall(SYS_open_tree, AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	if (tree < 0)
		return nsbox_error_set(err, errno, "open_tree %s", from);
	if (attrs && syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		return nsbox_error_set(err, errno, "mount_setattr %s", from);
	return attach(tree, AT_FDCWD, to, err);
}

/* Box ids are nobody to the files of proc; the masks are for what nobody may read. */
static int mount_proc(const struct nsbox_decision *policy, struct nsbox_error *err)
{
	static const char *const read_only[] = {
		"proc/sysrq-trigger", "proc/irq", "proc/bus", "proc/fs",
	};
	int r;

	if (mount("proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return nsbox_error_set(err, errno, "mount proc");
	/* A nested namespace sets the switches that are its own (crun does, through this proc). */
	r = policy->nested ? 0 : set_user_namespaces_max(err);
	if (r == 0 && !policy->nested)
		r = bind_over("proc/sys", "proc/sys", MOUNT_ATTR_RDONLY, err);
	for (size_t i = 0; r == 0 && i < sizeof(read_only) / sizeof(read_only[0]); i++)
		r = bind_over(read_only[i], read_only[i], MOUNT_ATTR_RDONLY, err);
	return r;
}

static int mask_proc(struct nsbox_error *err)
{
	static const char *const masked[] = {
		"proc/kcore", "proc/keys", "proc/key-users", "proc/timer_list",
		"proc/sched_debug", "proc/latency_stats",
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(masked) / sizeof(masked[0]); i++)
		r = bind_over("dev/null", masked[i], 0, err);
	return r;
}

static int mount_pts(const struct nsbox_decision *policy, struct nsbox_error *err)
{
	char options[96];

	(void)snprintf(options, sizeof(options), "newinstance,gid=%u,mode=620,ptmxmode=666,max=%u",
		       NSBOX_TTY_GID, policy->pty_max);
	if (!nsbox_defends(ptymax))
		*strstr(options, ",max=") = '\0';
	if (mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, options) < 0)
		return nsbox_error_set(err, errno, "mount devpts");
	return 0;
}

/* proc and sysfs, as the kernel gives them to who is in the right namespaces. */
static int mount_kernel(const struct nsbox_init *init, struct nsbox_error *err)
{
	int r = mount_proc(init->policy, err);

	/* sysfs shows a network namespace and belongs to its owner; one of others is lent. */
	if (r == 0 && nsbox_init_owns_net(init) &&
	    mount("sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		r = nsbox_error_set(err, errno, "mount sysfs");
	return r;
}

int nsbox_root_mount_early(const struct nsbox_init *init, struct nsbox_error *err)
{
	if (mkdir("proc", 0555) < 0 || mkdir("sys", 0555) < 0)
		return nsbox_error_set(err, errno, "mkdir in the box's root");
	return mount_kernel(init, err);
}

/* The rest of what the kernel mounts only from within the right namespaces: it needs /dev. */
static int mount_in_dev(const struct nsbox_init *init, struct nsbox_error *err)
{
	int r = mount_pts(init->policy, err);

	if (r == 0 && mount("mqueue", "dev/mqueue", "mqueue",
			    MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		r = nsbox_error_set(err, errno, "mount mqueue");
	if (r == 0)
		r = mask_proc(err);
	if (r == 0 && init->policy->nested)
		r = nsbox_nested_make(init->policy, !init->unshare_cgroup, err);
	return r;
}

/*
 * setns() puts a joining process on top of whatever is mounted on the root, not
 * where init stands: nothing may be left there, or the join ends on the host's
 * root. "/" is the root itself, "/.." is what lies on it (path_resolution(7)).
 */
static int check_root(struct nsbox_error *err)
{
	struct statx root, top;

	if (statx(AT_FDCWD, "/", AT_NO_AUTOMOUNT, STATX_MNT_ID, &root) < 0 ||
	    statx(AT_FDCWD, "/..", AT_NO_AUTOMOUNT, STATX_MNT_ID, &top) < 0)
		return nsbox_error_set(err, errno, "statx of the box's root");
	if (!(root.stx_mask & top.stx_mask & STATX_MNT_ID) || root.stx_mnt_id != top.stx_mnt_id)
		return nsbox_error_say(err, EIO, "another file system is mounted on the box's root");
	return 0;
}

static int make_read_only(const char *path, struct nsbox_error *err)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY };

	if (syscall(SYS_mount_setattr, AT_FDCWD, path, 0, &attr, sizeof(attr)) < 0)
		return nsbox_error_set(err, errno, "make %s read-only", path);
	return 0;
}

/*
 * pivot_root(2), NOTES: with both "." the old root comes to lie over the new
 * one, and umount takes what is topmost there. With an image that is first the
 * stage, which lay over the old root.
 */
static int pivot(bool image, bool writable, struct nsbox_error *err)
{
	if (syscall(SYS_pivot_root, ".", ".") < 0)
		return nsbox_error_set(err, errno, "pivot_root");
	if (image && umount2(".", MNT_DETACH) < 0)
		return nsbox_error_set(err, errno, "umount of the stage");
	if (umount2(".", MNT_DETACH) < 0)
		return nsbox_error_set(err, errno, "umount of the old root");
	if (chdir("/") < 0)
		return nsbox_error_set(err, errno, "chdir to the new root");
	if (!writable && (make_read_only("/", err) < 0 || (!image && make_read_only("/etc", err) < 0)))
		return -err->code;
	return check_root(err);
}

int nsbox_root_make(const struct nsbox_init *init, struct nsbox_error *err)
{
	bool image = init->content->image >= 0, writable = init->content->layers >= 0;
	cleanup_close int outer = -EBADF;
	int r = image ? overlay_image(init, &outer, err) : nsbox_root_run(init->content, err);

	if (r == 0 && !image)
		r = make_mount_points(init->mounts, err);
	if (r == 0)
		r = nsbox_root_run(init->mounts, err);
	if (r == 0 && !image)
		r = provide_shell(init, ".", err);
	if (r == 0 && image)
		r = mount_kernel(init, err);
	if (r == 0)
		r = mount_in_dev(init, err);
	if (r == 0 && writable)
		r = nsbox_overlay_leave(outer, err);
	if (r == 0)
		r = nsbox_place_masks(init->mounts, err);
	if (r == 0)
		r = pivot(image, writable, err);
	return r;
}

int nsbox_root_bind_tty(const char *name, int tree, struct nsbox_error *err)
{
	cleanup_close int dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (dev < 0)
		return nsbox_error_set(err, errno, "open /dev");
	return attach(tree, dev, name, err);
}
