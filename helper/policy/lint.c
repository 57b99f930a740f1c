/* SPDX-License-Identifier: MIT */
/*
 * What is not wrong with a policy and yet not meant: a section that another file
 * sets again as a whole, a profile that no section names. And all errors, of the
 * files in users.d as well.
 */
#include "cleanup.h"
#include "internal.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

struct lint {
	const struct nsbox_policy *policy;
	struct nsbox_source **users;		/* those of users.d that can be read */
	size_t n_users;
	const struct nsbox_lint *to;
};

static void find(const struct lint *lint, enum nsbox_finding kind, const char *file,
		 unsigned int line, const char *text)
{
	const struct nsbox_origin where = { .file = file, .line = line };

	lint->to->finding(kind, &where, text, lint->to->data);
}

static void pass_error(const struct nsbox_origin *where, const char *sentence, void *data)
{
	const struct lint *lint = data;

	lint->to->finding(NSBOX_FINDING_ERROR, where, sentence, lint->to->data);
}

static void ignore(const struct nsbox_origin *where, const char *sentence, void *data)
{
	(void)where;
	(void)sentence;
	(void)data;
}

static void ignore_finding(enum nsbox_finding kind, const struct nsbox_origin *where,
			   const char *text, void *data)
{
	(void)kind;
	ignore(where, text, data);
}

/* What nsbox_policy_each_value() is asked for. */
struct wanted {
	enum nsbox_key key;
	void (*each)(const char *value, const struct nsbox_origin *where, void *data);
	void *data;
};

static int find_values(const struct nsbox_policy *policy, struct nsbox_source *source,
		       const struct wanted *wanted)
{
	struct nsbox_complaints none = { .each = ignore };
	uint32_t i;

	nsbox_source_number(source);
	for (i = 0; i < source->n_sections; i++) {
		cleanup_arena struct nsbox_arena *arena = nsbox_arena_new();
		struct nsbox_draft draft = { .arena = arena };

		/* A mistake elsewhere in the section is told by others. */
		if (!arena || nsbox_section_apply(policy, source, i, &draft, &none, NULL) < 0)
			return -ENOMEM;
		if (draft.text[wanted->key])
			wanted->each(draft.text[wanted->key], &draft.d.origin[wanted->key],
				     wanted->data);
	}
	return 0;
}

/* The keys that a section sets for good: caps with + and - change what is beneath. */
static bool section_keys(const struct lint *lint, const struct nsbox_source *source,
			 uint32_t index, bool with_profile, bool set[NSBOX_KEY_COUNT])
{
	cleanup_arena struct nsbox_arena *arena = nsbox_arena_new();
	struct nsbox_complaints none = { .each = ignore };
	struct nsbox_draft draft = { .arena = arena };
	const char *caps;
	bool any = false;
	int key;

	if (!arena || nsbox_section_apply(lint->policy, source, index, &draft,
					  with_profile ? NULL : &none, NULL) < 0)
		return false;
	caps = draft.text[NSBOX_KEY_CAPS];
	for (key = 0; key < NSBOX_KEY_COUNT; key++) {
		if (!draft.text[key])
			continue;
		any = true;
		if (!with_profile || key != NSBOX_KEY_CAPS || (*caps != '+' && *caps != '-'))
			set[key] = true;
	}
	return any;
}

/* The section of the same kind and name, 0: none. In users.d the keys may have no header. */
static uint32_t same_section(const struct nsbox_source *source, enum nsbox_section_kind kind,
			     struct nsbox_slice name, bool *found)
{
	uint32_t index;

	if (source->owner) {
		*found = kind == NSBOX_SECTION_USER && nsbox_same_word(name, source->owner);
		return source->n_sections > 1 ? 1 : 0;
	}
	index = kind == NSBOX_SECTION_DEFAULTS ? source->defaults :
		nsbox_source_find(source, kind, name.s, name.len);
	*found = index != 0;
	return index;
}

static void check_shadowed(const struct lint *lint, size_t at, uint32_t index)
{
	const struct nsbox_source *source = lint->policy->sources[at], *by = NULL;
	const struct nsbox_section *section = &source->sections[index];
	struct nsbox_slice name = { source->text + section->name, section->name_len };
	bool own[NSBOX_KEY_COUNT] = { false }, later[NSBOX_KEY_COUNT] = { false }, found;
	size_t n = lint->policy->n_sources, i;
	char text[NSBOX_ERROR_MAX], shown[NSBOX_SHOWN_MAX];
	struct nsbox_slice profile;
	unsigned int line;
	int key;

	for (i = at + 1; i < n + lint->n_users; i++) {
		const struct nsbox_source *other = i < n ? lint->policy->sources[i] :
							   lint->users[i - n];
		uint32_t there = same_section(other, section->kind, name, &found);

		if (found && section_keys(lint, other, there, true, later))
			by = other;
	}
	/* What its profile gives may still count. */
	if (!by || nsbox_section_profile(source, index, &line, &profile) ||
	    !section_keys(lint, source, index, false, own))
		return;
	for (key = 0; key < NSBOX_KEY_COUNT; key++)
		if (own[key] && !later[key])
			return;
	nsbox_show_name(by->file, shown, sizeof(shown));
	(void)snprintf(text, sizeof(text), "every key of this section is set again in %s: take it "
		       "out of one of them", shown);
	find(lint, NSBOX_FINDING_WARNING, source->file, nsbox_section_line(source, index), text);
}

/* Marks the profiles that the sections of @source name. */
static void mark_profiles(const struct lint *lint, const struct nsbox_source *source, bool **used)
{
	struct nsbox_slice name;
	unsigned int line;
	uint32_t i, index;
	size_t at;

	for (i = 0; i < source->n_sections; i++) {
		if (!nsbox_section_profile(source, i, &line, &name))
			continue;
		for (at = 0; at < lint->policy->n_sources; at++) {
			index = nsbox_source_find(lint->policy->sources[at], NSBOX_SECTION_PROFILE,
						  name.s, name.len);
			if (index)
				used[at][index] = true;
		}
	}
}

static bool is_named_elsewhere(const struct lint *lint, const struct nsbox_source *source,
			       uint32_t index)
{
	const struct nsbox_section *section = &source->sections[index];
	char name[NSBOX_LINE_MAX + 1];

	(void)snprintf(name, sizeof(name), "%.*s", (int)section->name_len,
		       source->text + section->name);
	return lint->to->names_profile && lint->to->names_profile(name, lint->to->data);
}

static void report_unused(const struct lint *lint, bool **used)
{
	uint32_t i;
	size_t at;

	for (at = 0; at < lint->policy->n_sources; at++) {
		const struct nsbox_source *source = lint->policy->sources[at];

		for (i = 1; i < source->n_sections; i++)
			if (source->sections[i].kind == NSBOX_SECTION_PROFILE && !used[at][i] &&
			    !is_named_elsewhere(lint, source, i))
				find(lint, NSBOX_FINDING_WARNING, source->file,
				     nsbox_section_line(source, i),
				     "no section names this profile: write profile = NAME where it "
				     "is to count, or take it out");
	}
}

static int check_profiles(const struct lint *lint)
{
	size_t n = lint->policy->n_sources, i;
	bool **used = calloc(n + 1, sizeof(*used));
	int r = used ? 0 : -ENOMEM;

	for (i = 0; i < n && !r; i++) {
		used[i] = calloc(lint->policy->sources[i]->n_sections, sizeof(**used));
		r = used[i] ? 0 : -ENOMEM;
	}
	for (i = 0; i < n && !r; i++)
		mark_profiles(lint, lint->policy->sources[i], used);
	for (i = 0; i < lint->n_users && !r; i++)
		mark_profiles(lint, lint->users[i], used);
	if (!r)
		report_unused(lint, used);
	for (i = 0; used && i < n; i++)
		free(used[i]);
	free(used);
	return r;
}

static int is_part(const struct dirent *entry)
{
	return nsbox_policy_is_part(entry->d_name);
}

static int read_user(struct lint *lint, char *name)
{
	struct nsbox_source *source = NULL;
	struct nsbox_error err;

	name[strlen(name) - strlen(".conf")] = '\0';
	if (nsbox_policy_user_source(lint->policy, name, &source, &err) < 0)
		find(lint, NSBOX_FINDING_ERROR, NULL, 0, err.msg);
	if (source)
		lint->users[lint->n_users++] = source;
	return 0;
}

static int read_users(struct lint *lint)
{
	struct dirent **list = NULL;
	int n = 0, i, r = 0;

	if (lint->policy->users_fd >= 0)
		n = scandirat(lint->policy->users_fd, ".", &list, is_part, alphasort);
	if (n < 0)
		return -errno;
	lint->users = calloc((size_t)n + 1, sizeof(struct nsbox_source *));
	if (!lint->users)
		r = -ENOMEM;
	for (i = 0; i < n; i++) {
		if (!r)
			r = read_user(lint, list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return r;
}

static void name_sections(const struct lint *lint, const struct nsbox_source *source)
{
	const struct nsbox_section *section;
	struct nsbox_origin where = { .file = source->file };
	char name[NSBOX_LINE_MAX + 1];
	uint32_t i;

	for (i = 1; i < source->n_sections; i++) {
		section = &source->sections[i];
		if (section->kind != NSBOX_SECTION_GROUP && section->kind != NSBOX_SECTION_USER)
			continue;
		where.line = nsbox_section_line(source, i);
		(void)snprintf(name, sizeof(name), "%.*s", (int)section->name_len,
			       source->text + section->name);
		lint->to->named(section->kind == NSBOX_SECTION_GROUP, name, &where, lint->to->data);
	}
	where.line = 0;
	if (source->owner)
		lint->to->named(false, source->owner, &where, lint->to->data);
}

static int check_all(struct lint *lint, struct nsbox_error *err)
{
	struct nsbox_complaints complaints = { .each = pass_error, .data = lint };
	const struct nsbox_policy *policy = lint->policy;
	size_t i;
	uint32_t s;
	int r = 0;

	for (i = 0; i < policy->n_sources && !r; i++)
		r = nsbox_source_errors(policy, policy->sources[i], &complaints, err);
	for (i = 0; i < lint->n_users && !r; i++)
		r = nsbox_source_errors(policy, lint->users[i], &complaints, err);
	for (i = 0; i < policy->n_sources && !r; i++)
		for (s = 1; s < policy->sources[i]->n_sections; s++)
			check_shadowed(lint, i, s);
	if (!r && check_profiles(lint) < 0)
		r = nsbox_error_set(err, ENOMEM, "checking the policy");
	for (i = 0; i < policy->n_sources && !r; i++)
		name_sections(lint, policy->sources[i]);
	for (i = 0; i < lint->n_users && !r; i++)
		name_sections(lint, lint->users[i]);
	return r;
}

int nsbox_policy_lint(const struct nsbox_policy *policy, const struct nsbox_lint *to,
		      struct nsbox_error *err)
{
	struct lint lint = { .policy = policy, .to = to };
	int r = read_users(&lint);
	size_t i;

	r = r < 0 ? nsbox_error_set(err, -r, "reading users.d") : check_all(&lint, err);
	for (i = 0; i < lint.n_users; i++)
		nsbox_source_free(lint.users[i]);
	free(lint.users);
	return r;
}

int nsbox_policy_each_value(const struct nsbox_policy *policy, enum nsbox_key key,
			    void (*each)(const char *value, const struct nsbox_origin *where,
					 void *data),
			    void *data, struct nsbox_error *err)
{
	const struct nsbox_lint nobody = { .finding = ignore_finding };
	const struct wanted wanted = { .key = key, .each = each, .data = data };
	struct lint lint = { .policy = policy, .to = &nobody };
	int r = read_users(&lint);
	size_t i;

	for (i = 0; i < policy->n_sources && !r; i++)
		r = find_values(policy, policy->sources[i], &wanted);
	for (i = 0; i < lint.n_users && !r; i++)
		r = find_values(policy, lint.users[i], &wanted);
	for (i = 0; i < lint.n_users; i++)
		nsbox_source_free(lint.users[i]);
	free(lint.users);
	return r < 0 ? nsbox_error_set(err, -r, "reading the policy") : 0;
}
