/* SPDX-License-Identifier: MIT */
/*
 * The lists bind, tmpfs, device, mask and env. Blanks separate entries; a
 * backslash makes a blank, a colon, a comma or a backslash part of one. An entry
 * is taken apart before %u and its like are put in, so that no account's name
 * adds one or ends a field.
 */
#include "internal.h"

#include <errno.h>
#include <inttypes.h>

/* More than anybody mounts, and a bound for the keeper's descriptors. */
#define ENTRIES_MAX 64
#define FIELDS_MAX 3
/* What has a backslash before it where it is printed. */
#define IN_FIELDS " \t:,\\"
#define IN_WORDS " \t,\\"
#define OPTIONS_HINT "after \":\" write a path, or ro, rw, noexec, optional"

/* Whoever reads a list: with @subject NULL it is only checked. */
struct reader {
	const struct nsbox_subject *subject;
	struct nsbox_arena *arena;
};

struct kind {
	size_t size;			/* of an item; its first member is the text that names it */
	int (*read)(const struct reader *reader, struct nsbox_slice entry, void *item,
		    struct nsbox_error *err);
	const char *hint;
};

/* Bytes up to the first of @stop that has no backslash before it. */
static size_t span(const char *s, size_t len, const char *stop)
{
	size_t i;

	for (i = 0; i < len; i++) {
		if (s[i] == '\\' && i + 1 < len)
			i++;
		else if (strchr(stop, s[i]))
			break;
	}
	return i < len ? i : len;
}

static bool next_entry(const char **pos, struct nsbox_slice *ret)
{
	while (nsbox_is_blank(**pos))
		++*pos;
	ret->s = *pos;
	ret->len = span(*pos, strlen(*pos), " \t");
	*pos += ret->len;
	return ret->len > 0;
}

/* "A:B:C" into its fields; false if there are too many. */
static bool split_fields(struct nsbox_slice entry, struct nsbox_slice field[FIELDS_MAX], size_t *n)
{
	for (*n = 0; *n < FIELDS_MAX;) {
		size_t len = span(entry.s, entry.len, ":");

		field[(*n)++] = (struct nsbox_slice){ entry.s, len };
		if (len == entry.len)
			return true;
		entry.s += len + 1;
		entry.len -= len + 1;
	}
	return false;
}

/* Takes the backslashes out. @buf holds a line. */
static int unescape(struct nsbox_slice text, char buf[NSBOX_LINE_MAX + 1], struct nsbox_error *err)
{
	size_t i, out = 0;

	for (i = 0; i < text.len && out < NSBOX_LINE_MAX; i++) {
		if (text.s[i] == '\\') {
			i++;
			if (i == text.len || !strchr(" \t:,\\", text.s[i]))
				return nsbox_error_say(err, 0, "write \"\\\" only before a blank, "
						       "\":\", \",\" or \"\\\"");
		}
		buf[out++] = text.s[i];
	}
	buf[out] = '\0';
	return 0;
}

void nsbox_path_make_plain(char *path)
{
	char *out = path, *in = path;

	while (*in) {
		size_t len;

		in += strspn(in, "/");
		len = strcspn(in, "/");
		if (len && !(len == 1 && *in == '.')) {
			*out++ = '/';
			memmove(out, in, len);
			out += len;
		}
		in += len;
	}
	*out = '\0';
}

/* A field that is a path, made plain; *ret stays as it is if this is only a check. */
static int take_path(const struct reader *reader, struct nsbox_slice field, const char **ret,
		     struct nsbox_error *err)
{
	char text[NSBOX_LINE_MAX + 1], *path = NULL;
	int r = unescape(field, text, err);

	if (!r)
		r = nsbox_path_template_check(text, NULL, err);
	if (r < 0 || !reader->subject)
		return r;
	r = nsbox_expand_path(text, reader->subject, reader->arena, &path, err);
	if (r < 0)
		return r;
	nsbox_path_make_plain(path);
	*ret = path;
	return 0;
}

bool nsbox_path_is_in(const char *path, const char *top)
{
	size_t len = strlen(top);

	return !strncmp(path, top, len) && (!path[len] || path[len] == '/');
}

int nsbox_path_check_place(const char *path, bool mask, struct nsbox_error *err)
{
	static const struct {
		const char *path;
		bool below;		/* and all that is below it */
		bool mask;		/* a mask too */
		const char *why;	/* NULL: it may */
	} places[] = {
		{ "/proc", false, true, "is the kernel's, and the box's own" },
		{ "/proc", true, false, "is the kernel's, and the box's own" },
		{ "/sys", true, false, "is the kernel's, and the box's own" },
		{ "/run", false, true, "has what nsbox puts there" },
		{ "/run/.nsbox", true, true, "tells a box from the host" },
		{ "/etc", false, true, "is made by nsbox for each box" },
		{ "/etc/passwd", false, true, "says who the user is, and nsbox makes it" },
		{ "/etc/group", false, true, "says what groups he is in, and nsbox makes it" },
		{ "/etc/nsswitch.conf", false, true, "decides whose code sshd and su load" },
		{ "/dev", false, true, "has only the nodes that device = names" },
		{ "/dev/pts", true, true, "has the box's own terminals" },
		{ "/dev/shm", true, false, NULL },
		{ "/dev", true, false, "has only the nodes that device = names" },
	};

	if (!path[0])
		return nsbox_error_say(err, 0, "\"/\" cannot be used: write a path below it");
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if ((mask && !places[i].mask) ||
		    !(places[i].below ? nsbox_path_is_in(path, places[i].path) :
					!strcmp(path, places[i].path)))
			continue;
		return !places[i].why ? 0 :
		       nsbox_error_say(err, 0, "nothing may be put over \"%s\", which %s",
				       nsbox_quote_string(path).s, places[i].why);
	}
	return 0;
}

/* A path inside the box. */
static int take_place(const struct reader *reader, struct nsbox_slice field, bool mask,
		      const char **ret, struct nsbox_error *err)
{
	int r = take_path(reader, field, ret, err);

	return r < 0 || !reader->subject ? r : nsbox_path_check_place(*ret, mask, err);
}

static int take_option(struct nsbox_slice word, struct nsbox_bind *bind, bool *rw,
		       struct nsbox_error *err)
{
	if (nsbox_same_word(word, "ro"))
		bind->ro = true;
	else if (nsbox_same_word(word, "rw"))
		*rw = true;
	else if (nsbox_same_word(word, "noexec"))
		bind->noexec = true;
	else if (nsbox_same_word(word, "optional"))
		bind->optional = true;
	else
		return nsbox_error_say(err, 0, "no option \"%s\": " OPTIONS_HINT,
				       nsbox_quote(word.s, word.len).s);
	return bind->ro && *rw ? nsbox_error_say(err, 0, "write ro or rw, not both") : 0;
}

static int take_options(struct nsbox_slice field, struct nsbox_bind *bind, struct nsbox_error *err)
{
	bool rw = false;

	for (;;) {
		size_t len = span(field.s, field.len, ",");
		struct nsbox_slice word = { field.s, len };
		int r = take_option(word, bind, &rw, err);

		if (r < 0 || len == field.len)
			return r;
		field.s += len + 1;
		field.len -= len + 1;
	}
}

static bool looks_like_path(struct nsbox_slice field)
{
	return field.len && (field.s[0] == '/' || (field.len > 1 && !memcmp(field.s, "%h", 2)));
}

/* SRC[:DST][:OPTIONS] */
static int read_bind(const struct reader *reader, struct nsbox_slice entry, void *item,
		     struct nsbox_error *err)
{
	struct nsbox_slice field[FIELDS_MAX];
	struct nsbox_bind *bind = item;
	size_t n = 0, dst;
	int r;

	if (!split_fields(entry, field, &n))
		return nsbox_error_say(err, 0, "more than SRC:DST:OPTIONS");
	dst = n > 1 && looks_like_path(field[1]) ? 1 : 0;
	if (n > dst + 2)
		return nsbox_error_say(err, 0, OPTIONS_HINT);
	r = take_path(reader, field[0], &bind->src, err);
	if (!r)
		r = take_place(reader, field[dst], false, &bind->dst, err);
	if (!r && n > dst + 1)
		r = take_options(field[dst + 1], bind, err);
	return r;
}

/* DST[:SIZE] */
static int read_tmpfs(const struct reader *reader, struct nsbox_slice entry, void *item,
		      struct nsbox_error *err)
{
	struct nsbox_slice field[FIELDS_MAX];
	struct nsbox_tmpfs *tmpfs = item;
	size_t n = 0;
	int r;

	if (!split_fields(entry, field, &n) || n > 2)
		return nsbox_error_say(err, 0, "more than DST:SIZE");
	r = take_place(reader, field[0], false, &tmpfs->dst, err);
	if (!r && n > 1)
		r = nsbox_size_parse(field[1], NSBOX_TMPFS_MIN, &tmpfs->size, err);
	return r;
}

static int read_device(const struct reader *reader, struct nsbox_slice entry, void *item,
		       struct nsbox_error *err)
{
	const char **path = item;
	int r;

	if (entry.len < 6 || memcmp(entry.s, "/dev/", 5) != 0)
		return nsbox_error_say(err, 0, "write a path or a pattern below /dev");
	r = take_path(reader, entry, path, err);
	/* "/dev/." */
	if (!r && reader->subject && strncmp(*path, "/dev/", 5) != 0)
		r = nsbox_error_say(err, 0, "write a path or a pattern below /dev");
	return r;
}

static int read_mask(const struct reader *reader, struct nsbox_slice entry, void *item,
		     struct nsbox_error *err)
{
	return take_place(reader, entry, true, item, err);
}

static bool is_name_char(char c, bool first)
{
	c = nsbox_lower(c);
	return c == '_' || (c >= 'a' && c <= 'z') || (!first && c >= '0' && c <= '9');
}

/* NAME=value */
static int read_env(const struct reader *reader, struct nsbox_slice entry, void *item,
		    struct nsbox_error *err)
{
	char text[NSBOX_LINE_MAX + 1], *value = NULL;
	size_t i;
	int r;

	for (i = 0; i < entry.len && is_name_char(entry.s[i], !i); i++)
		;
	if (!i || i == entry.len || entry.s[i] != '=')
		return nsbox_error_say(err, 0, "write NAME=value, \"\\ \" for a blank in it");
	r = unescape(entry, text, err);
	if (!r)
		r = nsbox_template_check(text, err);
	if (r < 0 || !reader->subject)
		return r;
	r = nsbox_expand_text(text, reader->subject, reader->arena, &value, err);
	if (!r)
		*(const char **)item = value;
	return r;
}

static const struct kind kinds[] = {
	[NSBOX_LIST_BIND] = { sizeof(struct nsbox_bind), read_bind,
			      "write none, or SRC:DST:OPTIONS with blanks between entries" },
	[NSBOX_LIST_TMPFS] = { sizeof(struct nsbox_tmpfs), read_tmpfs,
			       "write none, or DST:SIZE with blanks between entries" },
	[NSBOX_LIST_DEVICE] = { sizeof(char *), read_device,
				"write none, or paths with blanks between them" },
	[NSBOX_LIST_MASK] = { sizeof(char *), read_mask,
			      "write none, or paths with blanks between them" },
	[NSBOX_LIST_ENV] = { sizeof(char *), read_env,
			     "write none, or NAME=value with blanks between entries" },
};

static int read_entry(const struct kind *kind, const struct reader *reader,
		      struct nsbox_slice entry, void *item, struct nsbox_error *err)
{
	if (entry.s[entry.len - 1] == ',' && (entry.len < 2 || entry.s[entry.len - 2] != '\\'))
		return nsbox_error_say(err, 0, "%s", kind->hint);
	return kind->read(reader, entry, item, err);
}

/* The text that names an item, up to @end. */
static size_t name_length(const void *item, enum nsbox_list list, const char **ret)
{
	*ret = *(const char *const *)item;
	return list == NSBOX_LIST_ENV ? strcspn(*ret, "=") : strlen(*ret);
}

static int check_twice(enum nsbox_list list, const char *items, size_t n, struct nsbox_error *err)
{
	size_t size = kinds[list].size, len, other_len, i;
	const char *name, *other;

	len = name_length(items + n * size, list, &name);
	for (i = 0; i < n; i++) {
		other_len = name_length(items + i * size, list, &other);
		if (len == other_len && !memcmp(name, other, len))
			return nsbox_error_say(err, 0, "\"%s\" is in it twice: take one out",
					       nsbox_quote(name, len).s);
	}
	return 0;
}

int nsbox_list_check(enum nsbox_list list, const char *value, struct nsbox_error *err)
{
	const struct reader reader = { .subject = NULL };
	const struct kind *kind = &kinds[list];
	struct nsbox_slice entry;
	const char *pos = value;
	size_t n = 0;
	int r;

	if (!strcmp(value, "none"))
		return 0;
	for (; next_entry(&pos, &entry); n++) {
		union {
			struct nsbox_bind bind;
			struct nsbox_tmpfs tmpfs;
			const char *text;
		} item = { .bind = { .src = NULL } };

		if (n == ENTRIES_MAX)
			return nsbox_error_say(err, 0, "more than %d entries", ENTRIES_MAX);
		r = read_entry(kind, &reader, entry, &item, err);
		if (r < 0)
			return r;
	}
	return 0;
}

int nsbox_list_read(enum nsbox_list list, const char *value, const struct nsbox_subject *subject,
		    struct nsbox_arena *arena, void *ret_items, size_t *ret_n,
		    struct nsbox_error *err)
{
	const struct reader reader = { .subject = subject, .arena = arena };
	const struct kind *kind = &kinds[list];
	struct nsbox_slice entry;
	const char *pos = value;
	char *items;
	size_t n = 0;
	int r;

	*ret_n = 0;
	if (!strcmp(value, "none"))
		return 0;
	items = nsbox_arena_array(arena, ENTRIES_MAX, kind->size);
	if (!items)
		return nsbox_error_set(err, ENOMEM, "reading a list");
	/* nsbox_list_check() has counted them. */
	for (; n < ENTRIES_MAX && next_entry(&pos, &entry); n++) {
		r = read_entry(kind, &reader, entry, items + n * kind->size, err);
		if (!r)
			r = check_twice(list, items, n, err);
		if (r < 0)
			return r;
	}
	memcpy(ret_items, &items, sizeof(items));
	*ret_n = n;
	return 0;
}

/* One spelling for every entry, which reads back as the same. */
static void print_escaped(const char *text, const char *special, FILE *to)
{
	for (; *text; text++) {
		if (strchr(special, *text))
			(void)fputc('\\', to);
		(void)fputc(*text, to);
	}
}

static void print_strings(const char *const *list, size_t n, FILE *to)
{
	size_t i;

	if (!n)
		(void)fputs("none", to);
	for (i = 0; i < n; i++) {
		if (i)
			(void)fputc(' ', to);
		print_escaped(list[i], IN_WORDS, to);
	}
}

static void print_bind(const struct nsbox_decision *d, FILE *to)
{
	size_t i;

	if (!d->n_bind)
		(void)fputs("none", to);
	for (i = 0; i < d->n_bind; i++) {
		const struct nsbox_bind *bind = &d->bind[i];

		if (i)
			(void)fputc(' ', to);
		print_escaped(bind->src, IN_FIELDS, to);
		(void)fputc(':', to);
		print_escaped(bind->dst, IN_FIELDS, to);
		(void)fprintf(to, ":%s%s%s", bind->ro ? "ro" : "rw", bind->noexec ? ",noexec" : "",
			      bind->optional ? ",optional" : "");
	}
}

static void print_tmpfs(const struct nsbox_decision *d, FILE *to)
{
	size_t i;

	if (!d->n_tmpfs)
		(void)fputs("none", to);
	for (i = 0; i < d->n_tmpfs; i++) {
		if (i)
			(void)fputc(' ', to);
		print_escaped(d->tmpfs[i].dst, IN_FIELDS, to);
		(void)fprintf(to, ":%" PRIu64, d->tmpfs[i].size);
	}
}

void nsbox_list_print(enum nsbox_list list, const struct nsbox_decision *d, FILE *to)
{
	switch (list) {
	case NSBOX_LIST_BIND:
		print_bind(d, to);
		break;
	case NSBOX_LIST_TMPFS:
		print_tmpfs(d, to);
		break;
	case NSBOX_LIST_DEVICE:
		print_strings(d->device, d->n_device, to);
		break;
	case NSBOX_LIST_MASK:
		print_strings(d->mask, d->n_mask, to);
		break;
	case NSBOX_LIST_ENV:
		print_strings(d->env, d->n_env, to);
		break;
	}
}
