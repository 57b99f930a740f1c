/* SPDX-License-Identifier: MIT */
/* nf_tables: see nft.h. */
#include "nft.h"
#include "cleanup.h"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

#define OURS "nsbox"

struct nft {
	struct nlmsghdr header;
	struct nfgenmsg nfgen;
};

int nsbox_nft_ask(int type, bool dump, void (*each)(const struct nlmsghdr *, void *), void *data)
{
	cleanup_close int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);
	struct nft question = {
		.header = { .nlmsg_len = sizeof(question),
			    .nlmsg_type = (uint16_t)(NFNL_SUBSYS_NFTABLES << 8 | type),
			    .nlmsg_flags = (uint16_t)(NLM_F_REQUEST | (dump ? NLM_F_DUMP : 0)) },
		.nfgen = { .version = NFNETLINK_V0 },
	};
	static char buffer[65536] __attribute__((aligned(8)));

	if (sock < 0 || send(sock, &question, sizeof(question), 0) != (ssize_t)sizeof(question))
		return errno;
	for (;;) {
		ssize_t n = recv(sock, buffer, sizeof(buffer), 0);
		int len = (int)n;

		if (n < 0)
			return errno;
		for (struct nlmsghdr *h = (struct nlmsghdr *)(void *)buffer; NLMSG_OK(h, (unsigned int)len);
		     h = NLMSG_NEXT(h, len)) {
			if (h->nlmsg_type == NLMSG_DONE)
				return 0;
			if (h->nlmsg_type == NLMSG_ERROR)
				return -((struct nlmsgerr *)NLMSG_DATA(h))->error;
			if (each)
				each(h, data);
			if (!dump)
				return 0;
		}
	}
}

static const struct nlattr *find(const void *at, size_t len, int type)
{
	const char *p = at;

	while (len >= sizeof(struct nlattr)) {
		const struct nlattr *a = (const void *)p;
		size_t step = NLA_ALIGN(a->nla_len);

		if (a->nla_len < sizeof(*a) || a->nla_len > len)
			return NULL;
		if ((a->nla_type & NLA_TYPE_MASK) == type)
			return a;
		p += step;
		len -= step < len ? step : len;
	}
	return NULL;
}

unsigned int nsbox_nft_family(const struct nlmsghdr *h)
{
	return ((const struct nft *)(const void *)h)->nfgen.nfgen_family;
}

const struct nlattr *nsbox_nft_attribute(const struct nlmsghdr *h, int type)
{
	return h->nlmsg_len < sizeof(struct nft) ? NULL :
	       find((const char *)h + sizeof(struct nft), h->nlmsg_len - sizeof(struct nft), type);
}

const struct nlattr *nsbox_nft_inner(const struct nlattr *nest, int type)
{
	return find((const char *)nest + NLA_HDRLEN, nest->nla_len - NLA_HDRLEN, type);
}

const char *nsbox_nft_text(const struct nlattr *a)
{
	/* The kernel ends them with a zero. */
	return a && a->nla_len > NLA_HDRLEN ? (const char *)a + NLA_HDRLEN : "";
}

uint32_t nsbox_nft_number(const struct nlattr *a)
{
	uint32_t n = 0;

	if (a && a->nla_len >= NLA_HDRLEN + sizeof(n))
		memcpy(&n, (const char *)a + NLA_HDRLEN, sizeof(n));
	return ntohl(n);
}

/* ------------------------------------------------------------ ours */

/* The chains that everything a box sends goes through; "uses" counts rules. */
static void count_rules(const struct nlmsghdr *h, void *data)
{
	unsigned int *with_rules = data;
	const char *chain = nsbox_nft_text(nsbox_nft_attribute(h, NFTA_CHAIN_NAME));
	const unsigned int family = nsbox_nft_family(h);

	if (strcmp(nsbox_nft_text(nsbox_nft_attribute(h, NFTA_CHAIN_TABLE)), OURS) != 0 ||
	    nsbox_nft_number(nsbox_nft_attribute(h, NFTA_CHAIN_USE)) == 0)
		return;
	*with_rules += family == NFPROTO_INET && (!strcmp(chain, "forward") || !strcmp(chain, "input"));
	*with_rules += family == NFPROTO_BRIDGE && (!strcmp(chain, "prerouting") || !strcmp(chain, "forward"));
}

bool nsbox_nft_in_force(void)
{
	unsigned int with_rules = 0;

	/* A kernel that does not say: then nobody has made rules either. */
	return nsbox_nft_ask(NFT_MSG_GETCHAIN, true, count_rules, &with_rules) == 0 && with_rules == 4;
}

/* ------------------------------------------------------------ the notice */

/* The type of a message as the filter loads it: in the network's order. */
#define TYPE(word) htons(NFNL_SUBSYS_NFTABLES << 8 | (word))

int nsbox_nft_watch(void)
{
	/* A notice begins with what was done first: boxes begin with what comes, or with elements that go. */
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, offsetof(struct nlmsghdr, nlmsg_type)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE(NFT_MSG_NEWSETELEM), 5, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE(NFT_MSG_DELSETELEM), 4, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE(NFT_MSG_NEWCHAIN), 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE(NFT_MSG_NEWRULE), 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, TYPE(NFT_MSG_NEWGEN), 1, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	const struct sock_fprog program = { .len = sizeof(code) / sizeof(code[0]), .filter = code };
	cleanup_close int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
				      NETLINK_NETFILTER);
	const struct sockaddr_nl sa = { .nl_family = AF_NETLINK, .nl_groups = 1 << (NFNLGRP_NFTABLES - 1) };

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ||
	    bind(fd, (const struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	return take_fd(&fd);
}

void nsbox_nft_drain(int fd)
{
	char buffer[4096];
	ssize_t n;

	/* ENOBUFS: something was lost, and that is a notice too. */
	do
		n = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
	while (n > 0 || (n < 0 && (errno == EINTR || errno == ENOBUFS)));
}
