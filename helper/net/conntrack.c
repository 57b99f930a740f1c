/* SPDX-License-Identifier: MIT */
/* Connections by libnl: see conntrack.h. */
#include "conntrack.h"
#include "addr.h"

#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_conntrack.h>
#include <netlink/attr.h>
#include <netlink/msg.h>
#include <netlink/netlink.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

/* Of CTA_FILTER_ORIG_FLAGS: the source counts. Since 5.8; a kernel before that shows all. */
#define FILTER_SOURCE 1u

/* The original direction of the connections to remove, each as the kernel wrote it. */
struct found {
	const struct nsbox_address *address;
	int direction;			/* CTA_TUPLE_ORIG, CTA_TUPLE_REPLY */
	struct nl_msg **messages;
	size_t n;
};

static struct nl_msg *make_message(int family, int type, int flags)
{
	const struct nfgenmsg header = { .nfgen_family = (uint8_t)family,
					 .version = NFNETLINK_V0 };
	struct nl_msg *msg = nlmsg_alloc_simple(NFNL_SUBSYS_CTNETLINK << 8 | type,
						NLM_F_REQUEST | flags);

	if (msg && nlmsg_append(msg, (void *)(uintptr_t)&header, sizeof(header), NLMSG_ALIGNTO) == 0)
		return msg;
	nlmsg_free(msg);
	return NULL;
}

static int source_type(int family)
{
	return family == AF_INET ? CTA_IP_V4_SRC : CTA_IP_V6_SRC;
}

/* Is the source of that direction the address? */
static bool is_ours(const struct found *f, struct nlattr *tuple)
{
	struct nlattr *addresses = tuple ? nla_find(nla_data(tuple), nla_len(tuple), CTA_TUPLE_IP) :
					   NULL;
	struct nlattr *source = !addresses ? NULL :
		nla_find(nla_data(addresses), nla_len(addresses), source_type(f->address->family));
	size_t size = nsbox_addr_size(f->address->family);

	return source && nla_len(source) == (int)size &&
	       memcmp(nla_data(source), f->address->bytes, size) == 0;
}

/* While the kernel tells, it cannot be asked: the answers are only kept. */
static int see(struct nl_msg *msg, void *data)
{
	struct found *f = data;
	struct nlmsghdr *header = nlmsg_hdr(msg);
	struct nlattr *direction = nlmsg_find_attr(header, sizeof(struct nfgenmsg), f->direction);
	struct nlattr *orig = nlmsg_find_attr(header, sizeof(struct nfgenmsg), CTA_TUPLE_ORIG);
	struct nl_msg **more, *removal;

	if (!orig || !is_ours(f, direction))
		return NL_OK;
	more = realloc(f->messages, (f->n + 1) * sizeof(*more));
	if (!more)
		return NL_OK;
	f->messages = more;
	removal = make_message(f->address->family, IPCTNL_MSG_CT_DELETE, NLM_F_ACK);
	if (removal && nla_put(removal, CTA_TUPLE_ORIG | NLA_F_NESTED, nla_len(orig),
			       nla_data(orig)) == 0)
		f->messages[f->n++] = removal;
	else
		nlmsg_free(removal);
	return NL_OK;
}

static struct nl_msg *make_question(const struct found *f)
{
	struct nl_msg *msg = make_message(f->address->family, IPCTNL_MSG_CT_GET, NLM_F_DUMP);
	struct nlattr *nest = msg ? nla_nest_start(msg, CTA_FILTER | NLA_F_NESTED) : NULL, *inner;
	bool orig = f->direction == CTA_TUPLE_ORIG;

	if (!nest || nla_put_u32(msg, CTA_FILTER_ORIG_FLAGS, orig ? FILTER_SOURCE : 0) < 0 ||
	    nla_put_u32(msg, CTA_FILTER_REPLY_FLAGS, orig ? 0 : FILTER_SOURCE) < 0)
		goto bad;
	(void)nla_nest_end(msg, nest);
	nest = nla_nest_start(msg, f->direction | NLA_F_NESTED);
	inner = nest ? nla_nest_start(msg, CTA_TUPLE_IP | NLA_F_NESTED) : NULL;
	if (!inner || nla_put(msg, source_type(f->address->family),
			      (int)nsbox_addr_size(f->address->family), f->address->bytes) < 0)
		goto bad;
	(void)nla_nest_end(msg, inner);
	(void)nla_nest_end(msg, nest);
	return msg;
bad:
	nlmsg_free(msg);
	return NULL;
}

static void forget(struct nl_sock *sock, const struct nsbox_address *address, int direction)
{
	struct found f = { .address = address, .direction = direction };
	struct nl_msg *question = make_question(&f);

	if (question && nl_socket_modify_cb(sock, NL_CB_VALID, NL_CB_CUSTOM, see, &f) == 0 &&
	    nl_send_auto(sock, question) >= 0)
		(void)nl_recvmsgs_default(sock);
	nlmsg_free(question);
	/* One that has ended by itself meanwhile is gone all the same. */
	for (size_t i = 0; i < f.n; i++)
		(void)nl_send_sync(sock, f.messages[i]);
	free(f.messages);
}

void nsbox_conntrack_forget(const struct nsbox_address *address)
{
	struct nl_sock *sock = address->family ? nl_socket_alloc() : NULL;

	/* From the box, and to it by a published port. */
	if (sock && nl_connect(sock, NETLINK_NETFILTER) == 0) {
		forget(sock, address, CTA_TUPLE_ORIG);
		forget(sock, address, CTA_TUPLE_REPLY);
	}
	nl_socket_free(sock);
}
