/* SPDX-License-Identifier: MIT */
/*
 * What replaces wtmp(5) where that is not kept any more: wtmpdb(8), a database
 * that sshd and pam_wtmpdb.so write. Both know the end of a session, and sshd its
 * begin too, only after the join, in the box. Runs in the keeper, as root.
 *
 * Each change is made by a child of the keeper's that nobody waits for: only that
 * has the library, if the host has it, and only that waits for the database.
 */
#ifndef NSBOX_WTMPDB_H
#define NSBOX_WTMPDB_H

#include "proto.h"

#include <utmpx.h>

/* A session that is, or may be, in the database. */
struct nsbox_wtmpdb {
	int64_t since;			/* seconds since 1970; 0: it is not */
	char line[__UT_LINESIZE + 1];	/* as we name its terminal */
	char tty[__UT_LINESIZE + 1];	/* as its caller does */
};

/*
 * Records the begin of a session on @line, unless pam_wtmpdb.so has. With @line
 * "" it is no login, and only that may have; then *ret serves for the end.
 */
void nsbox_wtmpdb_login(struct nsbox_wtmpdb *ret, const struct nsbox_msg_open *open,
			const char *line);

/* Records the end of a session of @user. Idempotent. */
void nsbox_wtmpdb_logout(struct nsbox_wtmpdb *record, const char *user);

#endif
