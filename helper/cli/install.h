/* SPDX-License-Identifier: MIT */
/* Where nsbox itself is installed. */
#ifndef NSBOX_INSTALL_H
#define NSBOX_INSTALL_H

#include "error.h"

#include <limits.h>

/*
 * How a line of pam.d names the module: "pam_nsbox.so" where it lies beside
 * libpam's own modules, its path where it lies in /usr/local/lib/security.
 * Returns 0, or -ENOENT and the sentence.
 */
int nsbox_find_module(char ret[static PATH_MAX], struct nsbox_error *err);

/* The file that a line of pam.d means by @name. Returns 0 or -ENOENT. */
int nsbox_module_path(const char *name, char ret[static PATH_MAX]);

#endif
