/* SPDX-License-Identifier: MIT */
/* nsbox list: asks every keeper about its box. */
#include "answer.h"
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

/*
 * Would the login that made this box get another one now? Weighs it again, as
 * the keeper weighed it then.
 */
static bool is_outdated(const char *status)
{
	struct nsbox_answer answer cleanup_answer = { .box = "" };
	struct nsbox_msg_open open = { .flags = 0 };
	char socket[NSBOX_SOCKET_MAX], flags[16];
	struct nsbox_error err;

	field(status, "user", open.user, sizeof(open.user));
	field(status, "service", open.service, sizeof(open.service));
	field(status, "args", open.args, sizeof(open.args));
	field(status, "flags", flags, sizeof(flags));
	field(status, "socket", socket, sizeof(socket));
	open.flags = (uint32_t)strtoul(flags, NULL, 10);
	open.n_args = open.args[0] != '\0';
	for (char *c = open.args; *c; c++)
		if (*c == NSBOX_STATUS_SEPARATOR) {
			*c = '\0';
			open.n_args++;
		}
	/* With scope = session the name goes on behind the hash. */
	return nsbox_answer_open(&open, &answer, &err) < 0 ||
	       answer.decision.action != NSBOX_ACTION_BOX ||
	       strncmp(answer.box, socket, strlen(answer.box)) != 0;
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
	(void)printf("%-16s %-20s %-16s %8s %8s  %-19s  %s\n", user, box, name, sessions, init,
		     opened, is_outdated(status) ? "changed" : "same");
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
	(void)printf("%-16s %-20s %-16s %8s %8s  %-19s  %s\n", "USER", "BOX", "HOSTNAME", "SESSIONS",
		     "INIT", "SINCE", "POLICY");
	(void)nsbox_cli_each_box((uid_t)-1, list_one, &status);
	return status;
}
