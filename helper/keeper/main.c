/* SPDX-License-Identifier: MIT */
/*
 * nsbox-keeper: one root process per box, on the host. Started by whoever opens
 * the first session (the module, nsbox run), with one connection as descriptor
 * 3 and nothing else. Not for people: says so if it is started otherwise. With
 * --hold it is nsbox.service (hold.h), with --gc it is nsbox gc (gc.h).
 */
#include "cleanup.h"
#include "gc.h"
#include "hold.h"
#include "proto.h"
#include "server.h"
#include "start.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <syslog.h>

static int check_connection(struct nsbox_error *err)
{
	int type = 0;
	socklen_t len = sizeof(type);

	if (geteuid() != 0 ||
	    getsockopt(NSBOX_KEEPER_FD, SOL_SOCKET, SO_TYPE, &type, &len) < 0 ||
	    type != SOCK_SEQPACKET)
		return nsbox_error_say(err, EINVAL, "nsbox-keeper is started by pam_nsbox and "
				       "nsbox(1), not by hand");
	return 0;
}

int main(int argc, char **argv)
{
	struct nsbox_error err;
	int r;

	if (argc == 2 && strcmp(argv[1], "--hold") == 0) {
		r = nsbox_hold(&err);
		if (r < 0)
			(void)fprintf(stderr, "%s\n", err.msg);
		return r < 0;
	}
	if (argc == 2 && strcmp(argv[1], "--gc") == 0 && geteuid() == 0)
		return nsbox_gc();
	r = check_connection(&err);
	if (r < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 2;
	}
	openlog("nsbox-keeper", LOG_PID, LOG_AUTHPRIV);
	r = nsbox_start_clean(&err);
	if (r < 0) {
		struct nsbox_msg msg = { .type = NSBOX_MSG_REFUSE, .u.error = err };

		syslog(LOG_ERR, "%s", err.msg);
		(void)nsbox_msg_send(NSBOX_KEEPER_FD, &msg, NULL, 0, NULL);
		return 1;
	}
	return nsbox_server_run(NSBOX_KEEPER_FD) < 0;
}
