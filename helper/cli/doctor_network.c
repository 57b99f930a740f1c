/* SPDX-License-Identifier: MIT */
/*
 * What net = bridge needs of the host, and what of the host's own rules stands
 * in its way. The rules of others are read by netlink and never changed.
 */
#include "doctor.h"
#include "cleanup.h"
#include "file.h"
#include "nft.h"
#include "request.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/if_bridge.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define OURS "nsbox"

/* ------------------------------------------------------------ others' rules */

enum { CHAINS_MAX = 8 };

struct blocker {
	unsigned int family;
	char table[64], chain[64];
	bool named;		/* a rule of that table names the bridge: the line is written */
};

struct firewall {
	const char *bridge;
	bool ours, docker, ufw, libvirt;
	struct blocker of_libvirt;	/* named: a rule of its rejects what goes to or from the bridge */
	struct blocker blockers[CHAINS_MAX];
	size_t n;
};

static const char *family_word(unsigned int family)
{
	return family == NFPROTO_IPV4 ? "ip" : family == NFPROTO_IPV6 ? "ip6" : "inet";
}

/* Of firewalld the policy is accept, and the last rule rejects. */
static bool drops_the_rest(const struct nlmsghdr *h, const char *table, const char *chain)
{
	const struct nlattr *policy = nsbox_nft_attribute(h, NFTA_CHAIN_POLICY);

	return (policy && nsbox_nft_number(policy) == NF_DROP) ||
	       (strcmp(table, "firewalld") == 0 && strcmp(chain, "filter_FORWARD") == 0);
}

/* Of its networks: by nftables, and by iptables. */
static bool is_libvirts(const char *chain)
{
	return !strcmp(chain, "guest_input") || !strcmp(chain, "guest_output") ||
	       !strcmp(chain, "LIBVIRT_FWI") || !strcmp(chain, "LIBVIRT_FWO");
}

static bool holds(const struct nlmsghdr *h, const void *what, size_t size)
{
	return memmem(h, h->nlmsg_len, what, size) != NULL;
}

/* By the link's name, or, as libvirt does with nftables, by its number. */
static bool names_bridge(const struct nlmsghdr *h, const char *bridge)
{
	const struct {
		struct nlattr a;
		uint32_t index;
	} value = { { sizeof(value), NFTA_DATA_VALUE }, if_nametoindex(bridge) };

	return holds(h, bridge, strlen(bridge) + 1) ||
	       (value.index && holds(h, &value, sizeof(value)));
}

static void see_chain(const struct nlmsghdr *h, void *data)
{
	struct firewall *f = data;
	const unsigned int family = nsbox_nft_family(h);
	const char *table = nsbox_nft_text(nsbox_nft_attribute(h, NFTA_CHAIN_TABLE));
	const char *chain = nsbox_nft_text(nsbox_nft_attribute(h, NFTA_CHAIN_NAME));
	const char *type = nsbox_nft_text(nsbox_nft_attribute(h, NFTA_CHAIN_TYPE));
	const struct nlattr *hook = nsbox_nft_attribute(h, NFTA_CHAIN_HOOK), *number;

	f->ours |= family == NFPROTO_INET && !strcmp(table, OURS) && !strcmp(chain, "forward");
	f->docker |= !strcmp(chain, "DOCKER-USER");
	f->ufw |= !strcmp(chain, "ufw-user-forward");
	f->libvirt |= is_libvirts(chain);
	if (!hook || !strcmp(table, OURS) || strcmp(type, "filter") != 0 || f->n == CHAINS_MAX ||
	    (family != NFPROTO_IPV4 && family != NFPROTO_IPV6 && family != NFPROTO_INET))
		return;
	number = nsbox_nft_inner(hook, NFTA_HOOK_HOOKNUM);
	if (nsbox_nft_number(number) != NF_INET_FORWARD || !drops_the_rest(h, table, chain))
		return;
	f->blockers[f->n].family = family;
	(void)snprintf(f->blockers[f->n].table, sizeof(f->blockers[f->n].table), "%s", table);
	(void)snprintf(f->blockers[f->n].chain, sizeof(f->blockers[f->n].chain), "%s", chain);
	f->n++;
}

static void see_libvirts_rule(struct firewall *f, const struct nlmsghdr *h, unsigned int family,
			      const char *table)
{
	const char *chain = nsbox_nft_text(nsbox_nft_attribute(h, NFTA_RULE_CHAIN));
	struct blocker *b = &f->of_libvirt;

	if (b->named || !is_libvirts(chain) || !names_bridge(h, f->bridge) ||
	    (!holds(h, "reject", sizeof("reject")) && !holds(h, "REJECT", sizeof("REJECT"))))
		return;
	*b = (struct blocker){ .family = family, .named = true };
	(void)snprintf(b->table, sizeof(b->table), "%s", table);
	(void)snprintf(b->chain, sizeof(b->chain), "%s", chain);
}

/* Its rules reject at its own bridges what it has not let through; boxes are no guests of its. */
static void say_libvirt(struct nsbox_doctor *d, const struct firewall *f, const char *network)
{
	const struct blocker *b = &f->of_libvirt;

	if (!b->named) {
		nsbox_find(d, NSBOX_OK, "network.libvirt", "libvirt's rules are not about %s",
			   f->bridge);
		return;
	}
	nsbox_find(d, NSBOX_WARNING, "network.libvirt", "libvirt's chain %s %s %s rejects at %s what comes "
		   "to boxes from outside, published ports too", family_word(b->family), b->table,
		   b->chain, f->bridge);
	nsbox_find_fix(d, "write another bridge in [network %s]", network);
}

static void see_rule(const struct nlmsghdr *h, void *data)
{
	struct firewall *f = data;
	const unsigned int family = nsbox_nft_family(h);
	const char *table = nsbox_nft_text(nsbox_nft_attribute(h, NFTA_RULE_TABLE));

	for (size_t i = 0; i < f->n; i++)
		if (f->blockers[i].family == family && !strcmp(f->blockers[i].table, table) &&
		    holds(h, f->bridge, strlen(f->bridge) + 1))
			f->blockers[i].named = true;
	see_libvirts_rule(f, h, family, table);
}

static void say_line(struct nsbox_doctor *d, const struct firewall *f, const struct blocker *b)
{
	const char *family = family_word(b->family), *tool = b->family == NFPROTO_IPV6 ? "ip6tables" :
							     "iptables";

	if (strcmp(b->table, "firewalld") == 0)
		nsbox_find_fix(d, "firewall-cmd --permanent --zone=trusted --add-interface=%s && "
			       "firewall-cmd --reload", f->bridge);
	else if (f->ufw && b->family != NFPROTO_INET)
		nsbox_find_fix(d, "ufw route allow in on %s && ufw route allow out on %s", f->bridge,
			       f->bridge);
	else if (f->docker && b->family == NFPROTO_IPV4)
		nsbox_find_fix(d, "%s -I DOCKER-USER -i %s -j ACCEPT && %s -I DOCKER-USER -o %s -j ACCEPT",
			       tool, f->bridge, tool, f->bridge);
	else
		nsbox_find_fix(d, "nft insert rule %s %s %s iifname %s accept && "
			       "nft insert rule %s %s %s oifname %s accept", family, b->table, b->chain,
			       f->bridge, family, b->table, b->chain, f->bridge);
}

/*
 * What any chain drops is dropped, whatever ours accepts. To accept there opens
 * nothing: ours is asked too.
 */
static void check_firewall(struct nsbox_doctor *d, const struct nsbox_network *network,
			   bool *ret_ours)
{
	const char *bridge = network->bridge;
	struct firewall f = { .bridge = bridge };

	if (nsbox_nft_ask(NFT_MSG_GETCHAIN, true, see_chain, &f) != 0)
		return;		/* said already */
	*ret_ours = f.ours;
	if (f.n || f.libvirt)
		(void)nsbox_nft_ask(NFT_MSG_GETRULE, true, see_rule, &f);
	if (f.libvirt)
		say_libvirt(d, &f, network->name);
	for (size_t i = 0; i < f.n; i++) {
		const struct blocker *b = &f.blockers[i];

		if (b->named) {
			nsbox_find(d, NSBOX_OK, "network.firewall", "the chain %s %s %s drops what it "
				   "does not know, and knows %s", family_word(b->family), b->table,
				   b->chain, bridge);
			continue;
		}
		/* Of firewalld's zones some forward between their links, as Debian's default does. */
		nsbox_find(d, NSBOX_WARNING, "network.firewall", "the chain %s %s %s drops what boxes "
			   "on %s send and receive%s", family_word(b->family), b->table, b->chain, bridge,
			   strcmp(b->table, "firewalld") == 0 ? ", unless its zone forwards that" : "");
		say_line(d, &f, b);
	}
	if (!f.n)
		nsbox_find(d, NSBOX_OK, "network.firewall", "no other chain stops what is forwarded "
			   "by %s", bridge);
}

/* ------------------------------------------------------------ what is needed */

/* Both in a network namespace of their own: see nsbox_doctor_try(). */
static int probe_bridge(const char *name)
{
	cleanup_close int sock = -EBADF;

	if (unshare(CLONE_NEWNET) < 0)
		return errno;
	sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	return sock < 0 || ioctl(sock, SIOCBRADDBR, name) < 0 ? errno : 0;
}

static int probe_nft(const char *unused)
{
	(void)unused;
	if (unshare(CLONE_NEWNET) < 0)
		return errno;
	return nsbox_nft_ask(NFT_MSG_GETGEN, false, NULL, NULL);
}

static void check_needs(struct nsbox_doctor *d)
{
	int r = nsbox_doctor_try(probe_bridge, "nsboxtest");

	if (access(NSBOX_NET_PATH, X_OK) < 0) {
		nsbox_find(d, NSBOX_ERROR, "network.program", "%s: %s", NSBOX_NET_PATH, strerror(errno));
		nsbox_find_fix(d, "install nsbox again");
	} else {
		nsbox_find(d, NSBOX_OK, "network.program", "%s is there", NSBOX_NET_PATH);
	}
	nsbox_find(d, r ? NSBOX_ERROR : NSBOX_OK, "network.bridge", "bridges: %s",
		   r ? strerror(r) : "the kernel makes them");
	if (r)
		nsbox_find_fix(d, "modprobe bridge");
	r = nsbox_doctor_try(probe_nft, NULL);
	nsbox_find(d, r ? NSBOX_ERROR : NSBOX_OK, "network.nftables", "nf_tables: %s",
		   r ? strerror(r) : "the kernel has it");
	if (r)
		nsbox_find_fix(d, "modprobe nf_tables");
}

static int setting(const char *path)
{
	char text[16];

	return nsbox_file_read(path, text, sizeof(text), NULL) > 0 ? text[0] - '0' : -1;
}

static void check_settings(struct nsbox_doctor *d)
{
	int four = setting("/proc/sys/net/ipv4/ip_forward");
	int six = setting("/proc/sys/net/ipv6/conf/all/forwarding");
	int filter = setting("/proc/sys/net/ipv4/conf/all/rp_filter");

	nsbox_find(d, NSBOX_OK, "network.forwarding", "IPv4 %s, IPv6 %s; nsbox turns on what is off "
		   "with the first box, and off again after the last",
		   four == 1 ? "on" : "off", six == 1 ? "on" : "off");
	/* Strict is right for a bridge: who is behind it is routed there. */
	nsbox_find(d, NSBOX_OK, "network.rp_filter", "rp_filter is %s; the source of what boxes send "
		   "is checked at their ports besides", filter == 1 ? "strict" : filter == 2 ? "loose" :
		   "off");
}

static bool overlaps(const struct nsbox_prefix *subnet, const struct sockaddr *address,
		     const struct sockaddr *mask)
{
	const bool six = address->sa_family == AF_INET6;
	const unsigned char *a = six ? ((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr :
		(const unsigned char *)&((const struct sockaddr_in *)(const void *)address)->sin_addr;
	const unsigned char *m = six ? ((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr.s6_addr :
		(const unsigned char *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr;
	unsigned int bits = 0;

	while (bits < (six ? 128U : 32U) && m[bits / 8] & 0x80 >> bits % 8)
		bits++;
	bits = bits < subnet->length ? bits : subnet->length;
	for (unsigned int i = 0; i < bits; i++)
		if ((a[i / 8] ^ subnet->address.bytes[i / 8]) & 0x80 >> i % 8)
			return false;
	return bits > 0;
}

/* The host would not know which of the two links leads to an address of both. */
static void check_subnet(struct nsbox_doctor *d, const struct nsbox_network *n,
			 const struct nsbox_prefix *subnet, const struct ifaddrs *links)
{
	char text[INET6_ADDRSTRLEN] = "";

	if (!subnet->address.family)
		return;
	(void)inet_ntop(subnet->address.family, subnet->address.bytes, text, sizeof(text));
	for (const struct ifaddrs *l = links; l; l = l->ifa_next) {
		if (!l->ifa_addr || !l->ifa_netmask || strcmp(l->ifa_name, n->bridge) == 0 ||
		    l->ifa_addr->sa_family != subnet->address.family ||
		    !overlaps(subnet, l->ifa_addr, l->ifa_netmask))
			continue;
		nsbox_find(d, NSBOX_ERROR, "network.subnet", "the subnet %s/%u of [network %s] overlaps "
			   "that of the host's link %s", text, subnet->length, n->name, l->ifa_name);
		nsbox_find_fix(d, "write another subnet%s in [network %s]",
			       subnet->address.family == AF_INET6 ? "6" : "", n->name);
		return;
	}
	nsbox_find(d, NSBOX_OK, "network.subnet", "%s/%u is nobody's but [network %s]'s", text,
		   subnet->length, n->name);
}

static void check_link(struct nsbox_doctor *d, const struct nsbox_network *n)
{
	char path[128], alias[64] = "";
	struct stat st;

	(void)snprintf(path, sizeof(path), "/sys/class/net/%s", n->bridge);
	if (stat(path, &st) < 0) {
		nsbox_find(d, NSBOX_OK, "network.bridge", "%s of [network %s] is made with its first box",
			   n->bridge, n->name);
		return;
	}
	(void)snprintf(path, sizeof(path), "/sys/class/net/%s/bridge", n->bridge);
	if (stat(path, &st) < 0) {
		nsbox_find(d, NSBOX_ERROR, "network.bridge", "%s of [network %s] is a link that is no "
			   "bridge", n->bridge, n->name);
		nsbox_find_fix(d, "write another bridge in [network %s]", n->name);
		return;
	}
	(void)snprintf(path, sizeof(path), "/sys/class/net/%s/ifalias", n->bridge);
	(void)nsbox_file_read(path, alias, sizeof(alias), NULL);
	nsbox_find(d, NSBOX_OK, "network.bridge", "%s of [network %s] is %s", n->bridge, n->name,
		   strncmp(alias, OURS, strlen(OURS)) == 0 ? "nsbox's" : "the administrator's");
}

/* What boxes say to each other over their bridge is then asked of iptables too. */
static void check_br_netfilter(struct nsbox_doctor *d, const struct nsbox_network *n)
{
	int calls = setting("/proc/sys/net/bridge/bridge-nf-call-iptables");

	if (calls == 1 && !n->isolate) {
		nsbox_find(d, NSBOX_WARNING, "network.br_netfilter", "br_netfilter shows iptables what "
			   "boxes of [network %s] say to each other, and its FORWARD chain may drop it",
			   n->name);
		nsbox_find_fix(d, "sysctl -w net.bridge.bridge-nf-call-iptables=0 "
			       "net.bridge.bridge-nf-call-ip6tables=0");
		return;
	}
	nsbox_find(d, NSBOX_OK, "network.br_netfilter", "%s", calls == 1 ?
		   "br_netfilter is on, and boxes are isolated anyhow" : "br_netfilter is off");
}

/* A box that has a lease and a table that is not there: somebody flushed the rules. */
static void check_rules(struct nsbox_doctor *d, bool ours)
{
	cleanup_fclose FILE *f = fopen(NSBOX_NET_DIR "/ledger", "re");
	char line[2048], box[48];
	unsigned int boxes = 0;

	while (f && fgets(line, sizeof(line), f))
		boxes += sscanf(line, "%*s %*u %47s", box) == 1 && strcmp(box, "-") != 0;
	if (!boxes)
		return;
	nsbox_find(d, ours ? NSBOX_OK : NSBOX_ERROR, "network.rules", ours ? "%u boxes have a network, "
		   "and nsbox's rules are in force" : "%u boxes have a network, and nsbox's rules were "
		   "flushed: nothing holds them back", boxes);
	if (!ours)
		nsbox_find_fix(d, "nsbox gc");
}

void nsbox_doctor_network(struct nsbox_doctor *d)
{
	struct ifaddrs *links = NULL;
	bool ours = false;

	if (!d->n_networks) {
		nsbox_find(d, NSBOX_OK, "network.bridge", "no boxed user has net = bridge");
		return;
	}
	check_needs(d);
	check_settings(d);
	(void)getifaddrs(&links);
	for (size_t i = 0; i < d->n_networks; i++) {
		const struct nsbox_network *n = &d->networks[i];

		check_link(d, n);
		check_subnet(d, n, &n->subnet, links);
		check_subnet(d, n, &n->subnet6, links);
		check_br_netfilter(d, n);
		check_firewall(d, n, &ours);
	}
	freeifaddrs(links);
	check_rules(d, ours);
}
