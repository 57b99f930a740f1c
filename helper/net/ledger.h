/* SPDX-License-Identifier: MIT */
/*
 * Who has which address and which port of the host. One file for all networks,
 * below NSBOX_NET_DIR, read and replaced under a lock that every run of
 * nsbox-net holds from its beginning to its end:
 *
 *	lock		held (flock)
 *	ledger		a line for each lease; of a box that ended the line stays, with
 *			"-" as the box, so that its user finds his address again
 *	BOX		the request that the box was made by, to write its rules anew
 *	NETWORK.hosts	isolate = no: the file that all its boxes have as /etc/hosts
 *	forward		what forwarding was before us, for when nobody needs it
 */
#ifndef NSBOX_NET_LEDGER_H
#define NSBOX_NET_LEDGER_H

#include "request.h"

struct nsbox_lease {
	char network[33];
	uid_t uid;
	char box[NSBOX_CGROUP_NAME_MAX];	/* "-": nobody has it now */
	struct nsbox_address address, address6;
	bool nat;
	char hostname[65];
	unsigned int n_publish;
	/* Room for NSBOX_PUBLISH_MAX, if there are any; few boxes have one. */
	struct nsbox_publish *publish;
	/* As it was read, in the ledger's text; NULL: it is written anew. */
	const char *line;
	size_t line_length;
};

struct nsbox_ledger {
	char *text;
	struct nsbox_lease *leases;
	size_t n, room;
	int lock;
	bool is_new;		/* there was none: it says nothing of what rules there may be */
};

#define NSBOX_LEDGER_INIT { .lock = -EBADF }

/* Waits for the lock and reads. After a failure the lock is not held. */
int nsbox_ledger_open(struct nsbox_ledger *ret, struct nsbox_error *err);
/* Replaces the file. */
int nsbox_ledger_save(const struct nsbox_ledger *ledger, struct nsbox_error *err);
void nsbox_ledger_drop(struct nsbox_ledger *ledger);

static inline bool nsbox_lease_is_free(const struct nsbox_lease *lease)
{
	return lease->box[0] == '-';
}

/* Its box has ended: the user may have the address again. */
void nsbox_lease_free(struct nsbox_lease *lease);

/* The lease of a box; NULL: it has none. */
struct nsbox_lease *nsbox_ledger_find(struct nsbox_ledger *ledger, const char *box);

/* A box whose keeper is dead, in @network or, with NULL, in any; NULL: none. */
struct nsbox_lease *nsbox_ledger_find_dead(struct nsbox_ledger *ledger, const char *network);

/*
 * Gives the box of @request an address that no box has, neither of the bridge's
 * @gateway4 and @gateway6: the one that the policy fixes, the one that the user
 * had last, one that nobody had, or one whose user is away. -EADDRNOTAVAIL: all
 * are taken.
 */
int nsbox_ledger_take(struct nsbox_ledger *ledger, const struct nsbox_net_request *request,
		      const struct nsbox_address *gateway4, const struct nsbox_address *gateway6,
		      struct nsbox_lease **ret, struct nsbox_error *err);

/* Does another box publish one of these ports? */
int nsbox_ledger_check_ports(const struct nsbox_ledger *ledger,
			     const struct nsbox_net_request *request, struct nsbox_error *err);

/* Writes NETWORK.hosts, if there is one. */
int nsbox_ledger_write_hosts(const struct nsbox_ledger *ledger, const char *network,
			     struct nsbox_error *err);

/* The request of a box, for its rules. */
int nsbox_ledger_keep_request(const struct nsbox_net_request *request, struct nsbox_error *err);
int nsbox_ledger_read_request(const char *box, struct nsbox_net_request *ret);
void nsbox_ledger_forget_request(const char *box);

#endif
