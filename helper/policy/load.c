/* SPDX-License-Identifier: MIT */
/*
 * Opening the policy: it decides who is boxed, so a file that somebody other
 * than root can write, that is a link to elsewhere, or that is just being
 * written, is no policy. Everything is asked of open descriptors, never twice
 * of a name.
 */
#include "cleanup.h"
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SUFFIX ".conf"

/* "DIR/NAME", which the caller frees; NULL: no memory. */
static char *join(const char *dir, const char *name)
{
	size_t len = strlen(dir), name_len = strlen(name);
	char *path;

	while (len > 1 && dir[len - 1] == '/')
		len--;
	path = malloc(len + name_len + 2);
	if (!path)
		return NULL;
	memcpy(path, dir, len);
	path[len] = '/';
	memcpy(path + len + 1, name, name_len + 1);
	return path;
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

/* A directory of the policy. @name is relative to @at, or absolute. */
static int open_dir(int at, const char *name, const char *shown, struct nsbox_error *err)
{
	cleanup_close int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int r;

	/* With O_DIRECTORY a link is "not a directory": find out which it is. */
	if (fd < 0 && errno == ENOTDIR)
		errno = !fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) && S_ISLNK(st.st_mode) ?
				ELOOP : ENOTDIR;
	if (fd < 0)
		return open_error(errno, shown, err);
	r = check_trust(fd, S_IFDIR, shown, &st, err);
	return r < 0 ? r : take_fd(&fd);
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

/* Reads @name in the directory @dir_fd, which is called @dir. */
static int read_source(int dir_fd, const char *dir, const char *name,
		       const struct nsbox_filter *filter, struct nsbox_source **ret,
		       struct nsbox_error *err)
{
	/* O_NONBLOCK: a fifo in its place must not stop every login. */
	cleanup_close int fd = openat(dir_fd, name,
				      O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
	int code = errno, r;
	cleanup_free char *file = join(dir, name);
	char shown[NSBOX_SHOWN_MAX], *text = NULL;
	struct stat st;

	if (!file)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	nsbox_show_name(file, shown, sizeof(shown));
	if (fd < 0)
		return open_error(code, shown, err);
	r = check_trust(fd, S_IFREG, shown, &st, err);
	if (!r)
		r = read_policy(fd, &st, shown, &text, err);
	return r < 0 ? r : nsbox_source_parse(file, text, (size_t)st.st_size, filter, ret,
					       err);
}

static int add_source(struct nsbox_policy *policy, int dir_fd, const char *dir, const char *name,
		      struct nsbox_error *err)
{
	struct nsbox_source *source = NULL;
	int r = read_source(dir_fd, dir, name, policy->is_filtered ? &policy->filter : NULL,
			    &source, err);

	return r < 0 ? r : nsbox_policy_add(policy, source, err);
}

bool nsbox_policy_is_part(const char *name)
{
	size_t len = strlen(name), suffix = strlen(SUFFIX);

	return name[0] != '.' && len > suffix && !strcmp(name + len - suffix, SUFFIX);
}

static int is_part(const struct dirent *entry)
{
	return nsbox_policy_is_part(entry->d_name);
}

/* In the order of the bytes: strcoll() would let the caller's locale decide. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_parts(struct nsbox_policy *policy, int dir_fd, const char *dir,
		     struct nsbox_error *err)
{
	cleanup_free char *path = join(dir, NSBOX_POLICY_PARTS);
	struct dirent **list = NULL;
	char shown[NSBOX_SHOWN_MAX];
	int fd, n, i, r = 0;

	if (!path)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	nsbox_show_name(path, shown, sizeof(shown));
	fd = open_dir(dir_fd, NSBOX_POLICY_PARTS, shown, err);
	if (fd < 0)
		return fd == -ENOENT ? 0 : fd;
	n = scandirat(fd, ".", &list, is_part, by_name);
	if (n < 0)
		r = nsbox_error_set(err, errno, "read %s", shown);
	for (i = 0; i < n; i++) {
		if (!r)
			r = add_source(policy, fd, path, list[i]->d_name, err);
		free(list[i]);
	}
	free(list);
	(void)nsbox_close(fd);
	return r;
}

static int open_users(struct nsbox_policy *policy, int dir_fd, const char *dir,
		      struct nsbox_error *err)
{
	char shown[NSBOX_SHOWN_MAX];

	policy->users_dir = join(dir, NSBOX_POLICY_USERS);
	if (!policy->users_dir)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	nsbox_show_name(policy->users_dir, shown, sizeof(shown));
	policy->users_fd = open_dir(dir_fd, NSBOX_POLICY_USERS, shown, err);
	return policy->users_fd < 0 && policy->users_fd != -ENOENT ? policy->users_fd : 0;
}

int nsbox_policy_user_source(const struct nsbox_policy *policy, const char *name,
			     struct nsbox_source **ret, struct nsbox_error *err)
{
	struct nsbox_source *source = NULL;
	char file[NAME_MAX + 1];
	int r;

	*ret = NULL;
	if (policy->users_fd < 0 || !name[0] || name[0] == '.' || strchr(name, '/') ||
	    strlen(name) > NAME_MAX - strlen(SUFFIX))
		return 0;
	(void)snprintf(file, sizeof(file), "%s" SUFFIX, name);
	r = read_source(policy->users_fd, policy->users_dir, file, NULL, &source, err);
	if (r < 0)
		return r == -ENOENT ? 0 : r;
	source->owner = strdup(name);
	if (!source->owner) {
		nsbox_source_free(source);
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	}
	*ret = source;
	return 0;
}

struct nsbox_policy *nsbox_policy_new(void)
{
	struct nsbox_policy *policy = calloc(1, sizeof(*policy));

	if (policy)
		policy->users_fd = -EBADF;
	return policy;
}

int nsbox_policy_add(struct nsbox_policy *policy, struct nsbox_source *source,
		     struct nsbox_error *err)
{
	struct nsbox_source **sources = realloc(policy->sources, (policy->n_sources + 1) *
						sizeof(struct nsbox_source *));

	if (!sources) {
		nsbox_source_free(source);
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	}
	policy->sources = sources;
	policy->sources[policy->n_sources++] = source;
	return 0;
}

int nsbox_policy_load(const char *dir, const struct nsbox_subject *subject,
		      struct nsbox_policy **ret_policy, struct nsbox_error *err)
{
	struct nsbox_policy *policy = nsbox_policy_new();
	cleanup_close int fd = -EBADF;
	char shown[NSBOX_SHOWN_MAX];
	int r;

	if (!policy)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	policy->is_filtered = subject != NULL;
	if (subject)
		nsbox_filter_make(subject, &policy->filter);
	nsbox_show_name(dir, shown, sizeof(shown));
	fd = open_dir(AT_FDCWD, dir, shown, err);
	r = fd < 0 ? fd : add_source(policy, fd, dir, NSBOX_POLICY_FILE, err);
	if (!r)
		r = add_parts(policy, fd, dir, err);
	if (!r)
		r = open_users(policy, fd, dir, err);
	if (r < 0)
		nsbox_policy_free(policy);
	else
		*ret_policy = policy;
	return r;
}

int nsbox_policy_load_file(const char *file, struct nsbox_policy **ret_policy,
			   struct nsbox_error *err)
{
	struct nsbox_policy *policy = nsbox_policy_new();
	const char *slash = strrchr(file, '/');
	cleanup_free char *dir = slash ? strndup(file, (size_t)(slash - file) + (slash == file)) :
					 strdup(".");
	cleanup_close int fd = -EBADF;
	int r;

	if (!policy || !dir) {
		nsbox_policy_free(policy);
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	}
	fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	r = fd < 0 ? nsbox_error_set(err, errno, "open %.100s", dir) :
		     add_source(policy, fd, dir, slash ? slash + 1 : file, err);
	if (r < 0)
		nsbox_policy_free(policy);
	else
		*ret_policy = policy;
	return r;
}

void nsbox_policy_free(struct nsbox_policy *policy)
{
	size_t i;

	if (!policy)
		return;
	for (i = 0; i < policy->n_sources; i++)
		nsbox_source_free(policy->sources[i]);
	free(policy->sources);
	free(policy->users_dir);
	(void)nsbox_close(policy->users_fd);
	free(policy);
}
