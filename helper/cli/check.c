/* SPDX-License-Identifier: MIT */
/*
 * nsbox check: what is wrong with a policy, before a login finds out. An error
 * refuses somebody's login, or lets a box out of its bounds; a warning is
 * something that was probably not meant. Exit status: 0 nothing, 3 warnings
 * only, 4 errors, 1 it could not be checked.
 *
 * With --json one object: "errors" and "warnings", how many, and "findings", a
 * list of objects with "level" ("error" or "warning"), "file" and "line" (null
 * where there is none) and "message". The order is that of the files.
 */
#include "cleanup.h"
#include "check.h"
#include "cli.h"
#include "identity.h"
#include "internal.h"
#include "json.h"
#include "pamd.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>

/* --- findings -------------------------------------------------------------- */

void nsbox_check_no_memory(void)
{
	(void)fputs("nsbox: no memory\n", stderr);
	exit(NSBOX_EXIT_FAILED);
}

char *nsbox_check_copy(const char *text)
{
	char *mine = strdup(text);

	if (!mine)
		nsbox_check_no_memory();
	return mine;
}

/* A sentence of the policy begins with its place, which has a column of its own here. */
static const char *without_place(const struct nsbox_origin *where, const char *text)
{
	char shown[NSBOX_SHOWN_MAX], place[NSBOX_SHOWN_MAX + 16];

	if (!where->file)
		return text;
	nsbox_show_name(where->file, shown, sizeof(shown));
	(void)snprintf(place, sizeof(place), "%s:%u: ", shown, where->line);
	return strncmp(text, place, strlen(place)) ? text : text + strlen(place);
}

static void add(enum nsbox_finding level, const struct nsbox_origin *where, const char *text,
		void *data)
{
	const char *file = where->file && strcmp(where->file, "pam.d") ? where->file : NULL;
	struct nsbox_check *c = data;
	struct nsbox_check_finding *f;
	size_t i;

	text = without_place(where, text);
	/* Ten users with one mistake of [defaults] are one finding. */
	for (i = 0; i < c->n_findings; i++) {
		f = &c->findings[i];
		if (f->line == where->line && !strcmp(f->text, text) &&
		    !strcmp(f->file ? f->file : "", file ? file : ""))
			return;
	}
	f = reallocarray(c->findings, c->n_findings + 1, sizeof(*f));
	if (!f)
		nsbox_check_no_memory();
	c->findings = f;
	f += c->n_findings++;
	*f = (struct nsbox_check_finding){ .level = level, .line = where->line, .text = nsbox_check_copy(text) };
	f->file = file ? nsbox_check_copy(file) : NULL;
	c->n_errors += level == NSBOX_FINDING_ERROR;
}

void nsbox_check_say(struct nsbox_check *c, enum nsbox_finding level,
		     const struct nsbox_origin *where, const char *fmt, ...)
{
	const struct nsbox_origin main_file = { .file = c->file };
	char text[NSBOX_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add(level, where->file ? where : &main_file, text, c);
}

/* --- users ----------------------------------------------------------------- */

/* Does the policy box @subject through @service? Then *d is that; else it is left as it is. */
static bool is_boxed_through(struct nsbox_check *c, const struct nsbox_subject *subject,
			     const char *service, struct nsbox_decision *d)
{
	struct nsbox_decision other = { .arena = NULL };
	struct nsbox_error err;

	if (nsbox_policy_decide(c->policy, subject, service, NULL, 0, &other, &err) < 0)
		return false;
	if (other.would != NSBOX_ACTION_BOX) {
		nsbox_decision_free(&other);
		return false;
	}
	nsbox_decision_free(d);
	*d = other;
	return true;
}

/* The policy may box through some services only: one of those it is about. */
static void find_boxed(struct nsbox_check *c, const struct nsbox_subject *subject,
		       struct nsbox_decision *d)
{
	const char *services = d->text[NSBOX_KEY_SERVICES];
	struct nsbox_slice word;
	char service[64];

	if (d->would == NSBOX_ACTION_BOX || strcmp(d->text[NSBOX_KEY_ACTION], "box") != 0)
		return;
	if (strcmp(services, "all") == 0) {
		(void)is_boxed_through(c, subject, "nsbox-run", d);
		return;
	}
	while (nsbox_next_word(&services, &word)) {
		(void)snprintf(service, sizeof(service), "%.*s", (int)word.len, word.s);
		if (is_boxed_through(c, subject, service, d))
			return;
	}
}

/* Of two lines that differ, the one to look at: it is about fewer. */
static const struct nsbox_origin *more_special(const struct nsbox_origin *a,
					       const struct nsbox_origin *b)
{
	return !a->file || (b->file && strstr(a->section, "[defaults]")) ? b : a;
}

static void check_alias(struct nsbox_check *c, const struct nsbox_identity *id,
			const struct nsbox_decision *d)
{
	struct nsbox_identity other cleanup_identity = { .alias = NULL };
	struct nsbox_decision theirs = { .arena = NULL };
	struct nsbox_error err;
	enum nsbox_key key;

	if (!id->alias || nsbox_identity_get(id->alias, &other, &err) < 0 ||
	    nsbox_policy_decide(c->policy, &other.subject, "sshd", NULL, 0, &theirs, &err) < 0)
		return;
	find_boxed(c, &other.subject, &theirs);
	key = nsbox_decision_differs(&theirs, d);
	if (key < NSBOX_KEY_COUNT)
		ERROR(c, more_special(&d->origin[key], &theirs.origin[key]),
		      "%.40s and %.40s are one uid, %u, and %s is %.60s for the one and %.60s for "
		      "the other: write the same for both", id->subject.name, id->alias,
		      id->subject.uid, nsbox_key_name(key), d->text[key], theirs.text[key]);
	nsbox_decision_free(&theirs);
}

/* What the policy says about a subject is right for him: errors that need a name to show. */
static bool ask(struct nsbox_check *c, const struct nsbox_subject *subject, struct nsbox_decision *ret)
{
	const struct nsbox_origin nowhere = { .file = NULL };
	struct nsbox_error err;
	char *end, *colon;

	if (nsbox_policy_decide(c->policy, subject, "sshd", NULL, 0, ret, &err) == 0) {
		find_boxed(c, subject, ret);
		return true;
	}
	/* "FILE:LINE: ..." as the login says it; the files' own errors are all known. */
	colon = strstr(err.msg, ": ");
	for (size_t i = 0; i < c->n_findings; i++)
		if (!strcmp(c->findings[i].text, err.msg) ||
		    (colon && !strcmp(c->findings[i].text, colon + 2)))
			return false;
	end = colon;
	while (end && end > err.msg && end[-1] >= '0' && end[-1] <= '9')
		end--;
	if (end && end > err.msg && end < colon && end[-1] == ':') {
		const struct nsbox_origin where = {
			.file = err.msg, .line = (unsigned int)strtoul(end, NULL, 10),
		};

		end[-1] = '\0';
		ERROR(c, &where, "%s", colon + 2);
	} else {
		ERROR(c, &nowhere, "%s", err.msg);
	}
	return false;
}

static void check_user(struct nsbox_check *c, const char *name)
{
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_decision d = { .arena = NULL };
	struct nsbox_error err;

	if (nsbox_identity_get(name, &id, &err) < 0 || id.subject.uid == 0 ||
	    !ask(c, &id.subject, &d))
		return;
	nsbox_check_box(c, &id.subject, &d, true);
	nsbox_check_ids(c, &d);
	check_alias(c, &id, &d);
	nsbox_decision_free(&d);
}

/* Somebody with nothing of his own, in @group or (NULL) in none. */
static void check_anybody(struct nsbox_check *c, const char *group, gid_t gid)
{
	const struct nsbox_subject anybody = {
		.name = "anybody-at-all", .uid = 4294967290, .gid = gid, .n_groups = group != NULL,
		.home = "/home/anybody-at-all", .shell = "/bin/sh", .gids = &gid,
		.group_names = &group,
	};
	struct nsbox_decision d = { .arena = NULL };

	if (!ask(c, &anybody, &d))
		return;
	nsbox_check_box(c, &anybody, &d, false);
	nsbox_check_ids(c, &d);
	nsbox_decision_free(&d);
}

static void want_user(struct nsbox_check *c, const char *name)
{
	char **users;

	for (size_t i = 0; i < c->n_users; i++)
		if (!strcmp(c->users[i], name))
			return;
	users = reallocarray(c->users, c->n_users + 1, sizeof(*users));
	if (!users)
		nsbox_check_no_memory();
	c->users = users;
	c->users[c->n_users++] = nsbox_check_copy(name);
}

static void named_user(struct nsbox_check *c, const char *name, const struct nsbox_origin *where)
{
	bool number = nsbox_is_digits(name, strlen(name));
	const struct passwd *pw = number ? getpwuid((uid_t)strtoul(name, NULL, 10)) :
					   getpwnam(name);

	if (pw)
		want_user(c, pw->pw_name);
	else
		WARN(c, where, "there is no user %s: correct the name, or take this out",
		     nsbox_quote_string(name).s);
}

static void named_group(struct nsbox_check *c, const char *name, const struct nsbox_origin *where)
{
	bool number = nsbox_is_digits(name, strlen(name));
	const struct group *gr = number ? getgrgid((gid_t)strtoul(name, NULL, 10)) :
					  getgrnam(name);

	if (!gr) {
		WARN(c, where, "there is no group %s: make it, correct the name, or take this out",
		     nsbox_quote_string(name).s);
		return;
	}
	for (char **member = gr->gr_mem; *member; member++)
		want_user(c, *member);
	/* Whose primary group it is, the entry does not say. */
	for (size_t i = 0; i < c->n_passwd; i++)
		if (c->passwd[i].gid == gr->gr_gid)
			want_user(c, c->passwd[i].name);
	check_anybody(c, gr->gr_name, gr->gr_gid);
}

static void named(bool is_group, const char *name, const struct nsbox_origin *where, void *data)
{
	(is_group ? named_group : named_user)(data, name, where);
}

static int by_uid(const void *a, const void *b)
{
	const struct nsbox_check_entry *x = a, *y = b;

	return (x->uid > y->uid) - (x->uid < y->uid);
}

static void add_entry(struct nsbox_check_entry **list, size_t *n, uint32_t uid, uint32_t gid,
		      const char *name)
{
	struct nsbox_check_entry *bigger = *list;

	/* Room for 64 more at a time: there may be many. */
	if (*n % 64 == 0)
		bigger = reallocarray(*list, *n + 64, sizeof(*bigger));
	if (!bigger)
		nsbox_check_no_memory();
	*list = bigger;
	bigger[(*n)++] = (struct nsbox_check_entry){ uid, gid, nsbox_check_copy(name) };
}

/* Once: the name service may have to read its files for each question. */
static void list_everybody(struct nsbox_check *c)
{
	const struct passwd *pw;
	const struct group *gr;

	setpwent();
	while ((pw = getpwent()))
		add_entry(&c->passwd, &c->n_passwd, pw->pw_uid, pw->pw_gid, pw->pw_name);
	endpwent();
	setgrent();
	while ((gr = getgrent()))
		add_entry(&c->groups, &c->n_groups, 0, gr->gr_gid, gr->gr_name);
	endgrent();
	if (c->n_passwd)
		qsort(c->passwd, c->n_passwd, sizeof(*c->passwd), by_uid);
}

/* Every name of a uid that has two. */
static void want_aliases(struct nsbox_check *c)
{
	const struct nsbox_check_entry *list = c->passwd;

	for (size_t i = 0; i < c->n_passwd; i++)
		if ((i && list[i].uid == list[i - 1].uid) ||
		    (i + 1 < c->n_passwd && list[i].uid == list[i + 1].uid))
			want_user(c, list[i].name);
}

/* --- pam.d ----------------------------------------------------------------- */

/* "profile=NAME" on a line with our module. */
static bool file_names(FILE *f, const char *name)
{
	char *line = NULL, *pos, *word;
	size_t size = 0, len = strlen("profile=");
	bool found = false;

	while (!found && getline(&line, &size, f) > 0) {
		if (line[0] == '#' || !strstr(line, "pam_nsbox"))
			continue;
		for (word = strtok_r(line, " \t\n", &pos); word; word = strtok_r(NULL, " \t\n", &pos))
			found |= strncmp(word, "profile=", len) == 0 && strcmp(word + len, name) == 0;
	}
	free(line);
	return found;
}

static bool names_profile(const char *name, void *data)
{
	cleanup_dir DIR *dir = opendir(NSBOX_PAM_DIR);
	bool found = false;

	(void)data;
	for (struct dirent *e; dir && !found && (e = readdir(dir));) {
		cleanup_close int fd = openat(dirfd(dir), e->d_name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		cleanup_fclose FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

		if (!f)
			continue;
		fd = -EBADF;
		found = file_names(f, name);
	}
	return found;
}

/* --- the whole ------------------------------------------------------------- */

static void print_findings(const struct nsbox_check *c)
{
	size_t warnings = c->n_findings - c->n_errors;

	for (size_t i = 0; i < c->n_findings; i++) {
		const struct nsbox_check_finding *f = &c->findings[i];

		if (f->file && f->line)
			(void)printf("%s:%u: ", f->file, f->line);
		else if (f->file)
			(void)printf("%s: ", f->file);
		(void)printf("%s: %s\n", f->level == NSBOX_FINDING_ERROR ? "error" : "warning",
			     f->text);
	}
	if (c->n_findings)
		(void)printf("%zu error%s, %zu warning%s\n", c->n_errors,
			     c->n_errors == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s");
}

static void json_findings(const struct nsbox_check *c)
{
	struct nsbox_json json = { .depth = 0 };

	nsbox_json_open(&json, NULL, '{');
	nsbox_json_number(&json, "errors", c->n_errors);
	nsbox_json_number(&json, "warnings", c->n_findings - c->n_errors);
	nsbox_json_open(&json, "findings", '[');
	for (size_t i = 0; i < c->n_findings; i++) {
		const struct nsbox_check_finding *f = &c->findings[i];

		nsbox_json_open(&json, NULL, '{');
		nsbox_json_string(&json, "level",
				  f->level == NSBOX_FINDING_ERROR ? "error" : "warning");
		nsbox_json_string(&json, "file", f->file);
		if (f->line)
			nsbox_json_number(&json, "line", f->line);
		else
			nsbox_json_string(&json, "line", NULL);
		nsbox_json_string(&json, "message", f->text);
		nsbox_json_close(&json, '}');
	}
	nsbox_json_close(&json, ']');
	nsbox_json_close(&json, '}');
}

static void free_check(struct nsbox_check *c)
{
	for (size_t i = 0; i < c->n_findings; i++) {
		free(c->findings[i].file);
		free(c->findings[i].text);
	}
	for (size_t i = 0; i < c->n_users; i++)
		free(c->users[i]);
	for (size_t i = 0; i < c->n_limits; i++)
		free(c->limits[i].file);
	free(c->limits);
	for (size_t i = 0; i < c->n_passwd; i++)
		free(c->passwd[i].name);
	for (size_t i = 0; i < c->n_groups; i++)
		free(c->groups[i].name);
	free(c->findings);
	free(c->users);
	free(c->passwd);
	free(c->groups);
	free(c->image_path);
	c->image = nsbox_close(c->image);
}

/* "nsbox.conf" comes before "nsbox.conf.d/x.conf" and that before "users.d/x.conf". */
static int by_place(const void *a, const void *b)
{
	const struct nsbox_check_finding *x = a, *y = b;
	int order = strcmp(x->file ? x->file : "", y->file ? y->file : "");

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int check_policy(struct nsbox_check *c, struct nsbox_error *err)
{
	const struct nsbox_lint to = {
		.finding = add, .named = named, .names_profile = names_profile, .data = c,
	};
	int r;

	list_everybody(c);
	/* First: what the files say of themselves is said in their own words. */
	r = nsbox_policy_lint(c->policy, &to, err);
	if (r < 0)
		return r;
	check_anybody(c, NULL, 4294967290);
	want_aliases(c);
	for (size_t i = 0; i < c->n_users; i++)
		check_user(c, c->users[i]);
	nsbox_check_limits(c);
	if (c->n_findings)
		qsort(c->findings, c->n_findings, sizeof(*c->findings), by_place);
	return 0;
}

static int load(const char *path, struct nsbox_policy **ret, char *file, size_t size,
		struct nsbox_error *err)
{
	struct stat st;
	bool is_file = stat(path, &st) == 0 && !S_ISDIR(st.st_mode);

	(void)snprintf(file, size, "%s%s", path, is_file ? "" : "/" NSBOX_POLICY_FILE);
	return is_file ? nsbox_policy_load_file(path, ret, err) :
			 nsbox_policy_load(path, NULL, ret, err);
}

static int check(const char *path, bool as_json)
{
	const struct nsbox_origin nowhere = { .file = NULL };
	struct nsbox_policy *policy = NULL;
	char file[4096];
	struct nsbox_check c = { .file = file, .image = -EBADF };
	struct nsbox_error err;
	int r = load(path, &policy, file, sizeof(file), &err), status;

	c.policy = policy;
	/* A policy that cannot be read refuses everybody; one that we may not read says nothing. */
	if (r == -EACCES || r == -ENOMEM)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	if (r < 0)
		add(NSBOX_FINDING_ERROR, &nowhere, err.msg, &c);
	else if (check_policy(&c, &err) < 0)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	nsbox_policy_free(policy);
	(as_json ? json_findings : print_findings)(&c);
	status = c.n_errors ? NSBOX_EXIT_ERRORS : c.n_findings ? NSBOX_EXIT_WARNINGS : 0;
	free_check(&c);
	return status;
}

int nsbox_cli_check(int argc, char **argv)
{
	const char *path = NULL;
	bool as_json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			as_json = true;
		else if (argv[i][0] != '-' && !path)
			path = argv[i];
		else
			return nsbox_cli_usage("check [FILE|DIR] [--json]");
	}
	return check(path ? path : NSBOX_POLICY_DIR, as_json);
}
