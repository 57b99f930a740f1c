/* SPDX-License-Identifier: MIT */
/* nsbox stop: ends a user's boxes and waits until they are gone. */
#include "cli.h"
#include "cleanup.h"
#include "client.h"

#include <pwd.h>
#include <stdio.h>

enum { STOP_MS = 8000 };

struct stopping {
	int status;
	unsigned int stopped;
};

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
	/* Its end without a word: somebody else ended it meanwhile. */
	if (r == 0 && in.msg.type == NSBOX_MSG_REFUSE) {
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
