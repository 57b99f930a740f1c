/* SPDX-License-Identifier: MIT */
/*
 * nf_tables by netlink, without a library: what is there, read and never changed,
 * and the notice of a change. For those who must not carry libnftables.
 */
#ifndef NSBOX_NFT_H
#define NSBOX_NFT_H

#include <linux/netlink.h>
#include <stdbool.h>
#include <stdint.h>

/* Asks for all of @type; @each sees every answer. Returns 0 or an errno. */
int nsbox_nft_ask(int type, bool dump, void (*each)(const struct nlmsghdr *, void *), void *data);

/* Of an answer: its family, and its attribute of @type; NULL: there is none. */
unsigned int nsbox_nft_family(const struct nlmsghdr *h);
const struct nlattr *nsbox_nft_attribute(const struct nlmsghdr *h, int type);
const struct nlattr *nsbox_nft_inner(const struct nlattr *nest, int type);
/* "" and 0 for NULL. */
const char *nsbox_nft_text(const struct nlattr *a);
uint32_t nsbox_nft_number(const struct nlattr *a);

/* Are the frames of nsbox's two tables there, with their rules? */
bool nsbox_nft_in_force(void);

/*
 * A descriptor that can be read after somebody has removed rules, sets or tables,
 * whosever; negative errno. Elements that come and go do not wake.
 */
int nsbox_nft_watch(void);
/* Reads what there is of it. */
void nsbox_nft_drain(int fd);

#endif
