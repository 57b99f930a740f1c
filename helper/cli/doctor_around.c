/* SPDX-License-Identifier: MIT */
/*
 * The users whom the policy boxes, and what of theirs runs, or could be run,
 * outside the box. Of a user's own files only their being there is asked.
 */
#include "doctor.h"
#include "cleanup.h"
#include "identity.h"
#include "pamd.h"
#include "policy.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define LINGER "/var/lib/systemd/linger"
#define CRONTABS "/var/spool/cron/crontabs"
#define DROP_INS "user@.service.d"

enum { USERS_MAX = 20000, HOMES_MAX = 16 };

struct around {
	struct nsbox_doctor *doctor;
	const struct nsbox_policy *policy;
	size_t boxed, users;
	bool cron_outside, at_outside, has_mta;
	char *homes[HOMES_MAX];		/* the directories that boxed users' homes are in */
	size_t n_homes;
};

static bool exists(const char *dir, const char *name)
{
	char path[PATH_MAX];
	struct stat st;

	return (size_t)snprintf(path, sizeof(path), "%s/%s", dir, name) < sizeof(path) &&
	       fstatat(AT_FDCWD, path, &st, AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT) == 0;
}

/* Whoever is in one of these is root of the host, once he has a process outside. */
static void check_groups(struct around *a, const struct nsbox_subject *s)
{
	static const char *const roots[] = { "docker", "lxd", "incus-admin", "libvirt", "disk" };

	for (size_t i = 0; i < s->n_groups; i++) {
		for (size_t j = 0; s->group_names[i] && j < sizeof(roots) / sizeof(roots[0]); j++) {
			if (strcmp(s->group_names[i], roots[j]) != 0)
				continue;
			nsbox_find(a->doctor, NSBOX_WARNING, "around.group", "%s is in the group %s, "
				   "which is as good as root to whatever of his runs outside", s->name,
				   roots[j]);
			nsbox_find_fix(a->doctor, "gpasswd -d %s %s", s->name, roots[j]);
		}
	}
}

/* Does an at job belong to him? Their names do not say so. */
static bool has_at_job(uid_t uid)
{
	static const char dir[] = "/var/spool/cron/atjobs";
	cleanup_dir DIR *d = opendir(dir);
	bool found = false;

	for (struct dirent *e; d && (e = readdir(d));) {
		struct stat st;

		found |= fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
			 S_ISREG(st.st_mode) && st.st_uid == uid;
	}
	return found;
}

static void check_files(struct around *a, const struct nsbox_subject *s)
{
	static const char *const mail[] = { ".forward", ".procmailrc" };
	struct nsbox_doctor *d = a->doctor;

	if (exists(LINGER, s->name)) {
		nsbox_find(d, NSBOX_ERROR, "around.linger", "%s lingers: systemd starts programs of "
			   "his at boot, outside the box", s->name);
		nsbox_find_fix(d, "loginctl disable-linger %s", s->name);
	}
	if (a->cron_outside && exists(CRONTABS, s->name)) {
		nsbox_find(d, NSBOX_ERROR, "around.cron", "the crontab of %s runs outside the box",
			   s->name);
		nsbox_find_fix(d, "nsbox enable cron");
	}
	if (a->at_outside && has_at_job(s->uid)) {
		nsbox_find(d, NSBOX_ERROR, "around.at", "an at job of %s runs outside the box", s->name);
		nsbox_find_fix(d, "nsbox enable atd");
	}
	for (size_t i = 0; a->has_mta && i < sizeof(mail) / sizeof(mail[0]); i++) {
		if (!exists(s->home, mail[i]))
			continue;
		nsbox_find(d, NSBOX_WARNING, "around.mail", "%s/%s: the mail system may run programs "
			   "that %s names there, outside the box", s->home, mail[i], s->name);
		nsbox_find_fix(d, i ? "take procmail off the mail system" :
				      "postfix: allow_mail_to_commands = (nothing); exim: forbid_pipe");
	}
}

/* /home is looked at in any case. */
static void check_home(struct around *a, const struct nsbox_subject *s,
		       const struct nsbox_decision *decision)
{
	const char *home = decision->home == NSBOX_HOME_DIR ? decision->home_dir : s->home;
	const char *slash = home ? strrchr(home, '/') : NULL;
	char *parent;

	if (!slash || slash == home || decision->home == NSBOX_HOME_NONE ||
	    decision->home == NSBOX_HOME_TMPFS || a->n_homes == HOMES_MAX)
		return;
	parent = strndup(home, (size_t)(slash - home));
	for (size_t i = 0; parent && i < a->n_homes; i++)
		if (strcmp(a->homes[i], parent) == 0) {
			free(parent);
			return;
		}
	if (!parent)
		return;
	a->homes[a->n_homes++] = parent;
	if (strcmp(parent, "/home") != 0)
		nsbox_doctor_idmap_homes(a->doctor, parent);
}

static void note_network(struct nsbox_doctor *d, const struct nsbox_network *network)
{
	for (size_t i = 0; i < d->n_networks; i++)
		if (strcmp(d->networks[i].name, network->name) == 0)
			return;
	if (d->n_networks < sizeof(d->networks) / sizeof(d->networks[0]))
		d->networks[d->n_networks++] = *network;
}

static void check_user(struct around *a, const char *name)
{
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_decision decision;

	if (nsbox_identity_get(name, &id, NULL) < 0 || id.subject.uid == 0 ||
	    nsbox_policy_decide(a->policy, &id.subject, "sshd", NULL, 0, &decision, NULL) < 0)
		return;
	if (decision.action == NSBOX_ACTION_BOX) {
		a->boxed++;
		check_groups(a, &id.subject);
		check_files(a, &id.subject);
		check_home(a, &id.subject, &decision);
		if (decision.net == NSBOX_NET_BRIDGE)
			note_network(a->doctor, &decision.network);
		if (decision.net == NSBOX_NET_HOST) {
			nsbox_find(a->doctor, NSBOX_WARNING, "around.net", "%s has the host's network: "
				   "he reaches what listens on 127.0.0.1 and on abstract sockets, ssh "
				   "to an account that is not boxed too", id.subject.name);
			nsbox_find_fix(a->doctor, "net = none");
		}
	}
	nsbox_decision_free(&decision);
}

/* The names first: what asks about one user uses the same static storage. */
static void check_users(struct around *a)
{
	char **names = NULL;
	const struct passwd *pw;

	setpwent();
	while (a->users < USERS_MAX && (pw = getpwent()) != NULL) {
		char **more = realloc(names, (a->users + 1) * sizeof(*names));

		if (!more)
			break;
		names = more;
		names[a->users] = strdup(pw->pw_name);
		if (!names[a->users])
			break;
		a->users++;
	}
	endpwent();
	for (size_t i = 0; i < a->users; i++) {
		check_user(a, names[i]);
		free(names[i]);
	}
	free(names);
	nsbox_find(a->doctor, NSBOX_OK, "around.users", "of %zu users that the name service lists, the "
		   "policy boxes %zu", a->users, a->boxed);
}

/* Does a drop-in have systemd ask nsbox manager? */
static bool has_condition(int dir, const char *name)
{
	static const char suffix[] = ".conf";
	size_t length = strlen(name);
	bool is_drop_in = length >= strlen(suffix) && !strcmp(name + length - strlen(suffix), suffix);
	cleanup_close int fd = is_drop_in ? openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK) : -1;
	cleanup_fclose FILE *f = fd < 0 ? NULL : fdopen(fd, "re");
	cleanup_free char *line = NULL;
	size_t size = 0;
	bool found = false;

	if (f)
		fd = -1;
	while (f && !found && getline(&line, &size, f) >= 0)
		found = strncmp(line, "ExecCondition=", strlen("ExecCondition=")) == 0 &&
			strstr(line, "nsbox manager") != NULL;
	return found;
}

/* Of drop-ins with the same name only that in the first of these directories counts, if it is an empty one. */
static bool has_drop_in(void)
{
	static const char *const dirs[] = {
		"/etc/systemd/system/" DROP_INS,	   "/run/systemd/system/" DROP_INS,
		"/usr/local/lib/systemd/system/" DROP_INS, "/usr/lib/systemd/system/" DROP_INS,
		"/lib/systemd/system/" DROP_INS,
	};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++) {
		cleanup_dir DIR *d = opendir(dirs[i]);

		for (struct dirent *e; d && (e = readdir(d));) {
			size_t first = 0;

			while (first < i && !exists(dirs[first], e->d_name))
				first++;
			if (first == i && has_condition(dirfd(d), e->d_name))
				return true;
		}
	}
	return false;
}

/* A manager that nsbox's line refuses had better not be tried: the unit fails, at each first login. */
static void check_drop_in(struct nsbox_doctor *d)
{
	static const char dir[] = "/etc/systemd/system/" DROP_INS;
	char self[PATH_MAX] = "";

	if (has_drop_in()) {
		nsbox_find(d, NSBOX_OK, "around.condition", "systemd asks nsbox manager before it starts "
			   "user@UID.service");
		return;
	}
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		(void)snprintf(self, sizeof(self), "/usr/bin/nsbox");
	nsbox_find(d, NSBOX_WARNING, "around.condition", "user@UID.service is started for boxed users, and "
		   "fails: no drop-in of user@.service has systemd ask nsbox manager first");
	nsbox_find_fix(d, "mkdir -p %s && printf '%%s\\n' '[Service]' 'ExecCondition=+%s manager %%i' "
		       ">%s/nsbox-manager.conf && systemctl daemon-reload", dir, self, dir);
}

/* systemd starts user@UID.service for whoever logs in: a manager of his own, outside. */
static void check_user_manager(struct around *a)
{
	enum nsbox_coverage covered = nsbox_service_coverage("systemd-user");
	struct stat st;

	if (covered == NSBOX_NO_SERVICE || stat("/run/systemd/system", &st) < 0)
		return;
	if (covered == NSBOX_COVERED) {
		nsbox_find(a->doctor, NSBOX_OK, "around.manager", "systemd-user has nsbox's line");
		if (a->boxed > 0)
			check_drop_in(a->doctor);
		return;
	}
	nsbox_find(a->doctor, a->doctor->enabled ? NSBOX_ERROR : NSBOX_WARNING, "around.manager",
		   "systemd starts user@UID.service for boxed users, outside the box");
	nsbox_find_fix(a->doctor, "%snsbox enable --deny systemd-user",
		       access(NSBOX_PAM_DIR "/systemd-user", F_OK) < 0 ?
		       "cp " NSBOX_PAM_DIST_DIR "/systemd-user " NSBOX_PAM_DIR "/ && " : "");
}

void nsbox_doctor_around(struct nsbox_doctor *d)
{
	struct nsbox_policy *policy;
	struct around a = {
		.doctor = d,
		.cron_outside = nsbox_service_coverage("cron") == NSBOX_OUTSIDE,
		.at_outside = nsbox_service_coverage("atd") == NSBOX_OUTSIDE,
		.has_mta = access("/usr/sbin/sendmail", X_OK) == 0,
	};

	if (nsbox_policy_load(NSBOX_POLICY_DIR, NULL, &policy, NULL) < 0)
		return;		/* said already */
	a.policy = policy;
	check_users(&a);
	check_user_manager(&a);
	nsbox_policy_free(policy);
	for (size_t i = 0; i < a.n_homes; i++)
		free(a.homes[i]);
}
