/* SPDX-License-Identifier: MIT */
/* Writable layers on the disk: see upper.h. */
#include "upper.h"
#include "cgroup.h"
#include "cleanup.h"
#include "image.h"
#include "proto.h"
#include "quota.h"
#include "registry.h"
#include "tree.h"
#include "wipe.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>

#define EPHEMERAL_SUFFIX ".tmp"
/* What mounting and the files of the box may take beyond disk_max. */
#define SET_UP_ROOM (1ULL << 20)

enum {
	/* For a box that is about to end; what is left of the open is enough to make one. */
	WAIT_MS = 3000,
	PAUSE_NS = 2000000,
	TRIES = 8,
};

/* @dir is ours alone: nobody else may get at setuid files that box root made. */
static int check_dir(int dir, const char *name, struct nsbox_error *err)
{
	struct stat st;

	if (fstat(dir, &st) < 0)
		return nsbox_error_set(err, errno, "%s", name);
	if (st.st_uid != 0 || (st.st_mode & 077))
		return nsbox_error_say(err, EPERM, "%s must be a directory of root's with mode 0700, "
				       "since setuid files of boxes are in it", name);
	return 0;
}

/* Opens @name in @at, where only root can have put it. */
static int open_dir(int at, const char *name, bool make, struct nsbox_error *err)
{
	cleanup_close int dir = -EBADF;
	int r;

	if (make && mkdirat(at, name, 0700) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir %s in " NSBOX_STATE_DIR, name);
	dir = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return nsbox_error_set(err, errno, "%s in " NSBOX_STATE_DIR, name);
	r = check_dir(dir, name, err);
	return r < 0 ? nsbox_error_wrap(err, NSBOX_STATE_DIR) : take_fd(&dir);
}

/* NSBOX_STATE_DIR/UID; -ENOENT without @make if nothing was ever there. */
static int open_user(uid_t uid, bool make, struct nsbox_error *err)
{
	cleanup_close int state = -EBADF;
	char name[16];
	int r;

	if (make && mkdir(NSBOX_STATE_DIR, 0700) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir " NSBOX_STATE_DIR);
	state = nsbox_open_trusted(NSBOX_STATE_DIR, err);
	if (state < 0)
		return state;
	r = check_dir(state, NSBOX_STATE_DIR, err);
	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "%u", uid);
	return open_dir(state, name, make, err);
}

/* "/srv/images/lab.erofs" -> "lab.erofs-HASH": one directory for each path, to be told by eye. */
static void name_persistent(const char *rootfs, char *ret, size_t size)
{
	const char *base = strrchr(rootfs, '/');
	uint64_t hash = 0xcbf29ce484222325ULL;

	for (const char *c = rootfs; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3ULL;
	(void)snprintf(ret, size, "%.60s-%016llx", base ? base + 1 : rootfs,
		       (unsigned long long)hash);
}

static void read_at(int dir, const char *name, char *buf, size_t size)
{
	cleanup_close int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, size - 1);

	buf[n > 0 ? n : 0] = '\0';
}

static int write_at(int dir, const char *name, const char *text, struct nsbox_error *err)
{
	cleanup_close int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW |
				      O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		return nsbox_error_set(err, errno, "write %s of the user's root", name);
	return 0;
}

/* Does anything of the box @name still live? */
static bool is_alive(const char *name)
{
	struct nsbox_cgroup cg;
	struct stat st;

	if (nsbox_cgroup_find(name, &cg, NULL) < 0)
		return true;
	for (size_t i = 0; i < cg.n; i++)
		if (stat(cg.dirs[i].path, &st) == 0)
			return true;
	return false;
}

/*
 * Tells the keeper that has the layers that its user goes elsewhere. One whose
 * box has no session ends it; another says why it does not.
 */
static int ask_to_end(uid_t uid, const char *socket, const char *self, uint64_t deadline_ms,
		      struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_ELSEWHERE };
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };
	cleanup_close int sock = nsbox_registry_connect(uid, socket);
	int r;

	if (sock < 0)
		return 0;	/* it is on its way out already */
	(void)snprintf(msg.u.socket, sizeof(msg.u.socket), "%s", self);
	r = nsbox_msg_send(sock, &msg, NULL, 0, NULL);
	if (r == 0)
		r = nsbox_msg_recv(sock, deadline_ms, &in, NULL);
	if (r < 0 || in.msg.type != NSBOX_MSG_REFUSE)
		return 0;
	*err = in.msg.u.error;
	return -EBUSY;
}

static int lock_dir(int dir, uint64_t deadline_ms)
{
	const struct timespec pause = { .tv_nsec = PAUSE_NS };

	while (flock(dir, LOCK_EX | LOCK_NB) < 0) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (nsbox_now_ms() >= deadline_ms)
			return -EWOULDBLOCK;
		(void)nanosleep(&pause, NULL);
	}
	return 0;
}

/* One box at a time: two overlays over one upper spoil it (Linux: overlayfs.rst). */
static int lock_layers(int dir, uid_t uid, const char *self, struct nsbox_error *err)
{
	char owner[192], box[64] = "", socket[NSBOX_SOCKET_MAX] = "";
	uint64_t deadline = nsbox_now_ms() + WAIT_MS;
	int r = lock_dir(dir, 0);

	read_at(dir, "owner", owner, sizeof(owner));
	(void)sscanf(owner, "%63s %63s", box, socket);
	if (r == -EWOULDBLOCK) {
		if (socket[0] && ask_to_end(uid, socket, self, deadline, err) < 0)
			return -EBUSY;
		r = lock_dir(dir, deadline);
	}
	if (r == -EWOULDBLOCK)
		return nsbox_error_say(err, EBUSY, "box %s still has the user's persistent root: "
				       "wait, or end it with nsbox stop", box);
	if (r < 0)
		return nsbox_error_set(err, -r, "lock the user's persistent root");
	if (box[0] && is_alive(box))
		return nsbox_error_say(err, EBUSY, "box %s, which had the user's persistent root, is "
				       "not dead yet", box);
	return 0;
}

/* A missing layer is made; what is there was checked to lie where only root can write. */
static int make_layers(int dir, struct nsbox_error *err)
{
	if (mkdirat(dir, "upper", 0755) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "make the upper layer");
	if (mkdirat(dir, "work", 0700) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "make the work layer");
	/* The overlay marks what is deleted with these (userxattr), and on 6.1 fails late without. */
	if (fsetxattr(dir, "user.nsbox", "", 0, 0) < 0)
		return nsbox_error_set(err, errno, "a root that can be written needs a file system "
				       "with user attributes for " NSBOX_STATE_DIR);
	return 0;
}

static int note_image(int dir, const struct nsbox_decision *policy, const char *identity,
		      char notice[NSBOX_ERROR_MAX], struct nsbox_error *err)
{
	char before[4200], now[4200];

	(void)snprintf(now, sizeof(now), "%s %.4096s\n", identity, policy->rootfs);
	read_at(dir, "image", before, sizeof(before));
	if (strcmp(before, now) == 0)
		return 0;
	if (before[0])
		(void)snprintf(notice, NSBOX_ERROR_MAX, "the image %.150s has changed since your root "
			       "was last used: files that you changed hide its new ones",
			       policy->rootfs);
	return write_at(dir, "image", now, err);
}

/* Has nobody removed it between our open and our lock? A clear-up takes what it can lock. */
static bool is_still_there(int parent, const char *name, int dir)
{
	struct stat named, held;

	return fstatat(parent, name, &named, AT_SYMLINK_NOFOLLOW) == 0 && fstat(dir, &held) == 0 &&
	       named.st_ino == held.st_ino;
}

static int open_locked(uid_t uid, const char *socket, struct nsbox_upper *ret,
		       struct nsbox_error *err)
{
	for (int i = 0; i < TRIES; i++) {
		cleanup_close int dir = open_dir(ret->parent, ret->name, true, err);
		int r = dir < 0 ? dir : lock_layers(dir, uid, socket, err);

		if (r < 0)
			return r;
		if (is_still_there(ret->parent, ret->name, dir)) {
			ret->dir = take_fd(&dir);
			return 0;
		}
	}
	return nsbox_error_say(err, EAGAIN, "%s in " NSBOX_STATE_DIR " is removed again and again",
			       ret->name);
}

int nsbox_upper_take(uid_t uid, const char *box, const char *socket,
		     const struct nsbox_decision *policy, struct nsbox_upper *ret,
		     char notice[NSBOX_ERROR_MAX], struct nsbox_error *err)
{
	char identity[64], owner[192];
	struct stat st;
	bool fresh;
	int r = nsbox_image_identify(policy->rootfs, identity, sizeof(identity), err);

	if (r < 0)
		return r;
	ret->ephemeral = policy->rootfs_mode == NSBOX_ROOTFS_EPHEMERAL;
	ret->parent = open_user(uid, true, err);
	if (ret->parent < 0)
		return ret->parent;
	if (ret->ephemeral)
		(void)snprintf(ret->name, sizeof(ret->name), "%s" EPHEMERAL_SUFFIX, box);
	else
		name_persistent(policy->rootfs, ret->name, sizeof(ret->name));
	r = open_locked(uid, socket, ret, err);
	if (r < 0)
		return r;
	(void)snprintf(owner, sizeof(owner), "%s %s\n", box, socket);
	/* Also where a refused login has left no more than the directory. */
	fresh = fstatat(ret->dir, "upper", &st, AT_SYMLINK_NOFOLLOW) < 0;
	r = nsbox_quota_set(ret->dir, uid, policy->disk_max == NSBOX_LIMIT_NONE ? NSBOX_LIMIT_NONE :
			    policy->disk_max + SET_UP_ROOM, fresh, err);
	if (r == 0)
		r = write_at(ret->dir, "owner", owner, err);
	if (r == 0)
		r = make_layers(ret->dir, err);
	return r < 0 ? r : note_image(ret->dir, policy, identity, notice, err);
}

int nsbox_upper_limit(const struct nsbox_upper *upper, uid_t uid, uint64_t bytes,
		      struct nsbox_error *err)
{
	if (upper->dir < 0 || bytes == NSBOX_LIMIT_NONE)
		return 0;
	return nsbox_quota_set(upper->dir, uid, bytes, false, err);
}

int nsbox_upper_clone(const struct nsbox_upper *upper, struct nsbox_error *err)
{
	int tree = nsbox_tree_clone(upper->dir, false, MOUNT_ATTR_NODEV, err);

	return tree < 0 ? nsbox_error_wrap(err, NSBOX_STATE_DIR) : tree;
}

void nsbox_upper_abandon(struct nsbox_upper *upper)
{
	upper->dir = nsbox_close(upper->dir);
	upper->parent = nsbox_close(upper->parent);
}

int nsbox_upper_leave(struct nsbox_upper *upper, struct nsbox_error *err)
{
	int r = 0;

	if (upper->dir >= 0 && upper->ephemeral)
		r = nsbox_wipe(upper->parent, upper->name, err);
	nsbox_upper_abandon(upper);
	return r;
}

/* Is @name an ephemeral root whose keeper and box are both dead? Then it is locked by *ret_dir. */
static bool is_left_behind(int parent, const char *name, int *ret_dir)
{
	size_t len = strlen(name), suffix = strlen(EPHEMERAL_SUFFIX);
	char box[NSBOX_CGROUP_NAME_MAX];

	if (len <= suffix || len - suffix >= sizeof(box) ||
	    strcmp(name + len - suffix, EPHEMERAL_SUFFIX) != 0)
		return false;
	memcpy(box, name, len - suffix);
	box[len - suffix] = '\0';
	*ret_dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (*ret_dir >= 0 && lock_dir(*ret_dir, 0) == 0 && !is_alive(box))
		return true;
	*ret_dir = nsbox_close(*ret_dir);
	return false;
}

/* Wipes, if @wipe, else tells only whether there is something to. */
static bool clear(int parent, bool wipe)
{
	int copy = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = copy < 0 ? NULL : fdopendir(copy);
	bool found = false;

	for (struct dirent *e; d && (wipe || !found) && (e = readdir(d));) {
		cleanup_close int dir = -EBADF;

		if (!is_left_behind(parent, e->d_name, &dir))
			continue;
		found = true;
		if (wipe)
			(void)nsbox_wipe(parent, e->d_name, NULL);
	}
	return found;
}

void nsbox_upper_clear(uid_t uid)
{
	cleanup_close int parent = open_user(uid, false, NULL);

	if (parent < 0 || !clear(parent, false))
		return;
	/* SIGCHLD is ignored, so nobody has to wait for it. */
	if (fork() != 0)
		return;
	/* Not the keeper's: its locks and sockets would outlive it with us. */
	if (dup2(parent, 3) == 3 && close_range(4, ~0U, 0) == 0)
		(void)clear(3, true);
	_exit(0);
}
