/* SPDX-License-Identifier: MIT */
/* The seccomp filter of every process in a box: helper/filter/main.c says what it refuses. */
#ifndef NSBOX_FILTER_H
#define NSBOX_FILTER_H

#include "policy.h"

#include <linux/filter.h>

/* Compiled when nsbox was built; init and every caller install it. */
struct nsbox_filter {
	const struct sock_filter *insns;
	size_t len;
};

/* The filter of a box: the usual one, with nested = yes or with seccomp = off. */
const struct nsbox_filter *nsbox_filter_for(const struct nsbox_decision *policy);

#endif
