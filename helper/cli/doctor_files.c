/* SPDX-License-Identifier: MIT */
/* The policy, and the files that have to be root's alone. */
#include "doctor.h"
#include "install.h"
#include "pamd.h"
#include "policy.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Root's, writable by nobody else, and not a link to something that is not. */
static void check_file(struct nsbox_doctor *d, const char *path, const char *what, const char *fix)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		nsbox_find(d, NSBOX_ERROR, "files.missing", "%s %s: %s", what, path, strerror(errno));
		nsbox_find_fix(d, "%s", fix);
	} else if (st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH)) {
		nsbox_find(d, NSBOX_ERROR, "files.owner", "%s %s can be written by others than root "
			   "(owner %u, mode %04o)", what, path, st.st_uid,
			   (unsigned int)(st.st_mode & 07777));
		nsbox_find_fix(d, "chown root:root %s && chmod go-w %s", path, path);
	} else if (S_ISREG(st.st_mode) && st.st_mode & (S_ISUID | S_ISGID)) {
		nsbox_find(d, NSBOX_ERROR, "files.owner", "%s %s is setuid or setgid, and nothing of "
			   "nsbox has to be", what, path);
		nsbox_find_fix(d, "chmod ug-s %s", path);
	} else {
		nsbox_find(d, NSBOX_OK, "files.owner", "%s %s is root's", what, path);
	}
}

static void one_error(const char *sentence, void *data)
{
	nsbox_find(data, NSBOX_ERROR, "policy.error", "%s", sentence);
}

static void check_policy(struct nsbox_doctor *d)
{
	struct nsbox_policy *policy;
	struct nsbox_error err;

	if (nsbox_policy_load(NSBOX_POLICY_DIR, &policy, &err) < 0) {
		nsbox_find(d, NSBOX_ERROR, "policy.error", "%s", err.msg);
		return;
	}
	if (nsbox_policy_errors(policy, one_error, d) == 0)
		nsbox_find(d, NSBOX_OK, "policy.error", "no mistakes in " NSBOX_POLICY_DIR "/"
			   NSBOX_POLICY_FILE);
	nsbox_policy_free(policy);
}

void nsbox_doctor_files(struct nsbox_doctor *d)
{
	char name[PATH_MAX], path[PATH_MAX];
	struct nsbox_error err;

	if (nsbox_find_module(name, &err) < 0) {
		nsbox_find(d, NSBOX_ERROR, "files.missing", "%s", err.msg);
		nsbox_find_fix(d, "install nsbox again");
	} else if (nsbox_module_path(name, path) == 0) {
		check_file(d, path, "the module", "install nsbox again");
	}
	check_file(d, NSBOX_KEEPER_PATH, "the keeper", "install nsbox again");
	check_file(d, NSBOX_POLICY_DIR, "the directory of the policy", "install nsbox again");
	check_policy(d);
}
