/* SPDX-License-Identifier: MIT */
/* The resolvers of a box with a network. Runs on the host, reading only. */
#ifndef NSBOX_RESOLV_H
#define NSBOX_RESOLV_H

#include "policy.h"

/*
 * What the policy's dns says: its addresses, or the host's resolvers. Of the
 * host's those on a loopback address are left out, for nobody answers there in a
 * box; systemd-resolved's own upstream ones take their place. Returns how many.
 */
unsigned int nsbox_resolvers(const struct nsbox_decision *policy,
			     struct nsbox_address ret[NSBOX_DNS_MAX]);

#endif
