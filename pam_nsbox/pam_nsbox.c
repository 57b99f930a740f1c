/* SPDX-License-Identifier: MIT */
/*
 * pam_nsbox: the session module. Decides nothing but who may never be locked
 * out (uid 0, exempt_group=); the rest is the keeper's. Holds the only place
 * where an error becomes a PAM code and a line in the log.
 *
 * Never PAM_SESSION_ERR, which sudo ignores and runs the command; never
 * PAM_IGNORE for "go on", with which a stack that has nothing else denies.
 */
#include "answer.h"
#include "client.h"
#include "caller.h"
#include "cleanup.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>

#include <security/pam_ext.h>
#include <security/pam_modules.h>
#include <security/pam_modutil.h>

/* All else is hidden: every module of a stack shares one name space of symbols. */
#define EXPORTED __attribute__((visibility("default")))

/* Fills @open from the PAM items. Returns 0 or a negative errno. */
static int describe(pam_handle_t *pamh, const char *user, int argc, const char **argv,
		    struct nsbox_msg_open *open, struct nsbox_error *err)
{
	const struct {
		int item;
		char *to;
		size_t size;
		const char *what;
	} items[] = {
		{ PAM_SERVICE, open->service, sizeof(open->service), "service" },
		{ PAM_TTY, open->tty, sizeof(open->tty), "terminal" },
		{ PAM_RHOST, open->rhost, sizeof(open->rhost), "remote host" },
	};
	const char *session;
	int r = 0;

	if (strlen(user) >= sizeof(open->user))
		return nsbox_error_say(err, ENAMETOOLONG, "the user name is longer than %zu bytes",
				       sizeof(open->user) - 1);
	strcpy(open->user, user);
	for (size_t i = 0; i < sizeof(items) / sizeof(items[0]); i++) {
		const void *value = NULL;

		if (pam_get_item(pamh, items[i].item, &value) != PAM_SUCCESS || !value)
			continue;
		if (strlen(value) >= items[i].size)
			return nsbox_error_say(err, ENAMETOOLONG, "the name of the %s is longer "
					       "than %zu bytes", items[i].what, items[i].size - 1);
		strcpy(items[i].to, value);
	}
	/* pam_systemd has put it there, if it is in the stack. */
	session = pam_getenv(pamh, "XDG_SESSION_ID");
	if (session)
		(void)snprintf(open->session, sizeof(open->session), "%s", session);
	for (int i = 0; i < argc && r == 0; i++)
		if (!nsbox_exempt_group(argv[i]))
			r = nsbox_open_add_arg(open, argv[i], err);
	return r;
}

/* Break glass: decided here, before anything that can fail. */
static bool is_exempt(pam_handle_t *pamh, const struct passwd *pw, int argc, const char **argv)
{
	if (pw->pw_uid == 0)
		return true;
	for (int i = 0; i < argc; i++) {
		const char *group = nsbox_exempt_group(argv[i]);

		if (group && pam_modutil_user_in_group_nam_nam(pamh, pw->pw_name, group))
			return true;
	}
	return false;
}

static int fail(pam_handle_t *pamh, const char *user, const struct nsbox_error *err, int code)
{
	pam_syslog(pamh, LOG_ERR, "no box for %s: %s", user, err->msg);
	(void)pam_error(pamh, "nsbox: this session cannot be opened: %s.", err->msg);
	return code;
}

/* The administrator's own words for the user, if the policy has some; the reason for the log. */
static int deny(pam_handle_t *pamh, const char *user, const char *message,
		const struct nsbox_error *err)
{
	if (!message[0])
		return fail(pamh, user, err, PAM_PERM_DENIED);
	pam_syslog(pamh, LOG_ERR, "no box for %s: %s", user, err->msg);
	(void)pam_error(pamh, "%s", message);
	return PAM_PERM_DENIED;
}

/* After the join, so that nothing has to be taken back if that fails. */
static int put_env(pam_handle_t *pamh, const char *user, const char *env)
{
	struct nsbox_error err;

	for (const char *e = env; *e; e += strlen(e) + 1) {
		if (pam_putenv(pamh, e) == PAM_SUCCESS)
			continue;
		(void)nsbox_error_say(&err, ENOMEM, "PAM does not take %.60s", e);
		return fail(pamh, user, &err, PAM_ABORT);
	}
	return PAM_SUCCESS;
}

static int open_box(pam_handle_t *pamh, const struct passwd *pw, int argc, const char **argv)
{
	struct nsbox_error err = { .code = 0 };
	struct nsbox_msg_open open = { .flags = 0 };
	enum nsbox_place place = nsbox_caller_place(&err);
	struct nsbox_opened opened;

	if (place == NSBOX_PLACE_BOX)
		return PAM_SUCCESS;
	if (place == NSBOX_PLACE_OTHER ||
	    describe(pamh, pw->pw_name, argc, argv, &open, &err) < 0)
		return fail(pamh, pw->pw_name, &err, PAM_SYSTEM_ERR);
	switch (nsbox_open(&open, pw->pw_uid, &opened, &err)) {
	case NSBOX_PASSED:
		if (opened.said[0])
			pam_syslog(pamh, LOG_NOTICE, "%s: %s", pw->pw_name, opened.said);
		return PAM_SUCCESS;
	case NSBOX_ENTERED:
		if (opened.said[0])
			(void)pam_info(pamh, "nsbox: %s.", opened.said);
		return put_env(pamh, pw->pw_name, opened.env);
	case NSBOX_DENIED:
		return deny(pamh, pw->pw_name, opened.said, &err);
	case NSBOX_REFUSED:
		return fail(pamh, pw->pw_name, &err, PAM_SYSTEM_ERR);
	case NSBOX_BROKEN:
		break;
	}
	return fail(pamh, pw->pw_name, &err, PAM_ABORT);
}

EXPORTED int pam_sm_open_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	struct nsbox_error err;
	const char *user = NULL;
	const struct passwd *pw;

	(void)flags;
	if (pam_get_user(pamh, &user, NULL) != PAM_SUCCESS || !user) {
		pam_syslog(pamh, LOG_ERR, "no box: PAM does not say who logs in");
		return PAM_SYSTEM_ERR;
	}
	/* The canonical name: a directory may have been asked for "ALICE". */
	pw = pam_modutil_getpwnam(pamh, user);
	if (!pw) {
		(void)nsbox_error_say(&err, ENOENT, "the name service does not know this user");
		return fail(pamh, user, &err, PAM_SYSTEM_ERR);
	}
	if (is_exempt(pamh, pw, argc, argv))
		return PAM_SUCCESS;
	return open_box(pamh, pw, argc, argv);
}

/* The keeper sees the caller end; there is nothing to do in here, inside the box. */
EXPORTED int pam_sm_close_session(pam_handle_t *pamh, int flags, int argc, const char **argv)
{
	(void)pamh;
	(void)flags;
	(void)argc;
	(void)argv;
	return PAM_SUCCESS;
}
