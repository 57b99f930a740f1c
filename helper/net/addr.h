/* SPDX-License-Identifier: MIT */
/* Addresses as numbers of a subnet, and as text. */
#ifndef NSBOX_NET_ADDR_H
#define NSBOX_NET_ADDR_H

#include "policy.h"

struct nsbox_addr_text {
	char s[48];
};

/* Bytes of an address of @family. */
size_t nsbox_addr_size(int family);
/* "" for AF_UNSPEC. */
struct nsbox_addr_text nsbox_addr_text(const struct nsbox_address *address);
bool nsbox_addr_read(const char *text, struct nsbox_address *ret);
bool nsbox_addr_same(const struct nsbox_address *a, const struct nsbox_address *b);
/* Address number @n of @subnet; AF_UNSPEC without a subnet. */
struct nsbox_address nsbox_addr_nth(const struct nsbox_prefix *subnet, uint32_t n);
/* The number of @address in @subnet; 0 if it is not in it, or its number is too high to be used. */
uint32_t nsbox_addr_number(const struct nsbox_prefix *subnet, const struct nsbox_address *address);
/* The highest number that a box of @network can have: of both subnets, the smaller. */
uint32_t nsbox_addr_last(const struct nsbox_network *network);

#endif
