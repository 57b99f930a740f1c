/* SPDX-License-Identifier: MIT */
/*
 * A file and its sections: loading finds these and nothing else, so that a
 * policy of ten thousand users costs a login one pass over its bytes; the lines
 * of a section are read when it concerns somebody (section.c).
 */
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct nsbox_slice nsbox_next_line(const struct nsbox_source *source, size_t end, size_t *pos)
{
	const char *start = source->text + *pos;
	const char *newline = memchr(start, '\n', end - *pos);
	struct nsbox_slice line = { start, newline ? (size_t)(newline - start) : end - *pos };

	*pos += line.len + (newline != NULL);
	if (line.len && line.s[line.len - 1] == '\r')
		line.len--;
	return line;
}

int nsbox_line_check(struct nsbox_slice line, struct nsbox_error *err)
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

int nsbox_header_parse(struct nsbox_slice line, struct nsbox_header *ret, struct nsbox_error *err)
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
	    !nsbox_same_word(kind, "profile") && !nsbox_same_word(kind, "network"))
		return nsbox_error_say(err, 0, "no section \"%s\": " NSBOX_SECTION_HINT,
				       nsbox_quote(line.s, line.len).s);
	if (!ret->name.len)
		return nsbox_error_say(err, 0, "no name in \"%s\": " NSBOX_SECTION_HINT,
				       nsbox_quote(line.s, line.len).s);
	r = check_name(ret->name, kind.s[0] == 'g' || kind.s[0] == 'u', err);
	if (r < 0)
		return r;
	ret->kind = kind.s[0] == 'g' ? NSBOX_SECTION_GROUP :
		    kind.s[0] == 'u' ? NSBOX_SECTION_USER :
		    kind.s[0] == 'n' ? NSBOX_SECTION_NETWORK : NSBOX_SECTION_PROFILE;
	return 0;
}

/* Eight bytes at a time; whoever could choose names that collide is root. */
static uint32_t hash(enum nsbox_section_kind kind, const char *name, size_t len)
{
	uint64_t h = ((uint64_t)len << 8 | (uint64_t)kind) * UINT64_C(0x9e3779b97f4a7c15);
	unsigned __int128 wide;
	uint64_t word;

	for (; len; name += sizeof(word), len -= sizeof(word)) {
		word = 0;
		memcpy(&word, name, len < sizeof(word) ? len : sizeof(word));
		/* Both halves of the product: the low one knows nothing of the last bytes. */
		wide = (unsigned __int128)(h ^ word) * UINT64_C(0x9e3779b97f4a7c15);
		h = (uint64_t)wide ^ (uint64_t)(wide >> 64);
		if (len <= sizeof(word))
			break;
	}
	return (uint32_t)(h ^ h >> 32);
}

/* The slot with that section, or the free one where it would be. */
static uint32_t *find_slot(const struct nsbox_source *source, enum nsbox_section_kind kind,
			   uint32_t hashed, const char *name, size_t len)
{
	size_t mask = source->n_slots - 1, i = hashed & mask;

	for (;; i = (i + 1) & mask) {
		const struct nsbox_section *section = &source->sections[source->slots[i]];

		if (!source->slots[i])
			return &source->slots[i];
		if (section->hash == hashed && section->kind == kind && section->name_len == len &&
		    !memcmp(source->text + section->name, name, len))
			return &source->slots[i];
	}
}

uint32_t nsbox_source_find(const struct nsbox_source *source, enum nsbox_section_kind kind,
			   const char *name, size_t len)
{
	return *find_slot(source, kind, hash(kind, name, len), name, len);
}

/* Room for one more section, and a hash that is never more than half full. */
static int grow(struct nsbox_source *source)
{
	size_t max = source->max_sections ? source->max_sections * 4 : 64, i;
	struct nsbox_section *sections;
	uint32_t *slots;

	if (source->n_sections < source->max_sections)
		return 0;
	sections = realloc(source->sections, max * sizeof(*sections));
	if (!sections)
		return -ENOMEM;
	source->sections = sections;
	slots = calloc(max * 2, sizeof(*slots));
	if (!slots)
		return -ENOMEM;
	free(source->slots);
	source->slots = slots;
	source->n_slots = max * 2;
	source->max_sections = max;
	for (i = 1; i < source->n_sections; i++) {
		const struct nsbox_section *section = &sections[i];
		uint32_t *slot = find_slot(source, section->kind, section->hash,
					   source->text + section->name, section->name_len);

		/* A repeated section stays out: its twin, the first, is in. */
		if (section->kind != NSBOX_SECTION_BAD && !*slot)
			*slot = (uint32_t)i;
	}
	return 0;
}

/*
 * "[user alice]" and "[group staff]" as nearly all of ten thousand headers are:
 * a word of plain characters that is no number, and nothing behind it. What is
 * not that plain goes the long way and may be right as well.
 */
static bool read_plain_header(struct nsbox_slice line, struct nsbox_header *ret)
{
	static const char kinds[2][8] = { "[user ", "[group " };
	bool group = line.len > 1 && line.s[1] == 'g', word = false;
	size_t start = group ? 7 : 6, i;

	if (line.len < start + 2 || line.len > 64 || memcmp(line.s, kinds[group], start) != 0 ||
	    line.s[line.len - 1] != ']')
		return false;
	for (i = start; i < line.len - 1; i++) {
		unsigned char c = (unsigned char)line.s[i];

		if ((unsigned char)(c - '0') < 10)
			continue;
		if ((unsigned char)((c | 0x20) - 'a') >= 26 && c != '-' && c != '_' && c != '.')
			return false;
		word = true;
	}
	ret->kind = group ? NSBOX_SECTION_GROUP : NSBOX_SECTION_USER;
	ret->name = (struct nsbox_slice){ line.s + start, line.len - start - 1 };
	return word;
}

static uint64_t bit(uint32_t hashed)
{
	return UINT64_C(1) << (hashed & 63);
}

static uint64_t *word_of(struct nsbox_filter *filter, uint32_t hashed)
{
	return &filter->bits[hashed >> 6 & 63];
}

static bool is_wanted(const struct nsbox_filter *filter, enum nsbox_section_kind kind,
		      uint32_t hashed)
{
	return !filter || (kind != NSBOX_SECTION_USER && kind != NSBOX_SECTION_GROUP) ||
	       filter->bits[hashed >> 6 & 63] & bit(hashed);
}

static void want(struct nsbox_filter *filter, enum nsbox_section_kind kind, const char *name,
		 uint32_t id)
{
	char number[16];
	uint32_t hashed;

	(void)snprintf(number, sizeof(number), "%u", id);
	hashed = hash(kind, number, strlen(number));
	*word_of(filter, hashed) |= bit(hashed);
	if (!name)
		return;
	hashed = hash(kind, name, strlen(name));
	*word_of(filter, hashed) |= bit(hashed);
}

void nsbox_filter_make(const struct nsbox_subject *subject, struct nsbox_filter *ret)
{
	size_t i;

	memset(ret, 0, sizeof(*ret));
	want(ret, NSBOX_SECTION_USER, subject->name, subject->uid);
	for (i = 0; i < subject->n_groups; i++)
		want(ret, NSBOX_SECTION_GROUP,
		     subject->group_names ? subject->group_names[i] : NULL, subject->gids[i]);
}

bool nsbox_filter_has(const struct nsbox_filter *filter, const struct nsbox_filter *part)
{
	size_t i;

	for (i = 0; i < sizeof(filter->bits) / sizeof(filter->bits[0]); i++)
		if (part->bits[i] & ~filter->bits[i])
			return false;
	return true;
}

static int add_section(struct nsbox_source *source, struct nsbox_slice line,
		       const struct nsbox_filter *filter, size_t body)
{
	struct nsbox_header header = { .kind = NSBOX_SECTION_BAD };
	struct nsbox_section *section;
	uint32_t index, hashed, *slot;
	bool good;

	good = read_plain_header(line, &header) ||
	       (!nsbox_line_check(line, NULL) &&
		!nsbox_header_parse(nsbox_trim(line), &header, NULL));
	hashed = good ? hash(header.kind, header.name.s, header.name.len) : 0;
	if (!is_wanted(filter, header.kind, hashed))
		return 0;
	if (grow(source) < 0)
		return -ENOMEM;
	index = (uint32_t)source->n_sections++;
	section = &source->sections[index];
	*section = (struct nsbox_section){ .kind = header.kind, .hash = hashed };
	section->head = (uint32_t)(line.s - source->text);
	section->body = (uint32_t)body;
	if (!good) {
		section->kind = NSBOX_SECTION_BAD;
		if (!source->first_bad)
			source->first_bad = index;
		return 0;
	}
	section->name = (uint32_t)(header.name.s - source->text);
	section->name_len = (uint32_t)header.name.len;
	slot = find_slot(source, header.kind, hashed, header.name.s, header.name.len);
	if (*slot) {
		section->twin = *slot;
		if (!source->sections[*slot].twin)
			source->sections[*slot].twin = index;
		return 0;
	}
	*slot = index;
	if (header.kind == NSBOX_SECTION_DEFAULTS)
		source->defaults = index;
	return 0;
}

/* Line ends, eight bytes at a time. */
static size_t count_lines(const char *s, size_t len)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), low = ones * 0x7f;
	size_t n = 0, i = 0, words;
	uint64_t word, found;

	while (i + sizeof(word) <= len) {
		/* Eight counters of a byte each, added up before their sum can overflow one. */
		for (found = words = 0; words < 31 && i + sizeof(word) <= len; words++) {
			memcpy(&word, s + i, sizeof(word));
			word ^= ones * '\n';
			/* The top bit of every byte that is not zero now; no carries between. */
			word = ((word & low) + low) | word;
			found += (~word & ~low) >> 7;
			i += sizeof(word);
		}
		n += (size_t)(found * ones >> 56);
	}
	for (; i < len; i++)
		n += s[i] == '\n';
	return n;
}

/* Counted when somebody asks, or for all at once. */
uint32_t nsbox_section_line(const struct nsbox_source *source, uint32_t index)
{
	const struct nsbox_section *section = &source->sections[index];

	if (section->kind == NSBOX_SECTION_PREAMBLE || section->line)
		return section->line;
	return (uint32_t)count_lines(source->text, section->head) + 1;
}

void nsbox_source_number(struct nsbox_source *source)
{
	size_t pos = 0, i;
	uint32_t line = 1;

	for (i = 1; i < source->n_sections; i++) {
		line += (uint32_t)count_lines(source->text + pos, source->sections[i].head - pos);
		pos = source->sections[i].head;
		source->sections[i].line = line;
	}
}

/* The start of the first line from @pos on whose first character is "[". */
static const char *find_header(const struct nsbox_source *source, size_t pos)
{
	const char *from = source->text + pos, *end = source->text + source->size;
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

static int find_sections(struct nsbox_source *source, const struct nsbox_filter *filter)
{
	const char *start;
	size_t pos = 0, last = 0;

	if (grow(source) < 0)
		return -ENOMEM;
	source->sections[0] = (struct nsbox_section){ .kind = NSBOX_SECTION_PREAMBLE };
	source->n_sections = 1;
	/* Windows editors put U+FEFF in front of UTF-8. */
	if (source->size >= 3 && !memcmp(source->text, "\xef\xbb\xbf", 3))
		pos = last = source->sections[0].body = 3;
	while ((start = find_header(source, pos))) {
		struct nsbox_slice line;

		pos = (size_t)(start - source->text);
		/* The one before ends here, unless it was left out. */
		if (source->sections[source->n_sections - 1].body == last)
			source->sections[source->n_sections - 1].end = (uint32_t)pos;
		line = nsbox_next_line(source, source->size, &pos);
		if (add_section(source, line, filter, pos) < 0)
			return -ENOMEM;
		last = pos;
	}
	if (source->sections[source->n_sections - 1].body == last)
		source->sections[source->n_sections - 1].end = (uint32_t)source->size;
	/* Few enough, and each will be asked for. */
	if (filter)
		nsbox_source_number(source);
	return 0;
}

int nsbox_source_parse(const char *file, char *text, size_t size,
		       const struct nsbox_filter *filter, struct nsbox_source **ret,
		       struct nsbox_error *err)
{
	struct nsbox_source *source = calloc(1, sizeof(*source));

	if (source) {
		source->text = text;
		source->size = size;
		source->file = strdup(file);
	} else {
		free(text);
	}
	if (!source || !source->file || find_sections(source, filter) < 0) {
		nsbox_source_free(source);
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	}
	nsbox_show_name(file, source->shown, sizeof(source->shown));
	*ret = source;
	return 0;
}

void nsbox_source_free(struct nsbox_source *source)
{
	if (!source)
		return;
	free(source->file);
	free(source->text);
	free(source->sections);
	free(source->slots);
	free(source->owner);
	free(source);
}
