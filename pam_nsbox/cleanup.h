/* SPDX-License-Identifier: MIT */
/*
 * Ownership by scope: variables marked with these attributes release what they
 * hold when they go out of scope, on every path. A descriptor that holds
 * nothing is -EBADF. Initialise at the declaration.
 */
#ifndef NSBOX_CLEANUP_H
#define NSBOX_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Closes @fd if it is one and keeps errno; returns -EBADF for "fd = ...". */
static inline int nsbox_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		(void)close(fd);
	errno = saved;
	return -EBADF;
}

static inline void cleanup_closep(int *fd)
{
	*fd = nsbox_close(*fd);
}

static inline void cleanup_freep(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_fclosep(FILE **f)
{
	if (*f)
		(void)fclose(*f);
}

static inline void cleanup_dirp(DIR **d)
{
	if (*d)
		(void)closedir(*d);
}

#define cleanup_close __attribute__((cleanup(cleanup_closep)))
#define cleanup_free __attribute__((cleanup(cleanup_freep)))
#define cleanup_fclose __attribute__((cleanup(cleanup_fclosep)))
#define cleanup_dir __attribute__((cleanup(cleanup_dirp)))

/* Hands a descriptor out of its scope: the variable holds nothing after. */
static inline int take_fd(int *fd)
{
	int taken = *fd;

	*fd = -EBADF;
	return taken;
}

#endif
