/* SPDX-License-Identifier: MIT */
/* nsbox list: asks every keeper about its box. */
#include "cli.h"
#include "cleanup.h"
#include "client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MS = 2000 };

/* Takes "name=" from the keeper's lines into @ret; "-" if it is not there. */
static void field(const char *status, const char *name, char *ret, size_t size)
{
	size_t len = strlen(name);

	(void)snprintf(ret, size, "-");
	for (const char *line = status; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0 && line[len] == '=') {
			(void)snprintf(ret, size, "%.*s", (int)strcspn(line + len + 1, "\n"),
				       line + len + 1);
			return;
		}
	}
}

static void print_box(const char *status)
{
	char user[40], box[40], name[66], sessions[16], init[16], since[24], opened[32] = "-";
	time_t when;

	field(status, "user", user, sizeof(user));
	field(status, "box", box, sizeof(box));
	field(status, "hostname", name, sizeof(name));
	field(status, "sessions", sessions, sizeof(sessions));
	field(status, "init", init, sizeof(init));
	field(status, "since", since, sizeof(since));
	when = (time_t)strtoll(since, NULL, 10);
	(void)strftime(opened, sizeof(opened), "%Y-%m-%d %H:%M:%S", localtime(&when));
	(void)printf("%-16s %-20s %-16s %8s %8s  %s\n", user, box, name, sessions, init, opened);
}

static int list_one(uid_t uid, const char *socket, void *data)
{
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };
	uint64_t deadline = nsbox_now_ms() + ANSWER_MS;
	struct nsbox_error err;
	int r = nsbox_connect(uid, socket, deadline, &err);
	cleanup_close int sock = r;

	if (r == -ENOENT)
		return 0;	/* it has just ended */
	if (r >= 0)
		r = nsbox_msg_send_type(sock, NSBOX_MSG_QUERY, &err);
	if (r >= 0)
		r = nsbox_msg_recv(sock, deadline, &in, &err);
	if (r == -EPIPE)
		return 0;
	if (r < 0) {
		*(int *)data = nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
		return 0;
	}
	print_box(in.msg.u.status);
	return 0;
}

int nsbox_cli_list(int argc, char **argv)
{
	int status = 0;

	(void)argv;
	if (argc != 1)
		return nsbox_cli_usage("list");
	(void)printf("%-16s %-20s %-16s %8s %8s  %s\n", "USER", "BOX", "HOSTNAME", "SESSIONS", "INIT",
		     "SINCE");
	(void)nsbox_cli_each_box((uid_t)-1, list_one, &status);
	return status;
}
