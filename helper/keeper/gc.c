/* SPDX-License-Identifier: MIT */
/* Clearing up after killed keepers: see gc.h. */
#include "gc.h"
#include "cleanup.h"
#include "network.h"
#include "proto.h"
#include "registry.h"
#include "upper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

enum { REPAIR_MS = 5000 };

/* Calls @clear with each uid that has a directory in @top. */
static void each_uid(const char *top, void (*clear)(uid_t uid, void *data), void *data)
{
	cleanup_dir DIR *d = opendir(top);

	for (struct dirent *e; d && (e = readdir(d));) {
		char *end;
		unsigned long uid = strtoul(e->d_name, &end, 10);

		if (end != e->d_name && *end == '\0')
			clear((uid_t)uid, data);
	}
}

static void say(const char *box, const char *why, void *data)
{
	if (why)
		(void)fprintf(stderr, "nsbox: box %s is not gone: %s\n", box, why);
	else
		(void)printf("%s\n", box);
	*(int *)data |= why != NULL;
}

static void clear_records(uid_t uid, void *data)
{
	nsbox_registry_clear(uid, say, data);
}

static void clear_roots(uid_t uid, void *data)
{
	(void)data;
	nsbox_upper_clear(uid);
}

/* Only where there has been a network; nsbox-net knows whether a box needs it. */
static int repair_network(void)
{
	struct nsbox_error err = { .code = 0 };

	if (access(NSBOX_NET_DIR "/ledger", F_OK) < 0 ||
	    nsbox_network_repair(nsbox_now_ms() + REPAIR_MS, &err) == 0)
		return 0;
	(void)fprintf(stderr, "nsbox: %s\n", err.msg);
	return 1;
}

int nsbox_gc(void)
{
	int left = 0;

	/* The roots are wiped by children, which a keeper does not wait for. */
	(void)signal(SIGCHLD, SIG_DFL);
	each_uid(NSBOX_RUN_DIR, clear_records, &left);
	nsbox_registry_clear_blocks();
	left |= repair_network();
	each_uid(NSBOX_STATE_DIR, clear_roots, NULL);
	while (wait(NULL) > 0 || errno == EINTR)
		;
	return left;
}
