/* SPDX-License-Identifier: MIT */
/* Reading and writing small files: see file.h. */
#include "file.h"
#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

int nsbox_file_read(const char *path, char *buf, size_t size, struct nsbox_error *err)
{
	cleanup_close int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t used = 0;
	ssize_t n = 0;

	if (fd < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	while (used < size && (n = read(fd, buf + used, size - used)) > 0)
		used += (size_t)n;
	if (n < 0)
		return nsbox_error_set(err, errno, "read %s", path);
	if (used == size)
		return nsbox_error_set(err, EFBIG, "read %s", path);
	buf[used] = '\0';
	return (int)used;
}

int nsbox_file_write(const char *path, const char *text, struct nsbox_error *err)
{
	cleanup_close int fd = open(path, O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	ssize_t n;

	if (fd < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	n = write(fd, text, len);
	if (n < 0)
		return nsbox_error_set(err, errno, "write \"%.40s\" to %s", text, path);
	if ((size_t)n != len)
		return nsbox_error_set(err, EIO, "short write to %s", path);
	return 0;
}

int nsbox_fd_read_all(int fd, size_t max, char **ret, size_t *ret_len, struct nsbox_error *err)
{
	cleanup_free char *buf = NULL;
	size_t size = 4096, used = 0;
	struct stat st;
	ssize_t n;

	if (fstat(fd, &st) == 0 && st.st_size > 0)
		size = (size_t)st.st_size + 2;
	/* A sparse file is as large as its owner likes: one byte too many is all there is to learn. */
	if (size > max + 2)
		size = max + 2;
	for (;;) {
		char *bigger = used + 1 < size && buf ? buf : realloc(buf, size);

		if (!bigger)
			return nsbox_error_set(err, ENOMEM, "reading a file");
		buf = bigger;
		n = read(fd, buf + used, size - used - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return nsbox_error_set(err, errno, "read");
		used += (size_t)n;
		if (used > max)
			return nsbox_error_set(err, EFBIG, "read");
		if (n == 0)
			break;
		if (used + 1 >= size)
			size *= 2;
	}
	buf[used] = '\0';
	*ret = buf;
	buf = NULL;
	*ret_len = used;
	return 0;
}
