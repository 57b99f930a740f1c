/* SPDX-License-Identifier: MIT */
/*
 * record_login: who(1), last(1) and lastlog(8) of the host show boxed sessions.
 * The callers write these records too, but after the join, into the box.
 */
#ifndef NSBOX_ACCOUNTING_H
#define NSBOX_ACCOUNTING_H

#include "proto.h"
#include "wtmpdb.h"

#include <stdbool.h>
#include <stddef.h>
#include <utmpx.h>

/* A record that was made; line[0] is 0 if none was. */
struct nsbox_accounting {
	char line[__UT_LINESIZE + 1];
	char id[sizeof(((struct utmpx *)NULL)->ut_id)];
	int pid;
	struct nsbox_wtmpdb wtmpdb;
};

/*
 * Records the login of process @pid as @open describes it in utmp, wtmp and
 * lastlog (utmp(5)), and in wtmpdb(8); a file that the host does not have is not made. Only what
 * is a login: from a remote host, or the leader of a session on a terminal;
 * su, sudo and cron are not. Runs in the keeper, as root.
 */
void nsbox_accounting_login(struct nsbox_accounting *ret, const struct nsbox_msg_open *open,
			    uid_t uid, int pid);

/* Records its end; @user is whose it is. Idempotent. */
void nsbox_accounting_logout(struct nsbox_accounting *record, const char *user);

#endif
