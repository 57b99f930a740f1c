/* SPDX-License-Identifier: MIT */
/* Writing JSON: see json.h. */
#include "json.h"
#include "internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The bytes of the character at @s if it is well-formed, else 0. */
static size_t good_bytes(const char *s)
{
	size_t len = strlen(s), n;

	for (n = 1; n <= 4 && n <= len; n++)
		if (nsbox_text_check(s, n) != NSBOX_TEXT_NOT_UTF8)
			return n;
	return 0;
}

static FILE *to(const struct nsbox_json *json)
{
	return json->to ? json->to : stdout;
}

static void put_string(FILE *out, const char *s)
{
	(void)fputc('"', out);
	while (*s) {
		unsigned char c = (unsigned char)*s;
		size_t n = good_bytes(s);

		if (c == '"' || c == '\\')
			(void)fprintf(out, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)fprintf(out, "\\u%04x", c);
		else if (n)
			(void)fwrite(s, 1, n, out);
		else
			(void)fputs("\\ufffd", out);
		s += n ? n : 1;
	}
	(void)fputc('"', out);
}

static void begin(struct nsbox_json *json, const char *name)
{
	if (json->not_first)
		(void)fputc(',', to(json));
	json->not_first = true;
	if (name) {
		put_string(to(json), name);
		(void)fputc(':', to(json));
	}
}

void nsbox_json_open(struct nsbox_json *json, const char *name, char bracket)
{
	begin(json, name);
	(void)fputc(bracket, to(json));
	json->depth++;
	json->not_first = false;
}

void nsbox_json_close(struct nsbox_json *json, char bracket)
{
	(void)fputc(bracket, to(json));
	json->not_first = true;
	if (!--json->depth)
		(void)fputc('\n', to(json));
}

void nsbox_json_string(struct nsbox_json *json, const char *name, const char *value)
{
	begin(json, name);
	if (value)
		put_string(to(json), value);
	else
		(void)fputs("null", to(json));
}

void nsbox_json_number(struct nsbox_json *json, const char *name, int64_t value)
{
	begin(json, name);
	(void)fprintf(to(json), "%" PRId64, value);
}

void nsbox_json_bool(struct nsbox_json *json, const char *name, bool value)
{
	begin(json, name);
	(void)fputs(value ? "true" : "false", to(json));
}
