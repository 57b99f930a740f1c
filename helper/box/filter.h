/* SPDX-License-Identifier: MIT */
/* The seccomp filter of every process in a box. */
#ifndef NSBOX_FILTER_H
#define NSBOX_FILTER_H

#include "error.h"

#include <linux/filter.h>
#include <stddef.h>

/*
 * Compiles the default filter: everything is allowed but
 *  - ioctl TIOCSTI and TIOCLINUX (typing into a terminal of the host),
 *  - keyctl, add_key, request_key (keyrings are not namespaced), io_uring (it
 *    makes any socket, past the filter),
 *  - sockets of other families than UNIX, INET, INET6, NETLINK (AF_VSOCK passes
 *    any network namespace), and NETLINK_AUDIT,
 *  - new user namespaces (clone3 is ENOSYS, its flags cannot be filtered),
 * for the native and, on x86, the 32-bit calls (which get no new sockets at
 * all); x32 and every other convention is ENOSYS.
 * Writes at most @max instructions to @ret and their number to *ret_n.
 */
int nsbox_filter_compile(struct sock_filter *ret, size_t max, size_t *ret_n,
			  struct nsbox_error *err);

#endif
