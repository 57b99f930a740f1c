/* SPDX-License-Identifier: MIT */
/*
 * The file: loading finds the sections and nothing else, so that a policy of
 * ten thousand users costs a login one pass over its bytes; the lines of a
 * section are read when it concerns somebody. Strict: a line is a comment, a
 * header, key = value, or an error.
 */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define SECTION_HINT "write [defaults], [profile NAME], [group NAME] or [user NAME]"

struct header {
	enum nsbox_section_kind kind;
	struct nsbox_slice name;
};

/* The line at *pos without its end; *pos goes behind it. */
static struct nsbox_slice next_line(const struct nsbox_policy *policy, size_t end, size_t *pos)
{
	const char *start = policy->text + *pos;
	const char *newline = memchr(start, '\n', end - *pos);
	struct nsbox_slice line = { start, newline ? (size_t)(newline - start) : end - *pos };

	*pos += line.len + (newline != NULL);
	if (line.len && line.s[line.len - 1] == '\r')
		line.len--;
	return line;
}

/* What no line may be, whatever it says. */
static int check_line(struct nsbox_slice line, struct nsbox_error *err)
{
	if (line.len > NSBOX_LINE_MAX)
		return nsbox_error_say(err, 0, "the line is longer than %d bytes: shorten it",
				       NSBOX_LINE_MAX);
	switch (nsbox_text_check(line.s, line.len)) {
	case NSBOX_TEXT_NUL:
		return nsbox_error_say(err, 0, "a NUL byte in the line: take it out");
	case NSBOX_TEXT_CONTROL:
		return nsbox_error_say(err, 0, "a control character in \"%s\": take it out",
				       nsbox_quote(line.s, line.len).s);
	case NSBOX_TEXT_NOT_UTF8:
		return nsbox_error_say(err, 0, "\"%s\" is not UTF-8: save the file as UTF-8",
				       nsbox_quote(line.s, line.len).s);
	default:
		return 0;
	}
}

/* Nothing that a name service gives out: a pattern, a list, quotes. */
static bool is_no_name(char c)
{
	return c == '*' || c == '?' || c == '"' || c == ',' || c == ':' || c == '[';
}

static int check_name(struct nsbox_slice name, bool may_be_id, struct nsbox_error *err)
{
	uint64_t id;
	size_t i;

	for (i = 0; i < name.len; i++)
		if (is_no_name(name.s[i]))
			return nsbox_error_say(err, 0, "\"%s\" is not a name: write one section "
					       "for each name%s", nsbox_quote(name.s, name.len).s,
					       may_be_id ? " or number" : "");
	if (!may_be_id || !nsbox_is_digits(name.s, name.len))
		return 0;
	if (!nsbox_number(name.s, name.len, &id) || id >= UINT32_MAX)
		return nsbox_error_say(err, 0, "\"%s\" is not an id: write 0 to 4294967294, no "
				       "zeros in front", nsbox_quote(name.s, name.len).s);
	return 0;
}

/* "[user alice]", trimmed. @err may be NULL. */
static int parse_header(struct nsbox_slice line, struct header *ret, struct nsbox_error *err)
{
	const char *close = memchr(line.s, ']', line.len);
	struct nsbox_slice inside = { line.s + 1, 0 }, kind;
	int r;

	ret->kind = NSBOX_SECTION_BAD;
	if (!close)
		return nsbox_error_say(err, 0, "no \"]\" behind \"%s\"",
				       nsbox_quote(line.s, line.len).s);
	if (close != line.s + line.len - 1)
		return nsbox_error_say(err, 0, "text behind \"]\": write it, or a comment, on a "
				       "line of its own");
	inside.len = line.len - 2;
	inside = nsbox_trim(inside);
	kind = inside;
	for (kind.len = 0; kind.len < inside.len && !nsbox_is_blank(kind.s[kind.len]);)
		kind.len++;
	ret->name.s = inside.s + kind.len;
	ret->name.len = inside.len - kind.len;
	ret->name = nsbox_trim(ret->name);
	if (nsbox_same_word(kind, "defaults") && !ret->name.len) {
		ret->kind = NSBOX_SECTION_DEFAULTS;
		return 0;
	}
	if (!nsbox_same_word(kind, "group") && !nsbox_same_word(kind, "user") &&
	    !nsbox_same_word(kind, "profile"))
		return nsbox_error_say(err, 0, "no section \"%s\": " SECTION_HINT,
				       nsbox_quote(line.s, line.len).s);
	if (!ret->name.len)
		return nsbox_error_say(err, 0, "no name in \"%s\": " SECTION_HINT,
				       nsbox_quote(line.s, line.len).s);
	r = check_name(ret->name, kind.s[0] != 'p', err);
	if (r < 0)
		return r;
	ret->kind = kind.s[0] == 'g' ? NSBOX_SECTION_GROUP :
		    kind.s[0] == 'u' ? NSBOX_SECTION_USER : NSBOX_SECTION_PROFILE;
	return 0;
}

static size_t hash(enum nsbox_section_kind kind, const char *name, size_t len)
{
	uint64_t h = UINT64_C(14695981039346656037) ^ (uint64_t)kind;
	size_t i;

	for (i = 0; i < len; i++)
		h = (h ^ (unsigned char)name[i]) * UINT64_C(1099511628211);
	return (size_t)(h ^ h >> 32);
}

/* The slot with that section, or the free one where it would be. */
static uint32_t *find_slot(const struct nsbox_policy *policy, enum nsbox_section_kind kind,
			   const char *name, size_t len)
{
	size_t mask = policy->n_slots - 1, i = hash(kind, name, len) & mask;

	for (;; i = (i + 1) & mask) {
		const struct nsbox_section *section = &policy->sections[policy->slots[i]];

		if (!policy->slots[i])
			return &policy->slots[i];
		if (section->kind == kind && section->name_len == len &&
		    !memcmp(policy->text + section->name, name, len))
			return &policy->slots[i];
	}
}

uint32_t nsbox_policy_find(const struct nsbox_policy *policy, enum nsbox_section_kind kind,
			   const char *name, size_t len)
{
	return *find_slot(policy, kind, name, len);
}

/* Room for one more section, and a hash that is never more than half full. */
static int grow(struct nsbox_policy *policy)
{
	size_t max = policy->max_sections ? policy->max_sections * 4 : 64, i;
	struct nsbox_section *sections;
	uint32_t *slots;

	if (policy->n_sections < policy->max_sections)
		return 0;
	sections = realloc(policy->sections, max * sizeof(*sections));
	if (!sections)
		return -ENOMEM;
	policy->sections = sections;
	slots = calloc(max * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(policy->slots);
	policy->slots = slots;
	policy->n_slots = max * 2;
	policy->max_sections = max;
	for (i = 1; i < policy->n_sections; i++) {
		const struct nsbox_section *section = &sections[i];
		uint32_t *slot = find_slot(policy, section->kind, policy->text + section->name,
					   section->name_len);

		/* A repeated section stays out: its twin, the first, is in. */
		if (section->kind != NSBOX_SECTION_BAD && !*slot)
			*slot = (uint32_t)i;
	}
	return 0;
}

static int add_section(struct nsbox_policy *policy, struct nsbox_slice line, uint32_t number,
		       size_t body)
{
	struct header header = { .kind = NSBOX_SECTION_BAD };
	struct nsbox_section *section;
	uint32_t index, *slot;

	if (grow(policy) < 0)
		return -ENOMEM;
	index = (uint32_t)policy->n_sections++;
	section = &policy->sections[index];
	*section = (struct nsbox_section){ .kind = NSBOX_SECTION_BAD, .line = number };
	section->head = (uint32_t)(line.s - policy->text);
	section->body = (uint32_t)body;
	if (check_line(line, NULL) < 0 || parse_header(nsbox_trim(line), &header, NULL) < 0) {
		if (!policy->first_bad)
			policy->first_bad = index;
		return 0;
	}
	section->kind = header.kind;
	section->name = (uint32_t)(header.name.s - policy->text);
	section->name_len = (uint32_t)header.name.len;
	slot = find_slot(policy, header.kind, header.name.s, header.name.len);
	if (*slot) {
		section->twin = *slot;
		if (!policy->sections[*slot].twin)
			policy->sections[*slot].twin = index;
		return 0;
	}
	*slot = index;
	if (header.kind == NSBOX_SECTION_DEFAULTS)
		policy->defaults = index;
	return 0;
}

/* Line ends, eight bytes at a time: this is most of the work of loading. */
static size_t count_lines(const char *s, size_t len)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), low = ones * 0x7f;
	size_t n = 0, i = 0;
	uint64_t word;

	for (; i + sizeof(word) <= len; i += sizeof(word)) {
		memcpy(&word, s + i, sizeof(word));
		word ^= ones * '\n';
		/* The top bit of every byte that is not zero now; no carries between bytes. */
		word = ((word & low) + low) | word;
		n += (size_t)(((~word & ~low) >> 7) * ones >> 56);
	}
	for (; i < len; i++)
		n += s[i] == '\n';
	return n;
}

/* The start of the first line from @pos on whose first character is "[". */
static const char *find_header(const struct nsbox_policy *policy, size_t pos)
{
	const char *from = policy->text + pos, *end = policy->text + policy->size;
	const char *next = from, *start;

	while ((next = memchr(next, '[', (size_t)(end - next)))) {
		for (start = next; start > from && nsbox_is_blank(start[-1]);)
			start--;
		if (start == from || start[-1] == '\n')
			return start;
		next++;
	}
	return NULL;
}

static int find_sections(struct nsbox_policy *policy)
{
	const char *start;
	uint32_t number = 1;
	size_t pos = 0;

	if (grow(policy) < 0)
		return -ENOMEM;
	policy->sections[0] = (struct nsbox_section){ .kind = NSBOX_SECTION_PREAMBLE };
	policy->n_sections = 1;
	/* Windows editors put U+FEFF in front of UTF-8. */
	if (policy->size >= 3 && !memcmp(policy->text, "\xef\xbb\xbf", 3))
		pos = policy->sections[0].body = 3;
	while ((start = find_header(policy, pos))) {
		struct nsbox_slice line;
		size_t head = (size_t)(start - policy->text);

		number += (uint32_t)count_lines(policy->text + pos, head - pos);
		pos = head;
		line = next_line(policy, policy->size, &pos);
		if (add_section(policy, line, number, pos) < 0)
			return -ENOMEM;
		number++;
	}
	return 0;
}

int nsbox_policy_parse(const char *file, char *text, size_t size, struct nsbox_policy **ret_policy,
		       struct nsbox_error *err)
{
	struct nsbox_policy *policy = calloc(1, sizeof(*policy));
	size_t len = strlen(file);

	if (policy) {
		policy->text = text;
		policy->size = size;
		policy->file = strdup(file);
	} else {
		free(text);
	}
	if (!policy || !policy->file || find_sections(policy) < 0) {
		nsbox_policy_free(policy);
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	}
	/* The end of a name says more than its beginning. */
	if (len < sizeof(policy->shown))
		memcpy(policy->shown, file, len + 1);
	else
		(void)snprintf(policy->shown, sizeof(policy->shown), "...%s",
			       file + len - (sizeof(policy->shown) - 4));
	*ret_policy = policy;
	return 0;
}

static int __attribute__((format(printf, 4, 5)))
say(const struct nsbox_policy *policy, uint32_t line, struct nsbox_error *err, const char *fmt, ...)
{
	char why[NSBOX_ERROR_MAX];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, sizeof(why), fmt, ap);
	va_end(ap);
	return nsbox_error_say(err, 0, "%s:%u: %s", policy->shown, line, why);
}

static size_t section_end(const struct nsbox_policy *policy, uint32_t index)
{
	return index + 1 < policy->n_sections ? policy->sections[index + 1].head : policy->size;
}

int nsbox_section_header_error(const struct nsbox_policy *policy, uint32_t index,
			       struct nsbox_error *err)
{
	const struct nsbox_section *section = &policy->sections[index], *twin;
	size_t pos = section->head;
	struct nsbox_error why;
	struct nsbox_slice line;
	struct header header;
	int r;

	if (section->kind == NSBOX_SECTION_PREAMBLE ||
	    (section->kind != NSBOX_SECTION_BAD && !section->twin))
		return 0;
	line = next_line(policy, section->body, &pos);
	if (section->kind == NSBOX_SECTION_BAD) {
		r = check_line(line, &why);
		if (!r)
			r = parse_header(nsbox_trim(line), &header, &why);
		return r ? say(policy, section->line, err, "%s", why.msg) : 0;
	}
	/* Said of the later one: that is where somebody forgot the first. */
	twin = &policy->sections[section->twin];
	line = nsbox_trim(line);
	return say(policy, section->line > twin->line ? section->line : twin->line, err,
		   "\"%s\" is already at line %u: write both into one section",
		   nsbox_quote(line.s, line.len).s,
		   section->line > twin->line ? twin->line : section->line);
}

/* One section on its way into a draft. */
struct reading {
	const struct nsbox_policy *policy;
	const struct nsbox_section *section;
	struct nsbox_draft *draft;
	struct nsbox_origin origin;
	unsigned int first[NSBOX_KEY_COUNT];	/* the line that has the key, 0: none yet */
	unsigned int profile;			/* the same of "profile" */
};

static int unknown_key(const struct reading *reading, struct nsbox_slice key,
		       struct nsbox_error *err)
{
	const char *near = nsbox_nearest(key, nsbox_key_nth);
	struct nsbox_quote shown = nsbox_quote(key.s, key.len);

	if (near)
		return say(reading->policy, reading->origin.line, err,
			   "unknown key \"%s\" (did you mean %s?)", shown.s, near);
	return say(reading->policy, reading->origin.line, err,
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
		return say(reading->policy, reading->origin.line, err, "%s = \"%s\": %s",
			   nsbox_key_name(key), nsbox_quote(value.s, value.len).s, why.msg);
	return 0;
}

static int already(const struct reading *reading, const char *key, unsigned int line,
		   struct nsbox_error *err)
{
	return say(reading->policy, reading->origin.line, err,
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
		return say(reading->policy, number, err, "a profile cannot name another profile: "
			   "write the keys themselves");
	if (nsbox_profile_check(reading->policy, value, &why) < 0)
		return say(reading->policy, number, err, "profile = \"%s\": %s",
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

	if (check_line(line, &why) < 0)
		return say(reading->policy, number, err, "%s", why.msg);
	line = nsbox_trim(line);
	if (!line.len || line.s[0] == '#' || line.s[0] == ';')
		return 0;
	if (reading->section->kind == NSBOX_SECTION_PREAMBLE)
		return say(reading->policy, number, err,
			   "\"%s\" stands before the first section: " SECTION_HINT " above it",
			   nsbox_quote(line.s, line.len).s);
	if (!split_line(line, &key, &value))
		return say(reading->policy, number, err, "no \"=\" in \"%s\": write key = value",
			   nsbox_quote(line.s, line.len).s);
	if (nsbox_same_word(key, "profile"))
		return check_profile_line(reading, value, err);
	if (!nsbox_key_find(key, &which))
		return unknown_key(reading, key, err);
	if (reading->first[which])
		return already(reading, nsbox_key_name(which), reading->first[which], err);
	reading->first[which] = number;
	return apply_value(reading, which, value, err);
}

/* "[user alice]" for explain, however many blanks the file has in it. */
static const char *section_title(const struct nsbox_policy *policy,
				 const struct nsbox_section *section, const char *user,
				 struct nsbox_arena *arena)
{
	static const char *const kinds[] = {
		[NSBOX_SECTION_PROFILE] = "profile", [NSBOX_SECTION_GROUP] = "group",
		[NSBOX_SECTION_USER] = "user",
	};
	size_t size = section->name_len + sizeof("[profile ] of ") + (user ? strlen(user) : 0);
	char *title;

	if (section->kind != NSBOX_SECTION_GROUP && section->kind != NSBOX_SECTION_USER &&
	    section->kind != NSBOX_SECTION_PROFILE)
		return "[defaults]";
	title = nsbox_arena_alloc(arena, size);
	if (title)
		(void)snprintf(title, size, "[%s %.*s]%s%s", kinds[section->kind],
			       (int)section->name_len, policy->text + section->name,
			       user ? " of " : "", user ? user : "");
	return title;
}

/* The value of the section's first line "profile = NAME"; false if it has none. */
static bool find_profile(const struct nsbox_policy *policy, uint32_t index, unsigned int *line,
			 struct nsbox_slice *ret)
{
	size_t pos = policy->sections[index].body, end = section_end(policy, index);
	struct nsbox_slice text, key;

	*line = policy->sections[index].line;
	while (pos < end) {
		text = nsbox_trim(next_line(policy, end, &pos));
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
	const struct nsbox_policy *policy = reading->policy;
	size_t pos = reading->section->body;
	struct nsbox_error one;
	int r;

	reading->origin.line = reading->section->line;
	while (pos < end) {
		struct nsbox_slice line = next_line(policy, end, &pos);

		reading->origin.line++;
		r = apply_line(reading, line, &one);
		if (!r)
			continue;
		if (r == -ENOMEM || !complaints) {
			if (err)
				*err = one;
			return r;
		}
		complaints->n++;
		complaints->each(one.msg, complaints->data);
	}
	return 0;
}

/* The profile that the section names, beneath its own keys. */
static int apply_profile_of(struct reading *reading, uint32_t index, struct nsbox_error *err)
{
	struct nsbox_slice name;
	int r;

	if (reading->section->kind == NSBOX_SECTION_PREAMBLE ||
	    reading->section->kind == NSBOX_SECTION_PROFILE ||
	    !find_profile(reading->policy, index, &reading->origin.line, &name))
		return 0;
	r = check_profile_line(reading, name, err);
	return r < 0 ? r : nsbox_profile_apply(reading->policy, name, reading->origin.section,
					       reading->draft, err);
}

static int apply(const struct nsbox_policy *policy, uint32_t index, const char *user,
		 struct nsbox_draft *draft, struct nsbox_complaints *complaints,
		 struct nsbox_error *err)
{
	const struct nsbox_section *section = &policy->sections[index];
	struct reading reading = { .policy = policy, .section = section, .draft = draft };
	int r = 0;

	reading.origin.section = section_title(policy, section, user, draft->arena);
	reading.origin.file = nsbox_arena_copy(draft->arena, policy->file, strlen(policy->file));
	if (!reading.origin.section || !reading.origin.file)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	if (!complaints)
		r = apply_profile_of(&reading, index, err);
	return r < 0 ? r : read_lines(&reading, section_end(policy, index), complaints, err);
}

int nsbox_section_apply(const struct nsbox_policy *policy, uint32_t index,
			struct nsbox_draft *draft, struct nsbox_complaints *complaints,
			struct nsbox_error *err)
{
	return apply(policy, index, NULL, draft, complaints, err);
}

int nsbox_profile_check(const struct nsbox_policy *policy, struct nsbox_slice name,
			struct nsbox_error *err)
{
	if (!name.len)
		return nsbox_error_say(err, 0, "a value is missing");
	if (nsbox_policy_find(policy, NSBOX_SECTION_PROFILE, name.s, name.len))
		return 0;
	return nsbox_error_say(err, 0, "there is no [profile %s]",
			       nsbox_quote(name.s, name.len).s);
}

int nsbox_profile_apply(const struct nsbox_policy *policy, struct nsbox_slice name,
			const char *user, struct nsbox_draft *draft, struct nsbox_error *err)
{
	uint32_t index = nsbox_policy_find(policy, NSBOX_SECTION_PROFILE, name.s, name.len);
	int r = nsbox_section_header_error(policy, index, err);

	return r < 0 ? r : apply(policy, index, user, draft, NULL, err);
}
