/* SPDX-License-Identifier: MIT */
/*
 * Writing JSON (RFC 8259): commas, quotes and escapes, so
 * that a verb says only what is in it. Text that is not UTF-8 goes out with
 * U+FFFD for each byte that is not.
 *
 *	nsbox_json_open(&json, NULL, '{');
 *	nsbox_json_string(&json, "user", "alice");
 *	nsbox_json_open(&json, "boxes", '[');
 *	nsbox_json_number(&json, NULL, 1);
 *	nsbox_json_close(&json, ']');
 *	nsbox_json_close(&json, '}');	-> {"user":"alice","boxes":[1]} and a newline
 */
#ifndef NSBOX_JSON_H
#define NSBOX_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct nsbox_json {
	FILE *to;		/* NULL: standard output */
	unsigned int depth;
	bool not_first;		/* something stands before, in what is open */
};

/* @name is NULL in an array and outermost. @bracket is '{' or '['. */
void nsbox_json_open(struct nsbox_json *json, const char *name, char bracket);
/* @bracket is '}' or ']'. A newline follows the outermost. */
void nsbox_json_close(struct nsbox_json *json, char bracket);
/* NULL is null. */
void nsbox_json_string(struct nsbox_json *json, const char *name, const char *value);
void nsbox_json_number(struct nsbox_json *json, const char *name, int64_t value);
void nsbox_json_bool(struct nsbox_json *json, const char *name, bool value);

#endif
