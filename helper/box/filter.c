/* SPDX-License-Identifier: MIT */
#include "filter.h"

#include "proto.h"

#include <linux/seccomp.h>

static const struct sock_filter usual[] = {
#include "filter.inc"
};

static const struct sock_filter nested[] = {
#include "nested.inc"
};

/* seccomp(2) takes no empty program, and the callers install what they are given. */
static const struct sock_filter off[] = {
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

#define LEN(table) (sizeof(table) / sizeof((table)[0]))

_Static_assert(LEN(usual) <= NSBOX_INSNS_MAX && LEN(nested) <= NSBOX_INSNS_MAX,
	       "the filter does not fit into a JOIN");

const struct nsbox_filter *nsbox_filter_for(const struct nsbox_decision *policy)
{
	static const struct nsbox_filter filters[] = {
		{ usual, LEN(usual) }, { nested, LEN(nested) }, { off, LEN(off) },
	};

	if (policy->seccomp == NSBOX_SECCOMP_OFF)
		return &filters[2];
	return &filters[policy->nested ? 1 : 0];
}
