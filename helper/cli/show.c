/* SPDX-License-Identifier: MIT */
/* nsbox show: all that is known of a user's boxes. */
#include "cli.h"
#include "cleanup.h"
#include "status.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>

struct showing {
	struct nsbox_json *json;	/* NULL: text */
	unsigned int n;
};

static void print_line(const char *name, const char *value)
{
	(void)printf("%-10s %s\n", name, *value ? value : "-");
}

static void print_field(const char *status, const char *name)
{
	char value[1024];

	nsbox_status_field(status, name, value, sizeof(value));
	print_line(name, value);
}

static void print_traffic(const char *status)
{
	struct nsbox_traffic t;

	if (!nsbox_status_traffic(status, &t)) {
		print_line("traffic", "-");
		return;
	}
	(void)printf("%-10s %lld bytes, %lld packets\n", "sent", t.sent_bytes, t.sent_packets);
	(void)printf("%-10s %lld bytes, %lld packets\n", "received", t.received_bytes,
		     t.received_packets);
}

static void print_text(const char *status)
{
	static const char *const before[] = { "box", "user", "hostname", "sessions", "init", "keeper" };
	static const char *const after[] = { "service", "rootfs", "idmap", "ids", "net" };
	char opened[32], addresses[100];

	for (size_t i = 0; i < sizeof(before) / sizeof(before[0]); i++)
		print_field(status, before[i]);
	nsbox_status_since(status, opened);
	print_line("since", opened);
	print_line("policy", nsbox_status_is_outdated(status) ? "changed" : "same");
	for (size_t i = 0; i < sizeof(after) / sizeof(after[0]); i++)
		print_field(status, after[i]);
	nsbox_status_addresses(status, addresses);
	print_line("address", addresses);
	print_field(status, "link");
	print_field(status, "publish");
	print_traffic(status);
}

static void show_one(const char *status, void *data)
{
	struct showing *showing = data;

	if (showing->json) {
		nsbox_status_json(status, showing->json);
	} else {
		if (showing->n)
			(void)putchar('\n');
		print_text(status);
	}
	showing->n++;
}

/* One user's boxes. */
static int show(uid_t uid, bool as_json, unsigned int *ret_n)
{
	struct nsbox_json json = { .to = stdout };
	struct showing showing = { .json = as_json ? &json : NULL };
	int status;

	if (as_json) {
		nsbox_json_open(&json, NULL, '{');
		nsbox_json_open(&json, "boxes", '[');
	}
	status = nsbox_status_each(uid, show_one, &showing);
	if (as_json) {
		nsbox_json_close(&json, ']');
		nsbox_json_close(&json, '}');
	}
	*ret_n = showing.n;
	return status;
}

int nsbox_cli_show(int argc, char **argv)
{
	bool json = argc == 3 && strcmp(argv[2], "--json") == 0;
	struct nsbox_error err;
	const struct passwd *pw;
	unsigned int n;
	int status;

	if (argc != 2 && !json)
		return nsbox_cli_usage("show USER [--json]");
	pw = getpwnam(argv[1]);
	if (!pw) {
		(void)nsbox_error_say(&err, ENOENT, "there is no user %.60s", argv[1]);
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	}
	status = show(pw->pw_uid, json, &n);
	if (status == 0 && n == 0) {
		(void)nsbox_error_say(&err, ENOENT, "%.60s has no box", argv[1]);
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	}
	return status;
}
