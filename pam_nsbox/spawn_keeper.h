/* SPDX-License-Identifier: MIT */
/* Starting a keeper from inside a caller that must not notice. */
#ifndef NSBOX_SPAWN_KEEPER_H
#define NSBOX_SPAWN_KEEPER_H

#include "error.h"

/*
 * Starts nsbox-keeper as nobody's child, with an empty environment and a
 * connection to it. Runs in the caller, as root. No SIGCHLD reaches the caller,
 * no child of it remains, its signal actions and mask are as before: shadow's
 * login would take our child for its shell, util-linux' login waits until it
 * has no children at all.
 * Returns the connection, the caller's to close; or a negative errno.
 */
int nsbox_spawn_keeper(struct nsbox_error *err);

#endif
