/* SPDX-License-Identifier: MIT */
/* nsbox stop: ends a user's boxes and waits until they are gone. */
#include "cli.h"
#include "cleanup.h"
#include "client.h"

#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

enum { STOP_MS = 8000 };

struct stopping {
	int status;
	unsigned int stopped;
};

/*
 * A keeper of another version does not understand us; SIGTERM asks for the same
 * in all of them. @sock is connected to it, so while that has not hung up the
 * pid is still its own.
 */
static int stop_by_signal(int sock, uint64_t deadline, struct nsbox_error *err)
{
	struct ucred peer = { .pid = 0 };
	socklen_t len = sizeof(peer);
	cleanup_close int pidfd = -EBADF;
	struct pollfd pfd = { .events = POLLIN };

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return nsbox_error_set(err, errno, "SO_PEERCRED");
	pidfd = pidfd_open(peer.pid, 0);
	if (pidfd < 0 || pidfd_send_signal(pidfd, SIGTERM, NULL, 0) < 0)
		return errno == ESRCH ? 0 : nsbox_error_set(err, errno, "SIGTERM to the keeper");
	pfd.fd = pidfd;
	if (poll(&pfd, 1, nsbox_until_ms(deadline)) != 1)
		return nsbox_error_say(err, ETIMEDOUT, "the keeper %d does not end", (int)peer.pid);
	return 0;
}

static int stop_one(uid_t uid, const char *socket, void *data)
{
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };
	uint64_t deadline = nsbox_now_ms() + STOP_MS;
	struct stopping *stopping = data;
	struct nsbox_error err;
	int r = nsbox_connect(uid, socket, deadline, &err);
	cleanup_close int sock = r;

	if (r == -ENOENT)
		return 0;
	if (r >= 0)
		r = nsbox_msg_send_type(sock, NSBOX_MSG_STOP, &err);
	if (r >= 0)
		r = nsbox_msg_recv(sock, deadline, &in, &err);
	if (r == -EPROTO)
		r = stop_by_signal(sock, deadline, &err);
	/* Its end without a word: somebody else ended it meanwhile. */
	else if (r == 0 && in.msg.type == NSBOX_MSG_REFUSE) {
		err = in.msg.u.error;
		r = -EBUSY;
	}
	if (r < 0 && r != -EPIPE)
		stopping->status = nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	else
		stopping->stopped++;
	return 0;
}

int nsbox_cli_stop(int argc, char **argv)
{
	struct stopping stopping = { .status = 0 };
	struct nsbox_error err;
	const struct passwd *pw;

	if (argc != 2)
		return nsbox_cli_usage("stop USER");
	pw = getpwnam(argv[1]);
	if (!pw) {
		(void)nsbox_error_say(&err, ENOENT, "there is no user %.60s", argv[1]);
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	}
	(void)nsbox_cli_each_box(pw->pw_uid, stop_one, &stopping);
	if (stopping.status == 0 && stopping.stopped == 0) {
		(void)nsbox_error_say(&err, ENOENT, "%.60s has no box", argv[1]);
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	}
	return stopping.status;
}
