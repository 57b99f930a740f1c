/* SPDX-License-Identifier: MIT */
/*
 * Small text tools of the policy: what may stand in a line, how foreign text
 * is shown in a sentence, numbers, words of a list, "did you mean". Nothing
 * here looks at the locale: nsbox.conf means the same for every caller.
 */
#include "internal.h"

#include <string.h>

/*
 * Bytes of the well-formed character at @s, 0 if it is not one: no surrogates,
 * no overlong forms, nothing above U+10FFFF (RFC 3629).
 */
static size_t utf8_length(const unsigned char *s, size_t len)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t n, i;

	if (s[0] < 0x80)
		return 1;
	if (s[0] < 0xc2 || s[0] > 0xf4)
		return 0;
	n = s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
	if (n > len)
		return 0;
	if (s[0] == 0xe0)
		low = 0xa0;
	else if (s[0] == 0xed)
		high = 0x9f;
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;
	if (s[1] < low || s[1] > high)
		return 0;
	for (i = 2; i < n; i++)
		if (s[i] < 0x80 || s[i] > 0xbf)
			return 0;
	return n;
}

/* C0 and DEL, and C1: U+0080 to U+009F act on a terminal too. */
static bool is_control(const unsigned char *s)
{
	return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

enum nsbox_text_fault nsbox_text_check(const char *s, size_t len)
{
	const unsigned char *u = (const unsigned char *)s;
	size_t i = 0;

	/* A NUL is said first: an editor shows nothing where it is. */
	if (memchr(s, 0, len))
		return NSBOX_TEXT_NUL;
	while (i < len) {
		size_t n;

		/* Nearly all of every policy */
		if (u[i] >= 0x20 && u[i] < 0x7f) {
			i++;
			continue;
		}
		n = utf8_length(u + i, len - i);
		if (!n)
			return NSBOX_TEXT_NOT_UTF8;
		if (u[i] != '\t' && is_control(u + i))
			return NSBOX_TEXT_CONTROL;
		i += n;
	}
	return NSBOX_TEXT_GOOD;
}

struct nsbox_quote nsbox_quote(const char *s, size_t len)
{
	static const char dots[] = "...";
	const unsigned char *u = (const unsigned char *)s;
	struct nsbox_quote quote;
	size_t out = 0, fits = 0, i = 0;

	while (i < len) {
		size_t n = utf8_length(u + i, len - i);
		bool shown = n && !is_control(u + i);
		size_t need = shown ? n : 1;

		if (out + need >= sizeof(quote.s)) {
			memcpy(quote.s + fits, dots, sizeof(dots));
			return quote;
		}
		if (shown)
			memcpy(quote.s + out, s + i, n);
		else
			quote.s[out] = '?';
		out += need;
		i += n ? n : 1;
		/* The last place where the dots still fit behind. */
		if (out + sizeof(dots) <= sizeof(quote.s))
			fits = out;
	}
	quote.s[out] = '\0';
	return quote;
}

struct nsbox_quote nsbox_quote_string(const char *s)
{
	return nsbox_quote(s, strlen(s));
}

void nsbox_show_name(const char *file, char *buf, size_t size)
{
	size_t len = strlen(file);

	if (len < size)
		(void)snprintf(buf, size, "%s", file);
	else
		(void)snprintf(buf, size, "...%s", file + len - (size - 4));
	for (; *buf; buf++)
		if ((unsigned char)*buf < 0x20 || (unsigned char)*buf >= 0x7f)
			*buf = '?';
}

bool nsbox_is_digits(const char *s, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		if (s[i] < '0' || s[i] > '9')
			return false;
	return len > 0;
}

/* Decimal, no sign, no leading zero (some would read 010 as eight). */
bool nsbox_number(const char *s, size_t len, uint64_t *ret)
{
	uint64_t n = 0;
	size_t i;

	if (!nsbox_is_digits(s, len) || (s[0] == '0' && len > 1))
		return false;
	for (i = 0; i < len; i++) {
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(s[i] - '0'), &n))
			return false;
	}
	*ret = n;
	return true;
}

bool nsbox_next_word(const char **pos, struct nsbox_slice *ret)
{
	const char *s = *pos;

	while (*s == ',' || nsbox_is_blank(*s))
		s++;
	ret->s = s;
	while (*s && *s != ',' && !nsbox_is_blank(*s))
		s++;
	ret->len = (size_t)(s - ret->s);
	*pos = s;
	return ret->len > 0;
}

#define NEAR_MAX 24

static bool near_equal(char a, char b)
{
	a = a == '-' ? '_' : nsbox_lower(a);
	b = b == '-' ? '_' : nsbox_lower(b);
	return a == b;
}

/* Levenshtein's distance; both are shorter than NEAR_MAX. */
static unsigned int distance(struct nsbox_slice a, const char *b)
{
	unsigned int row[NEAR_MAX + 1];
	size_t len = strlen(b), i, j;

	for (j = 0; j <= len; j++)
		row[j] = (unsigned int)j;
	for (i = 0; i < a.len; i++) {
		unsigned int diagonal = row[0];

		row[0] = (unsigned int)i + 1;
		for (j = 0; j < len; j++) {
			unsigned int best = diagonal + !near_equal(a.s[i], b[j]);

			diagonal = row[j + 1];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (diagonal + 1 < best)
				best = diagonal + 1;
			row[j + 1] = best;
		}
	}
	return row[len];
}

const char *nsbox_nearest(struct nsbox_slice word, const char *(*nth)(size_t i))
{
	unsigned int best = word.len < 5 ? 2 : 3;	/* one more than is still like it */
	const char *name, *found = NULL;
	size_t i;

	if (word.len < 3 || word.len >= NEAR_MAX)
		return NULL;
	for (i = 0; (name = nth(i)); i++) {
		unsigned int d = distance(word, name);

		/* "memory" for memory_max, "linger_time" for linger */
		if (strlen(name) > word.len && !memcmp(name, word.s, word.len))
			d = 1;
		else if (strlen(name) >= 4 && strlen(name) < word.len &&
			 !memcmp(name, word.s, strlen(name)))
			d = 1;
		if (d < best) {
			best = d;
			found = name;
		}
	}
	return found;
}
