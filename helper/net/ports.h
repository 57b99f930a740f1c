/* SPDX-License-Identifier: MIT */
/* Ports of the host that a service of the host has: a box must not take them away. */
#ifndef NSBOX_NET_PORTS_H
#define NSBOX_NET_PORTS_H

#include "request.h"

/* -EBUSY: one of them is. */
int nsbox_ports_check(const struct nsbox_net_request *request, struct nsbox_error *err);

#endif
