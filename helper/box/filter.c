/* SPDX-License-Identifier: MIT */
#include "filter.h"

#include "proto.h"

const struct sock_filter nsbox_filter[] = {
#include "filter.inc"
};

const size_t nsbox_filter_len = sizeof(nsbox_filter) / sizeof(nsbox_filter[0]);

_Static_assert(sizeof(nsbox_filter) / sizeof(nsbox_filter[0]) <= NSBOX_INSNS_MAX,
	       "the filter does not fit into a JOIN");
