/* SPDX-License-Identifier: MIT */
/* Addresses: see addr.h. */
#include "addr.h"

#include <arpa/inet.h>
#include <string.h>

/* An IPv6 subnet has more addresses than anybody counts; as many as a /8 of IPv4 are used. */
enum { NUMBER_BITS = 24 };

size_t nsbox_addr_size(int family)
{
	return family == AF_INET ? 4 : family == AF_INET6 ? 16 : 0;
}

struct nsbox_addr_text nsbox_addr_text(const struct nsbox_address *address)
{
	struct nsbox_addr_text text = { "" };

	if (address->family)
		(void)inet_ntop(address->family, address->bytes, text.s, sizeof(text.s));
	return text;
}

bool nsbox_addr_read(const char *text, struct nsbox_address *ret)
{
	*ret = (struct nsbox_address){ .family = strchr(text, ':') ? AF_INET6 : AF_INET };
	if (inet_pton(ret->family, text, ret->bytes) == 1)
		return true;
	ret->family = AF_UNSPEC;
	return false;
}

bool nsbox_addr_same(const struct nsbox_address *a, const struct nsbox_address *b)
{
	return a->family == b->family && !memcmp(a->bytes, b->bytes, nsbox_addr_size(a->family));
}

/* The last four bytes, where all numbers are. */
static uint32_t low_of(const struct nsbox_address *address)
{
	uint32_t low;

	memcpy(&low, address->bytes + nsbox_addr_size(address->family) - sizeof(low), sizeof(low));
	return ntohl(low);
}

struct nsbox_address nsbox_addr_nth(const struct nsbox_prefix *subnet, uint32_t n)
{
	struct nsbox_address address = subnet->address;
	uint32_t low;

	if (!address.family)
		return address;
	low = htonl(low_of(&address) + n);
	memcpy(address.bytes + nsbox_addr_size(address.family) - sizeof(low), &low, sizeof(low));
	return address;
}

uint32_t nsbox_addr_number(const struct nsbox_prefix *subnet, const struct nsbox_address *address)
{
	struct nsbox_address again;
	uint32_t n;

	if (!subnet->address.family || subnet->address.family != address->family)
		return 0;
	n = low_of(address) - low_of(&subnet->address);
	again = nsbox_addr_nth(subnet, n);
	return n < 1U << NUMBER_BITS && nsbox_addr_same(&again, address) ? n : 0;
}

/* The first address names the subnet; of IPv4 the last is for all. */
static uint32_t last_of(const struct nsbox_prefix *subnet)
{
	unsigned int bits = (unsigned int)nsbox_addr_size(subnet->address.family) * 8 -
			    subnet->length;

	if (!subnet->address.family || bits > NUMBER_BITS)
		bits = NUMBER_BITS;
	return (1U << bits) - (subnet->address.family == AF_INET ? 2 : 1);
}

uint32_t nsbox_addr_last(const struct nsbox_network *network)
{
	uint32_t four = last_of(&network->subnet), six = last_of(&network->subnet6);

	return four < six ? four : six;
}
