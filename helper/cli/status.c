/* SPDX-License-Identifier: MIT */
/* Asking keepers about their boxes: see status.h. */
#include "status.h"
#include "answer.h"
#include "cleanup.h"
#include "cli.h"
#include "client.h"
#include "file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ANSWER_MS = 2000 };

void nsbox_status_field(const char *status, const char *name, char *ret, size_t size)
{
	size_t len = strlen(name);

	*ret = '\0';
	for (const char *line = status; line && *line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, name, len) == 0 && line[len] == '=') {
			(void)snprintf(ret, size, "%.*s", (int)strcspn(line + len + 1, "\n"),
				       line + len + 1);
			return;
		}
	}
}

/* Weighs the login again, as the keeper weighed it then. */
bool nsbox_status_is_outdated(const char *status)
{
	struct nsbox_answer answer cleanup_answer = { .box = "" };
	struct nsbox_msg_open open = { .flags = 0 };
	char socket[NSBOX_SOCKET_MAX], flags[16];
	struct nsbox_error err;

	nsbox_status_field(status, "user", open.user, sizeof(open.user));
	nsbox_status_field(status, "service", open.service, sizeof(open.service));
	nsbox_status_field(status, "args", open.args, sizeof(open.args));
	nsbox_status_field(status, "flags", flags, sizeof(flags));
	nsbox_status_field(status, "socket", socket, sizeof(socket));
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

static time_t opened_at(const char *status)
{
	char since[24];

	nsbox_status_field(status, "since", since, sizeof(since));
	return (time_t)strtoll(since, NULL, 10);
}

void nsbox_status_since(const char *status, char ret[32])
{
	time_t when = opened_at(status);

	if (!strftime(ret, 32, "%Y-%m-%d %H:%M:%S", localtime(&when)))
		(void)snprintf(ret, 32, "-");
}

void nsbox_status_addresses(const char *status, char ret[100])
{
	char four[48], six[48];

	nsbox_status_field(status, "address", four, sizeof(four));
	nsbox_status_field(status, "address6", six, sizeof(six));
	(void)snprintf(ret, 100, "%s%s%s%s", four, *four && *six ? "," : "", six,
		       *four || *six ? "" : "-");
}

static long long counter(const char *link, const char *name)
{
	char path[128], text[32];

	(void)snprintf(path, sizeof(path), "/sys/class/net/%s/statistics/%s", link, name);
	return nsbox_file_read(path, text, sizeof(text), NULL) > 0 ? strtoll(text, NULL, 10) : -1;
}

/* What its port on the host receives the box has sent. */
bool nsbox_status_traffic(const char *status, struct nsbox_traffic *ret)
{
	char link[16];

	nsbox_status_field(status, "link", link, sizeof(link));
	if (!*link)
		return false;
	*ret = (struct nsbox_traffic){
		counter(link, "rx_bytes"), counter(link, "rx_packets"),
		counter(link, "tx_bytes"), counter(link, "tx_packets"),
	};
	return ret->sent_bytes >= 0;
}

static void json_string(const char *status, const char *name, struct nsbox_json *json)
{
	char value[1024];

	nsbox_status_field(status, name, value, sizeof(value));
	nsbox_json_string(json, name, *value ? value : NULL);
}

static void json_number(const char *status, const char *name, struct nsbox_json *json)
{
	char value[24];

	nsbox_status_field(status, name, value, sizeof(value));
	nsbox_json_number(json, name, strtoll(value, NULL, 10));
}

static void json_ports(const char *status, struct nsbox_json *json)
{
	char text[1024], *pos = NULL;

	nsbox_status_field(status, "publish", text, sizeof(text));
	nsbox_json_open(json, "publish", '[');
	for (char *word = strtok_r(text, ", \t", &pos); word; word = strtok_r(NULL, ", \t", &pos))
		nsbox_json_string(json, NULL, word);
	nsbox_json_close(json, ']');
}

static void json_traffic(const char *status, struct nsbox_json *json)
{
	struct nsbox_traffic t;

	if (!nsbox_status_traffic(status, &t)) {
		nsbox_json_string(json, "traffic", NULL);
		return;
	}
	nsbox_json_open(json, "traffic", '{');
	nsbox_json_number(json, "sent_bytes", t.sent_bytes);
	nsbox_json_number(json, "sent_packets", t.sent_packets);
	nsbox_json_number(json, "received_bytes", t.received_bytes);
	nsbox_json_number(json, "received_packets", t.received_packets);
	nsbox_json_close(json, '}');
}

void nsbox_status_json(const char *status, struct nsbox_json *json)
{
	nsbox_json_open(json, NULL, '{');
	json_string(status, "user", json);
	json_number(status, "uid", json);
	json_string(status, "box", json);
	json_string(status, "hostname", json);
	json_number(status, "sessions", json);
	json_number(status, "init", json);
	json_number(status, "keeper", json);
	nsbox_json_number(json, "since", opened_at(status));
	nsbox_json_string(json, "policy", nsbox_status_is_outdated(status) ? "changed" : "same");
	json_string(status, "service", json);
	json_string(status, "rootfs", json);
	json_string(status, "idmap", json);
	json_number(status, "ids", json);
	json_string(status, "net", json);
	json_string(status, "address", json);
	json_string(status, "address6", json);
	json_string(status, "link", json);
	json_ports(status, json);
	json_traffic(status, json);
	nsbox_json_close(json, '}');
}

struct asking {
	void (*each)(const char *status, void *data);
	void *data;
	int status;
};

static int ask_one(uid_t uid, const char *socket, void *data)
{
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };
	uint64_t deadline = nsbox_now_ms() + ANSWER_MS;
	struct asking *asking = data;
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
	if (r < 0)
		asking->status = nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	else
		asking->each(in.msg.u.status, asking->data);
	return 0;
}

int nsbox_status_each(uid_t only, void (*each)(const char *status, void *data), void *data)
{
	struct asking asking = { each, data, 0 };

	(void)nsbox_cli_each_box(only, ask_one, &asking);
	return asking.status;
}
