/* SPDX-License-Identifier: MIT */
/*
 * What a keeper asks of nsbox-net, and what it hears. One request for each run:
 * the program is started, does it, answers and ends, so that no keeper carries
 * libnl and libnftables while it waits.
 */
#ifndef NSBOX_NET_REQUEST_H
#define NSBOX_NET_REQUEST_H

#include "cgroup.h"
#include "error.h"
#include "policy.h"

/* Below NSBOX_RUN_DIR, root's and 0700. */
#define NSBOX_NET_DIR "/run/nsbox/net"

enum {
	NSBOX_NET_VERSION = 1,
	/* Descriptors that nsbox-net starts with. */
	NSBOX_NET_REQUEST_FD = 3,	/* the request, from its beginning */
	NSBOX_NET_REPLY_FD = 4,
	NSBOX_NET_NS_FD = 5,		/* the box's network namespace; for NSBOX_NET_ADD */
};

enum nsbox_net_op {
	NSBOX_NET_ADD,
	NSBOX_NET_REMOVE,
	NSBOX_NET_REPAIR,	/* all rules anew, if there is a box; no box is named */
	NSBOX_NET_RESTORE,	/* the same, if they are not in force */
};

struct nsbox_net_request {
	unsigned int version;
	enum nsbox_net_op op;
	int keeper;			/* its pid: without it nobody would clear up */
	uid_t uid;
	char box[NSBOX_CGROUP_NAME_MAX];
	char hostname[65];
	struct nsbox_network network;
	struct nsbox_address address;	/* AF_UNSPEC: a lease */
	enum nsbox_egress_mode egress_mode;
	unsigned int n_publish, n_egress, n_dns;
	struct nsbox_publish publish[NSBOX_PUBLISH_MAX];
	struct nsbox_egress egress[NSBOX_EGRESS_MAX];
	struct nsbox_address dns[NSBOX_DNS_MAX];	/* the resolvers that the box is told */
	unsigned long long rate_up, rate_down;
	bool own_bridge;		/* nsbox-net's to find out */
};

struct nsbox_net_reply {
	struct nsbox_error err;		/* code 0: done */
	char note[NSBOX_ERROR_MAX];	/* for the log, or "" */
	char address[48], address6[48];	/* "" if there is none */
	char link[NSBOX_LINK_MAX];
};

#endif
