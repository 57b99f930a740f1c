/* SPDX-License-Identifier: MIT */
/* Small files of the kernel and of the host: whole reads and whole writes. */
#ifndef NSBOX_FILE_H
#define NSBOX_FILE_H

#include "error.h"

#include <stddef.h>

/*
 * Reads at most @size - 1 bytes of @path and ends them with NUL. Returns the
 * length; -EFBIG if there is more; another negative errno.
 */
int nsbox_file_read(const char *path, char *buf, size_t size, struct nsbox_error *err);

/* Writes @text to the existing file @path in one write(2). */
int nsbox_file_write(const char *path, const char *text, struct nsbox_error *err);

/*
 * Reads all of @fd, at most @max bytes, into memory the caller frees, NUL after
 * the end. Returns 0 with *ret and *ret_len; -EFBIG; another negative errno.
 */
int nsbox_fd_read_all(int fd, size_t max, char **ret, size_t *ret_len, struct nsbox_error *err);

#endif
