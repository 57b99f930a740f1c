/* SPDX-License-Identifier: MIT */
/* The list of enabled services: see enabled.h. */
#include "enabled.h"
#include "cleanup.h"
#include "file.h"
#include "pamedit.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { LIST_MAX = 1 << 20 };

/* The whole list; empty if there is none. */
static int read_list(char **ret, struct timespec *ret_written, struct nsbox_error *err)
{
	cleanup_close int fd = open(NSBOX_STATE_DIR "/" NSBOX_ENABLED, O_RDONLY | O_CLOEXEC);
	struct stat st;
	size_t len;

	*ret_written = (struct timespec){ .tv_sec = 0 };
	if (fd < 0 && errno == ENOENT) {
		*ret = strdup("");
		return *ret ? 0 : nsbox_error_set(err, ENOMEM, "reading the enabled services");
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return nsbox_error_set(err, errno, "open " NSBOX_STATE_DIR "/" NSBOX_ENABLED);
	*ret_written = st.st_mtim;
	return nsbox_fd_read_all(fd, LIST_MAX, ret, &len, err);
}

static int write_list(const char *text, struct nsbox_error *err)
{
	cleanup_close int dir = -EBADF;

	if (mkdir(NSBOX_STATE_DIR, 0700) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir " NSBOX_STATE_DIR);
	dir = open(NSBOX_STATE_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return nsbox_error_set(err, errno, "open " NSBOX_STATE_DIR);
	return nsbox_replace_file(dir, NSBOX_ENABLED, -EBADF, text, strlen(text), err);
}

int nsbox_enabled_set(const char *service, const char *args, struct nsbox_error *err)
{
	cleanup_free char *old = NULL, *new = NULL;
	size_t size, used = 0, len = strlen(service);
	struct timespec written;
	int r = read_list(&old, &written, err);

	if (r < 0)
		return r;
	if (!args && !*old)
		return 0;
	size = strlen(old) + len + (args ? strlen(args) : 0) + 3;
	new = malloc(size);
	if (!new)
		return nsbox_error_set(err, ENOMEM, "writing the enabled services");
	for (const char *s = old; *s;) {
		size_t n = strcspn(s, "\n"), word = strcspn(s, " \n");

		if (n && !(word == len && memcmp(s, service, len) == 0))
			used += (size_t)snprintf(new + used, size - used, "%.*s\n", (int)n, s);
		s += n + (s[n] != '\0');
	}
	if (args)
		used += (size_t)snprintf(new + used, size - used, "%s%s%s\n", service,
					 *args ? " " : "", args);
	new[used] = '\0';
	return write_list(new, err);
}

int nsbox_enabled_each(int (*each)(const char *service, const char *args, struct timespec written,
				   void *data),
		       void *data, struct nsbox_error *err)
{
	cleanup_free char *text = NULL;
	struct timespec written;
	char *save = NULL;
	int r = read_list(&text, &written, err);

	if (r < 0)
		return r;
	for (char *s = strtok_r(text, "\n", &save); s && r == 0; s = strtok_r(NULL, "\n", &save)) {
		char *args = s + strcspn(s, " ");

		if (*args)
			*args++ = '\0';
		r = each(s, args, written, data);
	}
	return r;
}
