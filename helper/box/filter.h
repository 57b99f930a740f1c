/* SPDX-License-Identifier: MIT */
/* The seccomp filter of every process in a box: helper/filter/main.c says what it refuses. */
#ifndef NSBOX_FILTER_H
#define NSBOX_FILTER_H

#include <linux/filter.h>
#include <stddef.h>

/* Compiled when nsbox was built; init and every caller install it. */
extern const struct sock_filter nsbox_filter[];
extern const size_t nsbox_filter_len;

#endif
