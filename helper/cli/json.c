/* SPDX-License-Identifier: MIT */
/* Writing JSON: see json.h. */
#include "json.h"

#include <inttypes.h>
#include <stddef.h>

/* The length of the UTF-8 character at @s, 0 if it is none (RFC 3629). */
static size_t utf8(const unsigned char *s)
{
	size_t n = *s < 0x80 ? 1 : *s >= 0xc2 && *s <= 0xdf ? 2 : (*s & 0xf0) == 0xe0 ? 3 :
		   *s >= 0xf0 && *s <= 0xf4 ? 4 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] > 0x9f) ||
	    (*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return n;
}

static void quoted(FILE *to, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	(void)fputc('"', to);
	while (*s) {
		size_t n = utf8(s);

		if (n == 0)
			(void)fputs("\\ufffd", to);
		else if (*s < 0x20 || *s == 0x7f)
			(void)fprintf(to, "\\u%04x", *s);
		else
			(void)fprintf(to, *s == '"' || *s == '\\' ? "\\%.*s" : "%.*s", (int)n,
				      (const char *)s);
		s += n ? n : 1;
	}
	(void)fputc('"', to);
}

static void begin(struct nsbox_json *j, const char *key)
{
	if (j->more)
		(void)fputc(',', j->to);
	j->more = true;
	if (key) {
		quoted(j->to, key);
		(void)fputc(':', j->to);
	}
}

static void nest(struct nsbox_json *j, const char *key, char open)
{
	begin(j, key);
	(void)fputc(open, j->to);
	j->more = false;
}

static void end(struct nsbox_json *j, char close)
{
	(void)fputc(close, j->to);
	j->more = true;
}

void nsbox_json_object(struct nsbox_json *j, const char *key)
{
	nest(j, key, '{');
}

void nsbox_json_end_object(struct nsbox_json *j)
{
	end(j, '}');
}

void nsbox_json_array(struct nsbox_json *j, const char *key)
{
	nest(j, key, '[');
}

void nsbox_json_end_array(struct nsbox_json *j)
{
	end(j, ']');
}

void nsbox_json_string(struct nsbox_json *j, const char *key, const char *value)
{
	begin(j, key);
	if (value)
		quoted(j->to, value);
	else
		(void)fputs("null", j->to);
}

void nsbox_json_number(struct nsbox_json *j, const char *key, int64_t value)
{
	begin(j, key);
	(void)fprintf(j->to, "%" PRId64, value);
}

void nsbox_json_bool(struct nsbox_json *j, const char *key, bool value)
{
	begin(j, key);
	(void)fputs(value ? "true" : "false", j->to);
}
