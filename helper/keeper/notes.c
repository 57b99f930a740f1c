/* SPDX-License-Identifier: MIT */
/* Lines for the log: see notes.h. */
#include "notes.h"
#include "cleanup.h"

#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <syslog.h>

/* As many mount points as one line names. */
enum { NAMED_MAX = 5 };

static void append(char ***list, size_t *n, char *text)
{
	char **longer = text ? realloc(*list, (*n + 1) * sizeof(*longer)) : NULL;

	if (!longer) {
		free(text);
		return;
	}
	longer[(*n)++] = text;
	*list = longer;
}

void nsbox_note(struct nsbox_notes *notes, const char *fmt, ...)
{
	char *text = NULL;
	va_list args;

	va_start(args, fmt);
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	va_end(args);
	append(&notes->lines, &notes->n_lines, text);
}

void nsbox_note_source(struct nsbox_notes *notes, int fd)
{
	char link[64], path[PATH_MAX];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	if (n <= 0)
		return;
	path[n] = '\0';
	append(&notes->sources, &notes->n_sources, strdup(path));
}

/* mountinfo writes blanks and the like as \040 (proc(5)). @out holds as much as @in. */
static void unescape(const char *in, char *out)
{
	while (*in) {
		unsigned int code;

		if (in[0] == '\\' && sscanf(in + 1, "%3o", &code) == 1) {
			*out++ = (char)code;
			in += 4;
		} else {
			*out++ = *in++;
		}
	}
	*out = '\0';
}

static bool is_below(const char *path, const char *top)
{
	size_t len = strlen(top);

	if (strcmp(top, "/") == 0)
		return path[1] != '\0';
	return strncmp(path, top, len) == 0 && path[len] == '/';
}

/*
 * One line about everything that is mounted below @top, in mountinfo's spelling:
 * a user who mounts with FUSE writes no line of his own into the log.
 */
static void log_submounts(const char *top, const char *user)
{
	cleanup_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	char named[1024] = "", point[PATH_MAX], plain[PATH_MAX];
	size_t size = 0, n = 0, used = 0;

	while (f && getline(&line, &size, f) > 0) {
		if (sscanf(line, "%*s %*s %*s %*s %4095s", point) != 1)
			continue;
		unescape(point, plain);
		if (!is_below(plain, top) || ++n > NAMED_MAX)
			continue;
		used += (size_t)snprintf(named + used, sizeof(named) - used, " %.150s", point);
	}
	if (n > 0)
		syslog(LOG_WARNING, "%s: file systems that are mounted below %.200s are not in the "
		       "box, which sees what lies under them:%s%s", user, top, named,
		       n > NAMED_MAX ? " and more" : "");
}

void nsbox_notes_log(struct nsbox_notes *notes, const char *user)
{
	for (size_t i = 0; i < notes->n_lines; i++)
		syslog(LOG_WARNING, "%s: %s", user, notes->lines[i]);
	for (size_t i = 0; i < notes->n_sources; i++)
		log_submounts(notes->sources[i], user);
	nsbox_notes_drop(notes);
}

void nsbox_notes_drop(struct nsbox_notes *notes)
{
	for (size_t i = 0; i < notes->n_lines; i++)
		free(notes->lines[i]);
	for (size_t i = 0; i < notes->n_sources; i++)
		free(notes->sources[i]);
	free(notes->lines);
	free(notes->sources);
	*notes = (struct nsbox_notes){ .n_lines = 0 };
}
