/* SPDX-License-Identifier: MIT */
/* Writes JSON (RFC 8259), a value after the other; the commas are its own affair. */
#ifndef NSBOX_JSON_H
#define NSBOX_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct nsbox_json {
	FILE *to;
	bool more;	/* something came before in this object or array */
};

/* @key: the name in the object that is open; NULL in an array and at the top. */
void nsbox_json_object(struct nsbox_json *j, const char *key);
void nsbox_json_end_object(struct nsbox_json *j);
void nsbox_json_array(struct nsbox_json *j, const char *key);
void nsbox_json_end_array(struct nsbox_json *j);
/* NULL is null; bytes that are no UTF-8 become U+FFFD. */
void nsbox_json_string(struct nsbox_json *j, const char *key, const char *value);
void nsbox_json_number(struct nsbox_json *j, const char *key, int64_t value);
void nsbox_json_bool(struct nsbox_json *j, const char *key, bool value);

#endif
