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

static void put_string(const char *s)
{
	(void)putchar('"');
	while (*s) {
		unsigned char c = (unsigned char)*s;
		size_t n = good_bytes(s);

		if (c == '"' || c == '\\')
			(void)printf("\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			(void)printf("\\u%04x", c);
		else if (n)
			(void)fwrite(s, 1, n, stdout);
		else
			(void)fputs("\\ufffd", stdout);
		s += n ? n : 1;
	}
	(void)putchar('"');
}

static void begin(struct nsbox_json *json, const char *name)
{
	if (json->not_first)
		(void)putchar(',');
	json->not_first = true;
	if (name) {
		put_string(name);
		(void)putchar(':');
	}
}

void nsbox_json_open(struct nsbox_json *json, const char *name, char bracket)
{
	begin(json, name);
	(void)putchar(bracket);
	json->depth++;
	json->not_first = false;
}

void nsbox_json_close(struct nsbox_json *json, char bracket)
{
	(void)putchar(bracket);
	json->not_first = true;
	if (!--json->depth)
		(void)putchar('\n');
}

void nsbox_json_string(struct nsbox_json *json, const char *name, const char *value)
{
	begin(json, name);
	if (value)
		put_string(value);
	else
		(void)fputs("null", stdout);
}

void nsbox_json_number(struct nsbox_json *json, const char *name, uint64_t value)
{
	begin(json, name);
	(void)printf("%" PRIu64, value);
}

void nsbox_json_bool(struct nsbox_json *json, const char *name, bool value)
{
	begin(json, name);
	(void)fputs(value ? "true" : "false", stdout);
}
