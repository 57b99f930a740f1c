/* SPDX-License-Identifier: MIT */
/*
 * The one error type of nsbox. It is the last parameter of every fallible
 * function and, byte for byte, the error message on the wire: the sentence
 * written where the failure happened is the sentence the administrator reads.
 * No heap, so it works after ENOMEM and between clone3() and the end.
 */
#ifndef NSBOX_ERROR_H
#define NSBOX_ERROR_H

#define NSBOX_ERROR_MAX 256

struct nsbox_error {
	int code;			/* positive errno, 0: no error */
	char msg[NSBOX_ERROR_MAX];	/* one plain sentence, no newline */
};

/*
 * Fills @err (which may be NULL) with the formatted sentence; if @code is not
 * 0, ": strerror(code)" is appended. Too long a text is cut, never refused.
 * Always returns -@code, or -EINVAL if @code is 0, so that a caller can write
 * "return nsbox_error_set(err, errno, "mount %s", path);".
 */
int nsbox_error_set(struct nsbox_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The same without the ": strerror(code)": for sentences that are complete. */
int nsbox_error_say(struct nsbox_error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Puts "formatted: " in front of what @err says. Returns -err->code. */
int nsbox_error_wrap(struct nsbox_error *err, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
