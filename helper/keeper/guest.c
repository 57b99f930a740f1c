/* SPDX-License-Identifier: MIT */
/* A session of the keeper's in another user's box: see guest.h. */
#include "guest.h"
#include "caller.h"
#include "cleanup.h"
#include "client.h"
#include "proto.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

static int say_ended(const char *user, struct nsbox_error *err)
{
	return nsbox_error_say(err, EIO, "net = join:%.60s: the way into that box ended", user);
}

static int open_session(const char *user, struct nsbox_error *err)
{
	struct nsbox_msg_open open = { .flags = NSBOX_OPEN_RUN, .service = "nsbox-run" };
	const struct passwd *pw = getpwnam(user);
	struct nsbox_opened opened;

	if (!pw || pw->pw_uid == 0)
		return nsbox_error_say(err, ENOENT, "net = join:%.60s: there is no such user",
				       user);
	(void)snprintf(open.user, sizeof(open.user), "%s", pw->pw_name);
	switch (nsbox_open(&open, pw->pw_uid, &opened, err)) {
	case NSBOX_ENTERED:
		return 0;
	case NSBOX_PASSED:
		return nsbox_error_say(err, ENOENT, "net = join:%.60s: the policy gives that user "
				       "no box", user);
	default:
		return nsbox_error_wrap(err, "net = join:%.60s", user);
	}
}

/*
 * The guest. Of the keeper's descriptors it has none but the way back: it would
 * hold the keeper's locks. Says how it went, and stays until the keeper is done.
 */
static void __attribute__((noreturn)) be_guest(int sock, const char *user)
{
	struct nsbox_error err = { .code = 0 };
	char byte;

	if (dup2(sock, NSBOX_KEEPER_FD) < 0 || close_range(NSBOX_KEEPER_FD + 1, ~0U, 0) < 0)
		_exit(1);
	/* An error of an attempt that another made good is none. */
	if (open_session(user, &err) == 0)
		err.code = 0;
	(void)send(NSBOX_KEEPER_FD, &err, sizeof(err), MSG_NOSIGNAL);
	if (err.code == 0)
		(void)recv(NSBOX_KEEPER_FD, &byte, sizeof(byte), 0);
	_exit(0);
}

/*
 * One that is the host's own is not a box's to share. Nobody reaps the guest but
 * the kernel: only while it lives is what /proc shows by its number its own.
 */
static int open_namespace(pid_t pid, int sock, const char *user, struct nsbox_error *err)
{
	struct pollfd alive = { .fd = sock, .events = POLLIN };
	cleanup_close int fd = -EBADF;
	struct stat there, here;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &there) < 0 || stat("/proc/self/ns/net", &here) < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	if (poll(&alive, 1, 0) != 0)
		return say_ended(user, err);
	if (there.st_ino == here.st_ino)
		return nsbox_error_say(err, EINVAL, "net = join:%.60s: that user's box has the "
				       "host's network; write net = host if that is meant", user);
	return take_fd(&fd);
}

int nsbox_guest_enter(struct nsbox_guest *guest, const char *user, struct nsbox_error *err)
{
	struct nsbox_error theirs;
	int pair[2];
	ssize_t n;
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return nsbox_error_set(err, errno, "socketpair");
	pid = fork();
	if (pid == 0)
		be_guest(pair[1], user);
	(void)nsbox_close(pair[1]);
	guest->sock = pair[0];
	if (pid < 0)
		return nsbox_error_set(err, errno, "fork of a guest");
	/* No longer than an open takes: nsbox_open() sees to that. */
	n = recv(guest->sock, &theirs, sizeof(theirs), 0);
	if (n != (ssize_t)sizeof(theirs))
		return say_ended(user, err);
	if (theirs.code) {
		*err = theirs;
		return -theirs.code;
	}
	return open_namespace(pid, guest->sock, user, err);
}

void nsbox_guest_leave(struct nsbox_guest *guest)
{
	guest->sock = nsbox_close(guest->sock);
}
