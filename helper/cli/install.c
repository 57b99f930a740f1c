/* SPDX-License-Identifier: MIT */
/* Where nsbox itself is installed: see install.h. */
#include "install.h"
#include "pamd.h"

#include <errno.h>
#include <glob.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LOCAL_DIR "/usr/local/lib/security"

/* The directories of a libpam: those that have one of its own modules. */
static int find_beside_libpam(const char *name, char ret[static PATH_MAX])
{
	static const char *const patterns[] = {
		"/lib/*-linux-*/security", "/usr/lib/*-linux-*/security", "/lib64/security",
		"/usr/lib64/security", "/lib/security", "/usr/lib/security",
	};

	for (size_t i = 0; i < sizeof(patterns) / sizeof(patterns[0]); i++) {
		glob_t found = { .gl_pathc = 0 };
		bool there = false;

		if (glob(patterns[i], 0, NULL, &found) == 0) {
			for (size_t j = 0; j < found.gl_pathc && !there; j++) {
				(void)snprintf(ret, PATH_MAX, "%s/pam_permit.so", found.gl_pathv[j]);
				if (access(ret, F_OK) < 0)
					continue;
				(void)snprintf(ret, PATH_MAX, "%s/%s", found.gl_pathv[j], name);
				there = access(ret, F_OK) == 0;
			}
		}
		globfree(&found);
		if (there)
			return 0;
	}
	return -ENOENT;
}

int nsbox_find_module(char ret[static PATH_MAX], struct nsbox_error *err)
{
	if (find_beside_libpam(NSBOX_MODULE_NAME, ret) == 0) {
		(void)snprintf(ret, PATH_MAX, "%s", NSBOX_MODULE_NAME);
		return 0;
	}
	(void)snprintf(ret, PATH_MAX, "%s", LOCAL_DIR "/" NSBOX_MODULE_NAME);
	if (access(ret, F_OK) == 0)
		return 0;
	return nsbox_error_say(err, ENOENT, NSBOX_MODULE_NAME " is not among libpam's modules: with a "
			       "line that names it nobody could log in. Install it, or say where it "
			       "is with --module");
}

int nsbox_module_path(const char *name, char ret[static PATH_MAX])
{
	if (name[0] != '/')
		return find_beside_libpam(name, ret);
	(void)snprintf(ret, PATH_MAX, "%s", name);
	return access(ret, F_OK) == 0 ? 0 : -ENOENT;
}
