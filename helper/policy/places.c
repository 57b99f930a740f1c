/* SPDX-License-Identifier: MIT */
/*
 * What does not go together for one account: its home and what would be put over
 * it, a network and whose it is. The policy says it before a box is made.
 */
#include "internal.h"

#include <errno.h>
#include <limits.h>

static bool is_system_directory(const char *path)
{
	static const char *const names[] = {
		"", "/usr", "/etc", "/proc", "/sys", "/dev", "/run", "/tmp", "/bin", "/lib",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strcmp(path, names[i]) == 0)
			return true;
	return false;
}

static int make_plain(const char *home, char ret[PATH_MAX], struct nsbox_error *err)
{
	if (strlen(home) >= PATH_MAX)
		return nsbox_error_say(err, 0, "the home directory is longer than a path");
	strcpy(ret, home);
	nsbox_path_make_plain(ret);	/* passwd(5) has whatever was written there */
	return 0;
}

int nsbox_home_check(const char *home, struct nsbox_error *err)
{
	char path[PATH_MAX];

	if (home[0] != '/')
		return nsbox_error_say(err, 0, "the home directory \"%s\" is not an absolute path",
				       nsbox_quote_string(home).s);
	if (strstr(home, "/../") || strstr(home, "/./"))
		return nsbox_error_say(err, 0, "the home directory \"%s\" is not a plain path",
				       nsbox_quote_string(home).s);
	if (make_plain(home, path, err) < 0)
		return -EINVAL;
	if (is_system_directory(path))
		return nsbox_error_say(err, 0, "the home directory \"%s\" is a system directory: "
				       "write home = none", nsbox_quote_string(home).s);
	return nsbox_path_check_place(path, false, err) < 0 ?
	       nsbox_error_wrap(err, "the home directory") : 0;
}

/* @home is plain. With home = none there is an empty directory, for a bind to be put over. */
static int check_binds(const struct nsbox_decision *d, const char *home, struct nsbox_error *err)
{
	for (size_t i = 0; i < d->n_bind; i++) {
		const struct nsbox_bind *bind = &d->bind[i];

		if (nsbox_path_is_in(bind->src, "/run/nsbox") ||
		    nsbox_path_is_in(bind->src, "/var/lib/nsbox"))
			return nsbox_error_say(err, 0, "\"%s\" is nsbox's own: take it out",
					       nsbox_quote_string(bind->src).s);
		if (d->home != NSBOX_HOME_NONE && strcmp(bind->dst, home) == 0)
			return nsbox_error_say(err, 0, "the home is there: write home = %s instead",
					       nsbox_quote_string(bind->src).s);
	}
	return 0;
}

static int check_tmpfs(const struct nsbox_decision *d, const char *home, struct nsbox_error *err)
{
	for (size_t i = 0; i < d->n_tmpfs; i++)
		if (strcmp(d->tmpfs[i].dst, home) == 0)
			return nsbox_error_say(err, 0, "the home is there: write home = tmpfs "
					       "instead");
	return 0;
}

int nsbox_account_check(const struct nsbox_decision *d, const struct nsbox_subject *subject,
			enum nsbox_key *ret_key, struct nsbox_error *err)
{
	const char *home = subject->home ? subject->home : "";
	char path[PATH_MAX];
	int r;

	*ret_key = NSBOX_KEY_HOME;
	r = d->home == NSBOX_HOME_NONE ? 0 : nsbox_home_check(home, err);
	if (!r)
		r = make_plain(home, path, err);
	if (r < 0)
		return r;
	*ret_key = NSBOX_KEY_BIND;
	r = check_binds(d, path, err);
	if (r < 0)
		return r;
	*ret_key = NSBOX_KEY_TMPFS;
	r = check_tmpfs(d, path, err);
	if (r < 0)
		return r;
	*ret_key = NSBOX_KEY_NET;
	if (d->net == NSBOX_NET_JOIN_USER && strcmp(d->net_name, subject->name) == 0)
		return nsbox_error_say(err, 0, "that is the user himself: write another user, bridge "
				       "or none");
	return 0;
}
