/* SPDX-License-Identifier: MIT */
/*
 * Templates: %u user, %U uid, %g primary group, %h home, %H the host's name,
 * %% a percent sign. What comes in here is chosen by whoever names accounts,
 * not by whoever writes the policy, so a path is checked after expansion.
 */
#include "internal.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

/* A name's longest; more is cut by nobody and refused by the hostname's or the path's check. */
#define VALUE_MAX PATH_MAX

int nsbox_template_check(const char *text, struct nsbox_error *err)
{
	for (; *text; text++) {
		if (*text != '%')
			continue;
		text++;
		if (!*text || !strchr("uUghH%", *text))
			return nsbox_error_say(err, 0, "after %% write u, U, g, h, H or %%");
	}
	return 0;
}

/* Parts between slashes: none may be "..", one must be more than ".". */
int nsbox_path_check(const char *path, struct nsbox_error *err)
{
	bool leads_somewhere = false;
	const char *part = path;

	if (path[0] != '/')
		return nsbox_error_say(err, 0, "the path does not begin with \"/\"");
	while (*part) {
		size_t len = strcspn(part, "/");

		if (len == 2 && !memcmp(part, "..", 2))
			return nsbox_error_say(err, 0, "write the path without \"..\"");
		if (len && !(len == 1 && part[0] == '.'))
			leads_somewhere = true;
		part += len;
		part += strspn(part, "/");
	}
	/* As a rootfs it would hand every file of the host to box root. */
	if (!leads_somewhere)
		return nsbox_error_say(err, 0, "\"/\" cannot be used: write a path below it");
	return 0;
}

int nsbox_path_template_check(const char *text, const char *words, struct nsbox_error *err)
{
	int r = nsbox_template_check(text, err);

	if (r < 0)
		return r;
	/* A home directory begins with "/". */
	if (text[0] != '/' && strncmp(text, "%h", 2) != 0)
		return words ? nsbox_error_say(err, 0, "write %s or a path that begins with /", words) :
			       nsbox_error_say(err, 0, "write a path that begins with /");
	return text[0] == '/' ? nsbox_path_check(text, err) : 0;
}

static const char *primary_group(const struct nsbox_subject *subject)
{
	size_t i;

	for (i = 0; subject->group_names && i < subject->n_groups; i++)
		if (subject->gids[i] == subject->gid && subject->group_names[i])
			return subject->group_names[i];
	return NULL;
}

static int expand_host(char *buf, size_t size, struct nsbox_error *err)
{
	if (gethostname(buf, size) < 0)
		return nsbox_error_set(err, errno, "asking for the host's name");
	buf[size - 1] = '\0';
	return 0;
}

/* The text behind one percent sign. */
static int expand_one(char what, const struct nsbox_subject *subject, char *buf, size_t size,
		      struct nsbox_error *err)
{
	const char *group;
	int n = 0;

	switch (what) {
	case 'u':
		n = snprintf(buf, size, "%s", subject->name);
		break;
	case 'U':
		n = snprintf(buf, size, "%u", subject->uid);
		break;
	case 'g':
		group = primary_group(subject);
		n = group ? snprintf(buf, size, "%s", group) :
			    snprintf(buf, size, "%u", subject->gid);
		break;
	case 'h':
		n = snprintf(buf, size, "%s", subject->home ? subject->home : "");
		break;
	case 'H':
		return expand_host(buf, size, err);
	default:
		n = snprintf(buf, size, "%%");
		break;
	}
	if (n < 0 || (size_t)n >= size)
		return nsbox_error_say(err, 0, "%%%c is too long for this user", what);
	return 0;
}

/* A name inside a path is one part of it: it must not add, hide or climb one. */
static int check_path_piece(char what, const char *piece, struct nsbox_error *err)
{
	bool bad;

	if (what == 'h')
		bad = piece[0] != '/';
	else
		bad = !piece[0] || strchr(piece, '/') || !strcmp(piece, ".") ||
		      !strcmp(piece, "..");
	if (!bad && nsbox_text_check(piece, strlen(piece)) == NSBOX_TEXT_GOOD)
		return 0;
	return nsbox_error_say(err, 0, "%%%c is \"%s\" for this user, which no path can contain",
			       what, nsbox_quote_string(piece).s);
}

static bool is_host_char(char c)
{
	c = nsbox_lower(c);
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
}

/* Every character that no hostname has becomes one "-", however many bytes it is. */
static void make_host_piece(char *piece)
{
	char *out = piece;

	for (; *piece; piece++) {
		if (((unsigned char)*piece & 0xc0) == 0x80)
			continue;
		*out++ = is_host_char(*piece) ? *piece : '-';
	}
	*out = '\0';
}

/* What a template is for: each has its own idea of what a name may add to it. */
enum purpose { FOR_HOSTNAME, FOR_PATH, FOR_TEXT };

static int expand(const char *text, const struct nsbox_subject *subject, enum purpose purpose,
		  char *buf, size_t size, struct nsbox_error *err)
{
	char piece[VALUE_MAX];
	size_t used = 0, len;
	int r;

	for (; *text; text++) {
		piece[0] = *text;
		piece[1] = '\0';
		if (*text == '%') {
			text++;
			r = expand_one(*text, subject, piece, sizeof(piece), err);
			if (!r && purpose == FOR_PATH && *text != '%')
				r = check_path_piece(*text, piece, err);
			if (r < 0)
				return r;
			if (purpose == FOR_HOSTNAME)
				make_host_piece(piece);
		}
		len = strlen(piece);
		if (len >= size - used)
			return nsbox_error_say(err, 0,
					       "longer than %zu characters for this user: write "
					       "something shorter", size - 1);
		memcpy(buf + used, piece, len);
		used += len;
	}
	buf[used] = '\0';
	return 0;
}

int nsbox_expand_hostname(const char *text, const struct nsbox_subject *subject, char ret[65],
			  struct nsbox_error *err)
{
	char buf[65];
	size_t i;
	int r;

	r = expand(text, subject, FOR_HOSTNAME, buf, sizeof(buf), err);
	if (r < 0)
		return r;
	for (i = 0; buf[i]; i++) {
		if (buf[i] != '-' && buf[i] != '.') {
			memcpy(ret, buf, sizeof(buf));
			return 0;
		}
	}
	return nsbox_error_say(err, 0, "without letter and digit for this user: write a hostname "
			       "in his section");
}

int nsbox_expand_path(const char *text, const struct nsbox_subject *subject,
		      struct nsbox_arena *arena, char **ret, struct nsbox_error *err)
{
	char buf[PATH_MAX];
	char *copy;
	int r;

	r = expand(text, subject, FOR_PATH, buf, sizeof(buf), err);
	if (r < 0)
		return r;
	r = nsbox_path_check(buf, err);
	if (r < 0)
		return r;
	copy = nsbox_arena_copy(arena, buf, strlen(buf));
	if (!copy)
		return nsbox_error_set(err, ENOMEM, "expanding a path");
	*ret = copy;
	return 0;
}

/* Text that somebody will see on a terminal: no account's name may move the cursor there. */
int nsbox_expand_text(const char *text, const struct nsbox_subject *subject,
		      struct nsbox_arena *arena, char **ret, struct nsbox_error *err)
{
	char buf[PATH_MAX];
	int r = expand(text, subject, FOR_TEXT, buf, sizeof(buf), err);
	char *copy;

	if (r < 0)
		return r;
	if (nsbox_text_check(buf, strlen(buf)) != NSBOX_TEXT_GOOD)
		return nsbox_error_say(err, 0, "it becomes \"%s\" for this user, which is not "
				       "plain text", nsbox_quote_string(buf).s);
	copy = nsbox_arena_copy(arena, buf, strlen(buf));
	if (!copy)
		return nsbox_error_set(err, ENOMEM, "expanding a text");
	*ret = copy;
	return 0;
}
