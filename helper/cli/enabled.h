/* SPDX-License-Identifier: MIT */
/*
 * /var/lib/nsbox/enabled: which services nsbox enable was asked for, and with
 * which arguments, one a line. Only so that a line of ours that went away (an
 * upgrade that brought a new file) can be missed; what counts is pam.d.
 */
#ifndef NSBOX_ENABLED_H
#define NSBOX_ENABLED_H

#include "error.h"

#include <stdbool.h>
#include <sys/types.h>

#define NSBOX_STATE_DIR "/var/lib/nsbox"
#define NSBOX_ENABLED "enabled"

/* Puts @service on the list with @args, or takes it off if @args is NULL. */
int nsbox_enabled_set(const char *service, const char *args, struct nsbox_error *err);

/*
 * Calls @each with every service on the list and the time when the list was
 * written. Returns 0, a negative errno, or what @each returned if not 0.
 */
int nsbox_enabled_each(int (*each)(const char *service, const char *args, struct timespec written,
				   void *data),
		       void *data, struct nsbox_error *err);

#endif
