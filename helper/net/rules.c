/* SPDX-License-Identifier: MIT */
/* Filters and NAT: see rules.h. */
#include "rules.h"
#include "addr.h"
#include "cleanup.h"
#include "defence.h"
#include "links.h"

#include <nftables/libnftables.h>
#include <string.h>
#include <sys/socket.h>

/* A host counts 65536 connections on a small machine; a box may have a small part of them. */
#define CONNECTIONS_MAX "2048"

/*
 * The frame. "own" holds bridges that nobody but boxes is on, "open" those with
 * boxes that reach each other, "open4", "open6" and "open" of the other table these
 * boxes: of one bridge some may be isolated, as the policy was changed. "all4" and
 * "all6" hold boxes that may everything: with an element of a map that leads to a
 * chain the kernel walks through all there are. It is put in force with all boxes' rules at once, so
 * there is no moment without.
 */
static const char frame[] =
	/* What is there may be of a ledger that is lost: nothing of it stays. */
	"add table inet nsbox\n"
	"add table bridge nsbox\n"
	"delete table inet nsbox\n"
	"delete table bridge nsbox\n"
	"add table inet nsbox\n"
	"add set inet nsbox bridges { type ifname; }\n"
	"add set inet nsbox own { type ifname; }\n"
	"add set inet nsbox open { type ifname . ifname; }\n"
	"add set inet nsbox box4 { type ipv4_addr; }\n"
	"add set inet nsbox box6 { type ipv6_addr; }\n"
	"add set inet nsbox nat4 { type ipv4_addr; }\n"
	"add set inet nsbox nat6 { type ipv6_addr; }\n"
	"add set inet nsbox open4 { type ipv4_addr; }\n"
	"add set inet nsbox open6 { type ipv6_addr; }\n"
	"add set inet nsbox all4 { type ipv4_addr; }\n"
	"add set inet nsbox all6 { type ipv6_addr; }\n"
	"add map inet nsbox out4 { type ipv4_addr : verdict; }\n"
	"add map inet nsbox out6 { type ipv6_addr : verdict; }\n"
	"add map inet nsbox host4 { type ipv4_addr : verdict; }\n"
	"add map inet nsbox host6 { type ipv6_addr : verdict; }\n"
	"add map inet nsbox any4 { type inet_proto . inet_service : ipv4_addr . inet_service; }\n"
	"add map inet nsbox any6 { type inet_proto . inet_service : ipv6_addr . inet_service; }\n"
	"add map inet nsbox at4 { type ipv4_addr . inet_proto . inet_service : "
		"ipv4_addr . inet_service; }\n"
	"add map inet nsbox at6 { type ipv6_addr . inet_proto . inet_service : "
		"ipv6_addr . inet_service; }\n"
	/* Connections of each box; the kernel forgets who has none. */
	"add set inet nsbox conns4 { type ipv4_addr; size 65535; flags dynamic; }\n"
	"add set inet nsbox conns6 { type ipv6_addr; size 65535; flags dynamic; }\n"
	"add set inet nsbox dns4 { type ipv4_addr . ipv4_addr; }\n"
	"add set inet nsbox dns6 { type ipv6_addr . ipv6_addr; }\n"
	"add chain inet nsbox common-h\n"
	"add chain inet nsbox common\n"
	"add chain inet nsbox forward { type filter hook forward priority filter; }\n"
	"add chain inet nsbox input { type filter hook input priority filter; }\n"
	"add chain inet nsbox publish\n"
	"add chain inet nsbox prerouting { type nat hook prerouting priority dstnat; }\n"
	"add chain inet nsbox output { type nat hook output priority -100; }\n"
	"add chain inet nsbox postrouting { type nat hook postrouting priority srcnat; }\n"
	"add table bridge nsbox\n"
	"add map bridge nsbox ports { type ifname : verdict; }\n"
	"add set bridge nsbox open { type ifname; }\n"
	"add set bridge nsbox own4 { type ifname . ether_addr . ipv4_addr; }\n"
	"add set bridge nsbox own6 { type ifname . ether_addr . ipv6_addr; }\n"
	"add chain bridge nsbox prerouting { type filter hook prerouting priority -300; }\n"
	"add chain bridge nsbox forward { type filter hook forward priority 0; }\n"
	/* From a box to a box only where they may; from outside only what is published. */
	"add rule inet nsbox forward ct state established,related accept\n"
	/* Where br_netfilter is, it shows what goes over the bridge here too. */
	"add rule inet nsbox forward iifname . oifname @open meta pkttype { broadcast, multicast } "
		"accept\n"
	"add rule inet nsbox forward iifname . oifname @open ip saddr @open4 ip daddr @open4 accept\n"
	"add rule inet nsbox forward iifname . oifname @open ip6 saddr @open6 ip6 daddr @open6 accept\n"
	"add rule inet nsbox forward ip daddr @box4 ct status dnat accept\n"
	"add rule inet nsbox forward ip6 daddr @box6 ct status dnat accept\n"
	"add rule inet nsbox forward ip daddr @box4 drop\n"
	"add rule inet nsbox forward ip6 daddr @box6 drop\n"
	/* Nobody has the other addresses there: each would be a neighbour that the host looks for. */
	"add rule inet nsbox forward oifname @own drop\n"
	"add rule inet nsbox forward ip saddr @box4 ip daddr 169.254.0.0/16 drop\n"
	"add rule inet nsbox forward ip6 saddr @box6 ip6 daddr fe80::/10 drop\n"
	/* The same for clouds that speak IPv6: metadata at Amazon and at Google. */
	"add rule inet nsbox forward ip6 saddr @box6 ip6 daddr { fd00:ec2::254, fd20:ce::254 } drop\n"
	"add rule inet nsbox forward ip saddr @all4 goto common\n"
	"add rule inet nsbox forward ip6 saddr @all6 goto common\n"
	"add rule inet nsbox forward ip saddr vmap @out4\n"
	"add rule inet nsbox forward ip6 saddr vmap @out6\n"
	"add rule inet nsbox forward iifname @own drop\n"
	/* Boxes with egress = all: the host's part, where their resolvers may be, and the rest. */
	"add rule inet nsbox common-h ct state invalid drop\n"
	"add rule inet nsbox common-h add @conns4 { ip saddr ct count over " CONNECTIONS_MAX " } drop\n"
	"add rule inet nsbox common-h add @conns6 { ip6 saddr ct count over " CONNECTIONS_MAX " } drop\n"
	"add rule inet nsbox common-h ip saddr . ip daddr @dns4 meta l4proto { tcp, udp } "
		"th dport 53 accept\n"
	"add rule inet nsbox common-h ip6 saddr . ip6 daddr @dns6 meta l4proto { tcp, udp } "
		"th dport 53 accept\n"
	"add rule inet nsbox common jump common-h\n"
	"add rule inet nsbox common accept\n"
	/* The host itself. */
	"add rule inet nsbox input ct state established,related accept\n"
	"add rule inet nsbox input icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept\n"
	"add rule inet nsbox input ip saddr @box4 ip daddr 169.254.0.0/16 drop\n"
	"add rule inet nsbox input ip saddr @all4 jump common-h\n"
	"add rule inet nsbox input ip6 saddr @all6 jump common-h\n"
	"add rule inet nsbox input ip saddr vmap @host4\n"
	"add rule inet nsbox input ip6 saddr vmap @host6\n"
	"add rule inet nsbox input ip saddr @box4 reject with icmpx admin-prohibited\n"
	"add rule inet nsbox input ip6 saddr @box6 reject with icmpx admin-prohibited\n"
	"add rule inet nsbox input iifname @own drop\n"
	/* Ports of the host that lead to a box. Not for boxes, which reach no box that way. */
	"add rule inet nsbox publish dnat ip to ip daddr . meta l4proto . th dport map @at4\n"
	"add rule inet nsbox publish dnat ip6 to ip6 daddr . meta l4proto . th dport map @at6\n"
	"add rule inet nsbox publish dnat ip to meta l4proto . th dport map @any4\n"
	"add rule inet nsbox publish dnat ip6 to meta l4proto . th dport map @any6\n"
	"add rule inet nsbox prerouting iifname != @bridges fib daddr type local "
		"meta l4proto { tcp, udp } jump publish\n"
	"add rule inet nsbox output ip daddr 127.0.0.0/8 return\n"
	"add rule inet nsbox output ip6 daddr ::1 return\n"
	"add rule inet nsbox output fib daddr type local meta l4proto { tcp, udp } jump publish\n"
	"add rule inet nsbox postrouting ip saddr @nat4 oifname != @bridges masquerade\n"
	"add rule inet nsbox postrouting ip6 saddr @nat6 oifname != @bridges masquerade\n"
	/* What others have on their bridges is none of ours. */
	"add rule bridge nsbox prerouting iifname != \"nsb-*\" accept\n"
	/* A tag would lead past the bridge, to a VLAN that the administrator has on it. */
	"add rule bridge nsbox prerouting ether type { 8021q, 8021ad } drop\n"
	"add rule bridge nsbox prerouting iifname vmap @ports\n"
	/* Of an isolated box nobody asks who has its address, and it is no router. */
	"add rule bridge nsbox prerouting iifname . ether saddr . ip saddr @own4 accept\n"
	"add rule bridge nsbox prerouting iifname . ether saddr . arp saddr ip @own4 "
		"iifname . arp saddr ether . arp saddr ip @own4 accept\n"
	"add rule bridge nsbox prerouting icmpv6 type { nd-router-advert, nd-redirect, "
		"nd-neighbor-advert } drop\n"
	"add rule bridge nsbox prerouting iifname . ether saddr . ip6 saddr @own6 accept\n"
	"add rule bridge nsbox prerouting drop\n"
	/* Two isolated ports do not meet anyhow; this keeps one that is not from one that is. */
	"add rule bridge nsbox forward iifname \"nsb-*\" oifname \"nsb-*\" iifname != @open drop\n"
	"add rule bridge nsbox forward iifname \"nsb-*\" oifname \"nsb-*\" oifname != @open drop\n"
	/* Boxes and whatever else an administrator has on his bridge meet in IP, or not at all. */
	"add rule bridge nsbox forward iifname \"nsb-*\" oifname != \"nsb-*\" drop\n"
	"add rule bridge nsbox forward iifname != \"nsb-*\" oifname \"nsb-*\" drop\n";

static int run(struct nft_ctx *ctx, const char *text, struct nsbox_error *err)
{
	const char *said;
	int r = nft_run_cmd_from_buffer(ctx, text);

	if (r == 0)
		return 0;
	said = nft_ctx_get_error_buffer(ctx);
	said = said ? said : "";
	if (strncmp(said, "internal:0:0-0: ", 16) == 0)
		said += 16;
	return nsbox_error_say(err, EIO, "nftables: %.*s", (int)strcspn(said, "\n"), said);
}

static struct nft_ctx *open_nft(struct nsbox_error *err)
{
	struct nft_ctx *ctx = nft_ctx_new(NFT_CTX_DEFAULT);

	if (!ctx)
		(void)nsbox_error_set(err, ENOMEM, "nftables");
	else if (nft_ctx_buffer_error(ctx) || nft_ctx_buffer_output(ctx))
		(void)nsbox_error_set(err, ENOMEM, "nftables");
	return ctx;
}

static void cleanup_nftp(struct nft_ctx **ctx)
{
	if (*ctx)
		nft_ctx_free(*ctx);
}

#define cleanup_nft __attribute__((cleanup(cleanup_nftp)))

/* One box as its rules see it. */
struct writer {
	const struct nsbox_net_request *request;
	const struct nsbox_lease *lease;
	char chain[NSBOX_LINK_MAX];
	FILE *to;
};

static const char *family_word(int family)
{
	return family == AF_INET ? "ip" : "ip6";
}

/* Does the box have an address of the family that this is about? AF_UNSPEC: of any. */
static bool concerns(const struct writer *w, const struct nsbox_address *address)
{
	return address->family == AF_INET ? w->lease->address.family != 0 :
	       address->family == AF_INET6 ? w->lease->address6.family != 0 : true;
}

/*
 * Whoever may everything shares the chains "common", and an isolated port without
 * a limit is an element of a set: libnftables reads all chains that there are
 * before it adds one rule, so with chains for each the 500th box would wait
 * three times as long as the first.
 */
static bool has_chains(const struct nsbox_net_request *r)
{
	return r->egress_mode != NSBOX_EGRESS_ALL || !nsbox_defends(boundary) ||
	       !nsbox_defends(ctlimit);
}

static bool has_port_chain(const struct nsbox_net_request *r)
{
	return r->rate_up || !r->network.isolate || !nsbox_defends(isolate) || !nsbox_defends(spoof);
}

/* Boxes that reach others of their kind; without the defence all do. */
static bool is_open(const struct nsbox_net_request *r)
{
	return !r->network.isolate || !nsbox_defends(isolate);
}

/* "tcp dport 443", or what else an entry of egress is. */
static void write_service(const struct nsbox_egress *e, FILE *to)
{
	static const char *const words[] = {
		[NSBOX_EGRESS_TCP] = "tcp", [NSBOX_EGRESS_UDP] = "udp",
	};

	if (e->what == NSBOX_EGRESS_ICMP)
		(void)fputs("meta l4proto { icmp, ipv6-icmp } ", to);
	else if (e->what != NSBOX_EGRESS_ANY && e->first)
		(void)fprintf(to, "%s dport %u-%u ", words[e->what], e->first, e->last);
	else if (e->what != NSBOX_EGRESS_ANY)
		(void)fprintf(to, "meta l4proto %s ", words[e->what]);
}

static void write_dns(const struct writer *w)
{
	for (unsigned int i = 0; i < w->request->n_dns; i++) {
		const struct nsbox_address *a = &w->request->dns[i];

		if (concerns(w, a))
			(void)fprintf(w->to, "add rule inet nsbox %s-h %s daddr %s meta l4proto "
				      "{ tcp, udp } th dport 53 accept\n", w->chain,
				      family_word(a->family), nsbox_addr_text(a).s);
	}
}

/* What a box may also of the host: entries that name an address, and its resolvers. */
static void write_host_chain(const struct writer *w)
{
	const struct nsbox_net_request *r = w->request;

	(void)fprintf(w->to, "add rule inet nsbox %s-h ct state invalid drop\n", w->chain);
	if (nsbox_defends(ctlimit))
		(void)fprintf(w->to, "add rule inet nsbox %s-h ct count over " CONNECTIONS_MAX
			      " drop\n", w->chain);
	if (r->egress_mode == NSBOX_EGRESS_ALL)
		write_dns(w);
	for (unsigned int i = 0; i < r->n_egress; i++) {
		const struct nsbox_egress *e = &r->egress[i];

		if (e->what == NSBOX_EGRESS_DNS)
			write_dns(w);
		if (!e->to.address.family || !concerns(w, &e->to.address))
			continue;
		(void)fprintf(w->to, "add rule inet nsbox %s-h %s daddr %s/%u ", w->chain,
			      family_word(e->to.address.family),
			      nsbox_addr_text(&e->to.address).s, e->to.length);
		write_service(e, w->to);
		(void)fputs("accept\n", w->to);
	}
	if (!nsbox_defends(boundary))
		(void)fprintf(w->to, "add rule inet nsbox %s-h accept\n", w->chain);
}

/* What it may of everybody else. */
static void write_out_chain(const struct writer *w)
{
	const struct nsbox_net_request *r = w->request;

	(void)fprintf(w->to, "add rule inet nsbox %s jump %s-h\n", w->chain, w->chain);
	for (unsigned int i = 0; i < r->n_egress; i++) {
		const struct nsbox_egress *e = &r->egress[i];

		if (e->to.address.family || e->what == NSBOX_EGRESS_DNS)
			continue;
		(void)fprintf(w->to, "add rule inet nsbox %s ", w->chain);
		write_service(e, w->to);
		(void)fputs("accept\n", w->to);
	}
	(void)fprintf(w->to, "add rule inet nsbox %s %s\n", w->chain,
		      r->egress_mode == NSBOX_EGRESS_ALL ? "accept" :
		      "reject with icmpx admin-prohibited");
}

/*
 * What the port may send. An advertisement of IPv6 (RFC 4861) names at byte
 * eight whom it is about; libnftables has no word for that yet.
 */
static void write_port_chain(const struct writer *w)
{
	const struct nsbox_mac m = nsbox_links_mac(w->lease);
	const unsigned char *b = m.bytes, *six = w->lease->address6.bytes;
	unsigned long long bytes = w->request->rate_up / 8, burst = bytes / 10;
	char mac[18];

	(void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3],
		       b[4], b[5]);
#define PORT_RULE "add rule bridge nsbox %s "
	if (nsbox_defends(spoof))
		(void)fprintf(w->to, PORT_RULE "ether saddr != %s drop\n", w->chain, mac);
	if (bytes)
		(void)fprintf(w->to, PORT_RULE "limit rate over %llu bytes/second burst %llu bytes "
			      "drop\n", w->chain, bytes, burst > 65536 ? burst : 65536);
	if (!nsbox_defends(spoof)) {
		(void)fprintf(w->to, PORT_RULE "accept\n", w->chain);
		return;
	}
	if (w->lease->address.family)
		(void)fprintf(w->to, PORT_RULE "arp saddr ether %s arp saddr ip %s accept\n"
			      PORT_RULE "ip saddr %s accept\n", w->chain, mac,
			      nsbox_addr_text(&w->lease->address).s, w->chain,
			      nsbox_addr_text(&w->lease->address).s);
	if (w->lease->address6.family) {
		(void)fprintf(w->to, PORT_RULE "icmpv6 type { nd-router-advert, nd-redirect } drop\n"
			      PORT_RULE "icmpv6 type nd-neighbor-advert @th,64,128 != 0x", w->chain,
			      w->chain);
		for (size_t i = 0; i < 16; i++)
			(void)fprintf(w->to, "%02x", six[i]);
		(void)fprintf(w->to, " drop\n" PORT_RULE "ip6 saddr %s accept\n", w->chain,
			      nsbox_addr_text(&w->lease->address6).s);
	}
	(void)fprintf(w->to, PORT_RULE "drop\n", w->chain);
}

/* Of one family: who it is, and where its packets are weighed; to add or to "delete". */
static void write_membership(const struct writer *w, const struct nsbox_address *a,
			     const char *verb)
{
	const struct { const char *name; bool has; } sets[] = {
		{ "box", true }, { "nat", w->lease->nat }, { "open", is_open(w->request) },
		{ "all", !has_chains(w->request) },
	};
	const bool add = verb[0] == 'a';
	char six = a->family == AF_INET ? '4' : '6';

	for (size_t i = 0; a->family && i < sizeof(sets) / sizeof(sets[0]); i++)
		if (sets[i].has)
			(void)fprintf(w->to, "%s element inet nsbox %s%c { %s }\n", verb,
				      sets[i].name, six, nsbox_addr_text(a).s);
	if (!a->family || !has_chains(w->request))
		return;
	(void)fprintf(w->to, "%s element inet nsbox out%c { %s%s%s }\n", verb, six,
		      nsbox_addr_text(a).s, add ? " : goto " : "", add ? w->chain : "");
	(void)fprintf(w->to, "%s element inet nsbox host%c { %s%s%s%s }\n", verb, six,
		      nsbox_addr_text(a).s, add ? " : jump " : "", add ? w->chain : "",
		      add ? "-h" : "");
}

/* A published port: its element's key, without and with where it leads. */
static void write_published(const struct nsbox_lease *lease, const struct nsbox_publish *p,
			    int family, bool removed, FILE *to)
{
	const struct nsbox_address *a = family == AF_INET ? &lease->address : &lease->address6;

	if (!a->family || (p->at.family && p->at.family != family))
		return;
	(void)fprintf(to, "%s element inet nsbox %s%c { ", removed ? "delete" : "add",
		      p->at.family ? "at" : "any", family == AF_INET ? '4' : '6');
	if (p->at.family)
		(void)fprintf(to, "%s . ", nsbox_addr_text(&p->at).s);
	(void)fprintf(to, "%s . %u", p->udp ? "udp" : "tcp", p->host);
	if (!removed)
		(void)fprintf(to, " : %s . %u", nsbox_addr_text(a).s, p->box);
	(void)fputs(" }\n", to);
}

/* The two or three elements that stand for a box's chains, to add or to "delete". */
static void write_shared(const struct writer *w, const char *verb)
{
	const struct nsbox_address *both[] = { &w->lease->address, &w->lease->address6 };
	const struct nsbox_mac m = nsbox_links_mac(w->lease);
	const unsigned char *b = m.bytes;

	if (is_open(w->request))
		(void)fprintf(w->to, "%s element bridge nsbox open { %s }\n", verb, w->chain);
	for (size_t i = 0; i < 2; i++) {
		const struct nsbox_address *a = both[i];
		char six = a->family == AF_INET ? '4' : '6';

		for (unsigned int d = 0; !has_chains(w->request) && d < w->request->n_dns; d++)
			if (a->family && w->request->dns[d].family == a->family)
				(void)fprintf(w->to, "%s element inet nsbox dns%c { %s . %s }\n",
					      verb, six, nsbox_addr_text(a).s,
					      nsbox_addr_text(&w->request->dns[d]).s);
		if (a->family && !has_port_chain(w->request))
			(void)fprintf(w->to, "%s element bridge nsbox own%c { %s . "
				      "%02x:%02x:%02x:%02x:%02x:%02x . %s }\n", verb, six, w->chain,
				      b[0], b[1], b[2], b[3], b[4], b[5], nsbox_addr_text(a).s);
	}
}

static void write_chains(const struct writer *w)
{
	if (has_chains(w->request)) {
		(void)fprintf(w->to, "add chain inet nsbox %s-h\nadd chain inet nsbox %s\n",
			      w->chain, w->chain);
		write_host_chain(w);
		write_out_chain(w);
	}
	if (has_port_chain(w->request)) {
		(void)fprintf(w->to, "add chain bridge nsbox %s\n", w->chain);
		write_port_chain(w);
		(void)fprintf(w->to, "add element bridge nsbox ports { %s : goto %s }\n", w->chain,
			      w->chain);
	}
	write_shared(w, "add");
}

static void write_box(const struct writer *w)
{
	/* In quotes: a bridge may be called "bridge", or what else is a word of nft(8). */
	const char *bridge = w->request->network.bridge;

	(void)fprintf(w->to, "add element inet nsbox bridges { \"%s\" }\n", bridge);
	if (w->request->own_bridge)
		(void)fprintf(w->to, "add element inet nsbox own { \"%s\" }\n", bridge);
	if (!w->request->network.isolate)
		(void)fprintf(w->to, "add element inet nsbox open { \"%s\" . \"%s\" }\n", bridge,
			      bridge);
	write_chains(w);
	write_membership(w, &w->lease->address, "add");
	write_membership(w, &w->lease->address6, "add");
	for (unsigned int i = 0; i < w->request->n_publish; i++) {
		write_published(w->lease, &w->request->publish[i], AF_INET, false, w->to);
		write_published(w->lease, &w->request->publish[i], AF_INET6, false, w->to);
	}
}

static void write_one(const struct nsbox_net_request *request, const struct nsbox_lease *lease,
		      FILE *to)
{
	struct writer w = { .request = request, .lease = lease, .to = to };

	nsbox_links_name(lease->box, w.chain);
	write_box(&w);
}

/* The frame, and every box that the ledger has but this one. */
static void write_all(const struct nsbox_ledger *ledger, const struct nsbox_lease *but, FILE *to)
{
	(void)fputs(frame, to);
	for (size_t i = 0; i < ledger->n; i++) {
		const struct nsbox_lease *lease = &ledger->leases[i];
		struct nsbox_net_request request;

		if (lease != but && !nsbox_lease_is_free(lease) &&
		    nsbox_ledger_read_request(lease->box, &request) == 0)
			write_one(&request, lease, to);
	}
}

int nsbox_rules_add(const struct nsbox_ledger *ledger, const struct nsbox_net_request *request,
		    const struct nsbox_lease *lease, struct nsbox_error *err)
{
	struct nft_ctx *ctx cleanup_nft = open_nft(err);
	int r = -ENOMEM;

	/* Rules from before a lost ledger may be of a box that had this address. */
	for (int whole = ledger->is_new; ctx && r < 0 && whole < 2; whole++) {
		cleanup_free char *text = NULL;
		size_t len = 0;
		FILE *to = open_memstream(&text, &len);

		if (!to)
			return nsbox_error_set(err, ENOMEM, "writing rules");
		if (whole)
			write_all(ledger, lease, to);
		write_one(request, lease, to);
		if (fclose(to) != 0)
			return nsbox_error_set(err, ENOMEM, "writing rules");
		/* One transaction: all of it is in force, or nothing. */
		r = run(ctx, text, err);
	}
	return r;
}

static int run_all(struct nft_ctx *ctx, const struct nsbox_ledger *ledger,
		   const struct nsbox_lease *but, struct nsbox_error *err)
{
	cleanup_free char *text = NULL;
	size_t len = 0;
	FILE *to = open_memstream(&text, &len);

	if (!to)
		return nsbox_error_set(err, ENOMEM, "writing rules");
	write_all(ledger, but, to);
	if (fclose(to) != 0)
		return nsbox_error_set(err, ENOMEM, "writing rules");
	return run(ctx, text, err);
}

int nsbox_rules_repair(const struct nsbox_ledger *ledger, struct nsbox_error *err)
{
	struct nft_ctx *ctx cleanup_nft = open_nft(err);

	return ctx ? run_all(ctx, ledger, NULL, err) : -ENOMEM;
}

static void write_removal(const struct nsbox_net_request *request,
			  const struct nsbox_lease *lease, FILE *to)
{
	struct writer w = { .request = request, .lease = lease, .to = to };

	nsbox_links_name(lease->box, w.chain);
	if (has_port_chain(request))
		(void)fprintf(to, "delete element bridge nsbox ports { %s }\n", w.chain);
	write_shared(&w, "delete");
	write_membership(&w, &lease->address, "delete");
	write_membership(&w, &lease->address6, "delete");
	for (unsigned int i = 0; i < lease->n_publish; i++) {
		write_published(lease, &lease->publish[i], AF_INET, true, to);
		write_published(lease, &lease->publish[i], AF_INET6, true, to);
	}
	if (has_port_chain(request))
		(void)fprintf(to, "delete chain bridge nsbox %s\n", w.chain);
	if (has_chains(request))
		(void)fprintf(to, "delete chain inet nsbox %s\ndelete chain inet nsbox %s-h\n",
			      w.chain, w.chain);
}

/* A kernel that has no tables has no rules of a box either. */
static bool has_table(struct nft_ctx *ctx)
{
	return run(ctx, "list table inet nsbox\n", NULL) == 0;
}

/* The kernel forgets this by itself, a moment after the last connection; a box without has none. */
static void forget_count(struct nft_ctx *ctx, const struct nsbox_address *a)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "delete element inet nsbox conns%c { %s }\n",
		       a->family == AF_INET ? '4' : '6', nsbox_addr_text(a).s);
	if (a->family)
		(void)run(ctx, text, NULL);
}

int nsbox_rules_remove(const struct nsbox_ledger *ledger, const struct nsbox_net_request *request,
		       const struct nsbox_lease *lease, struct nsbox_error *err)
{
	struct nft_ctx *ctx cleanup_nft = open_nft(err);
	cleanup_free char *text = NULL;
	size_t len = 0;
	FILE *to = ctx ? open_memstream(&text, &len) : NULL;

	if (!to)
		return nsbox_error_set(err, ENOMEM, "removing rules");
	if (request)
		write_removal(request, lease, to);
	if (fclose(to) != 0)
		return nsbox_error_set(err, ENOMEM, "removing rules");
	/* Only a part is there, or nobody knows which: what the others have is all that shall be. */
	if (!request || run(ctx, text, NULL) < 0)
		return run_all(ctx, ledger, lease, err) < 0 && has_table(ctx) ? -EIO : 0;
	if (!has_chains(request)) {
		forget_count(ctx, &lease->address);
		forget_count(ctx, &lease->address6);
	}
	return 0;
}
