/* SPDX-License-Identifier: MIT */
/*
 * What the administrator shall read about a box that was made all the same:
 * kept while it is made, written to the log when nobody waits any more.
 */
#ifndef NSBOX_NOTES_H
#define NSBOX_NOTES_H

#include <stddef.h>

struct nsbox_notes {
	char **lines, **sources;
	size_t n_lines, n_sources;
};

/* Keeps one line. Without memory it is lost, as the log's own lines would be. */
void nsbox_note(struct nsbox_notes *notes, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* The box sees the tree at @fd, but nothing that is mounted below it. */
void nsbox_note_source(struct nsbox_notes *notes, int fd);

/* Writes the lines to the log, and what is mounted below the sources; then drops all. */
void nsbox_notes_log(struct nsbox_notes *notes, const char *user);

/* Idempotent. */
void nsbox_notes_drop(struct nsbox_notes *notes);

#endif
