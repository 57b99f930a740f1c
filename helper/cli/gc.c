/* SPDX-License-Identifier: MIT */
/* nsbox gc: the keeper knows how to clear up, so it is the keeper that does. */
#include "cli.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

int nsbox_cli_gc(int argc, char **argv)
{
	char *const args[] = { (char *)(uintptr_t)"nsbox-keeper", (char *)(uintptr_t)"--gc", NULL };
	struct nsbox_error err;

	(void)argv;
	if (argc != 1)
		return nsbox_cli_usage("gc");
	(void)execv(NSBOX_KEEPER_PATH, args);
	(void)nsbox_error_set(&err, errno, "start %s", NSBOX_KEEPER_PATH);
	return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
}
