/* SPDX-License-Identifier: MIT */
/* nsbox(1): the table of verbs and what they share. */
#include "cli.h"
#include "cleanup.h"
#include "proto.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
	bool for_root;
	const char *synopsis, *what;
} verbs[] = {
	{ "list", nsbox_cli_list, true, "list [--json]", "the boxes that are there" },
	{ "show", nsbox_cli_show, true, "show USER [--json]",
	  "all about a user's boxes, with addresses, ports, traffic" },
	{ "run", nsbox_cli_run, true, "run USER [-- COMMAND...]",
	  "run a command in the user's box" },
	{ "stop", nsbox_cli_stop, true, "stop USER", "end the user's boxes and all in them" },
	{ "explain", nsbox_cli_explain, false, "explain USER [--service SERVICE] [--json]",
	  "what the policy says about a user" },
	{ "check", nsbox_cli_check, false, "check [FILE|DIR] [--json]",
	  "what is wrong with the policy (status 3: warnings, 4: errors)" },
	{ "gc", nsbox_cli_gc, true, "gc", "clear what killed keepers have left" },
	{ "enable", nsbox_cli_enable, true, "enable SERVICE [ARGUMENT...]",
	  "box the sessions of a PAM service" },
	{ "disable", nsbox_cli_disable, true, "disable SERVICE",
	  "take a PAM service's line out again" },
	{ "doctor", nsbox_cli_doctor, true, "doctor [--json]",
	  "is the machine fit, and are the boxes closed" },
	{ "manager", nsbox_cli_manager, true, "manager USER|UID",
	  "for systemd: may his manager run outside (status 1: no)" },
};

int nsbox_cli_fail(int status, const struct nsbox_error *err)
{
	(void)fprintf(stderr, "nsbox: %s\n", err->msg);
	return status;
}

int nsbox_cli_usage(const char *synopsis)
{
	(void)fprintf(stderr, "usage: nsbox %s\n", synopsis);
	return NSBOX_EXIT_USAGE;
}

/* Every socket in one user's directory. */
static int each_of_user(uid_t uid, int (*each)(uid_t, const char *, void *), void *data)
{
	char path[64];
	cleanup_dir DIR *d = NULL;
	int r = 0;

	(void)snprintf(path, sizeof(path), "%s/%u", NSBOX_RUN_DIR, uid);
	d = opendir(path);
	for (struct dirent *e; d && r == 0 && (e = readdir(d));) {
		struct stat st;

		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    S_ISSOCK(st.st_mode))
			r = each(uid, e->d_name, data);
	}
	return r;
}

int nsbox_cli_each_box(uid_t only, int (*each)(uid_t uid, const char *socket, void *data),
		       void *data)
{
	cleanup_dir DIR *d = NULL;
	int r = 0;

	if (only != (uid_t)-1)
		return each_of_user(only, each, data);
	d = opendir(NSBOX_RUN_DIR);
	for (struct dirent *e; d && r == 0 && (e = readdir(d));) {
		char *end;
		unsigned long uid = strtoul(e->d_name, &end, 10);

		if (end != e->d_name && *end == '\0')
			r = each_of_user((uid_t)uid, each, data);
	}
	return r;
}

static int help(FILE *to, int status)
{
	(void)fprintf(to, "usage: nsbox VERB ...\n\n");
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		(void)fprintf(to, "  nsbox %-41s %s\n", verbs[i].synopsis, verbs[i].what);
	return status;
}

int main(int argc, char **argv)
{
	struct nsbox_error err;

	if (argc < 2)
		return help(stderr, NSBOX_EXIT_USAGE);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "help") == 0)
		return help(stdout, 0);
	for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++) {
		if (strcmp(argv[1], verbs[i].name) != 0)
			continue;
		if (verbs[i].for_root && geteuid() != 0) {
			(void)nsbox_error_say(&err, EPERM, "only root can use nsbox %s",
					      verbs[i].name);
			return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
		}
		return verbs[i].run(argc - 1, argv + 1);
	}
	(void)fprintf(stderr, "nsbox: there is no verb %s\n", argv[1]);
	return help(stderr, NSBOX_EXIT_USAGE);
}
