/* SPDX-License-Identifier: MIT */
/* Links by libnl: see links.h. */
#include "links.h"
#include "addr.h"
#include "cleanup.h"
#include "defence.h"

#include <fcntl.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/mount.h>
#include <linux/neighbour.h>
#include <linux/netconf.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netlink/netlink.h>
#include <netlink/route/addr.h>
#include <netlink/route/link.h>
#include <netlink/route/link/bridge.h>
#include <netlink/route/link/veth.h>
#include <netlink/route/neighbour.h>
#include <netlink/route/qdisc.h>
#include <netlink/route/qdisc/tbf.h>
#include <netlink/route/route.h>
#include <netlink/route/tc.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

/* By it we know a bridge that we made. */
#define OWN_ALIAS "nsbox"
#define INSIDE "eth0"

#define DEFINE_PUT(type, function)                                                          \
	static void put_##type(struct type **p)                                             \
	{                                                                                   \
		if (*p)                                                                     \
			function(*p);                                                       \
	}

DEFINE_PUT(rtnl_link, rtnl_link_put)
DEFINE_PUT(rtnl_addr, rtnl_addr_put)
DEFINE_PUT(rtnl_route, rtnl_route_put)
DEFINE_PUT(rtnl_neigh, rtnl_neigh_put)
DEFINE_PUT(rtnl_qdisc, rtnl_qdisc_put)
DEFINE_PUT(nl_addr, nl_addr_put)
DEFINE_PUT(nl_cache, nl_cache_free)
DEFINE_PUT(nl_msg, nlmsg_free)
DEFINE_PUT(nl_sock, nl_socket_free)

#define cleanup_nl(type) __attribute__((cleanup(put_##type)))

/* libnl has numbers of its own; what the kernel said is in its words. */
static int explain(int code, const char *what, const char *name, struct nsbox_error *err)
{
	int number = code == -NLE_NOMEM ? ENOMEM : code == -NLE_EXIST ? EEXIST :
		     code == -NLE_PERM || code == -NLE_NOACCESS ? EPERM :
		     code == -NLE_OBJ_NOTFOUND || code == -NLE_NODEV ? ENODEV : EIO;

	return nsbox_error_say(err, number, "%s %s: %s", what, name, nl_geterror(code));
}

void nsbox_links_name(const char *box, char ret[NSBOX_LINK_MAX])
{
	static const char digits[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	unsigned int uid = 0, random = 0;
	uint64_t number;

	(void)sscanf(box, "%u-%x", &uid, &random);
	number = (uint64_t)uid << 32 | random;
	memcpy(ret, "nsb-", 4);
	for (size_t i = 4; i < NSBOX_LINK_MAX - 1; i++, number >>= 6)
		ret[i] = digits[number & 63];
	ret[NSBOX_LINK_MAX - 1] = '\0';
}

struct nsbox_mac nsbox_links_mac(const struct nsbox_lease *lease)
{
	const struct nsbox_address *a = lease->address.family ? &lease->address : &lease->address6;
	struct nsbox_mac mac = { { 0x02, 0x6e } };	/* locally administered */

	memcpy(mac.bytes + 2, a->bytes + nsbox_addr_size(a->family) - 4, 4);
	return mac;
}

static struct nl_sock *connect_socket(struct nsbox_error *err)
{
	struct nl_sock *sock = nl_socket_alloc();
	int r = sock ? nl_connect(sock, NETLINK_ROUTE) : -NLE_NOMEM;

	if (r == 0)
		return sock;
	nl_socket_free(sock);
	(void)explain(r, "netlink", "socket", err);
	return NULL;
}

/*
 * A /proc of our own: the kernel keeps what was looked up below sys/net of one
 * for all namespaces in one chain, so with 500 boxes each look-up in the host's
 * walks past 500 others.
 */
static int open_proc(void)
{
	cleanup_close int fs = (int)syscall(SYS_fsopen, "proc", FSOPEN_CLOEXEC);
	int mnt = -1;

	if (fs >= 0 && syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
		mnt = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, MOUNT_ATTR_NOSUID |
				   MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	return mnt >= 0 ? mnt : open("/proc", O_PATH | O_CLOEXEC);
}

int nsbox_links_open(struct nsbox_links *ret, struct nsbox_error *err)
{
	ret->sock = connect_socket(err);
	return ret->sock ? 0 : -EIO;
}

void nsbox_links_drop(struct nsbox_links *links)
{
	links->proc = nsbox_close(links->proc);
	nl_socket_free(links->sock);
	links->sock = NULL;
}

static struct nl_addr *as_nl(const struct nsbox_address *address)
{
	return nl_addr_build(address->family, address->bytes, nsbox_addr_size(address->family));
}

/* In the namespace that we are in. */
static void set_switch(struct nsbox_links *links, const char *path, const char *value)
{
	cleanup_close int fd = -EBADF;

	if (links->proc < 0)
		links->proc = open_proc();
	fd = openat(links->proc, path, O_WRONLY | O_CLOEXEC);
	if (fd >= 0)
		(void)!write(fd, value, strlen(value));
}

/* A switch of IPv6 for one link; a kernel without IPv6 has none. */
static void set_ipv6(struct nsbox_links *links, const char *link, const char *name,
		     const char *value)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "sys/net/ipv6/conf/%s/%s", link, name);
	set_switch(links, path, value);
}

/* 1: the link did not have it yet. */
static int set_address(struct nl_sock *sock, int link, const struct nsbox_address *address,
		       unsigned int length, struct nsbox_error *err)
{
	cleanup_nl(rtnl_addr) struct rtnl_addr *addr = rtnl_addr_alloc();
	cleanup_nl(nl_addr) struct nl_addr *local = as_nl(address);
	int r = -NLE_NOMEM;

	if (addr && local) {
		nl_addr_set_prefixlen(local, (int)length);
		rtnl_addr_set_ifindex(addr, link);
		(void)rtnl_addr_set_local(addr, local);
		/* Nobody else can have it, so nobody is asked: it is in use at once. */
		if (address->family == AF_INET6)
			rtnl_addr_set_flags(addr, IFA_F_NODAD);
		r = rtnl_addr_add(sock, addr, 0);
	}
	return r == -NLE_EXIST ? 0 :
	       r < 0 ? explain(r, "the address", nsbox_addr_text(address).s, err) : 1;
}

static int set_up(struct nl_sock *sock, int index, const char *name, struct nsbox_error *err)
{
	cleanup_nl(rtnl_link) struct rtnl_link *was = rtnl_link_alloc(), *now = rtnl_link_alloc();
	int r = -NLE_NOMEM;

	if (was && now) {
		rtnl_link_set_ifindex(was, index);
		rtnl_link_set_ifindex(now, index);
		rtnl_link_set_flags(now, IFF_UP);
		r = rtnl_link_change(sock, was, now, 0);
	}
	return r < 0 ? explain(r, "bring up", name, err) : 0;
}

/* The MTU of the host's way out, as a box that has more would lose its large packets there. */
static unsigned int host_mtu(void)
{
	cleanup_fclose FILE *f = fopen("/proc/net/route", "re");
	cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_mtu = 0 };
	char line[256], link[IFNAMSIZ];
	unsigned int to;

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%15s %x", link, &to) != 2 || to != 0)
			continue;
		memcpy(ifr.ifr_name, link, sizeof(link));
		if (ioctl(sock, SIOCGIFMTU, &ifr) == 0 && ifr.ifr_mtu >= 1280)
			return (unsigned int)ifr.ifr_mtu;
	}
	return 1500;
}

/* A name that stays on the bridge. The kernel takes none while it makes one. */
static int sign_bridge(struct nsbox_links *links, const char *name, struct nsbox_error *err)
{
	cleanup_nl(rtnl_link) struct rtnl_link *was = rtnl_link_alloc(), *now = rtnl_link_alloc();
	int r = -NLE_NOMEM;

	if (was && now) {
		rtnl_link_set_ifindex(was, links->bridge);
		rtnl_link_set_ifindex(now, links->bridge);
		rtnl_link_set_ifalias(now, OWN_ALIAS);
		r = rtnl_link_change(links->sock, was, now, 0);
	}
	return r < 0 ? explain(r, "sign the bridge", name, err) : 0;
}

/* The card of a bridge that we make comes from its address, as a box's does. */
static struct nsbox_mac bridge_mac(const struct nsbox_links *links)
{
	const struct nsbox_lease as_lease = { .address = links->gateway4,
					      .address6 = links->gateway6 };

	return nsbox_links_mac(&as_lease);
}

/* Signed, or made by us a moment before we were killed. */
static bool is_own(const struct nsbox_links *links, struct rtnl_link *link)
{
	const char *alias = rtnl_link_get_ifalias(link);
	const struct nsbox_mac mac = bridge_mac(links);
	struct nl_addr *addr = rtnl_link_get_addr(link);

	return (alias && strcmp(alias, OWN_ALIAS) == 0) ||
	       (addr && nl_addr_get_len(addr) == sizeof(mac.bytes) &&
		memcmp(nl_addr_get_binary_addr(addr), mac.bytes, sizeof(mac.bytes)) == 0);
}

static int make_bridge(struct nsbox_links *links, const struct nsbox_network *network,
		       struct nsbox_error *err)
{
	cleanup_nl(rtnl_link) struct rtnl_link *link = rtnl_link_bridge_alloc();
	const struct nsbox_mac mac = bridge_mac(links);
	cleanup_nl(nl_addr) struct nl_addr *addr = nl_addr_build(AF_LLC, mac.bytes, sizeof(mac.bytes));
	int r = -NLE_NOMEM;

	if (link && addr) {
		rtnl_link_set_name(link, network->bridge);
		/* One that stays: else it is the lowest of its ports', which come and go. */
		rtnl_link_set_addr(link, addr);
		rtnl_link_set_mtu(link, links->mtu);
		r = rtnl_link_add(links->sock, link, NLM_F_CREATE | NLM_F_EXCL);
	}
	if (r < 0)
		return explain(r, "make the bridge", network->bridge, err);
	links->bridge = (int)if_nametoindex(network->bridge);
	links->own = true;
	set_ipv6(links, network->bridge, "accept_ra", "0");
	set_ipv6(links, network->bridge, "addr_gen_mode", "1");
	if (!network->subnet6.address.family)
		set_ipv6(links, network->bridge, "disable_ipv6", "1");
	return sign_bridge(links, network->bridge, err);
}

/* 1: there was something to do. */
static int address_bridge(struct nsbox_links *links, const struct nsbox_network *network,
			  struct nsbox_error *err)
{
	const struct nsbox_address *six = &links->gateway6;
	int four_is_new = 0, six_is_new = 0, r;

	if (links->gateway4.family)
		four_is_new = set_address(links->sock, links->bridge, &links->gateway4,
					  network->subnet.length, err);
	if (four_is_new < 0)
		return four_is_new;
	if (six->family)
		six_is_new = set_address(links->sock, links->bridge, six, network->subnet6.length, NULL);
	/* The switch is touched only if it must be: see is_needed() in forward.c. */
	if (six_is_new < 0) {
		set_ipv6(links, network->bridge, "disable_ipv6", "0");
		six_is_new = set_address(links->sock, links->bridge, six, network->subnet6.length, err);
	}
	if (six_is_new < 0)
		return six_is_new;
	r = set_up(links->sock, links->bridge, network->bridge, err);
	return r < 0 ? r : four_is_new || six_is_new;
}

/* An address of the host. */
struct held {
	struct rtnl_addr *addr;
	int link;
	struct nsbox_address address;
	struct nsbox_prefix subnet;
};

static bool read_held(struct nl_object *object, struct held *ret)
{
	struct rtnl_addr *addr = (struct rtnl_addr *)object;
	struct nl_addr *local = rtnl_addr_get_local(addr);
	size_t size = nsbox_addr_size(rtnl_addr_get_family(addr));
	unsigned int length = (unsigned int)rtnl_addr_get_prefixlen(addr);

	if (!local || size == 0 || nl_addr_get_len(local) != size || length > 8 * size)
		return false;
	*ret = (struct held){ .addr = addr, .link = rtnl_addr_get_ifindex(addr),
			      .address.family = rtnl_addr_get_family(addr) };
	memcpy(ret->address.bytes, nl_addr_get_binary_addr(local), size);
	ret->subnet = (struct nsbox_prefix){ .address = ret->address, .length = length };
	for (size_t bit = length; bit < 8 * size; bit++)
		ret->subnet.address.bytes[bit / 8] &= (unsigned char)~(0x80 >> bit % 8);
	return true;
}

/* The subnet of @network that has the same addresses; NULL: neither. */
static const struct nsbox_prefix *same_subnet(const struct nsbox_network *network,
					      const struct held *held)
{
	const struct nsbox_prefix *subnet = held->address.family == AF_INET ? &network->subnet :
									    &network->subnet6;

	return subnet->length == held->subnet.length &&
	       nsbox_addr_same(&subnet->address, &held->subnet.address) ? subnet : NULL;
}

/* Is there a box with an address in @subnet? Then that is its way out. */
static bool has_boxes(const struct nsbox_ledger *ledger, const struct nsbox_prefix *subnet)
{
	for (size_t i = 0; i < ledger->n; i++) {
		const struct nsbox_lease *lease = &ledger->leases[i];

		if (!nsbox_lease_is_free(lease) &&
		    (nsbox_addr_number(subnet, &lease->address) ||
		     nsbox_addr_number(subnet, &lease->address6)))
			return true;
	}
	return false;
}

/*
 * The network's subnet is on another link: of a bridge that we made for another
 * policy, and that no box needs any more, it is taken; else the host would not
 * know which of the two leads to the box.
 */
static int take_over(struct nsbox_links *links, const struct nsbox_network *network,
		     const struct held *held, const struct nsbox_ledger *ledger,
		     struct nsbox_error *err)
{
	cleanup_nl(rtnl_link) struct rtnl_link *link = NULL;
	const char *alias, *name = "?";

	if (rtnl_link_get_kernel(links->sock, held->link, NULL, &link) == 0) {
		alias = rtnl_link_get_ifalias(link);
		name = rtnl_link_get_name(link);
		if (alias && strcmp(alias, OWN_ALIAS) == 0 && !has_boxes(ledger, &held->subnet) &&
		    rtnl_addr_delete(links->sock, held->addr, 0) == 0)
			return 0;
	}
	return nsbox_error_say(err, EADDRINUSE, "the subnet %s/%u of [network %s] is that of the link "
			       "%s: end the boxes there, or write another subnet",
			       nsbox_addr_text(&held->subnet.address).s, held->subnet.length,
			       network->name, name);
}

/* Of the bridge: after a refusal what it has just got, else what is not @network's and no box needs. */
static void take_addresses(struct nsbox_links *links, const struct nsbox_network *network,
			   bool refused, const struct nsbox_ledger *ledger,
			   struct nl_cache *addresses)
{
	struct held held;

	for (struct nl_object *o = nl_cache_get_first(addresses); o; o = nl_cache_get_next(o)) {
		if (!read_held(o, &held) || held.link != links->bridge ||
		    refused != (same_subnet(network, &held) != NULL))
			continue;
		if (refused || !has_boxes(ledger, &held.subnet))
			(void)rtnl_addr_delete(links->sock, held.addr, 0);
	}
}

static int read_addresses(struct nsbox_links *links, struct nl_cache **ret, struct nsbox_error *err)
{
	int r = rtnl_addr_alloc_cache(links->sock, ret);

	return r < 0 ? explain(r, "the host's", "addresses", err) : 0;
}

/* After a bridge of ours got an address: another link may have that, and the bridge one that was before. */
static int settle_addresses(struct nsbox_links *links, const struct nsbox_network *network,
			    const struct nsbox_ledger *ledger, struct nsbox_error *err)
{
	cleanup_nl(nl_cache) struct nl_cache *addresses = NULL;
	int r = read_addresses(links, &addresses, err);
	struct held held;

	if (r < 0)
		return r;
	for (struct nl_object *o = nl_cache_get_first(addresses); o && r == 0;
	     o = nl_cache_get_next(o))
		if (read_held(o, &held) && held.link != links->bridge && same_subnet(network, &held))
			r = take_over(links, network, &held, ledger, err);
	take_addresses(links, network, r < 0, ledger, addresses);
	return r;
}

/* What the administrator gave his bridge in @subnet. */
static int find_gateway(struct nsbox_links *links, const struct nsbox_prefix *subnet,
			const char *bridge, struct nsbox_address *ret, struct nsbox_error *err)
{
	cleanup_nl(nl_cache) struct nl_cache *addresses = NULL;
	int r = read_addresses(links, &addresses, err);
	struct held held;

	if (r < 0)
		return r;
	for (struct nl_object *o = nl_cache_get_first(addresses); o; o = nl_cache_get_next(o)) {
		if (!read_held(o, &held) || held.link != links->bridge ||
		    !nsbox_addr_number(subnet, &held.address))
			continue;
		*ret = held.address;
		return 0;
	}
	return nsbox_error_say(err, EADDRNOTAVAIL, "the bridge %s has no address in %s/%u: give it "
			       "one, or name another bridge", bridge,
			       nsbox_addr_text(&subnet->address).s, subnet->length);
}

static int set_mtu(struct nsbox_links *links, const char *name, struct nsbox_error *err)
{
	cleanup_nl(rtnl_link) struct rtnl_link *was = rtnl_link_alloc(), *now = rtnl_link_alloc();
	int r = -NLE_NOMEM;

	if (was && now) {
		rtnl_link_set_ifindex(was, links->bridge);
		rtnl_link_set_ifindex(now, links->bridge);
		rtnl_link_set_mtu(now, links->mtu);
		r = rtnl_link_change(links->sock, was, now, 0);
	}
	return r < 0 ? explain(r, "the MTU of", name, err) : 0;
}

static int furnish_bridge(struct nsbox_links *links, const struct nsbox_network *network,
			  const struct nsbox_ledger *ledger, struct nsbox_error *err)
{
	int r = address_bridge(links, network, err);

	return r > 0 ? settle_addresses(links, network, ledger, err) : r;
}

static int use_bridge(struct nsbox_links *links, const struct nsbox_network *network,
		      struct rtnl_link *link, const struct nsbox_ledger *ledger,
		      struct nsbox_error *err)
{
	int r = 0;

	links->own = is_own(links, link);
	if (links->own) {
		if (rtnl_link_get_mtu(link) != links->mtu)
			r = set_mtu(links, network->bridge, err);
		return r < 0 ? r : furnish_bridge(links, network, ledger, err);
	}
	if (network->subnet.address.family)
		r = find_gateway(links, &network->subnet, network->bridge, &links->gateway4, err);
	if (r == 0 && network->subnet6.address.family)
		r = find_gateway(links, &network->subnet6, network->bridge, &links->gateway6, err);
	return r;
}

/* The link of that name; NULL: there is none. */
static int find_link(struct nsbox_links *links, const struct nsbox_network *network,
		     struct rtnl_link **ret, struct nsbox_error *err)
{
	int r = rtnl_link_get_kernel(links->sock, 0, network->bridge, ret);
	const char *type;

	if (r == -NLE_NODEV || r == -NLE_OBJ_NOTFOUND)
		return 0;
	if (r < 0)
		return explain(r, "the bridge", network->bridge, err);
	type = rtnl_link_get_type(*ret);
	links->bridge = rtnl_link_get_ifindex(*ret);
	return type && strcmp(type, "bridge") == 0 ? 0 :
	       nsbox_error_say(err, EEXIST, "%s is there and is no bridge: name another in "
			       "[network %s]", network->bridge, network->name);
}

int nsbox_links_bridge(struct nsbox_links *links, const struct nsbox_network *network,
		       const struct nsbox_ledger *ledger, struct nsbox_error *err)
{
	cleanup_nl(rtnl_link) struct rtnl_link *link = NULL;
	int r = find_link(links, network, &link, err);

	links->gateway4 = nsbox_addr_nth(&network->subnet, 1);
	links->gateway6 = nsbox_addr_nth(&network->subnet6, 1);
	links->mtu = network->mtu ? network->mtu : host_mtu();
	if (r < 0)
		return r;
	if (link)
		return use_bridge(links, network, link, ledger, err);
	r = make_bridge(links, network, err);
	return r < 0 ? r : furnish_bridge(links, network, ledger, err);
}

/* The kernel's answer about all links; see RTM_GETNETCONF in rtnetlink(7). */
static int see_forwarding(struct nl_msg *msg, void *data)
{
	struct nlattr *a = nlmsg_find_attr(nlmsg_hdr(msg), sizeof(struct netconfmsg),
					   NETCONFA_FORWARDING);

	if (a)
		*(int *)data = nla_get_u32(a) != 0;
	return NL_OK;
}

int nsbox_links_forwards(struct nsbox_links *links, int family)
{
	const struct netconfmsg header = { .ncm_family = (uint8_t)family };
	cleanup_nl(nl_msg) struct nl_msg *msg = nlmsg_alloc_simple(RTM_GETNETCONF, NLM_F_REQUEST);
	int on = -1;

	if (msg && nlmsg_append(msg, (void *)(uintptr_t)&header, sizeof(header), NLMSG_ALIGNTO) == 0 &&
	    nla_put_u32(msg, NETCONFA_IFINDEX, (uint32_t)NETCONFA_IFINDEX_ALL) == 0 &&
	    nl_socket_modify_cb(links->sock, NL_CB_VALID, NL_CB_CUSTOM, see_forwarding, &on) == 0) {
		if (nl_send_auto(links->sock, msg) >= 0 && nl_recvmsgs_default(links->sock) >= 0)
			(void)nl_wait_for_ack(links->sock);
		(void)nl_socket_modify_cb(links->sock, NL_CB_VALID, NL_CB_DEFAULT, NULL, NULL);
	}
	return on;
}

/*
 * Both ends at once, one of them in the box from its first moment. The port gets
 * a card address of ours too: one that the kernel has drawn udev would change.
 */
static int make_pair(struct nsbox_links *links, const char *name, const struct nsbox_mac *mac,
		     int ns_fd, struct nsbox_error *err)
{
	cleanup_nl(nl_addr) struct nl_addr *addr = nl_addr_build(AF_LLC, mac->bytes,
								  sizeof(mac->bytes));
	const unsigned char *m = mac->bytes, port_mac[6] = { m[0], 0x6f, m[2], m[3], m[4], m[5] };
	cleanup_nl(nl_addr) struct nl_addr *port = nl_addr_build(AF_LLC, port_mac, sizeof(port_mac));
	struct rtnl_link *link = rtnl_link_veth_alloc(), *peer;
	int r = -NLE_NOMEM;

	if (link && addr && port) {
		peer = rtnl_link_veth_get_peer(link);
		rtnl_link_set_name(link, name);
		rtnl_link_set_addr(link, port);
		rtnl_link_set_mtu(link, links->mtu);
		rtnl_link_set_name(peer, INSIDE);
		rtnl_link_set_mtu(peer, links->mtu);
		rtnl_link_set_addr(peer, addr);
		rtnl_link_set_ns_fd(peer, ns_fd);
		rtnl_link_put(peer);
		r = rtnl_link_add(links->sock, link, NLM_F_CREATE | NLM_F_EXCL);
	}
	rtnl_link_veth_release(link);
	return r < 0 ? explain(r, "make the link", name, err) : 0;
}

/*
 * What a port of a bridge lets through (ip-link(8), bridge_slave). libnl does not
 * know all of it. Nothing is learned: which card is behind the port we say.
 * An isolated port sees no broadcast, for whom could it be meant.
 */
static int set_port(struct nsbox_links *links, int port, const char *name, bool isolate,
		    struct nsbox_error *err)
{
	const struct ifinfomsg info = { .ifi_family = AF_BRIDGE, .ifi_index = port };
	cleanup_nl(nl_msg) struct nl_msg *msg = nlmsg_alloc_simple(RTM_SETLINK, NLM_F_REQUEST);
	struct nlattr *nest;
	int r = -NLE_NOMEM;

	isolate = isolate && nsbox_defends(isolate);
	if (msg && nlmsg_append(msg, (void *)(uintptr_t)&info, sizeof(info), NLMSG_ALIGNTO) == 0) {
		nest = nla_nest_start(msg, IFLA_PROTINFO | NLA_F_NESTED);
		if (nest && nla_put_u8(msg, IFLA_BRPORT_ISOLATED, isolate) == 0 &&
		    nla_put_u8(msg, IFLA_BRPORT_LEARNING, 0) == 0 &&
		    nla_put_u8(msg, IFLA_BRPORT_UNICAST_FLOOD, 0) == 0 &&
		    nla_put_u8(msg, IFLA_BRPORT_MCAST_FLOOD, !isolate) == 0 &&
		    nla_put_u8(msg, IFLA_BRPORT_BCAST_FLOOD, !isolate) == 0) {
			(void)nla_nest_end(msg, nest);
			r = nl_send_sync(links->sock, msg);
			msg = NULL;	/* nl_send_sync() has freed it */
		}
	}
	return r < 0 ? explain(r, "the port", name, err) : 0;
}

static int enslave(struct nsbox_links *links, int port, const char *name, struct nsbox_error *err)
{
	int r = rtnl_link_enslave_ifindex(links->sock, links->bridge, port);

	return r < 0 ? explain(r, "put into the bridge", name, err) : 0;
}

/* The card behind the port, in the bridge's table (@address NULL), or who has an address. */
static int set_neighbour(struct nsbox_links *links, int link, const struct nsbox_address *address,
			 const struct nsbox_mac *mac, struct nsbox_error *err)
{
	cleanup_nl(rtnl_neigh) struct rtnl_neigh *n = rtnl_neigh_alloc();
	cleanup_nl(nl_addr) struct nl_addr *card = nl_addr_build(AF_LLC, mac->bytes,
								  sizeof(mac->bytes));
	cleanup_nl(nl_addr) struct nl_addr *dst = address ? as_nl(address) : NULL;
	int r = -NLE_NOMEM;

	if (n && card && (dst || !address)) {
		rtnl_neigh_set_ifindex(n, link);
		rtnl_neigh_set_lladdr(n, card);
		rtnl_neigh_set_state(n, address ? NUD_PERMANENT : NUD_NOARP);
		if (address)
			(void)rtnl_neigh_set_dst(n, dst);
		else
			rtnl_neigh_set_family(n, AF_BRIDGE);
		if (!address)
			rtnl_neigh_set_flags(n, NTF_MASTER);
		r = rtnl_neigh_add(links->sock, n, NLM_F_CREATE | NLM_F_REPLACE);
	}
	return r < 0 ? explain(r, "the neighbour",
			       address ? nsbox_addr_text(address).s : "behind a port", err) : 0;
}

static void forget_neighbour(struct nsbox_links *links, int link,
			     const struct nsbox_address *address)
{
	cleanup_nl(rtnl_neigh) struct rtnl_neigh *n = rtnl_neigh_alloc();
	cleanup_nl(nl_addr) struct nl_addr *dst = as_nl(address);

	if (!n || !dst || !address->family)
		return;
	rtnl_neigh_set_ifindex(n, link);
	(void)rtnl_neigh_set_dst(n, dst);
	(void)rtnl_neigh_delete(links->sock, n, 0);
}

/* What the host knows of a box it knows from us, whatever somebody answers to ARP. */
static int set_neighbours(struct nsbox_links *links, int port, const struct nsbox_lease *lease,
			  struct nsbox_error *err)
{
	struct nsbox_mac mac = nsbox_links_mac(lease);
	int r = set_neighbour(links, port, NULL, &mac, err);

	if (r == 0 && lease->address.family && nsbox_defends(neighbour))
		r = set_neighbour(links, links->bridge, &lease->address, &mac, err);
	if (r == 0 && lease->address6.family && nsbox_defends(neighbour))
		r = set_neighbour(links, links->bridge, &lease->address6, &mac, err);
	return r;
}

/* Bits in a second as the kernel's token bucket takes them; a tenth of a second of packets waits. */
static int limit_download(struct nsbox_links *links, int port, const char *name,
			  unsigned long long rate, struct nsbox_error *err)
{
	cleanup_nl(rtnl_qdisc) struct rtnl_qdisc *q = rtnl_qdisc_alloc();
	int bytes = (int)(rate / 8), burst = bytes / 50, r = -NLE_NOMEM;

	if (q) {
		rtnl_tc_set_ifindex(TC_CAST(q), port);
		rtnl_tc_set_parent(TC_CAST(q), TC_H_ROOT);
		r = rtnl_tc_set_kind(TC_CAST(q), "tbf");
	}
	if (r == 0) {
		rtnl_qdisc_tbf_set_rate(q, bytes, burst > 65536 ? burst : 65536, 0);
		r = rtnl_qdisc_tbf_set_limit_by_latency(q, 100000);
	}
	if (r == 0)
		r = rtnl_qdisc_add(links->sock, q, NLM_F_CREATE | NLM_F_REPLACE);
	return r < 0 ? explain(r, "limit the bandwidth of", name, err) : 0;
}

static int set_default_route(struct nl_sock *sock, int link, const struct nsbox_address *gateway,
			     struct nsbox_error *err)
{
	cleanup_nl(rtnl_route) struct rtnl_route *route = rtnl_route_alloc();
	struct rtnl_nexthop *hop = rtnl_route_nh_alloc();
	cleanup_nl(nl_addr) struct nl_addr *via = as_nl(gateway);
	cleanup_nl(nl_addr) struct nl_addr *all = nl_addr_build(gateway->family, NULL, 0);
	int r = -NLE_NOMEM;

	if (route && hop && via && all) {
		(void)rtnl_route_set_family(route, (uint8_t)gateway->family);
		nl_addr_set_prefixlen(all, 0);
		(void)rtnl_route_set_dst(route, all);
		rtnl_route_nh_set_ifindex(hop, link);
		rtnl_route_nh_set_gateway(hop, via);
		rtnl_route_add_nexthop(route, hop);	/* the route's from now on */
		r = rtnl_route_add(sock, route, 0);
	}
	return r < 0 ? explain(r, "the default route by", nsbox_addr_text(gateway).s, err) : 0;
}

/* Runs in the box's network namespace, with the host's privileges. */
static int furnish(struct nsbox_links *links, const struct nsbox_network *network,
		   const struct nsbox_lease *lease, struct nsbox_error *err)
{
	cleanup_nl(nl_sock) struct nl_sock *sock = connect_socket(err);
	int link = (int)if_nametoindex(INSIDE), r = 0;

	if (!sock)
		return -EIO;
	/* ping(8) without a raw socket: setuid and file capabilities do not act in a box. */
	set_switch(links, "sys/net/ipv4/ping_group_range", "0 2147483647");
	/* No other address than the leased one, and no router but ours. */
	set_ipv6(links, INSIDE, "accept_ra", "0");
	set_ipv6(links, INSIDE, "addr_gen_mode", "1");
	if (!lease->address6.family)
		set_ipv6(links, INSIDE, "disable_ipv6", "1");
	if (lease->address.family)
		r = set_address(sock, link, &lease->address, network->subnet.length, err);
	if (r >= 0 && lease->address6.family)
		r = set_address(sock, link, &lease->address6, network->subnet6.length, err);
	if (r >= 0)
		r = set_up(sock, link, INSIDE, err);
	if (r == 0 && lease->address.family)
		r = set_default_route(sock, link, &links->gateway4, err);
	if (r == 0 && lease->address6.family)
		r = set_default_route(sock, link, &links->gateway6, err);
	return r;
}

static int furnish_inside(struct nsbox_links *links, const struct nsbox_network *network,
			  const struct nsbox_lease *lease, int ns_fd, struct nsbox_error *err)
{
	cleanup_close int host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	int r;

	if (host < 0 || setns(ns_fd, CLONE_NEWNET) < 0)
		return nsbox_error_set(err, errno, "enter the box's network namespace");
	r = furnish(links, network, lease, err);
	if (setns(host, CLONE_NEWNET) < 0)
		return nsbox_error_set(err, errno, "leave the box's network namespace");
	return r;
}

int nsbox_links_add(struct nsbox_links *links, const struct nsbox_net_request *request,
		    const struct nsbox_lease *lease, int ns_fd, struct nsbox_error *err)
{
	const struct nsbox_mac mac = nsbox_links_mac(lease);
	char name[NSBOX_LINK_MAX];
	int r, port;

	nsbox_links_name(request->box, name);
	r = make_pair(links, name, &mac, ns_fd, err);
	if (r < 0)
		return r;
	port = (int)if_nametoindex(name);
	set_ipv6(links, name, "disable_ipv6", "1");	/* the port itself has no address */
	r = enslave(links, port, name, err);
	if (r == 0)
		r = set_port(links, port, name, request->network.isolate, err);
	if (r == 0)
		r = set_neighbours(links, port, lease, err);
	if (r == 0 && request->rate_down)
		r = limit_download(links, port, name, request->rate_down, err);
	if (r == 0)
		r = set_up(links->sock, port, name, err);
	return r < 0 ? r : furnish_inside(links, &request->network, lease, ns_fd, err);
}

int nsbox_links_remove(struct nsbox_links *links, const char *bridge,
		       const struct nsbox_lease *lease, struct nsbox_error *err)
{
	cleanup_nl(rtnl_link) struct rtnl_link *link = rtnl_link_alloc();
	int index = (int)if_nametoindex(bridge), r = -NLE_NOMEM;
	char name[NSBOX_LINK_MAX];

	if (index) {
		forget_neighbour(links, index, &lease->address);
		forget_neighbour(links, index, &lease->address6);
	}
	nsbox_links_name(lease->box, name);
	if (link) {
		rtnl_link_set_name(link, name);
		r = rtnl_link_delete(links->sock, link);
	}
	return r < 0 && r != -NLE_NODEV && r != -NLE_OBJ_NOTFOUND ?
	       explain(r, "remove the link", name, err) : 0;
}
