/* SPDX-License-Identifier: MIT */
/*
 * /etc/pam.d as libpam reads it (pam.d(5)): lines with their continuations and
 * comments, the session rules of a service with everything it includes, and
 * where such a stack can end. What is not understood is an error with file and
 * line, never a guess.
 *
 *   pamline.c   lines and words
 *   pamd.c      the stack of a service
 *   pamflow.c   the ways through a stack
 */
#ifndef NSBOX_PAMD_H
#define NSBOX_PAMD_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NSBOX_PAM_DIR "/etc/pam.d"
#define NSBOX_PAM_DIST_DIR "/usr/lib/pam.d"	/* what packages bring; /etc/pam.d beats it */
#define NSBOX_MODULE_NAME "pam_nsbox.so"

enum {
	NSBOX_PAM_LINE_MAX = 1024,	/* libpam's BUF_SIZE until 1.5 */
	NSBOX_PAM_FILE_MAX = 1 << 20,
	NSBOX_PAM_NAME_MAX = 128,
	NSBOX_PAM_DEPTH_MAX = 16,
	NSBOX_PAM_JUMP_MAX = 63,
};

/* A logical line: @start to @end in the file are all of its bytes. */
struct nsbox_pam_line {
	size_t start, end;
	unsigned int number;		/* of the first physical line */
	char text[NSBOX_PAM_LINE_MAX];	/* without comment and continuations */
};

/*
 * Takes the line at *at of @text, which ends with NUL at @len. Returns 1; 0 at
 * the end; -EINVAL and what is wrong with it. @name is the file's, for that.
 */
int nsbox_pam_next_line(const char *name, const char *text, size_t len, size_t *at,
			unsigned int *number, struct nsbox_pam_line *ret, struct nsbox_error *err);

/* The next word of *rest, which is cut up; "[a b]" is one, without the brackets. */
char *nsbox_pam_word(char **rest);

/* Does the line hold a rule, of whatever type, that names our module? */
bool nsbox_pam_line_is_ours(const struct nsbox_pam_line *line);

/* What a rule can do to the stack, from its control. */
struct nsbox_pam_control {
	uint64_t jumps;		/* bit N: some result skips N rules */
	bool next;		/* some result goes on with the next rule */
	bool done;		/* some result ends the stack with success */
	bool open;		/* our failures (system_err, perm_denied, abort) may be passed over */
};

struct nsbox_pam_rule {
	char *file;			/* the path */
	unsigned int line;
	unsigned int level;		/* of the substack that it is in */
	struct nsbox_pam_control control;
	bool ours;
	bool quiet;			/* "-session": skipped if the module is missing */
	char *module;			/* path or name and its arguments */
};

struct nsbox_pam_stack {
	struct nsbox_pam_rule *rules;
	size_t n;
};

/* One file that is to be read as if it had this text already. */
struct nsbox_pam_instead {
	const char *name;
	const char *text;
	size_t len;
};

/*
 * Reads the session rules of @service in the order in which they run; @instead
 * may be NULL. Returns 0 and *ret, the caller's; -ENOENT if there is no such
 * service; -EINVAL and file:line for what cannot be understood.
 */
int nsbox_pam_stack_read(const char *service, const struct nsbox_pam_instead *instead,
			 struct nsbox_pam_stack *ret, struct nsbox_error *err);
void nsbox_pam_stack_drop(struct nsbox_pam_stack *stack);
#define cleanup_pam_stack __attribute__((cleanup(nsbox_pam_stack_drop)))

/* Our last rule in the stack, or NULL. */
const struct nsbox_pam_rule *nsbox_pam_stack_ours(const struct nsbox_pam_stack *stack);

/*
 * The rule by which a session gets to the end of the stack, and not through a
 * refusal, without having come to ours; NULL if there is no such way.
 */
const struct nsbox_pam_rule *nsbox_pam_stack_bypass(const struct nsbox_pam_stack *stack);

/* The first rule that can run after our last one, or NULL. */
const struct nsbox_pam_rule *nsbox_pam_stack_after(const struct nsbox_pam_stack *stack);

/* Can @name be a service, and not the backup of an editor or of dpkg? */
bool nsbox_pam_is_service(const char *name);

/*
 * Calls @each with every service there is, in order of names, once. Returns 0,
 * a negative errno, or what @each returned if not 0.
 */
int nsbox_pam_each_service(int (*each)(const char *service, void *data), void *data,
			   struct nsbox_error *err);

#endif
