/* SPDX-License-Identifier: MIT */
/*
 * The lines of a section, on their way into a draft. Strict: a line is a
 * comment, key = value, or an error with file and line.
 */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>

static int __attribute__((format(printf, 4, 5)))
say(const struct nsbox_source *source, uint32_t line, struct nsbox_error *err, const char *fmt, ...)
{
	char why[NSBOX_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return nsbox_error_say(err, 0, "%s:%u: %s", source->shown, line, why);
}

static size_t section_end(const struct nsbox_source *source, uint32_t index)
{
	return source->sections[index].end;
}

/* Blank, or a comment. */
static bool says_nothing(struct nsbox_slice trimmed)
{
	return !trimmed.len || trimmed.s[0] == '#' || trimmed.s[0] == ';';
}

/* The first line of a section that is more than a comment, 0: none. */
static unsigned int first_line(const struct nsbox_source *source, uint32_t index)
{
	size_t pos = source->sections[index].body, end = section_end(source, index);
	unsigned int line = nsbox_section_line(source, index);

	while (pos < end) {
		line++;
		if (!says_nothing(nsbox_trim(nsbox_next_line(source, end, &pos))))
			return line;
	}
	return 0;
}

/* A file of users.d is about its user and says so once: above all headers, or below his. */
static int owner_error(const struct nsbox_source *source, uint32_t index, struct nsbox_error *err)
{
	const struct nsbox_section *section = &source->sections[index];
	unsigned int line = nsbox_section_line(source, index), above = first_line(source, 0);
	struct nsbox_slice name = { source->text + section->name, section->name_len };

	if (section->kind != NSBOX_SECTION_USER || !nsbox_same_word(name, source->owner))
		return say(source, line, err, "this file is about %s: write only his keys, "
			   "and what concerns others into " NSBOX_POLICY_FILE,
			   nsbox_quote_string(source->owner).s);
	if (above)
		return say(source, line, err, "keys of the same user stand above, at line %u: "
			   "write all below this line, or take it out", above);
	return 0;
}

int nsbox_section_header_error(const struct nsbox_source *source, uint32_t index,
			       struct nsbox_error *err)
{
	const struct nsbox_section *section = &source->sections[index];
	uint32_t first = section->twin < index ? section->twin : index;
	size_t pos = section->head;
	struct nsbox_error why;
	struct nsbox_slice line;
	struct nsbox_header header;
	int r;

	if (section->kind == NSBOX_SECTION_PREAMBLE)
		return 0;
	line = nsbox_next_line(source, section->body, &pos);
	if (section->kind == NSBOX_SECTION_BAD) {
		r = nsbox_line_check(line, &why);
		if (!r)
			r = nsbox_header_parse(nsbox_trim(line), &header, &why);
		return r ? say(source, nsbox_section_line(source, index), err, "%s", why.msg) : 0;
	}
	r = source->owner ? owner_error(source, index, err) : 0;
	if (r < 0 || !section->twin)
		return r;
	/* Said of the later one: that is where somebody forgot the first. */
	line = nsbox_trim(line);
	return say(source, nsbox_section_line(source, first == index ? section->twin : index), err,
		   "\"%s\" is already at line %u: write both into one section",
		   nsbox_quote(line.s, line.len).s, nsbox_section_line(source, first));
}

/* One section on its way into a draft. */
struct reading {
	const struct nsbox_policy *policy;	/* where the profiles are */
	const struct nsbox_source *source;
	const struct nsbox_section *section;
	struct nsbox_draft *draft;
	struct nsbox_origin origin;
	unsigned int first[NSBOX_KEY_COUNT];	/* the line that has the key, 0: none yet */
	unsigned int profile;			/* the same of "profile" */
};

static int unknown_key(const struct reading *reading, struct nsbox_slice key,
		       const char *(*nth)(size_t i), struct nsbox_error *err)
{
	const char *near = nsbox_nearest(key, nth);
	struct nsbox_quote shown = nsbox_quote(key.s, key.len);

	if (near)
		return say(reading->source, reading->origin.line, err,
			   "unknown key \"%s\" (did you mean %s?)", shown.s, near);
	return say(reading->source, reading->origin.line, err,
		   "unknown key \"%s\" (see nsbox.conf(5))", shown.s);
}

static int apply_value(struct reading *reading, enum nsbox_key key, struct nsbox_slice value,
		       struct nsbox_error *err)
{
	struct nsbox_error why;
	const char *copy = nsbox_arena_copy(reading->draft->arena, value.s, value.len);
	int r;

	if (!copy)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	r = nsbox_draft_set(reading->draft, key, copy, &reading->origin, &why);
	if (r < 0)
		return say(reading->source, reading->origin.line, err, "%s = \"%s\": %s",
			   nsbox_key_name(key), nsbox_quote(value.s, value.len).s, why.msg);
	return 0;
}

static int already(const struct reading *reading, const char *key, unsigned int line,
		   struct nsbox_error *err)
{
	return say(reading->source, reading->origin.line, err,
		   "%s is already at line %u of this section: take one out", key, line);
}

/* "profile = NAME". Its keys were applied before the first line: see below. */
static int check_profile_line(struct reading *reading, struct nsbox_slice value,
			      struct nsbox_error *err)
{
	unsigned int number = reading->origin.line;
	struct nsbox_error why;

	if (reading->profile && reading->profile != number)
		return already(reading, "profile", reading->profile, err);
	reading->profile = number;
	if (reading->section->kind == NSBOX_SECTION_PROFILE)
		return say(reading->source, number, err, "a profile cannot name another profile: "
			   "write the keys themselves");
	if (nsbox_profile_check(reading->policy, value, &why) < 0)
		return say(reading->source, number, err, "profile = \"%s\": %s",
			   nsbox_quote(value.s, value.len).s, why.msg);
	return 0;
}

/* A line of [network NAME], which has keys of its own. */
static int apply_network_line(struct reading *reading, struct nsbox_slice key,
			      struct nsbox_slice value, struct nsbox_error *err)
{
	struct nsbox_error why;
	const char *name, *copy;
	size_t i;

	for (i = 0; (name = nsbox_network_key_nth(i)) && !nsbox_same_word(key, name);)
		i++;
	if (!name)
		return unknown_key(reading, key, nsbox_network_key_nth, err);
	if (reading->first[i])
		return already(reading, name, reading->first[i], err);
	reading->first[i] = reading->origin.line;
	copy = nsbox_arena_copy(reading->draft->arena, value.s, value.len);
	if (!copy)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	if (nsbox_network_set(reading->draft, i, copy, &why) < 0)
		return say(reading->source, reading->origin.line, err, "%s = \"%s\": %s", name,
			   nsbox_quote(value.s, value.len).s, why.msg);
	return 0;
}

/* "key = value" of a line that is neither blank nor a comment. */
static bool split_line(struct nsbox_slice line, struct nsbox_slice *key, struct nsbox_slice *value)
{
	const char *equals = memchr(line.s, '=', line.len);

	if (!equals)
		return false;
	key->s = line.s;
	key->len = (size_t)(equals - line.s);
	*key = nsbox_trim(*key);
	value->s = equals + 1;
	value->len = (size_t)(line.s + line.len - value->s);
	*value = nsbox_trim(*value);
	return true;
}

static int apply_line(struct reading *reading, struct nsbox_slice line, struct nsbox_error *err)
{
	unsigned int number = reading->origin.line;
	struct nsbox_slice key, value;
	struct nsbox_error why;
	enum nsbox_key which;

	if (nsbox_line_check(line, &why) < 0)
		return say(reading->source, number, err, "%s", why.msg);
	line = nsbox_trim(line);
	if (says_nothing(line))
		return 0;
	if (reading->section->kind == NSBOX_SECTION_PREAMBLE && !reading->source->owner)
		return say(reading->source, number, err,
			   "\"%s\" stands before the first section: " NSBOX_SECTION_HINT
			   " above it", nsbox_quote(line.s, line.len).s);
	if (!split_line(line, &key, &value))
		return say(reading->source, number, err, "no \"=\" in \"%s\": write key = value",
			   nsbox_quote(line.s, line.len).s);
	if (reading->section->kind == NSBOX_SECTION_NETWORK)
		return apply_network_line(reading, key, value, err);
	if (nsbox_same_word(key, "profile"))
		return check_profile_line(reading, value, err);
	if (!nsbox_key_find(key, &which))
		return unknown_key(reading, key, nsbox_key_nth, err);
	if (reading->first[which])
		return already(reading, nsbox_key_name(which), reading->first[which], err);
	reading->first[which] = number;
	return apply_value(reading, which, value, err);
}

/* "[user alice]" for explain, however many blanks the file has in it. */
static const char *section_title(const struct nsbox_source *source,
				 const struct nsbox_section *section, const char *user,
				 struct nsbox_arena *arena)
{
	static const char *const kinds[] = {
		[NSBOX_SECTION_PROFILE] = "profile", [NSBOX_SECTION_GROUP] = "group",
		[NSBOX_SECTION_USER] = "user", [NSBOX_SECTION_PREAMBLE] = "user",
		[NSBOX_SECTION_NETWORK] = "network",
	};
	struct nsbox_slice name = { source->text + section->name, section->name_len };
	size_t size;
	char *title;

	if (section->kind == NSBOX_SECTION_PREAMBLE && source->owner)
		name = (struct nsbox_slice){ source->owner, strlen(source->owner) };
	else if (section->kind == NSBOX_SECTION_PREAMBLE ||
		 section->kind == NSBOX_SECTION_DEFAULTS || section->kind == NSBOX_SECTION_BAD)
		return "[defaults]";
	size = name.len + sizeof("[profile ] of ") + (user ? strlen(user) : 0);
	title = nsbox_arena_alloc(arena, size);
	if (title)
		(void)snprintf(title, size, "[%s %.*s]%s%s", kinds[section->kind], (int)name.len,
			       name.s, user ? " of " : "", user ? user : "");
	return title;
}

/* The value of the section's first line "profile = NAME"; false if it has none. */
bool nsbox_section_profile(const struct nsbox_source *source, uint32_t index, unsigned int *line,
			   struct nsbox_slice *ret)
{
	size_t pos = source->sections[index].body, end = section_end(source, index);
	struct nsbox_slice text, key;

	*line = nsbox_section_line(source, index);
	while (pos < end) {
		text = nsbox_trim(nsbox_next_line(source, end, &pos));
		++*line;
		if (text.len && text.s[0] == 'p' && split_line(text, &key, ret) &&
		    nsbox_same_word(key, "profile"))
			return true;
	}
	return false;
}

static int read_lines(struct reading *reading, size_t end, struct nsbox_complaints *complaints,
		      struct nsbox_error *err)
{
	size_t pos = reading->section->body;
	struct nsbox_error one;
	int r;

	while (pos < end) {
		struct nsbox_slice line = nsbox_next_line(reading->source, end, &pos);

		reading->origin.line++;
		r = apply_line(reading, line, &one);
		if (!r)
			continue;
		if (r == -ENOMEM || !complaints) {
			if (err)
				*err = one;
			return r;
		}
		nsbox_complain(complaints, &reading->origin, one.msg);
	}
	return 0;
}

/* The profile that the section names, beneath its own keys. */
static int apply_profile_of(struct reading *reading, uint32_t index, struct nsbox_error *err)
{
	struct nsbox_slice name;
	int r;

	if (reading->section->kind == NSBOX_SECTION_PROFILE ||
	    reading->section->kind == NSBOX_SECTION_NETWORK ||
	    (reading->section->kind == NSBOX_SECTION_PREAMBLE && !reading->source->owner) ||
	    !nsbox_section_profile(reading->source, index, &reading->origin.line, &name))
		return 0;
	r = check_profile_line(reading, name, err);
	return r < 0 ? r : nsbox_profile_apply(reading->policy, name, reading->origin.section,
					       reading->draft, err);
}

static int apply(struct reading *reading, uint32_t index, const char *user,
		 struct nsbox_complaints *complaints, struct nsbox_error *err)
{
	const struct nsbox_source *source = reading->source;
	struct nsbox_arena *arena = reading->draft->arena;
	int r = 0;

	reading->section = &source->sections[index];
	reading->origin.section = section_title(source, reading->section, user, arena);
	reading->origin.file = nsbox_arena_copy(arena, source->file, strlen(source->file));
	if (!reading->origin.section || !reading->origin.file)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	if (!complaints)
		r = apply_profile_of(reading, index, err);
	reading->origin.line = nsbox_section_line(source, index);
	return r < 0 ? r : read_lines(reading, section_end(source, index), complaints, err);
}

int nsbox_section_apply(const struct nsbox_policy *policy, const struct nsbox_source *source,
			uint32_t index, struct nsbox_draft *draft,
			struct nsbox_complaints *complaints, struct nsbox_error *err)
{
	struct reading reading = { .policy = policy, .source = source, .draft = draft };

	return apply(&reading, index, NULL, complaints, err);
}

int nsbox_profile_check(const struct nsbox_policy *policy, struct nsbox_slice name,
			struct nsbox_error *err)
{
	size_t i;

	if (!name.len)
		return nsbox_error_say(err, 0, "a value is missing");
	for (i = 0; i < policy->n_sources; i++)
		if (nsbox_source_find(policy->sources[i], NSBOX_SECTION_PROFILE, name.s, name.len))
			return 0;
	return nsbox_error_say(err, 0, "there is no [profile %s]",
			       nsbox_quote(name.s, name.len).s);
}

int nsbox_profile_apply(const struct nsbox_policy *policy, struct nsbox_slice name,
			const char *user, struct nsbox_draft *draft, struct nsbox_error *err)
{
	int r = 0;
	size_t i;

	for (i = 0; i < policy->n_sources && r >= 0; i++) {
		const struct nsbox_source *source = policy->sources[i];
		struct reading reading = { .policy = policy, .source = source, .draft = draft };
		uint32_t index = nsbox_source_find(source, NSBOX_SECTION_PROFILE, name.s, name.len);

		if (!index)
			continue;
		r = nsbox_section_header_error(source, index, err);
		if (!r)
			r = apply(&reading, index, user, NULL, err);
	}
	return r;
}
