/* SPDX-License-Identifier: MIT */
/* Removing a user's tree: see wipe.h. */
#include "wipe.h"
#include "cleanup.h"
#include "defence.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* Somebody who still writes there must not keep us for ever. */
enum { PASSES_MAX = 1000 };

struct wiper {
	int top;
	unsigned long long moved;	/* directories brought to the top so far */
};

static int open_dir(int dir, const char *name)
{
	const struct open_how careful = {
		.flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV,
	}, careless = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC };
	const struct open_how *how = nsbox_defends(symlink) ? &careful : &careless;

	return (int)syscall(SYS_openat2, dir, name, how, sizeof(*how));
}

/* Without the defence a link is taken for what it leads to: see tests/hostile. */
static bool is_followed(const struct dirent *e)
{
	return !nsbox_defends(symlink) && e->d_type == DT_LNK;
}

static bool may_be_dir(const struct dirent *e)
{
	return e->d_type == DT_DIR || e->d_type == DT_UNKNOWN || is_followed(e);
}

/*
 * Not what it was a moment ago, or not empty any more: somebody outside still
 * has a directory of it and renames there. The next pass sees what it is then.
 */
static int unless_swapped(int code)
{
	switch (code) {
	case EISDIR:
	case ENOTDIR:
	case ENOENT:
	case ENOTEMPTY:
	case EEXIST:
	case ELOOP:
		return 0;
	default:
		return -code;
	}
}

/*
 * One entry below a directory of the top: a file goes, an empty directory too,
 * and a full one comes to the top, where its turn will be.
 */
static int remove_below(struct wiper *w, int dir, const struct dirent *e)
{
	char name[32];

	if (!may_be_dir(e))
		return unlinkat(dir, e->d_name, 0) < 0 ? unless_swapped(errno) : 0;
	if (!is_followed(e)) {
		if (unlinkat(dir, e->d_name, AT_REMOVEDIR) == 0)
			return 0;
		if (errno == ENOTDIR)	/* the file system does not tell the type */
			return unlinkat(dir, e->d_name, 0) < 0 ? unless_swapped(errno) : 0;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return unless_swapped(errno);
	}
	(void)snprintf(name, sizeof(name), "wiped-%llu", w->moved++);
	return syscall(SYS_renameat2, dir, e->d_name, w->top, name, RENAME_NOREPLACE) < 0 ?
	       unless_swapped(errno) : 0;
}

/* Calls @remove for each entry. Removing while one reads leaves entries out on some systems. */
static int empty_once(struct wiper *w, int fd,
		      int (*remove)(struct wiper *, int, const struct dirent *), bool *ret_found)
{
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 3), r = 0;
	cleanup_dir DIR *d = copy < 0 ? NULL : fdopendir(copy);

	if (!d)
		return -errno;
	rewinddir(d);
	*ret_found = false;
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		*ret_found = true;
		r = remove(w, dirfd(d), e);
	}
	return r;
}

static int empty(struct wiper *w, int fd, int (*remove)(struct wiper *, int, const struct dirent *))
{
	bool found = true;
	int r = 0;

	for (int i = 0; r == 0 && found; i++)
		r = i < PASSES_MAX ? empty_once(w, fd, remove, &found) : -EBUSY;
	return r;
}

/* One entry of the top, which nobody but root can write: a link may have come there, no more. */
static int remove_top(struct wiper *w, int top, const struct dirent *e)
{
	cleanup_close int dir = may_be_dir(e) ? open_dir(top, e->d_name) : -1;
	int r = 0;

	if (dir < 0)
		return unlinkat(top, e->d_name, 0) < 0 ? -errno : 0;
	r = empty(w, dir, remove_below);
	if (r == 0 && unlinkat(top, e->d_name, is_followed(e) ? 0 : AT_REMOVEDIR) < 0)
		r = unless_swapped(errno);
	return r;
}

int nsbox_wipe(int dir, const char *name, struct nsbox_error *err)
{
	struct wiper w = { .moved = 0 };
	cleanup_close int top = open_dir(dir, name);
	int r;

	if (top < 0)
		return errno == ENOENT ? 0 : nsbox_error_set(err, errno, "open %s to remove it", name);
	w.top = top;
	r = empty(&w, top, remove_top);
	if (r == 0 && unlinkat(dir, name, AT_REMOVEDIR) < 0 && errno != ENOENT)
		r = -errno;
	return r < 0 ? nsbox_error_set(err, -r, "remove %s", name) : 0;
}
