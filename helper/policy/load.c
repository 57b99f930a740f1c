/* SPDX-License-Identifier: MIT */
/*
 * Opening the policy: it decides who is boxed, so a file that somebody other
 * than root can write, that is a link to elsewhere, or that is just being
 * written, is no policy. Everything is asked of open descriptors, never twice
 * of a name.
 */
#include "cleanup.h"
#include "internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The end of a name says more than its beginning. */
static void show_name(const char *file, char *buf, size_t size)
{
	size_t len = strlen(file);

	if (len < size)
		(void)snprintf(buf, size, "%s", file);
	else
		(void)snprintf(buf, size, "...%s", file + len - (size - 4));
	for (; *buf; buf++)
		if ((unsigned char)*buf < 0x20 || (unsigned char)*buf >= 0x7f)
			*buf = '?';
}

static int check_trust(int fd, mode_t type, const char *shown, struct stat *ret,
		       struct nsbox_error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return nsbox_error_set(err, errno, "stat %s", shown);
	if ((st.st_mode & S_IFMT) != type)
		return nsbox_error_say(err, EPERM, "%s is not a regular file: write the policy "
				       "into one", shown);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return nsbox_error_say(err, EPERM, "%s belongs to uid %u and may not be trusted: "
				       "chown root it", shown, st.st_uid);
	if (st.st_mode & (S_IWGRP | S_IWOTH))
		return nsbox_error_say(err, EPERM, "%s is writable by %s and may not be trusted: "
				       "chmod go-w it", shown,
				       st.st_mode & S_IWOTH ? "everyone" : "its group");
	*ret = st;
	return 0;
}

static int open_error(int code, const char *shown, struct nsbox_error *err)
{
	if (code == ENOENT)
		return nsbox_error_say(err, code, "%s is missing: create it (see nsbox.conf(5)), "
				       "root's and not writable by others", shown);
	if (code == ELOOP)
		return nsbox_error_say(err, code, "%s is a symbolic link, which is not followed: "
				       "put the real one there", shown);
	if (code == ENOTDIR)
		return nsbox_error_say(err, code, "%s is not a directory", shown);
	return nsbox_error_set(err, code, "open %s", shown);
}

static int open_policy(const char *dir, const char *shown, int *ret_fd, struct stat *st,
		       struct nsbox_error *err)
{
	cleanup_close int dir_fd = -EBADF, fd = -EBADF;
	char shown_dir[NSBOX_SHOWN_MAX];
	int r;

	show_name(dir, shown_dir, sizeof(shown_dir));
	dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	/* With O_DIRECTORY a link is "not a directory": find out which it is. */
	if (dir_fd < 0 && errno == ENOTDIR) {
		struct stat link;

		errno = !lstat(dir, &link) && S_ISLNK(link.st_mode) ? ELOOP : ENOTDIR;
	}
	if (dir_fd < 0)
		return open_error(errno, shown_dir, err);
	r = check_trust(dir_fd, S_IFDIR, shown_dir, st, err);
	if (r < 0)
		return r;
	/* O_NONBLOCK: a fifo in its place must not stop every login. */
	fd = openat(dir_fd, NSBOX_POLICY_FILE,
		    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return open_error(errno, shown, err);
	r = check_trust(fd, S_IFREG, shown, st, err);
	if (r < 0)
		return r;
	*ret_fd = take_fd(&fd);
	return 0;
}

/* Reads up to @size bytes: one read() unless a signal or a filesystem cuts it short. */
static ssize_t read_all(int fd, char *buf, size_t size)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = read(fd, buf + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		done += (size_t)n;
	}
	return (ssize_t)done;
}

static bool is_same_version(const struct stat *a, const struct stat *b)
{
	return a->st_size == b->st_size && a->st_mtim.tv_sec == b->st_mtim.tv_sec &&
	       a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/*
 * An empty file is what an editor leaves for a moment, and a full disk for
 * good; taken as a policy it would box nobody.
 */
static int read_policy(int fd, const struct stat *before, const char *shown, char **ret,
		       struct nsbox_error *err)
{
	cleanup_free char *text = NULL;
	size_t size = (size_t)before->st_size;
	struct stat after;
	ssize_t n;

	if (before->st_size > (off_t)NSBOX_POLICY_BYTES_MAX)
		return nsbox_error_say(err, EFBIG, "%s is larger than 16 MiB", shown);
	text = malloc(size + 1);
	if (!text)
		return nsbox_error_set(err, ENOMEM, "reading %s", shown);
	n = read_all(fd, text, size + 1);
	if (n < 0)
		return nsbox_error_set(err, (int)-n, "read %s", shown);
	if (fstat(fd, &after) < 0)
		return nsbox_error_set(err, errno, "stat %s", shown);
	if ((size_t)n != size || !is_same_version(before, &after))
		return nsbox_error_say(err, EAGAIN, "%s changed while it was read: log in again",
				       shown);
	if (!size)
		return nsbox_error_say(err, EINVAL, "%s is empty: write at least [defaults]",
				       shown);
	*ret = text;
	text = NULL;
	return 0;
}

int nsbox_policy_load(const char *dir, struct nsbox_policy **ret_policy, struct nsbox_error *err)
{
	cleanup_free char *file = NULL, *text = NULL;
	cleanup_close int fd = -EBADF;
	char shown[NSBOX_SHOWN_MAX];
	size_t len = strlen(dir);
	struct stat st;
	char *taken;
	int r;

	while (len > 1 && dir[len - 1] == '/')
		len--;
	file = malloc(len + sizeof("/" NSBOX_POLICY_FILE));
	if (!file)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	memcpy(file, dir, len);
	memcpy(file + len, "/" NSBOX_POLICY_FILE, sizeof("/" NSBOX_POLICY_FILE));
	show_name(file, shown, sizeof(shown));
	r = open_policy(dir, shown, &fd, &st, err);
	if (r < 0)
		return r;
	r = read_policy(fd, &st, shown, &text, err);
	if (r < 0)
		return r;
	taken = text;
	text = NULL;
	return nsbox_policy_parse(file, taken, (size_t)st.st_size, ret_policy, err);
}

void nsbox_policy_free(struct nsbox_policy *policy)
{
	if (!policy)
		return;
	free(policy->file);
	free(policy->text);
	free(policy->sections);
	free(policy->slots);
	free(policy);
}
