/* SPDX-License-Identifier: MIT */
/*
 * Our line in a file of /etc/pam.d: put in last, taken out again. What was put
 * in is all that is taken out, so a file that nobody touched in between is byte
 * for byte what it was.
 */
#ifndef NSBOX_PAMEDIT_H
#define NSBOX_PAMEDIT_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/stat.h>

/* A file of /etc/pam.d, open and locked against other edits of ours. */
struct nsbox_pam_edit {
	const char *name;
	int dir, file;
	struct stat st;
	char *text;
	size_t len;
};

/*
 * Opens /etc/pam.d/@name, which must be a file and not a link. Returns 0 and
 * *ret; -ENOENT if it is not there; another negative errno and the reason.
 */
int nsbox_pam_edit_open(const char *name, struct nsbox_pam_edit *ret, struct nsbox_error *err);
void nsbox_pam_edit_drop(struct nsbox_pam_edit *edit);
#define cleanup_pam_edit __attribute__((cleanup(nsbox_pam_edit_drop)))

/*
 * The text without our lines; with *ret_args, if that is not NULL, the arguments
 * of the last of them, or NULL where there was none. Both the caller's. Returns
 * 0 or a negative errno.
 */
int nsbox_pam_edit_without(const struct nsbox_pam_edit *edit, char **ret, size_t *ret_len,
			   char **ret_args, struct nsbox_error *err);

/* The same with our line at the end: @module is its path or name, @args may be "". */
int nsbox_pam_edit_with(const struct nsbox_pam_edit *edit, const char *module, const char *args,
			char **ret, size_t *ret_len, struct nsbox_error *err);

/*
 * Replaces the file by @text at once: a new file of the same owner, mode and
 * extended attributes, on the disk before it takes the name. Refused if the
 * file has changed since it was opened.
 */
int nsbox_pam_edit_write(const struct nsbox_pam_edit *edit, const char *text, size_t len,
			 struct nsbox_error *err);

/*
 * Replaces @name in the directory @dir by @text in the same way; @like (may be
 * -EBADF) is the open file whose owner, mode and attributes it gets, otherwise
 * it is root's, 0644.
 */
int nsbox_replace_file(int dir, const char *name, int like, const char *text, size_t len,
		       struct nsbox_error *err);

#endif
