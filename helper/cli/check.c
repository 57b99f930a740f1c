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
#include "cli.h"
#include "identity.h"
#include "internal.h"
#include "json.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>

struct finding {
	enum nsbox_finding level;
	char *file, *text;
	unsigned int line;
};

/* One disk_max of the policy; it acts if anybody who has it can write his root. */
struct limit {
	char *file;
	unsigned int line;
	bool acts;
};

struct check {
	const struct nsbox_policy *policy;
	const char *file;		/* the main one, for what is in none */
	struct finding *findings;
	size_t n_findings, n_errors;
	char **users;			/* whom the policy is about, each once */
	size_t n_users;
	struct limit *limits;
	size_t n_limits;
};

/* --- findings -------------------------------------------------------------- */

static void __attribute__((noreturn)) no_memory(void)
{
	(void)fputs("nsbox: no memory\n", stderr);
	exit(NSBOX_EXIT_FAILED);
}

static char *copy(const char *s)
{
	char *text = strdup(s);

	if (!text)
		no_memory();
	return text;
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
	struct check *c = data;
	struct finding *f;
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
		no_memory();
	c->findings = f;
	f += c->n_findings++;
	*f = (struct finding){ .level = level, .line = where->line, .text = copy(text) };
	f->file = file ? copy(file) : NULL;
	c->n_errors += level == NSBOX_FINDING_ERROR;
}

static void __attribute__((format(printf, 4, 5)))
say(struct check *c, enum nsbox_finding level, const struct nsbox_origin *where,
    const char *fmt, ...)
{
	const struct nsbox_origin main_file = { .file = c->file };
	char text[NSBOX_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	add(level, where->file ? where : &main_file, text, c);
}

#define ERROR(c, where, ...) say(c, NSBOX_FINDING_ERROR, where, __VA_ARGS__)
#define WARN(c, where, ...) say(c, NSBOX_FINDING_WARNING, where, __VA_ARGS__)

/* --- images ---------------------------------------------------------------- */

/* Resolved as the box will: a link that leads to /usr/bin means the image's. */
static bool image_has(int image, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	cleanup_close int fd = (int)syscall(SYS_openat2, image, path, &how, sizeof(how));
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

static void check_image(struct check *c, const struct nsbox_subject *subject,
			const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_ROOTFS];
	cleanup_close int image = open(d->rootfs, O_PATH | O_CLOEXEC);
	struct stat st;

	if (image < 0) {
		ERROR(c, where, "rootfs = \"%.80s\": %s: write the directory of an image, or host",
		      d->rootfs, strerror(errno));
		return;
	}
	if (fstat(image, &st) < 0 || !S_ISDIR(st.st_mode))
		return;		/* the image is a file: not looked into */
	if (image_has(image, subject->shell) ||
	    (strcmp(d->shell_fallback, "none") != 0 && image_has(image, d->shell_fallback)))
		return;
	ERROR(c, where, "rootfs = \"%.60s\" has no %.40s, the shell of %.32s, and no "
	      "shell_fallback (%.40s): install it there, or write a shell that is",
	      d->rootfs, subject->shell, subject->name, d->shell_fallback);
}

static void check_writable(struct check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *memory = &d->origin[NSBOX_KEY_MEMORY_MAX];

	if (d->rootfs_mode == NSBOX_ROOTFS_RO ||
	    (memory->file && (d->memory_percent || d->memory_max != NSBOX_LIMIT_NONE)))
		return;
	ERROR(c, &d->origin[NSBOX_KEY_ROOTFS_MODE], "rootfs_mode = %s without a memory_max: box "
	      "root has 65536 ids there, and limits for one user do not hold: write memory_max",
	      d->text[NSBOX_KEY_ROOTFS_MODE]);
}

static void note_limit(struct check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_DISK_MAX];
	struct limit *l;

	if (!where->file || d->disk_max == NSBOX_LIMIT_NONE)
		return;
	for (size_t i = 0; i < c->n_limits; i++) {
		l = &c->limits[i];
		if (l->line == where->line && !strcmp(l->file, where->file)) {
			l->acts |= d->rootfs_mode != NSBOX_ROOTFS_RO;
			return;
		}
	}
	l = reallocarray(c->limits, c->n_limits + 1, sizeof(*l));
	if (!l)
		no_memory();
	c->limits = l;
	c->limits[c->n_limits++] = (struct limit){
		.file = copy(where->file), .line = where->line,
		.acts = d->rootfs_mode != NSBOX_ROOTFS_RO,
	};
}

/* Not before all users were asked: in [defaults] it is for those who have a root to write. */
static void check_limits(struct check *c)
{
	for (size_t i = 0; i < c->n_limits; i++) {
		const struct limit *l = &c->limits[i];
		const struct nsbox_origin where = { .file = l->file, .line = l->line };

		if (!l->acts)
			WARN(c, &where, "disk_max limits nothing, since nobody who has it has a root "
			     "that can be written: write rootfs_mode = ephemeral or persistent, or "
			     "take it out");
	}
}

/* --- ids ------------------------------------------------------------------- */

/* "NAME:FIRST:COUNT" (subuid(5)) that begins or ends in the range. */
static void check_subids(struct check *c, const char *path, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_ID_RANGE];
	cleanup_fclose FILE *f = fopen(path, "re");
	unsigned long long first, count;
	char line[512], name[64];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[^:]:%llu:%llu", name, &first, &count) != 3 || !count)
			continue;
		if (first > d->id_last || first + count - 1 < d->id_first)
			continue;
		WARN(c, where, "id_range = %u-%u: %s gives %llu-%llu of it to %s, and no box gets "
		     "these: write a range without them", d->id_first, d->id_last, path, first,
		     first + count - 1, nsbox_quote_string(name).s);
		return;
	}
}

static void check_users_ids(struct check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_ID_RANGE];
	const struct passwd *pw;

	setpwent();
	while ((pw = getpwent())) {
		if (pw->pw_uid < d->id_first || pw->pw_uid > d->id_last)
			continue;
		WARN(c, where, "id_range = %u-%u: uid %u of %s is in it, and a box could have the "
		     "same: write a range without users", d->id_first, d->id_last, pw->pw_uid,
		     nsbox_quote_string(pw->pw_name).s);
		break;
	}
	endpwent();
}

static void check_ids(struct check *c, const struct nsbox_decision *d)
{
	check_users_ids(c, d);
	/* The default is large, and what is taken of it is left out. */
	if (!d->origin[NSBOX_KEY_ID_RANGE].file)
		return;
	check_subids(c, "/etc/subuid", d);
	check_subids(c, "/etc/subgid", d);
}

/* --- users ----------------------------------------------------------------- */

static void check_alias(struct check *c, const struct nsbox_identity *id,
			const struct nsbox_decision *d)
{
	struct nsbox_identity other cleanup_identity = { .alias = NULL };
	struct nsbox_decision theirs = { .arena = NULL };
	const struct nsbox_origin nowhere = { .file = NULL };
	struct nsbox_error err;

	if (!id->alias || nsbox_identity_get(id->alias, &other, &err) < 0 ||
	    nsbox_policy_decide(c->policy, &other.subject, "sshd", NULL, 0, &theirs, &err) < 0)
		return;
	if (!nsbox_decision_same(&theirs, d))
		ERROR(c, &nowhere, "%.40s and %.40s are one uid, %u, and the policy says different "
		      "things about them: make it the same", id->subject.name, id->alias,
		      id->subject.uid);
	nsbox_decision_free(&theirs);
}

static void check_decision(struct check *c, const struct nsbox_subject *subject,
			   const struct nsbox_decision *d, bool is_real)
{
	/* Also of somebody who is in this group alone: another one may say action = box. */
	if (d->would == NSBOX_ACTION_BOX || d->rootfs_mode != NSBOX_ROOTFS_RO)
		note_limit(c, d);
	if (d->would != NSBOX_ACTION_BOX)
		return;
	check_writable(c, d);
	if (d->rootfs && strcmp(d->rootfs, "host") != 0 &&
	    (is_real || !strstr(d->rootfs, subject->name)))
		check_image(c, subject, d);
}

/* What the policy says about a subject is right for him: errors that need a name to show. */
static bool ask(struct check *c, const struct nsbox_subject *subject, struct nsbox_decision *ret)
{
	const struct nsbox_origin nowhere = { .file = NULL };
	struct nsbox_error err;
	char *end, *colon;

	if (nsbox_policy_decide(c->policy, subject, "sshd", NULL, 0, ret, &err) == 0)
		return true;
	/* "FILE:LINE: ..." as the login says it; the file's own errors are all known. */
	colon = strstr(err.msg, ": ");
	for (size_t i = 0; colon && i < c->n_findings; i++)
		if (!strcmp(c->findings[i].text, colon + 2))
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

static void check_user(struct check *c, const char *name)
{
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_decision d = { .arena = NULL };
	struct nsbox_error err;

	if (nsbox_identity_get(name, &id, &err) < 0 || id.subject.uid == 0 ||
	    !ask(c, &id.subject, &d))
		return;
	check_decision(c, &id.subject, &d, true);
	check_ids(c, &d);
	check_alias(c, &id, &d);
	nsbox_decision_free(&d);
}

/* Somebody with nothing of his own, in @group or (NULL) in none. */
static void check_anybody(struct check *c, const char *group, gid_t gid)
{
	const struct nsbox_subject anybody = {
		.name = "anybody-at-all", .uid = 4294967290, .gid = gid, .n_groups = group != NULL,
		.home = "/home/anybody-at-all", .shell = "/bin/sh", .gids = &gid,
		.group_names = &group,
	};
	struct nsbox_decision d = { .arena = NULL };

	if (!ask(c, &anybody, &d))
		return;
	check_decision(c, &anybody, &d, false);
	if (!group)
		check_ids(c, &d);
	nsbox_decision_free(&d);
}

static void want_user(struct check *c, const char *name)
{
	char **users;

	for (size_t i = 0; i < c->n_users; i++)
		if (!strcmp(c->users[i], name))
			return;
	users = reallocarray(c->users, c->n_users + 1, sizeof(*users));
	if (!users)
		no_memory();
	c->users = users;
	c->users[c->n_users++] = copy(name);
}

static void named_user(struct check *c, const char *name, const struct nsbox_origin *where)
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

static void named_group(struct check *c, const char *name, const struct nsbox_origin *where)
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
	check_anybody(c, gr->gr_name, gr->gr_gid);
}

static void named(bool is_group, const char *name, const struct nsbox_origin *where, void *data)
{
	(is_group ? named_group : named_user)(data, name, where);
}

struct entry {
	uid_t uid;
	char *name;
};

static int by_uid(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	return (x->uid > y->uid) - (x->uid < y->uid);
}

/* Every name of a uid that has two. */
static void want_aliases(struct check *c)
{
	struct entry *list = NULL, *bigger;
	const struct passwd *pw;
	size_t n = 0;

	setpwent();
	while ((pw = getpwent())) {
		bigger = reallocarray(list, n + 1, sizeof(*list));
		if (!bigger)
			no_memory();
		list = bigger;
		list[n++] = (struct entry){ pw->pw_uid, copy(pw->pw_name) };
	}
	endpwent();
	if (n)
		qsort(list, n, sizeof(*list), by_uid);
	for (size_t i = 0; i < n; i++)
		if ((i && list[i].uid == list[i - 1].uid) ||
		    (i + 1 < n && list[i].uid == list[i + 1].uid))
			want_user(c, list[i].name);
	for (size_t i = 0; i < n; i++)
		free(list[i].name);
	free(list);
}

/* --- the whole ------------------------------------------------------------- */

static void print_findings(const struct check *c)
{
	size_t warnings = c->n_findings - c->n_errors;

	for (size_t i = 0; i < c->n_findings; i++) {
		const struct finding *f = &c->findings[i];

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

static void json_findings(const struct check *c)
{
	struct nsbox_json json = { .depth = 0 };

	nsbox_json_open(&json, NULL, '{');
	nsbox_json_number(&json, "errors", c->n_errors);
	nsbox_json_number(&json, "warnings", c->n_findings - c->n_errors);
	nsbox_json_open(&json, "findings", '[');
	for (size_t i = 0; i < c->n_findings; i++) {
		const struct finding *f = &c->findings[i];

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

static void free_check(struct check *c)
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
	free(c->findings);
	free(c->users);
}

/* "nsbox.conf" comes before "nsbox.conf.d/x.conf" and that before "users.d/x.conf". */
static int by_place(const void *a, const void *b)
{
	const struct finding *x = a, *y = b;
	int order = strcmp(x->file ? x->file : "", y->file ? y->file : "");

	return order ? order : (x->line > y->line) - (x->line < y->line);
}

static int check_policy(struct check *c, struct nsbox_error *err)
{
	const struct nsbox_lint to = { .finding = add, .named = named, .data = c };
	int r;

	/* First: what the files say of themselves is said in their own words. */
	r = nsbox_policy_lint(c->policy, &to, err);
	if (r < 0)
		return r;
	check_anybody(c, NULL, 4294967290);
	want_aliases(c);
	for (size_t i = 0; i < c->n_users; i++)
		check_user(c, c->users[i]);
	check_limits(c);
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
	struct check c = { .file = file };
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
