/* SPDX-License-Identifier: MIT */
/*
 * The floor of nsbox-net: a bare program that makes the kernel objects of one
 * box's network with libnl and libnftables, one call after the other, and
 * nothing else: no lease, no record, no lock, no look whether it may. Like
 * nsbox-net it is started for each box.
 *
 *	floor-net add|remove NUMBER BRIDGE	descriptor 5: the box's namespace
 *
 * The frame of both tables must be there: it is the machine's, not the box's.
 */
#include "bench.h"

#include <arpa/inet.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/route.h>
#include <nftables/libnftables.h>
#include <sched.h>

enum { NS_FD = 5 };

static struct nl_sock *sock;
static const char *bridge_name;
static unsigned char mac[6] = { 0x02, 0x6f };
static char four[48], six[48], name[32], card[18];

static void check(int r, const char *what)
{
	if (r < 0) {
		fprintf(stderr, "%s: %s\n", what, nl_geterror(r));
		exit(1);
	}
}

static struct nl_addr *parse(const char *text)
{
	struct nl_addr *addr;

	check(nl_addr_parse(text, AF_UNSPEC, &addr), text);
	return addr;
}

static struct nl_sock *open_socket(void)
{
	struct nl_sock *s = nl_socket_alloc();

	check(nl_connect(s, NETLINK_ROUTE), "connect");
	return s;
}

static void run_rules(const char *text)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	if (nft_run_cmd_from_buffer(ctx, text) != 0)
		exit(1);
	nft_ctx_free(ctx);
}

static void add_rules(void)
{
	char text[4096];

	snprintf(text, sizeof(text),
		 "add element inet nsbox bridges { \"%2$s\" }\n"
		 "add element inet nsbox own { \"%2$s\" }\n"
		 "add element bridge nsbox own4 { %1$s . %5$s . %3$s }\n"
		 "add element bridge nsbox own6 { %1$s . %5$s . %4$s }\n"
		 "add element inet nsbox box4 { %3$s }\n"
		 "add element inet nsbox out4 { %3$s : goto common }\n"
		 "add element inet nsbox host4 { %3$s : jump common-h }\n"
		 "add element inet nsbox nat4 { %3$s }\n"
		 "add element inet nsbox box6 { %4$s }\n"
		 "add element inet nsbox out6 { %4$s : goto common }\n"
		 "add element inet nsbox host6 { %4$s : jump common-h }\n"
		 "add element inet nsbox nat6 { %4$s }\n",
		 name, bridge_name, four, six, card);
	run_rules(text);
}

static void remove_rules(void)
{
	char text[2048];

	snprintf(text, sizeof(text),
		 "delete element bridge nsbox own4 { %1$s . %4$s . %2$s }\n"
		 "delete element bridge nsbox own6 { %1$s . %4$s . %3$s }\n"
		 "delete element inet nsbox out4 { %2$s }\ndelete element inet nsbox host4 { %2$s }\n"
		 "delete element inet nsbox box4 { %2$s }\ndelete element inet nsbox nat4 { %2$s }\n"
		 "delete element inet nsbox out6 { %3$s }\ndelete element inet nsbox host6 { %3$s }\n"
		 "delete element inet nsbox box6 { %3$s }\ndelete element inet nsbox nat6 { %3$s }\n",
		 name, four, six, card);
	run_rules(text);
}

static void add_pair(void)
{
	struct rtnl_link *link = rtnl_link_veth_alloc(), *peer = rtnl_link_veth_get_peer(link);

	rtnl_link_set_name(link, name);
	rtnl_link_set_name(peer, "eth0");
	rtnl_link_set_addr(peer, nl_addr_build(AF_LLC, mac, sizeof(mac)));
	rtnl_link_set_ns_fd(peer, NS_FD);
	check(rtnl_link_add(sock, link, NLM_F_CREATE | NLM_F_EXCL), "veth");
}

static void set_port(int port)
{
	const struct ifinfomsg info = { .ifi_family = AF_BRIDGE, .ifi_index = port };
	struct nl_msg *msg = nlmsg_alloc_simple(RTM_SETLINK, NLM_F_REQUEST);
	struct nlattr *nest;

	nlmsg_append(msg, (void *)(uintptr_t)&info, sizeof(info), NLMSG_ALIGNTO);
	nest = nla_nest_start(msg, IFLA_PROTINFO | NLA_F_NESTED);
	nla_put_u8(msg, IFLA_BRPORT_ISOLATED, 1);
	nla_put_u8(msg, IFLA_BRPORT_LEARNING, 0);
	nla_put_u8(msg, IFLA_BRPORT_UNICAST_FLOOD, 0);
	nla_put_u8(msg, IFLA_BRPORT_MCAST_FLOOD, 0);
	nla_put_u8(msg, IFLA_BRPORT_BCAST_FLOOD, 0);
	nla_nest_end(msg, nest);
	check(nl_send_sync(sock, msg), "port");
}

static void set_up(struct nl_sock *s, int index)
{
	struct rtnl_link *was = rtnl_link_alloc(), *now = rtnl_link_alloc();

	rtnl_link_set_ifindex(was, index);
	rtnl_link_set_ifindex(now, index);
	rtnl_link_set_flags(now, IFF_UP);
	check(rtnl_link_change(s, was, now, 0), "up");
}

static struct rtnl_neigh *neighbour(int link, const char *address)
{
	struct rtnl_neigh *n = rtnl_neigh_alloc();

	rtnl_neigh_set_ifindex(n, link);
	rtnl_neigh_set_lladdr(n, nl_addr_build(AF_LLC, mac, sizeof(mac)));
	rtnl_neigh_set_state(n, address ? NUD_PERMANENT : NUD_NOARP);
	if (address) {
		rtnl_neigh_set_dst(n, parse(address));
	} else {
		rtnl_neigh_set_family(n, AF_BRIDGE);
		rtnl_neigh_set_flags(n, NTF_MASTER);
	}
	return n;
}

static void set_address(struct nl_sock *s, int link, const char *text, int length)
{
	struct rtnl_addr *addr = rtnl_addr_alloc();
	struct nl_addr *local = parse(text);

	nl_addr_set_prefixlen(local, length);
	rtnl_addr_set_ifindex(addr, link);
	rtnl_addr_set_local(addr, local);
	if (nl_addr_get_family(local) == AF_INET6)
		rtnl_addr_set_flags(addr, IFA_F_NODAD);
	check(rtnl_addr_add(s, addr, 0), "address");
}

static void set_route(struct nl_sock *s, int link, const char *gateway)
{
	struct rtnl_route *route = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	struct nl_addr *via = parse(gateway), *all = nl_addr_build(nl_addr_get_family(via), NULL, 0);

	rtnl_route_set_family(route, (uint8_t)nl_addr_get_family(via));
	nl_addr_set_prefixlen(all, 0);
	rtnl_route_set_dst(route, all);
	rtnl_route_nh_set_ifindex(hop, link);
	rtnl_route_nh_set_gateway(hop, via);
	rtnl_route_add_nexthop(route, hop);
	check(rtnl_route_add(s, route, 0), "route");
}

static void add(void)
{
	int bridge = (int)if_nametoindex(bridge_name), port, link;
	struct nl_sock *inside;

	add_rules();
	sock = open_socket();
	add_pair();
	port = (int)if_nametoindex(name);
	check(rtnl_link_enslave_ifindex(sock, bridge, port), "enslave");
	set_port(port);
	check(rtnl_neigh_add(sock, neighbour(port, NULL), NLM_F_CREATE | NLM_F_REPLACE), "fdb");
	check(rtnl_neigh_add(sock, neighbour(bridge, four), NLM_F_CREATE | NLM_F_REPLACE), "neighbour");
	check(rtnl_neigh_add(sock, neighbour(bridge, six), NLM_F_CREATE | NLM_F_REPLACE), "neighbour");
	set_up(sock, port);
	if (setns(NS_FD, CLONE_NEWNET) < 0)
		die("setns");
	inside = open_socket();
	link = (int)if_nametoindex("eth0");
	set_address(inside, link, four, 16);
	set_address(inside, link, six, 64);
	set_up(inside, link);
	set_route(inside, link, "10.88.0.1");
	set_route(inside, link, "fd00:88::1");
}

static void undo(void)
{
	int bridge = (int)if_nametoindex(bridge_name);
	struct rtnl_link *link = rtnl_link_alloc();

	sock = open_socket();
	(void)rtnl_neigh_delete(sock, neighbour(bridge, four), 0);
	(void)rtnl_neigh_delete(sock, neighbour(bridge, six), 0);
	rtnl_link_set_name(link, name);
	check(rtnl_link_delete(sock, link), "delete");
	remove_rules();
}

int main(int argc, char **argv)
{
	unsigned int number;

	if (argc != 4)
		return 2;
	number = (unsigned int)strtoul(argv[2], NULL, 10);
	bridge_name = argv[3];
	snprintf(name, sizeof(name), "nsb-floor%06u", number);
	/* Not where nsbox-net begins to look. */
	snprintf(four, sizeof(four), "10.88.%u.%u", 128 + number / 250, number % 250 + 2);
	snprintf(six, sizeof(six), "fd00:88::8000:%x", number + 2);
	mac[4] = (unsigned char)(number >> 8);
	mac[5] = (unsigned char)number;
	snprintf(card, sizeof(card), "02:6f:00:00:%02x:%02x", mac[4], mac[5]);
	strcmp(argv[1], "add") == 0 ? add() : undo();
	return write(4, "", 1) != 1;
}
