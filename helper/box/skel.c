/* SPDX-License-Identifier: MIT */
/* Filling a new home: see skel.h. */
#include "skel.h"
#include "cleanup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/fsuid.h>
#include <sys/stat.h>

enum { DEPTH_MAX = 16 };

static int copy_file(int from, int to_dir, const char *name, mode_t mode)
{
	cleanup_close int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW |
				      O_CLOEXEC, mode & 0777);
	char buf[16384];
	ssize_t n;

	if (to < 0)
		return -errno;
	while ((n = read(from, buf, sizeof(buf))) > 0)
		for (ssize_t done = 0, w; done < n; done += w) {
			w = write(to, buf + done, (size_t)(n - done));
			if (w < 0)
				return -errno;
		}
	return n < 0 ? -errno : 0;
}

static int copy_link(int from_dir, int to_dir, const char *name)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(from_dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return -errno;
	target[n] = '\0';
	return symlinkat(target, to_dir, name) < 0 ? -errno : 0;
}

static int copy_dir(int from, int to, unsigned int depth);

/* One entry; what is neither file, directory nor symlink is no use in a home. */
static int copy_entry(int from_dir, int to_dir, const char *name, unsigned int depth)
{
	cleanup_close int from = openat(from_dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK |
					O_NOCTTY | O_CLOEXEC), to = -EBADF;
	struct stat st;

	if (from < 0 && errno == ELOOP)
		return copy_link(from_dir, to_dir, name);
	if (from < 0 || fstat(from, &st) < 0)
		return 0;
	if (S_ISREG(st.st_mode))
		return copy_file(from, to_dir, name, st.st_mode);
	if (!S_ISDIR(st.st_mode) || depth == DEPTH_MAX)
		return 0;
	if (mkdirat(to_dir, name, 0700 | (st.st_mode & 0077)) < 0)
		return -errno;
	to = openat(to_dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return to < 0 ? -errno : copy_dir(take_fd(&from), to, depth + 1);
}

/* Takes @from. */
static int copy_dir(int from, int to, unsigned int depth)
{
	cleanup_dir DIR *d = fdopendir(from);
	int r = 0;

	if (!d) {
		(void)nsbox_close(from);
		return -ENOMEM;
	}
	for (struct dirent *e; r == 0 && (e = readdir(d));) {
		if (e->d_name[0] == '.' &&
		    (e->d_name[1] == '\0' || (e->d_name[1] == '.' && e->d_name[2] == '\0')))
			continue;
		r = copy_entry(dirfd(d), to, e->d_name, depth);
	}
	return r;
}

int nsbox_skel_copy(int from, int to, uid_t uid, gid_t gid, struct nsbox_error *err)
{
	cleanup_close int skel = from;
	int dir, r = 0;

	if (skel < 0)
		return 0;
	(void)setfsgid(gid);
	(void)setfsuid(uid);
	dir = openat(skel, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir >= 0)
		r = copy_dir(dir, to, 0);
	(void)setfsuid(0);
	(void)setfsgid(0);
	return r < 0 ? nsbox_error_set(err, -r, "filling the new home from /etc/skel") : 0;
}
