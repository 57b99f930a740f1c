/* SPDX-License-Identifier: MIT */
/* Tests of helper/cli/json.c: the commas, and that any text comes out as JSON. */
#include "json.h"
#include "test.h"

#include <stdlib.h>

/* What a string becomes, with its quotes. The caller's. */
static char *written(const char *value)
{
	char *text = NULL;
	size_t size;
	struct nsbox_json j = { .to = open_memstream(&text, &size) };

	nsbox_json_string(&j, NULL, value);
	(void)fclose(j.to);
	return text;
}

static void test_strings(void)
{
	static const struct {
		const char *value, *want;
	} all[] = {
		{ "", "\"\"" }, { "plain", "\"plain\"" }, { NULL, "null" },
		{ "a\"b\\c", "\"a\\\"b\\\\c\"" }, { "a\nb\tc\x01\x7f", "\"a\\u000ab\\u0009c\\u0001\\u007f\"" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7", "\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x90\xa7\"" },
		{ "a\xff" "b", "\"a\\ufffdb\"" },		/* no UTF-8 */
		{ "a\xc3", "\"a\\ufffd\"" },		/* cut */
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" },	/* too long for what it means */
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },	/* a surrogate */
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char *text = written(all[i].value);

		IS(text, all[i].want, all[i].want);
		free(text);
	}
}

static void test_nesting(void)
{
	char *text = NULL;
	size_t size;
	struct nsbox_json j = { .to = open_memstream(&text, &size) };

	nsbox_json_object(&j, NULL);
	nsbox_json_array(&j, "empty");
	nsbox_json_end_array(&j);
	nsbox_json_array(&j, "list");
	nsbox_json_object(&j, NULL);
	nsbox_json_end_object(&j);
	nsbox_json_number(&j, NULL, INT64_MIN);
	nsbox_json_bool(&j, NULL, true);
	nsbox_json_end_array(&j);
	nsbox_json_bool(&j, "no", false);
	nsbox_json_end_object(&j);
	(void)fclose(j.to);
	IS(text, "{\"empty\":[],\"list\":[{},-9223372036854775808,true],\"no\":false}",
	   "commas stand between values and nowhere else");
	free(text);
}

int main(void)
{
	test_strings();
	test_nesting();
	return test_done();
}
