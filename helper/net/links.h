/* SPDX-License-Identifier: MIT */
/*
 * Links, addresses, routes and neighbours, by libnl: the bridge of a network,
 * and the veth pair of a box, of which one end is a port of the bridge and the
 * other is made within the box's namespace. Runs on the host, as root.
 */
#ifndef NSBOX_NET_LINKS_H
#define NSBOX_NET_LINKS_H

#include "ledger.h"

struct nl_sock;

struct nsbox_links {
	struct nl_sock *sock;
	int proc;			/* made at need */
	int bridge;			/* its index */
	bool own;			/* we made it, and nobody else is on it */
	struct nsbox_address gateway4, gateway6;	/* the bridge's in the network's subnets */
	unsigned int mtu;
};

#define NSBOX_LINKS_INIT { .proc = -EBADF }

struct nsbox_mac {
	unsigned char bytes[6];
};

/*
 * The name of the port of a box: "nsb-" and its name's two numbers, eleven
 * digits of base 64, so that no two boxes have the same.
 */
void nsbox_links_name(const char *box, char ret[NSBOX_LINK_MAX]);
/* The address of the card in the box. It comes from its IP address, for ARP tables outlive boxes. */
struct nsbox_mac nsbox_links_mac(const struct nsbox_lease *lease);

int nsbox_links_open(struct nsbox_links *ret, struct nsbox_error *err);
void nsbox_links_drop(struct nsbox_links *links);

/*
 * Finds the network's bridge, or makes it. One of ours becomes what the policy
 * says now; what the boxes of @ledger have for their way out stays until they ended.
 */
int nsbox_links_bridge(struct nsbox_links *links, const struct nsbox_network *network,
		       const struct nsbox_ledger *ledger, struct nsbox_error *err);

/* Does the host forward packets of @family? Negative: the kernel does not say. */
int nsbox_links_forwards(struct nsbox_links *links, int family);

/*
 * The veth pair, its end at @ns_fd ready for use: address, routes, up. Changes
 * into that namespace and back.
 */
int nsbox_links_add(struct nsbox_links *links, const struct nsbox_net_request *request,
		    const struct nsbox_lease *lease, int ns_fd, struct nsbox_error *err);

/* Idempotent. @bridge may be gone. */
int nsbox_links_remove(struct nsbox_links *links, const char *bridge,
		       const struct nsbox_lease *lease, struct nsbox_error *err);

#endif
