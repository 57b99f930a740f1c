/* SPDX-License-Identifier: MIT */
/*
 * The kernel's table of connections. What it holds of a box that ended would
 * be open to the next one with that address, whatever that may by its policy.
 */
#ifndef NSBOX_NET_CONNTRACK_H
#define NSBOX_NET_CONNTRACK_H

#include "policy.h"

/* Removes each connection from or to @address. What the kernel does not show stays. */
void nsbox_conntrack_forget(const struct nsbox_address *address);

#endif
