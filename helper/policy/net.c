/* SPDX-License-Identifier: MIT */
/*
 * net, and the keys that say what a box may reach and what reaches it: address,
 * publish, egress, bandwidth, dns. Numbers only, no name is looked up: what a
 * resolver says tomorrow is not the administrator's word.
 */
#include "internal.h"

#include <arpa/inet.h>
#include <inttypes.h>

#define PUBLISH_HINT "write HOST:BOX, HOST:BOX/udp or ADDRESS:HOST:BOX with port numbers"
#define EGRESS_HINT "write all, none, or dns, icmp, tcp/443, udp/1000-2000, NET, NET:tcp/5432"
#define RATE_HINT "write UP/DOWN like 10mbit/100mbit, none for no limit"

static struct nsbox_slice whole(const char *text)
{
	return (struct nsbox_slice){ text, strlen(text) };
}

/* [2001:db8::1] without its brackets. */
static struct nsbox_slice unbracket(struct nsbox_slice text)
{
	if (text.len > 1 && text.s[0] == '[' && text.s[text.len - 1] == ']')
		return (struct nsbox_slice){ text.s + 1, text.len - 2 };
	return text;
}

bool nsbox_address_parse(struct nsbox_slice text, struct nsbox_address *ret)
{
	struct nsbox_address address = { .family = AF_INET };
	char buf[INET6_ADDRSTRLEN];

	text = unbracket(text);
	if (!text.len || text.len >= sizeof(buf))
		return false;
	memcpy(buf, text.s, text.len);
	buf[text.len] = '\0';
	if (strchr(buf, ':'))
		address.family = AF_INET6;
	if (inet_pton(address.family, buf, address.bytes) != 1)
		return false;
	*ret = address;
	return true;
}

static unsigned int bits_of(int family)
{
	return family == AF_INET ? 32 : 128;
}

/* Are all bits of @address behind the first @length zero? */
static bool is_network(const struct nsbox_address *address, unsigned int length)
{
	for (unsigned int i = length; i < bits_of(address->family); i++)
		if (address->bytes[i / 8] & 0x80 >> i % 8)
			return false;
	return true;
}

bool nsbox_prefix_parse(struct nsbox_slice text, struct nsbox_prefix *ret)
{
	struct nsbox_prefix prefix;
	struct nsbox_slice before;
	const char *slash;
	uint64_t length;

	text = unbracket(text);
	slash = memchr(text.s, '/', text.len);
	before = (struct nsbox_slice){ text.s, slash ? (size_t)(slash - text.s) : text.len };
	if (!nsbox_address_parse(before, &prefix.address))
		return false;
	length = bits_of(prefix.address.family);
	if (slash && (!nsbox_number(slash + 1, text.len - before.len - 1, &length) ||
		      length > bits_of(prefix.address.family)))
		return false;
	prefix.length = (unsigned int)length;
	if (!is_network(&prefix.address, prefix.length))
		return false;
	*ret = prefix;
	return true;
}

void nsbox_address_print(const struct nsbox_address *address, FILE *to)
{
	char buf[INET6_ADDRSTRLEN] = "none";

	if (address->family)
		(void)inet_ntop(address->family, address->bytes, buf, sizeof(buf));
	(void)fputs(buf, to);
}

void nsbox_prefix_print(const struct nsbox_prefix *prefix, FILE *to)
{
	nsbox_address_print(&prefix->address, to);
	if (prefix->address.family)
		(void)fprintf(to, "/%u", prefix->length);
}

static bool same_bits(const struct nsbox_address *a, const struct nsbox_address *b,
		      unsigned int length)
{
	unsigned int rest = length % 8;

	return a->family == b->family && !memcmp(a->bytes, b->bytes, length / 8) &&
	       (!rest || !((a->bytes[length / 8] ^ b->bytes[length / 8]) >> (8 - rest)));
}

bool nsbox_prefix_has(const struct nsbox_prefix *prefix, const struct nsbox_address *address)
{
	return prefix->address.family && same_bits(&prefix->address, address, prefix->length);
}

bool nsbox_prefix_overlaps(const struct nsbox_prefix *a, const struct nsbox_prefix *b)
{
	return a->address.family &&
	       same_bits(&a->address, &b->address, a->length < b->length ? a->length : b->length);
}

/* A word of @prefix and a name of plain characters behind it; false if it is not that. */
static bool take_name(const char *value, const char *prefix, size_t max, const char **ret)
{
	const char *name = value + strlen(prefix);
	size_t i;

	if (strncmp(value, prefix, strlen(prefix)) != 0 || !*name || strlen(name) >= max)
		return false;
	for (i = 0; name[i]; i++) {
		char c = nsbox_lower(name[i]);

		if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && !strchr("_-.", c))
			return false;
	}
	*ret = name;
	return name[0] != '.' && name[0] != '-';
}

int nsbox_parse_net(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		    struct nsbox_error *err)
{
	const char *name = "";

	(void)key;
	if (!strcmp(value, "none"))
		d->net = NSBOX_NET_NONE;
	else if (!strcmp(value, "host"))
		d->net = NSBOX_NET_HOST;
	else if (!strcmp(value, "bridge") ||
		 take_name(value, "bridge:", sizeof(d->network.name), &name))
		d->net = NSBOX_NET_BRIDGE;
	else if (take_name(value, "join:/run/netns/", sizeof(d->net_name), &name))
		d->net = NSBOX_NET_JOIN_PATH;
	else if (take_name(value, "join:", sizeof(d->net_name), &name))
		d->net = NSBOX_NET_JOIN_USER;
	else
		return nsbox_error_say(err, 0, "write none, host, bridge, bridge:NETWORK, join:USER "
				       "or join:/run/netns/NAME");
	(void)snprintf(d->net_name, sizeof(d->net_name), "%s",
		       d->net == NSBOX_NET_BRIDGE && !*name ? "default" : name);
	return 0;
}

void nsbox_print_net(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	static const char *const prefix[] = { "none", "host", "bridge:", "join:", "join:/run/netns/" };

	(void)key;
	(void)fprintf(to, "%s%s", prefix[d->net], d->net_name);
}

int nsbox_parse_address(const struct nsbox_key_info *key, struct nsbox_decision *d,
			const char *value, struct nsbox_error *err)
{
	(void)key;
	d->address.family = AF_UNSPEC;
	if (!strcmp(value, "none") || nsbox_address_parse(whole(value), &d->address))
		return 0;
	return nsbox_error_say(err, 0, "write an address like 10.88.0.5, or none");
}

void nsbox_print_address(const struct nsbox_key_info *key, const struct nsbox_decision *d,
			 FILE *to)
{
	(void)key;
	nsbox_address_print(&d->address, to);
}

static bool read_port(struct nsbox_slice text, unsigned short *ret)
{
	uint64_t n;

	if (!nsbox_number(text.s, text.len, &n) || n < 1 || n > 65535)
		return false;
	*ret = (unsigned short)n;
	return true;
}

/* Cuts @text at its last @c, which may not be within brackets: [::1]:80 */
static bool cut_last(struct nsbox_slice *text, char c, struct nsbox_slice *ret)
{
	for (size_t i = text->len; i-- > 0 && text->s[i] != ']';) {
		if (text->s[i] != c)
			continue;
		*ret = (struct nsbox_slice){ text->s + i + 1, text->len - i - 1 };
		text->len = i;
		return true;
	}
	return false;
}

/* [ADDRESS:]HOST:BOX[/PROTOCOL] */
static bool read_publish(struct nsbox_slice word, struct nsbox_publish *ret)
{
	struct nsbox_slice proto = whole("tcp"), port;

	*ret = (struct nsbox_publish){ .udp = false };
	(void)cut_last(&word, '/', &proto);
	ret->udp = nsbox_same_word(proto, "udp");
	if ((!ret->udp && !nsbox_same_word(proto, "tcp")) || !cut_last(&word, ':', &port) ||
	    !read_port(port, &ret->box))
		return false;
	if (!cut_last(&word, ':', &port))
		return read_port(word, &ret->host);
	/* An IPv6 address has brackets, or its end would be a port. */
	return read_port(port, &ret->host) && nsbox_address_parse(word, &ret->at) &&
	       (ret->at.family == AF_INET || word.s[0] == '[');
}

static bool same_place(const struct nsbox_publish *a, const struct nsbox_publish *b)
{
	return a->host == b->host && a->udp == b->udp &&
	       (!a->at.family || !b->at.family || same_bits(&a->at, &b->at, bits_of(a->at.family)));
}

int nsbox_parse_publish(const struct nsbox_key_info *key, struct nsbox_decision *d,
			const char *value, struct nsbox_error *err)
{
	struct nsbox_slice word;

	(void)key;
	d->n_publish = 0;
	if (!strcmp(value, "none"))
		return 0;
	while (nsbox_next_word(&value, &word)) {
		struct nsbox_publish *new = &d->publish[d->n_publish];

		if (d->n_publish == NSBOX_PUBLISH_MAX)
			return nsbox_error_say(err, 0, "more than %d entries", NSBOX_PUBLISH_MAX);
		if (!read_publish(word, new))
			return nsbox_error_say(err, 0, PUBLISH_HINT);
		for (unsigned int i = 0; i < d->n_publish; i++)
			if (same_place(&d->publish[i], new))
				return nsbox_error_say(err, 0, "port %u of the host is in it twice: "
						       "take one out", new->host);
		d->n_publish++;
	}
	return d->n_publish ? 0 : nsbox_error_say(err, 0, PUBLISH_HINT);
}

void nsbox_print_publish(const struct nsbox_key_info *key, const struct nsbox_decision *d,
			 FILE *to)
{
	(void)key;
	if (!d->n_publish)
		(void)fputs("none", to);
	for (unsigned int i = 0; i < d->n_publish; i++) {
		const struct nsbox_publish *p = &d->publish[i];

		(void)fputs(i ? " " : "", to);
		if (p->at.family) {
			(void)fputc('[', to);
			nsbox_address_print(&p->at, to);
			(void)fputs("]:", to);
		}
		(void)fprintf(to, "%u:%u/%s", p->host, p->box, p->udp ? "udp" : "tcp");
	}
}

static const char *const egress_words[] = {
	[NSBOX_EGRESS_ANY] = "any", [NSBOX_EGRESS_TCP] = "tcp", [NSBOX_EGRESS_UDP] = "udp",
	[NSBOX_EGRESS_ICMP] = "icmp", [NSBOX_EGRESS_DNS] = "dns",
};

/* dns, icmp, tcp, tcp/443, udp/1000-2000 */
static bool read_service(struct nsbox_slice text, struct nsbox_egress *ret)
{
	struct nsbox_slice ports = { NULL, 0 }, last;
	unsigned int i;

	(void)cut_last(&text, '/', &ports);
	for (i = NSBOX_EGRESS_TCP; i <= NSBOX_EGRESS_DNS && !nsbox_same_word(text, egress_words[i]);)
		i++;
	if (i > NSBOX_EGRESS_DNS || (ports.s && i > NSBOX_EGRESS_UDP))
		return false;
	ret->what = (enum nsbox_egress_what)i;
	if (!ports.s)
		return true;
	last = ports;
	(void)cut_last(&ports, '-', &last);
	return read_port(ports, &ret->first) && read_port(last, &ret->last) &&
	       ret->first <= ret->last;
}

/* NET, SERVICE, NET:SERVICE */
static bool read_egress(struct nsbox_slice word, struct nsbox_egress *ret)
{
	struct nsbox_slice service, net = word;

	*ret = (struct nsbox_egress){ .what = NSBOX_EGRESS_ANY };
	if (nsbox_prefix_parse(word, &ret->to) || read_service(word, ret))
		return true;
	return cut_last(&net, ':', &service) && nsbox_prefix_parse(net, &ret->to) &&
	       (ret->to.address.family == AF_INET || net.s[0] == '[') &&
	       read_service(service, ret) && ret->what != NSBOX_EGRESS_DNS;
}

int nsbox_parse_egress(const struct nsbox_key_info *key, struct nsbox_decision *d,
		       const char *value, struct nsbox_error *err)
{
	struct nsbox_slice word;

	(void)key;
	d->n_egress = 0;
	d->egress_mode = !strcmp(value, "all") ? NSBOX_EGRESS_ALL : NSBOX_EGRESS_NONE;
	if (d->egress_mode == NSBOX_EGRESS_ALL || !strcmp(value, "none"))
		return 0;
	d->egress_mode = NSBOX_EGRESS_LIST;
	while (nsbox_next_word(&value, &word)) {
		if (d->n_egress == NSBOX_EGRESS_MAX)
			return nsbox_error_say(err, 0, "more than %d entries", NSBOX_EGRESS_MAX);
		if (!read_egress(word, &d->egress[d->n_egress++]))
			return nsbox_error_say(err, 0, EGRESS_HINT);
	}
	return d->n_egress ? 0 : nsbox_error_say(err, 0, EGRESS_HINT);
}

static void print_egress(const struct nsbox_egress *e, FILE *to)
{
	if (e->to.address.family) {
		(void)fputc('[', to);
		nsbox_prefix_print(&e->to, to);
		(void)fputs("]:", to);
	}
	(void)fputs(egress_words[e->what], to);
	if (e->first)
		(void)fprintf(to, "/%u-%u", e->first, e->last);
}

void nsbox_print_egress(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	(void)key;
	if (d->egress_mode != NSBOX_EGRESS_LIST)
		(void)fputs(d->egress_mode == NSBOX_EGRESS_ALL ? "all" : "none", to);
	for (unsigned int i = 0; i < d->n_egress; i++) {
		(void)fputs(i ? " " : "", to);
		print_egress(&d->egress[i], to);
	}
}

/* "10mbit"; none is 0. */
static bool read_rate(struct nsbox_slice text, uint64_t *ret)
{
	static const struct {
		const char *unit;
		uint64_t bits;
	} units[] = { { "kbit", 1000 }, { "mbit", 1000000 }, { "gbit", 1000000000 } };
	uint64_t n;

	*ret = 0;
	if (nsbox_same_word(text, "none"))
		return true;
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]) && text.len > 4; i++) {
		if (memcmp(text.s + text.len - 4, units[i].unit, 4) != 0)
			continue;
		if (!nsbox_number(text.s, text.len - 4, &n) || n < 1 || n > 100000000)
			return false;
		*ret = n * units[i].bits;
		/* Below that a packet takes longer than anybody waits; tbf counts no further. */
		return *ret >= 64000 && *ret <= UINT64_C(16000000000);
	}
	return false;
}

int nsbox_parse_bandwidth(const struct nsbox_key_info *key, struct nsbox_decision *d,
			  const char *value, struct nsbox_error *err)
{
	struct nsbox_slice up = whole(value), down = up;

	(void)key;
	(void)cut_last(&up, '/', &down);
	if (!read_rate(up, &d->rate_up) || !read_rate(down, &d->rate_down))
		return nsbox_error_say(err, 0, RATE_HINT ", from 64kbit to 16gbit");
	return 0;
}

static void print_rate(uint64_t rate, FILE *to)
{
	if (rate)
		(void)fprintf(to, "%" PRIu64 "kbit", rate / 1000);
	else
		(void)fputs("none", to);
}

void nsbox_print_bandwidth(const struct nsbox_key_info *key, const struct nsbox_decision *d,
			   FILE *to)
{
	(void)key;
	print_rate(d->rate_up, to);
	(void)fputc('/', to);
	print_rate(d->rate_down, to);
}

int nsbox_parse_dns(const struct nsbox_key_info *key, struct nsbox_decision *d, const char *value,
		    struct nsbox_error *err)
{
	static const char hint[] = "write host, none, or addresses of resolvers";
	struct nsbox_slice word;

	(void)key;
	d->n_dns = 0;
	d->dns_mode = !strcmp(value, "host") ? NSBOX_DNS_HOST : NSBOX_DNS_NONE;
	if (d->dns_mode == NSBOX_DNS_HOST || !strcmp(value, "none"))
		return 0;
	d->dns_mode = NSBOX_DNS_LIST;
	while (nsbox_next_word(&value, &word)) {
		if (d->n_dns == NSBOX_DNS_MAX)
			return nsbox_error_say(err, 0, "resolv.conf(5) has %d resolvers at most",
					       NSBOX_DNS_MAX);
		if (!nsbox_address_parse(word, &d->dns[d->n_dns++]))
			return nsbox_error_say(err, 0, "%s", hint);
	}
	return d->n_dns ? 0 : nsbox_error_say(err, 0, "%s", hint);
}

void nsbox_print_dns(const struct nsbox_key_info *key, const struct nsbox_decision *d, FILE *to)
{
	(void)key;
	if (d->dns_mode != NSBOX_DNS_LIST)
		(void)fputs(d->dns_mode == NSBOX_DNS_HOST ? "host" : "none", to);
	for (unsigned int i = 0; i < d->n_dns; i++) {
		(void)fputs(i ? " " : "", to);
		nsbox_address_print(&d->dns[i], to);
	}
}

/* The address must be one that a box can have: not the bridge's, nor one with a meaning. */
static int check_address(const struct nsbox_decision *d, struct nsbox_error *err)
{
	const struct nsbox_network *n = &d->network;
	const struct nsbox_prefix *subnet = n->subnet.address.family ? &n->subnet : &n->subnet6;
	struct nsbox_address last = subnet->address;
	unsigned int bits = bits_of(last.family);

	if (!d->address.family)
		return 0;
	if (!nsbox_prefix_has(subnet, &d->address))
		return nsbox_error_say(err, 0, "it is not in the subnet of [network %s]: write one "
				       "of its addresses, or none", n->name);
	for (unsigned int i = subnet->length; i < bits; i++)
		last.bytes[i / 8] |= (unsigned char)(0x80 >> i % 8);
	if (is_network(&d->address, subnet->length) ||
	    (last.family == AF_INET && same_bits(&last, &d->address, bits)))
		return nsbox_error_say(err, 0, "no box can have the first or the last address of a "
				       "subnet: write another");
	return 0;
}

/* What only a bridge can hold to. With none there is nothing to hold back. */
static int check_bridge_keys(const struct nsbox_decision *d, enum nsbox_key *ret_key,
			     struct nsbox_error *err)
{
	if (d->n_publish)
		*ret_key = NSBOX_KEY_PUBLISH;
	else if (d->egress_mode != NSBOX_EGRESS_ALL)
		*ret_key = NSBOX_KEY_EGRESS;
	else if (d->rate_up || d->rate_down)
		*ret_key = NSBOX_KEY_BANDWIDTH;
	else if (d->address.family)
		*ret_key = NSBOX_KEY_ADDRESS;
	else
		return 0;
	return nsbox_error_say(err, 0, "this can be kept only with net = bridge: take it out, or "
			       "change net");
}

int nsbox_net_check(const struct nsbox_decision *d, enum nsbox_key *ret_key,
		    struct nsbox_error *err)
{
	if (d->net == NSBOX_NET_NONE)
		return 0;
	if (d->net != NSBOX_NET_BRIDGE)
		return check_bridge_keys(d, ret_key, err);
	*ret_key = NSBOX_KEY_ADDRESS;
	return check_address(d, err);
}
