/* SPDX-License-Identifier: MIT */
/* A root that can be written: see overlay.h. */
#include "overlay.h"
#include "cleanup.h"
#include "defence.h"
#include "etc.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>

/*
 * userxattr: box root may not set trusted ones; it also turns off redirects and
 * metacopy, which would make the layers depend on more than the image's names.
 * volatile: nobody wants an ephemeral root synced when it is unmounted.
 */
static int mount_overlay(const struct nsbox_init *init, struct nsbox_error *err)
{
	bool ephemeral = init->policy->rootfs_mode == NSBOX_ROOTFS_EPHEMERAL;
	char options[128];

	(void)snprintf(options, sizeof(options), "lowerdir=image,upperdir=layers/upper,"
		       "workdir=layers/work,userxattr%s", ephemeral ? ",volatile" : "");
	if (mount("overlay", "root", "overlay", MS_NODEV, options) < 0)
		return nsbox_error_set(err, errno, "mount the overlay of the writable root");
	if (chdir("root") < 0)
		return nsbox_error_set(err, errno, "chdir to the overlay");
	return 0;
}

/* A name that nothing has, for what is put in or out of the way. */
static int random_name(char ret[32], struct nsbox_error *err)
{
	uint64_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return nsbox_error_set(err, errno, "getrandom");
	(void)snprintf(ret, 32, ".nsbox-%016llx", (unsigned long long)random);
	return 0;
}

/*
 * Box root may have put something else in the place of what the box cannot be
 * without, a symlink for one: that is moved aside and not refused, or the user
 * could not come in any more to mend it.
 */
static int move_aside(const char *path, struct nsbox_error *err)
{
	const char *slash = strrchr(path, '/');
	char aside[512], name[32];
	int r = random_name(name, err);

	if (r < 0)
		return r;
	(void)snprintf(aside, sizeof(aside), "%.*s%s", slash ? (int)(slash - path + 1) : 0, path,
		       name);
	return rename(path, aside) < 0 ?
	       nsbox_error_set(err, errno, "move what is in the place of /%s", path) : 0;
}

static int make_dir(const struct nsbox_step *s, struct nsbox_error *err)
{
	struct stat st;

	if (lstat(s->path, &st) == 0) {
		if (S_ISDIR(st.st_mode) || !nsbox_defends(symlink))
			return 0;
		if (move_aside(s->path, err) < 0)
			return -err->code;
	}
	if (mkdir(s->path, s->mode) < 0)
		return nsbox_error_set(err, errno, "mkdir /%s", s->path);
	if ((s->uid || s->gid) && chown(s->path, s->uid, s->gid) < 0)
		return nsbox_error_set(err, errno, "chown /%s", s->path);
	return 0;
}

static int write_all(int fd, const char *data, size_t len)
{
	for (size_t done = 0; done < len;) {
		ssize_t n = write(fd, data + done, len - done);

		if (n < 0)
			return -errno;
		done += (size_t)n;
	}
	return 0;
}

/* Replaces the file, or whatever has its name, by a new one. */
static int replace_file(const char *path, const char *data, size_t len, mode_t mode,
			struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	struct stat st;
	char name[32];
	int r = random_name(name, err);

	if (r == 0 && lstat(path, &st) == 0 && S_ISDIR(st.st_mode))
		r = move_aside(path, err);
	if (r < 0)
		return r;
	/* On the root of the overlay, which is one file system with all that is in it. */
	fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
	if (fd < 0)
		return nsbox_error_set(err, errno, "make /%s", path);
	r = write_all(fd, data, len);
	if (r == 0 && rename(name, path) < 0)
		r = -errno;
	if (r == 0)
		return 0;
	(void)unlink(name);
	return nsbox_error_set(err, -r, "make /%s", path);
}

/* Is the file as it shall be? Then the upper layer need not get another copy at each login. */
static bool is_same(const char *path, const char *data, size_t len)
{
	cleanup_close int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char buf[4096];
	struct stat st;

	return fd >= 0 && len <= sizeof(buf) && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       st.st_size == (off_t)len && read(fd, buf, sizeof(buf)) == (ssize_t)len &&
	       memcmp(buf, data, len) == 0;
}

static int bring_up_to_date(const struct nsbox_step *s, struct nsbox_error *err)
{
	switch (s->type) {
	case NSBOX_STEP_DIR:
		return make_dir(s, err);
	case NSBOX_STEP_FILE:
		if (is_same(s->path, s->data, s->len))
			return 0;
		return replace_file(s->path, s->data, s->len, s->mode, err);
	case NSBOX_STEP_LINK:
		if (symlink(s->data, s->path) < 0 && errno != EEXIST)
			return nsbox_error_set(err, errno, "symlink /%s", s->path);
		return 0;
	case NSBOX_STEP_MOUNT:
	case NSBOX_STEP_TMPFS:
	case NSBOX_STEP_MASK:
		break;
	}
	return nsbox_error_say(err, EINVAL, "/%s cannot be mounted in the layers", s->path);
}

/* What was added inside stays; the user is who the host says. */
static int merge_databases(const struct nsbox_init *init, struct nsbox_error *err)
{
	static const char *const names[][2] = { { "passwd", "etc/passwd" }, { "group", "etc/group" } };
	cleanup_close int etc = open("etc", O_PATH | O_DIRECTORY | O_CLOEXEC);
	const struct nsbox_etc e = {
		.subject = init->subject, .policy = init->policy, .ids = init->ids, .etc = etc,
		.data_userns = -EBADF,
	};

	if (etc < 0)
		return nsbox_error_set(err, errno, "/etc");
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		cleanup_free char *text = NULL;
		bool same = false;
		size_t len;
		int r = nsbox_etc_merge(&e, names[i][0], &text, &len, &same, err);

		if (r == -EFBIG)
			r = move_aside(names[i][1], err);
		if (r == 0 && !text)
			r = nsbox_etc_merge(&e, names[i][0], &text, &len, &same, err);
		if (r == 0 && !same)
			r = replace_file(names[i][1], text, len, 0644, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int nsbox_overlay_enter(const struct nsbox_init *init, int *ret_outer, struct nsbox_error *err)
{
	int r = mount_overlay(init, err);

	if (r < 0)
		return r;
	*ret_outer = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (*ret_outer < 0)
		return nsbox_error_set(err, errno, "open the root before");
	if (nsbox_defends(symlink) && chroot(".") < 0)
		return nsbox_error_set(err, errno, "chroot to the overlay");
	for (size_t i = 0; r == 0 && i < init->content->n; i++)
		r = bring_up_to_date(&init->content->steps[i], err);
	return r < 0 ? r : merge_databases(init, err);
}

int nsbox_overlay_leave(int outer, struct nsbox_error *err)
{
	cleanup_close int root = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (root < 0 || fchdir(outer) < 0 || chroot(".") < 0 || fchdir(root) < 0)
		return nsbox_error_set(err, errno, "back to the root before");
	return 0;
}
