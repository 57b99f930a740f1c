/* SPDX-License-Identifier: MIT */
/*
 * The table of policies: every file
 * tests/unit/policies/NAME.conf is a policy that says in comments at its top who
 * asks and what the answer must be:
 *
 *   # subject: NAME UID GID HOME SHELL groups=GID(NAME),GID service=S args=k=v|k=v
 *   # expect: action=box pids_max=20 line:pids_max=12   (caps with commas)
 *   # expect-reason: a part of the reason
 *   # expect-error: a part of the sentence that refuses this subject
 *   # expect-errors: how many errors the whole file has
 *
 * The expectations after a subject are about that subject. Runs in the root of
 * the repository.
 */
#include "policy_test.h"

#include <dirent.h>
#include <errno.h>

#define POLICIES "tests/unit/policies"
#define N_POLICIES_MIN 60

#define GROUPS_MAX 300

struct row {
	const char *file;
	char subject_text[2048], args_text[1024], names[64];
	struct nsbox_subject subject;
	gid_t gids[GROUPS_MAX];
	const char *group_names[GROUPS_MAX];
	const char *service, *args[16];
	size_t n_args;
};

/* "1000(alice),2000": numbers with or without a name; a name may have blanks. */
static void read_groups(struct row *row, char *text)
{
	size_t n = 0;

	while (*text && n < GROUPS_MAX) {
		row->gids[n] = (gid_t)strtoul(text, &text, 10);
		row->group_names[n] = NULL;
		if (*text == '(') {
			row->group_names[n] = ++text;
			text += strcspn(text, ")");
			if (*text)
				*text++ = '\0';
		}
		n++;
		text += *text == ',';
	}
	row->subject.n_groups = n;
	row->subject.gids = row->gids;
	row->subject.group_names = row->group_names;
}

static char *cut(char *text, const char *mark)
{
	char *found = strstr(text, mark);

	if (!found)
		return NULL;
	*found = '\0';
	return found + strlen(mark);
}

static bool read_subject(struct row *row, const char *text)
{
	char *args, *service, *groups, *words[5], *pos;
	int i;

	(void)snprintf(row->subject_text, sizeof(row->subject_text), "%s", text);
	args = cut(row->subject_text, " args=");
	service = cut(row->subject_text, " service=");
	groups = cut(row->subject_text, " groups=");
	pos = row->subject_text;
	for (i = 0; i < 5; i++)
		words[i] = strtok_r(i ? NULL : row->subject_text, " ", &pos);
	if (!words[4] || !service || !groups)
		return false;
	row->subject.name = words[0];
	row->subject.uid = (uid_t)strtoul(words[1], NULL, 10);
	row->subject.gid = (gid_t)strtoul(words[2], NULL, 10);
	row->subject.home = words[3];
	row->subject.shell = words[4];
	row->service = service;
	read_groups(row, groups);
	row->n_args = 0;
	for (args = args ? strtok_r(args, "|", &pos) : NULL; args && row->n_args < 16;
	     args = strtok_r(NULL, "|", &pos))
		row->args[row->n_args++] = args;
	return true;
}

static void print_linger(uint64_t ms, char *buf, size_t size)
{
	if (ms == NSBOX_LINGER_FOREVER)
		(void)snprintf(buf, size, "forever");
	else
		(void)snprintf(buf, size, "%" PRIu64 "s", ms / 1000);
}

/* From the fields of the decision, not from its texts. */
static void value_of(const struct nsbox_decision *d, const char *key, char *buf, size_t size)
{
	static const char *const actions[] = { "pass", "box", "deny" };
	enum nsbox_key which = NSBOX_KEY_COUNT;
	struct nsbox_slice name = { key, strlen(key) };
	char *text = NULL, *s;
	size_t len = 0;
	FILE *f;

	(void)snprintf(buf, size, "no such key");
	if (!strncmp(key, "line:", 5)) {
		name.s += 5;
		name.len -= 5;
		if (nsbox_key_find(name, &which))
			(void)snprintf(buf, size, "%u", d->origin[which].line);
	} else if (!strcmp(key, "action")) {
		(void)snprintf(buf, size, "%s", actions[d->action]);
	} else if (!strcmp(key, "linger")) {
		print_linger(d->linger_ms, buf, size);
	} else if (nsbox_key_find(name, &which) && nsbox_key_info(which)->print) {
		f = open_memstream(&text, &len);
		if (f)
			nsbox_key_print(d, which, f);
		if (f && !fclose(f))
			(void)snprintf(buf, size, "%s", text);
		free(text);
	} else if (which < NSBOX_KEY_COUNT) {
		(void)snprintf(buf, size, "%s", d->text[which]);
	}
	for (s = buf; *s; s++)
		if (*s == ' ')
			*s = ',';
}

static void check_expected(const struct row *row, const struct nsbox_decision *d, const char *text)
{
	char words[1024], value[1024], what[1400], *pos = NULL, *word;

	(void)snprintf(words, sizeof(words), "%s", text);
	for (word = strtok_r(words, " ", &pos); word; word = strtok_r(NULL, " ", &pos)) {
		char *want = cut(word, "=");

		value_of(d, word, value, sizeof(value));
		(void)snprintf(what, sizeof(what), "%s: %s %s: %s=%s", row->file,
			       row->subject.name, row->service, word, want ? want : "");
		IS(value, want, what);
	}
}

static void check_row(const struct row *row, const struct nsbox_policy *policy, const char *kind,
		      const char *want)
{
	struct nsbox_decision d = { 0 };
	struct nsbox_error err = { 0 };
	char what[1400];
	int r;

	r = nsbox_policy_decide(policy, &row->subject, row->service, row->args, row->n_args, &d,
				&err);
	(void)snprintf(what, sizeof(what), "%s: %s %s: %s", row->file, row->subject.name,
		       row->service, want);
	if (!strcmp(kind, "expect-error")) {
		HAS(r < 0 ? err.msg : "no error", want, what);
		EQ(r, -EINVAL, what);
	} else if (r < 0) {
		OK(false, "%s", what);
		(void)printf("# refused: %s\n", err.msg);
	} else if (!strcmp(kind, "expect-reason")) {
		HAS(d.reason, want, what);
	} else {
		check_expected(row, &d, want);
	}
	nsbox_decision_free(&d);
}

static void ignore(const struct nsbox_origin *where, const char *sentence, void *data)
{
	(void)where;
	(void)sentence;
	(void)data;
}

/* Returns the number of expectations found in the comments of @text. */
static unsigned int run_table_file(const char *name, char *text, const struct nsbox_policy *policy)
{
	struct row row = { .file = name };
	unsigned int n = 0;
	char *pos = NULL, *line, *rest, what[128];

	for (line = strtok_r(text, "\n", &pos); line; line = strtok_r(NULL, "\n", &pos)) {
		if (strncmp(line, "# ", 2) != 0)
			continue;
		rest = cut(line, ": ");
		if (!rest)
			continue;
		if (!strcmp(line + 2, "subject")) {
			if (!read_subject(&row, rest))
				OK(false, "%s: subject %s", name, rest);
		} else if (!strcmp(line + 2, "expect-errors")) {
			(void)snprintf(what, sizeof(what), "%s: errors of the file", name);
			EQ(nsbox_policy_errors(policy, ignore, NULL), atoi(rest), what);
			n++;
		} else if (!strncmp(line + 2, "expect", 6)) {
			if (row.subject.name)
				check_row(&row, policy, line + 2, rest);
			else
				OK(false, "%s: an expectation before any subject", name);
			n++;
		}
	}
	return n;
}

static void run_table(const char *name)
{
	static char text[65536];
	char path[512];
	struct nsbox_policy *policy;
	size_t size;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", POLICIES, name);
	f = fopen(path, "re");
	size = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
	if (!f || fclose(f) != 0 || !size) {
		OK(false, "reading %s", path);
		return;
	}
	text[size] = '\0';
	/* An administrator reads what it is about before he reads it. */
	OK(!strncmp(text, "# ", 2) && strncmp(text, "# subject", 9) != 0 &&
	   strncmp(text, "# expect", 8) != 0, "%s begins with a sentence", name);
	policy = parse_bytes(text, size);
	if (!policy || !run_table_file(name, text, policy))
		OK(false, "%s expects nothing", name);
	nsbox_policy_free(policy);
}

static int is_policy(const struct dirent *entry)
{
	size_t len = strlen(entry->d_name);

	return len > 5 && !strcmp(entry->d_name + len - 5, ".conf");
}

static void test_table(void)
{
	struct dirent **list = NULL;
	int n = scandir(POLICIES, &list, is_policy, alphasort), i;

	OK(n >= N_POLICIES_MIN, "%d policies in " POLICIES ", at least %d", n, N_POLICIES_MIN);
	for (i = 0; i < n; i++) {
		run_table(list[i]->d_name);
		free(list[i]);
	}
	free(list);
}

int main(void)
{
	test_table();
	return test_done();
}
