/* SPDX-License-Identifier: MIT */
/* Tests of pam_nsbox/error.c: the sentence, the code, and that both survive any length. */
#include "error.h"
#include "test.h"

#include <errno.h>

static void test_set(void)
{
	struct nsbox_error err;

	EQ(nsbox_error_set(&err, ENOENT, "open %s", "/etc/x"), -ENOENT, "set returns -code");
	EQ(err.code, ENOENT, "set keeps the code positive");
	IS(err.msg, "open /etc/x: No such file or directory", "set appends what errno means");
	EQ(nsbox_error_set(&err, 0, "no %d", 5), -EINVAL, "set without code returns -EINVAL");
	EQ(err.code, EINVAL, "and says EINVAL in the struct");
	IS(err.msg, "no 5", "and appends nothing");
	EQ(nsbox_error_set(NULL, EPERM, "x"), -EPERM, "set without a struct");
	EQ(nsbox_error_set(NULL, 0, "x"), -EINVAL, "set without struct and code");
}

static void test_say(void)
{
	struct nsbox_error err;

	EQ(nsbox_error_say(&err, EPERM, "only root may"), -EPERM, "say returns -code");
	IS(err.msg, "only root may", "say appends nothing");
	EQ(nsbox_error_say(&err, 0, "bad %s", "value"), -EINVAL, "say without code");
	EQ(err.code, EINVAL, "say without code is EINVAL");
	EQ(nsbox_error_say(NULL, ENOMEM, "x"), -ENOMEM, "say without a struct");
}

static void test_wrap(void)
{
	struct nsbox_error err;

	(void)nsbox_error_set(&err, EACCES, "mount %s", "/proc");
	EQ(nsbox_error_wrap(&err, "building box %d", 7), -EACCES, "wrap returns the inner code");
	IS(err.msg, "building box 7: mount /proc: Permission denied", "wrap puts text in front");
	EQ(err.code, EACCES, "wrap keeps the code");
	EQ(nsbox_error_wrap(NULL, "x"), -EINVAL, "wrap without a struct");
}

/* Whatever is written, the struct holds a terminated string and nothing beyond it changes. */
static void test_long(void)
{
	struct {
		struct nsbox_error err;
		char guard[16];
	} box;
	char text[1000];
	size_t len;

	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	for (len = 200; len < 300; len++) {
		bool good;

		memset(&box, 'g', sizeof(box));
		good = nsbox_error_set(&box.err, ENOENT, "%.*s", (int)len, text) == -ENOENT &&
		       memchr(box.err.msg, 0, sizeof(box.err.msg));
		good = good &&
		       nsbox_error_wrap(&box.err, "%.*s", (int)(300 - len), text) == -ENOENT &&
		       memchr(box.err.msg, 0, sizeof(box.err.msg));
		good = good && nsbox_error_say(&box.err, 0, "%s", text) == -EINVAL &&
		       strlen(box.err.msg) == sizeof(box.err.msg) - 1;
		good = good && box.guard[0] == 'g' && box.guard[15] == 'g';
		if (!good)
			break;
	}
	EQ(len, 300, "texts around and above the limit are cut, never written beyond");
	EQ(sizeof(((struct nsbox_error *)0)->msg), NSBOX_ERROR_MAX, "the wire's length");
}

int main(void)
{
	test_set();
	test_say();
	test_wrap();
	test_long();
	return test_done();
}
