/* SPDX-License-Identifier: MIT */
/*
 * Filters and NAT, by libnftables, in two tables of our own, and nowhere else:
 *
 *	table inet nsbox	what a box may reach, what may reach it, NAT
 *	table bridge nsbox	what a port of ours may send: its own addresses
 *
 * Both tables hold a frame that is the same for all, and for each box an element
 * in some sets, and chains of its own only if it may less than others or is not
 * isolated. Whatever a table does not find in
 * its sets and comes from one of our ports or bridges is dropped.
 */
#ifndef NSBOX_NET_RULES_H
#define NSBOX_NET_RULES_H

#include "ledger.h"

/* Puts the box's rules in force, and those of all others too if the frame is gone. */
int nsbox_rules_add(const struct nsbox_ledger *ledger, const struct nsbox_net_request *request,
		    const struct nsbox_lease *lease, struct nsbox_error *err);

/* Writes all rules anew, for each box of the ledger: somebody may have flushed them. */
int nsbox_rules_repair(const struct nsbox_ledger *ledger, struct nsbox_error *err);

/*
 * Takes away what there is of a box; idempotent. @request may be NULL if it is
 * not known: then all rules are written anew, without those of @lease.
 */
int nsbox_rules_remove(const struct nsbox_ledger *ledger, const struct nsbox_net_request *request,
		       const struct nsbox_lease *lease, struct nsbox_error *err);

#endif
