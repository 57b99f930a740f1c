/* SPDX-License-Identifier: MIT */
/*
 * The unit tests' framework: TAP on stdout, one line per check, "1..N" at the
 * end, exit code 1 if a check failed. A check never ends the program, so that
 * one failure does not hide the others. Include it in one file per program.
 */
#ifndef NSBOX_TEST_H
#define NSBOX_TEST_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define TEST_UNUSED __attribute__((unused))

static unsigned int test_count, test_failed;

/* A line of TAP has no second line and no "#" that would make a directive of it. */
static void test_text(const char *s)
{
	for (; *s; s++)
		(void)putchar(*s == '\n' ? ' ' : *s == '#' ? '%' : *s);
}

static bool __attribute__((format(printf, 4, 5)))
test_ok(bool good, const char *file, int line, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	(void)printf("%sok %u - ", good ? "" : "not ", ++test_count);
	test_text(text);
	(void)putchar('\n');
	if (!good) {
		test_failed++;
		(void)printf("# failed at %s:%d\n", file, line);
	}
	return good;
}

static bool TEST_UNUSED test_string(const char *got, const char *want, const char *file, int line,
				    const char *what)
{
	bool good = got && want ? !strcmp(got, want) : got == want;

	(void)test_ok(good, file, line, "%s", what);
	if (!good)
		(void)printf("# got  %s\n# want %s\n", got ? got : "(NULL)",
			     want ? want : "(NULL)");
	return good;
}

static bool TEST_UNUSED test_contains(const char *got, const char *want, const char *file,
				      int line, const char *what)
{
	bool good = got && strstr(got, want);

	(void)test_ok(good, file, line, "%s", what);
	if (!good)
		(void)printf("# got  %s\n# want %s in it\n", got ? got : "(NULL)", want);
	return good;
}

static bool TEST_UNUSED test_number(int64_t got, int64_t want, const char *file, int line,
				    const char *what)
{
	bool good = got == want;

	(void)test_ok(good, file, line, "%s", what);
	if (!good)
		(void)printf("# got  %" PRId64 "\n# want %" PRId64 "\n", got, want);
	return good;
}

static int TEST_UNUSED test_done(void)
{
	(void)printf("1..%u\n", test_count);
	if (test_failed)
		(void)printf("# %u of %u failed\n", test_failed, test_count);
	return test_failed || !test_count ? 1 : 0;
}

#define OK(good, ...) test_ok((good), __FILE__, __LINE__, __VA_ARGS__)
#define IS(got, want, what) test_string((got), (want), __FILE__, __LINE__, (what))
#define HAS(got, want, what) test_contains((got), (want), __FILE__, __LINE__, (what))
#define EQ(got, want, what) test_number((int64_t)(got), (int64_t)(want), __FILE__, __LINE__, (what))
/* A check that this machine or this user cannot make: counted, and said why. */
#define SKIP(what, why) ((void)printf("ok %u - %s # SKIP %s\n", ++test_count, (what), (why)))

#endif
