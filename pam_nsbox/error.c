/* SPDX-License-Identifier: MIT */
/* struct nsbox_error: see error.h. Shared by the module and the helpers. */
#include "error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int code_or_einval(int code)
{
	return code ? -code : -EINVAL;
}

int nsbox_error_set(struct nsbox_error *err, int code, const char *fmt, ...)
{
	va_list ap;
	size_t len;

	if (!err)
		return code_or_einval(code);
	err->code = code ? code : EINVAL;
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	if (code)
		(void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerror(code));
	return -err->code;
}

int nsbox_error_say(struct nsbox_error *err, int code, const char *fmt, ...)
{
	va_list ap;

	if (!err)
		return code_or_einval(code);
	err->code = code ? code : EINVAL;
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	return -err->code;
}

int nsbox_error_wrap(struct nsbox_error *err, const char *fmt, ...)
{
	char tail[NSBOX_ERROR_MAX];
	va_list ap;
	size_t len;

	if (!err)
		return -EINVAL;
	memcpy(tail, err->msg, sizeof(tail));
	va_start(ap, fmt);
	(void)vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	(void)snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", tail);
	return code_or_einval(err->code);
}
