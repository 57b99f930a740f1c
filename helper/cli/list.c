/* SPDX-License-Identifier: MIT */
/* nsbox list: a line for each box. */
#include "cli.h"
#include "status.h"

#include <stdio.h>
#include <string.h>

#define ROW "%-16s %-20s %-16s %8s %8s  %-19s  %-24s  %s\n"

static const char *or_dash(const char *value)
{
	return *value ? value : "-";
}

static void print_row(const char *status, void *data)
{
	char user[40], box[40], name[66], sessions[16], init[16], opened[32], addresses[100];

	(void)data;
	nsbox_status_field(status, "user", user, sizeof(user));
	nsbox_status_field(status, "box", box, sizeof(box));
	nsbox_status_field(status, "hostname", name, sizeof(name));
	nsbox_status_field(status, "sessions", sessions, sizeof(sessions));
	nsbox_status_field(status, "init", init, sizeof(init));
	nsbox_status_since(status, opened);
	nsbox_status_addresses(status, addresses);
	(void)printf(ROW, or_dash(user), or_dash(box), or_dash(name), or_dash(sessions),
		     or_dash(init), opened, addresses,
		     nsbox_status_is_outdated(status) ? "changed" : "same");
}

static void print_object(const char *status, void *data)
{
	nsbox_status_json(status, data);
}

int nsbox_cli_list(int argc, char **argv)
{
	struct nsbox_json json = { .to = stdout };
	int status;

	if (argc == 1) {
		(void)printf(ROW, "USER", "BOX", "HOSTNAME", "SESSIONS", "INIT", "SINCE", "ADDRESS",
			     "POLICY");
		return nsbox_status_each((uid_t)-1, print_row, NULL);
	}
	if (argc != 2 || strcmp(argv[1], "--json") != 0)
		return nsbox_cli_usage("list [--json]");
	nsbox_json_open(&json, NULL, '{');
	nsbox_json_open(&json, "boxes", '[');
	status = nsbox_status_each((uid_t)-1, print_object, &json);
	nsbox_json_close(&json, ']');
	nsbox_json_close(&json, '}');
	return status;
}
