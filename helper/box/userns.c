/* SPDX-License-Identifier: MIT */
/* User namespaces: see userns.h. */
#include "userns.h"
#include "cleanup.h"
#include "file.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

static int write_map(pid_t pid, const char *file, const struct nsbox_id_map *map,
		     struct nsbox_error *err)
{
	char path[64], text[NSBOX_MAP_TEXT_MAX + 1];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	if (nsbox_id_map_format(map, text, sizeof(text)) < 0)
		return nsbox_error_say(err, E2BIG, "the %s has more than the kernel takes", file);
	return nsbox_file_write(path, text, err);
}

int nsbox_userns_write_maps(pid_t pid, const struct nsbox_id_map *uids,
			    const struct nsbox_id_map *gids, struct nsbox_error *err)
{
	int r = write_map(pid, "uid_map", uids, err);

	return r < 0 ? r : write_map(pid, "gid_map", gids, err);
}

int nsbox_userns_open(pid_t pid, struct nsbox_error *err)
{
	char path[32];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	return fd;
}

/* Waits to be killed, by us or by our death: its namespace is all that is wanted of it. */
static int wait_for_death(void *parent)
{
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != *(const pid_t *)parent)
		_exit(0);
	for (;;)
		(void)pause();
	return 0;
}

int nsbox_userns_for_mounts(const struct nsbox_id_map *uids, const struct nsbox_id_map *gids,
			    struct nsbox_error *err)
{
	/* Not ours alone: it may still be in use for a moment when we have returned. */
	static char stack[8192] __attribute__((aligned(16)));
	static pid_t self;
	int r, fd = -1;
	/* Shares our memory and only pauses: nothing is copied, nothing is written. */
	pid_t pid;

	self = getpid();
	pid = clone(wait_for_death, stack + sizeof(stack), CLONE_NEWUSER | CLONE_VM | SIGCHLD, &self);
	if (pid < 0 && errno == ENOSPC)
		return nsbox_error_say(err, ENOSPC, "no user namespace can be made: "
				       "raise user.max_user_namespaces with sysctl");
	if (pid < 0)
		return nsbox_error_set(err, errno, "clone(CLONE_NEWUSER)");
	r = nsbox_userns_write_maps(pid, uids, gids, err);
	if (r == 0)
		fd = nsbox_userns_open(pid, err);
	/* Nobody waits for it: the keeper ignores SIGCHLD, see nsbox_start_clean(). */
	(void)kill(pid, SIGKILL);
	return r < 0 ? r : fd;
}
