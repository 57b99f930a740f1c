/* SPDX-License-Identifier: MIT */
/* nsbox(1): one file per verb. Each returns the exit status. */
#ifndef NSBOX_CLI_H
#define NSBOX_CLI_H

#include "error.h"

#include <sys/types.h>

/* Exit codes: a contract. 0: done. doctor has its own: enum nsbox_severity. */
enum {
	NSBOX_EXIT_FAILED = 1,	/* what was asked could not be done */
	NSBOX_EXIT_USAGE = 2,	/* the command line is wrong */
	NSBOX_EXIT_WARNINGS = 3,	/* check: nobody is refused, but see to it */
	NSBOX_EXIT_ERRORS = 4,	/* check: logins are refused */
	NSBOX_EXIT_REFUSED = 254,	/* run: no box; as ssh reports it */
};

int nsbox_cli_list(int argc, char **argv);
int nsbox_cli_show(int argc, char **argv);
int nsbox_cli_run(int argc, char **argv);
int nsbox_cli_stop(int argc, char **argv);
int nsbox_cli_explain(int argc, char **argv);
int nsbox_cli_gc(int argc, char **argv);
int nsbox_cli_check(int argc, char **argv);
int nsbox_cli_enable(int argc, char **argv);
int nsbox_cli_disable(int argc, char **argv);
int nsbox_cli_manager(int argc, char **argv);
int nsbox_cli_doctor(int argc, char **argv);

/* Prints "nsbox: SENTENCE" on standard error. Returns @status. */
int nsbox_cli_fail(int status, const struct nsbox_error *err);

/* Prints how the verb is used. Returns NSBOX_EXIT_USAGE. */
int nsbox_cli_usage(const char *synopsis);

/*
 * Calls @each with the uid and the socket name of every box on record; -1 for
 * @only means all users. Stops and returns what @each returns if not 0.
 */
int nsbox_cli_each_box(uid_t only, int (*each)(uid_t uid, const char *socket, void *data),
		       void *data);

#endif
