/* SPDX-License-Identifier: MIT */
/* Lines and words of a file in pam.d, as libpam takes them apart: see pamd.h. */
#include "pamd.h"

#include <errno.h>
#include <string.h>
#include <strings.h>

#define BLANKS " \t"

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

/* One physical line from @at; its length without the newline. */
static size_t physical(const char *text, size_t len, size_t at)
{
	const char *end = memchr(text + at, '\n', len - at);

	return end ? (size_t)(end - text) - at : len - at;
}

/*
 * Adds a physical line to the logical one. Returns 1 if it goes on with the
 * next, 0 if not, a negative errno if libpam and a reader could disagree.
 */
static int add(const char *s, size_t len, bool first, struct nsbox_pam_line *to, const char **why)
{
	size_t used = strlen(to->text), keep = len;
	const char *comment;
	bool more;

	while (len && is_blank(s[0])) {
		s++;
		len--;
	}
	if (len && s[0] == '#' && !first) {
		*why = "has a comment within a continued line";
		return -EINVAL;
	}
	comment = memchr(s, '#', len);
	keep = comment ? (size_t)(comment - s) : len;
	more = !comment && keep && s[keep - 1] == '\\';
	keep -= more;
	while (keep && is_blank(s[keep - 1]))
		keep--;
	if (!more && !comment && keep && keep < len && s[keep - 1] == '\\') {
		*why = "has blanks after the backslash at its end";
		return -EINVAL;
	}
	/* libpam takes it for a part of the module's name. */
	if (memchr(s, '\r', keep)) {
		*why = "ends in a carriage return";
		return -EINVAL;
	}
	if (memchr(s, '\0', len) || used + keep + 2 > sizeof(to->text)) {
		*why = memchr(s, '\0', len) ? "has a NUL character" : "is too long";
		return -EINVAL;
	}
	if (used)
		to->text[used++] = ' ';
	memcpy(to->text + used, s, keep);
	to->text[used + keep] = '\0';
	return more;
}

int nsbox_pam_next_line(const char *name, const char *text, size_t len, size_t *at,
			unsigned int *number, struct nsbox_pam_line *ret, struct nsbox_error *err)
{
	const char *why = "ends in a backslash, and the file with it";
	bool first = true;
	int r = 1;

	if (*at >= len)
		return 0;
	ret->start = *at;
	ret->number = *number + 1;
	ret->text[0] = '\0';
	for (; r == 1 && *at < len; first = false) {
		size_t here = physical(text, len, *at);

		r = add(text + *at, here, first, ret, &why);
		*at += here + (*at + here < len);
		++*number;
	}
	ret->end = *at;
	if (r != 0)
		return nsbox_error_say(err, EINVAL, "%.120s:%u: this line %s", name, ret->number,
				       why);
	return 1;
}

char *nsbox_pam_word(char **rest)
{
	char *s = *rest + strspn(*rest, BLANKS), *to = s, *word = s;

	if (*s == '\0')
		return NULL;
	if (*s != '[') {
		s += strcspn(s, BLANKS);
		*rest = s + (*s != '\0');
		*s = '\0';
		return word;
	}
	for (s++; *s && *s != ']'; s++) {
		if (s[0] == '\\' && s[1] == ']')
			s++;
		*to++ = *s;
	}
	*rest = s + (*s != '\0');
	*to = '\0';
	return word;
}

bool nsbox_pam_line_is_ours(const struct nsbox_pam_line *line)
{
	char copy[NSBOX_PAM_LINE_MAX], *rest = copy, *module, *slash;

	strcpy(copy, line->text);
	if (!nsbox_pam_word(&rest) || !nsbox_pam_word(&rest))
		return false;
	module = nsbox_pam_word(&rest);
	slash = module ? strrchr(module, '/') : NULL;
	return module && strcmp(slash ? slash + 1 : module, NSBOX_MODULE_NAME) == 0;
}
