/* SPDX-License-Identifier: MIT */
/*
 * The steps that turn a process inside the box's namespaces into a harmless
 * one; the same for a caller that joined and for init. Each takes place in the
 * box, as box root, and cannot be undone.
 */
#ifndef NSBOX_DEPRIVILEGE_H
#define NSBOX_DEPRIVILEGE_H

#include "error.h"

#include <linux/filter.h>
#include <stddef.h>
#include <stdint.h>

/* A session keyring of its own: the host's is possessed otherwise (keyrings(7)). */
int nsbox_drop_keyring(struct nsbox_error *err);

/* PR_SET_DUMPABLE 0, and checks it: box root may not ptrace or read us. */
int nsbox_drop_dumpable(struct nsbox_error *err);

/* Installs the filter; needs no_new_privs or CAP_SYS_ADMIN in the box (seccomp(2)). */
int nsbox_install_filter(const struct sock_filter *insns, size_t n, struct nsbox_error *err);

/*
 * Bounding set to @bounding, ambient and inheritable to nothing, the others to
 * @keep. Does all of it even if one part fails, and returns the last failure.
 */
int nsbox_drop_caps(uint64_t bounding, uint64_t keep, struct nsbox_error *err);

#endif
