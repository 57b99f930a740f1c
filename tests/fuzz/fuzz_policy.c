/* SPDX-License-Identifier: MIT */
/*
 * The policy fed with anything. An input is up to four parts between 0x1e
 * bytes, any of them may be missing:
 *
 *   NAME\tUID\tGID\tHOME\tSERVICE\tGROUP\tARGUMENT...	who asks
 *   nsbox.conf
 *   nsbox.conf.d/50.conf
 *   users.d/NAME.conf
 *
 * With the last one the files are written and loaded as at a login, otherwise
 * parsed from memory. Whatever comes, a sentence must be fit to be shown, an
 * answer complete, and the same from the whole policy as from what is read of it
 * for the subject alone. What nsbox check finds in the files is asked for, too. Built with libFuzzer, or with replay.c.
 */
#include "cleanup.h"
#include "fuzz.h"
#include "internal.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTS = 4, FIELDS = 6, ARGS = 8 };

struct input {
	struct nsbox_slice part[PARTS];
	char who[512];
	struct nsbox_subject subject;
	gid_t gids[2];
	const char *group_names[2];
	const char *service;
	const char *args[ARGS];
	size_t n_args;
};

#define MUST(what)                                                                          \
	do {                                                                                \
		if (!(what)) {                                                              \
			(void)fprintf(stderr, "%s:%d: not %s\n", __FILE__, __LINE__, #what); \
			abort();                                                            \
		}                                                                           \
	} while (0)

static void check_sentence(const char *sentence)
{
	size_t len = strnlen(sentence, NSBOX_ERROR_MAX);

	MUST(len > 0 && len < NSBOX_ERROR_MAX - 1);
	MUST(nsbox_text_check(sentence, len) == NSBOX_TEXT_GOOD);
}

static void each(const struct nsbox_origin *where, const char *sentence, void *data)
{
	(void)data;
	MUST(where->file);
	check_sentence(sentence);
}

static void finding(enum nsbox_finding kind, const struct nsbox_origin *where, const char *text,
		    void *data)
{
	(void)kind;
	(void)where;
	(void)data;
	check_sentence(text);
}

static void named(bool is_group, const char *name, const struct nsbox_origin *where, void *data)
{
	(void)is_group;
	(void)data;
	MUST(name[0] && where->file);
}

static bool names_profile(const char *name, void *data)
{
	(void)data;
	MUST(name[0]);
	return false;
}

static void value(const char *text, const struct nsbox_origin *where, void *data)
{
	(void)data;
	MUST(text[0] && where->file && where->line);
}

/* What nsbox check and nsbox doctor ask of the files. */
static void check_files(const struct nsbox_policy *policy)
{
	const struct nsbox_lint to = {
		.finding = finding, .named = named, .names_profile = names_profile,
	};

	struct nsbox_error err;

	MUST(nsbox_policy_lint(policy, &to, &err) == 0);
	MUST(nsbox_policy_each_value(policy, NSBOX_KEY_ROOTFS, value, NULL, &err) == 0);
}

static void split_parts(struct input *in, const char *data, size_t size)
{
	for (int i = 0; i < PARTS; i++) {
		const char *end = i < PARTS - 1 ? memchr(data, 0x1e, size) : NULL;

		in->part[i] = (struct nsbox_slice){ data, end ? (size_t)(end - data) : size };
		data += in->part[i].len + (end != NULL);
		size -= in->part[i].len + (end != NULL);
	}
}

/* The next field of the subject; "" if there is none left. */
static const char *next_field(char **pos)
{
	char *field = *pos, *tab = strchr(field, '\t');

	*pos = tab ? tab + 1 : field + strlen(field);
	if (tab)
		*tab = '\0';
	return field;
}

static void read_subject(struct input *in)
{
	char *pos = in->who;

	(void)snprintf(in->who, sizeof(in->who), "%.*s", (int)in->part[0].len, in->part[0].s);
	in->subject.name = next_field(&pos);
	in->subject.uid = (uid_t)strtoul(next_field(&pos), NULL, 10);
	in->subject.gid = (gid_t)strtoul(next_field(&pos), NULL, 10);
	in->subject.home = next_field(&pos);
	in->subject.shell = "/bin/sh";
	in->service = next_field(&pos);
	in->gids[0] = in->subject.gid;
	in->group_names[0] = next_field(&pos);
	in->gids[1] = 2000;
	in->group_names[1] = NULL;
	in->subject.n_groups = 2;
	in->subject.gids = in->gids;
	in->subject.group_names = in->group_names;
	while (*pos && in->n_args < ARGS)
		in->args[in->n_args++] = next_field(&pos);
}

static void add_part(struct nsbox_policy *policy, const char *name, struct nsbox_slice part,
		     const struct nsbox_filter *filter)
{
	struct nsbox_source *source = NULL;
	char *copy = malloc(part.len + 1);

	MUST(copy);
	memcpy(copy, part.s, part.len);
	MUST(nsbox_source_parse(name, copy, part.len, filter, &source, NULL) == 0);
	MUST(nsbox_policy_add(policy, source, NULL) == 0);
}

static struct nsbox_policy *parse(const struct input *in, bool all)
{
	struct nsbox_policy *policy = nsbox_policy_new();
	const struct nsbox_filter *filter = NULL;

	MUST(policy);
	policy->is_filtered = !all;
	if (!all) {
		nsbox_filter_make(&in->subject, &policy->filter);
		filter = &policy->filter;
	}
	add_part(policy, "/etc/nsbox/nsbox.conf", in->part[1], filter);
	if (in->part[2].len)
		add_part(policy, "/etc/nsbox/nsbox.conf.d/50.conf", in->part[2], filter);
	return policy;
}

static char dir[256];

static void in_dir(char *path, size_t size, const char *name)
{
	MUST(snprintf(path, size, "%s/%s", dir, name) < (int)size);
}

static void write_part(const char *name, struct nsbox_slice part)
{
	char path[512];
	FILE *f;

	in_dir(path, sizeof(path), name);
	f = fopen(path, "we");
	MUST(f && fwrite(part.s, 1, part.len, f) == part.len && fclose(f) == 0);
}

static void remove_part(const char *name)
{
	char path[512];

	in_dir(path, sizeof(path), name);
	(void)remove(path);
}

static struct nsbox_policy *load(const struct input *in, const char *user_file, bool all)
{
	struct nsbox_policy *policy = NULL;
	struct nsbox_error err = { 0 };

	write_part(NSBOX_POLICY_FILE, in->part[1]);
	if (in->part[2].len)
		write_part(NSBOX_POLICY_PARTS "/50.conf", in->part[2]);
	write_part(user_file, in->part[3]);
	if (nsbox_policy_load(dir, all ? NULL : &in->subject, &policy, &err) < 0)
		check_sentence(err.msg);
	return policy;
}

static void unload(const char *user_file)
{
	remove_part(user_file);
	remove_part(NSBOX_POLICY_PARTS "/50.conf");
}

static void remove_dir(void)
{
	remove_part(NSBOX_POLICY_FILE);
	remove_part(NSBOX_POLICY_PARTS);
	remove_part(NSBOX_POLICY_USERS);
	(void)rmdir(dir);
}

/* TMPDIR=/dev/shm makes it faster. */
static void make_dir(void)
{
	const char *tmp = getenv("TMPDIR");
	char path[512];

	(void)snprintf(dir, sizeof(dir), "%s/nsbox-fuzz.XXXXXX", tmp ? tmp : "/tmp");
	MUST(mkdtemp(dir));
	in_dir(path, sizeof(path), NSBOX_POLICY_PARTS);
	MUST(mkdir(path, 0755) == 0);
	in_dir(path, sizeof(path), NSBOX_POLICY_USERS);
	MUST(mkdir(path, 0755) == 0);
	(void)atexit(remove_dir);
}

static void check_path(const char *path)
{
	MUST(path && path[0] == '/' && path[1]);
	MUST(!strstr(path, "//") && !strstr(path, "/./") && !strstr(path, "/../"));
}

static void check_box(const struct nsbox_decision *d)
{
	size_t i;

	MUST(d->hostname[0]);
	MUST(d->home != NSBOX_HOME_DIR || d->home_dir);
	for (i = 0; i < d->n_bind; i++) {
		check_path(d->bind[i].src);
		check_path(d->bind[i].dst);
	}
	for (i = 0; i < d->n_tmpfs; i++) {
		check_path(d->tmpfs[i].dst);
		MUST(d->tmpfs[i].size >= NSBOX_TMPFS_MIN);
	}
	for (i = 0; i < d->n_device; i++)
		MUST(!strncmp(d->device[i], "/dev/", 5));
	for (i = 0; i < d->n_mask; i++)
		check_path(d->mask[i]);
	for (i = 0; i < d->n_env; i++)
		MUST(strchr(d->env[i], '=') > d->env[i]);
}

static void check_decision(const struct nsbox_decision *d)
{
	int key;

	MUST(d->reason[0]);
	for (key = 0; key < NSBOX_KEY_COUNT; key++) {
		MUST(d->text[key] && d->origin[key].section);
		MUST(nsbox_text_check(d->text[key], strlen(d->text[key])) == NSBOX_TEXT_GOOD);
	}
	if (d->action == NSBOX_ACTION_BOX)
		check_box(d);
}

/* The shape of the box, the caller's; NULL if there is no box. */
static char *ask(const struct nsbox_policy *policy, const struct input *in)
{
	struct nsbox_decision d = { .arena = NULL };
	struct nsbox_error err = { 0 };
	char *shape = NULL;
	int good = nsbox_policy_check_arguments(policy, in->args, in->n_args, &err);

	if (good < 0)
		check_sentence(err.msg);
	if (nsbox_policy_decide(policy, &in->subject, in->service, in->args, in->n_args, &d,
				&err) < 0) {
		check_sentence(err.msg);
		return NULL;
	}
	check_decision(&d);
	MUST(good == 0);	/* what refuses everybody has refused him */
	if (d.action == NSBOX_ACTION_BOX) {
		shape = nsbox_decision_shape(&d, &in->subject);
		MUST(shape);
	}
	nsbox_decision_free(&d);
	return shape;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { .service = "" };
	struct nsbox_policy *all, *his;
	cleanup_free char *first = NULL, *second = NULL;
	char user_file[600];
	bool on_disk;

	if (!dir[0])
		make_dir();
	split_parts(&in, (const char *)data, size);
	read_subject(&in);
	(void)snprintf(user_file, sizeof(user_file), NSBOX_POLICY_USERS "/%s.conf",
		       in.subject.name);
	on_disk = in.part[3].len && in.subject.name[0] && strlen(in.subject.name) < 200 &&
		  !strchr(in.subject.name, '/');
	all = on_disk ? load(&in, user_file, true) : parse(&in, true);
	his = on_disk ? load(&in, user_file, false) : parse(&in, false);
	MUST(!all == !his);
	if (all) {
		first = ask(all, &in);
		(void)nsbox_policy_errors(all, each, NULL);
		check_files(all);
		second = ask(his, &in);
		MUST(!first == !second && (!first || !strcmp(first, second)));
	}
	nsbox_policy_free(all);
	nsbox_policy_free(his);
	if (on_disk)
		unload(user_file);
	return 0;
}
