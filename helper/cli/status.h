/* SPDX-License-Identifier: MIT */
/* What a keeper says of its box: name=value lines (proto.h, STATUS), for list and show. */
#ifndef NSBOX_CLI_STATUS_H
#define NSBOX_CLI_STATUS_H

#include "json.h"

#include <stddef.h>
#include <sys/types.h>

/*
 * Asks every keeper, or with @only those of one user, and calls @each with what
 * each says. Returns the exit status; prints what failed.
 */
int nsbox_status_each(uid_t only, void (*each)(const char *status, void *data), void *data);

/* The value of @name; "" if it is not there. */
void nsbox_status_field(const char *status, const char *name, char *ret, size_t size);
/* Would the login that made this box get another one now? */
bool nsbox_status_is_outdated(const char *status);
/* "2026-11-22 07:21:30", or "-". */
void nsbox_status_since(const char *status, char ret[32]);
/* The box's addresses, a comma between them; "-": none of its own. */
void nsbox_status_addresses(const char *status, char ret[100]);

/* As the box sees it: what it has sent and received. */
struct nsbox_traffic {
	long long sent_bytes, sent_packets, received_bytes, received_packets;
};

/* False for a box without a link of its own. */
bool nsbox_status_traffic(const char *status, struct nsbox_traffic *ret);

/* The object of one box, the same for list and show. */
void nsbox_status_json(const char *status, struct nsbox_json *json);

#endif
