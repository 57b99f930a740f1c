/* SPDX-License-Identifier: MIT */
/*
 * nsbox check: what its parts share.
 *
 *   check.c       the verb, the findings, whom the policy is about
 *   check_box.c   what is wrong with the box that somebody would get
 */
#ifndef NSBOX_CHECK_H
#define NSBOX_CHECK_H

#include "error.h"
#include "policy.h"

struct nsbox_check_finding {
	enum nsbox_finding level;
	char *file, *text;
	unsigned int line;
};

/* Somebody, or a group, whom the name service lists. */
struct nsbox_check_entry {
	uint32_t uid, gid;	/* of a group: gid alone */
	char *name;
};

/* One disk_max of the policy; it acts if anybody who has it can write his root. */
struct nsbox_check_limit {
	char *file;
	unsigned int line;
	bool acts;
};

struct nsbox_check {
	const struct nsbox_policy *policy;
	const char *file;		/* the main one, for what is in none */
	struct nsbox_check_finding *findings;
	size_t n_findings, n_errors;
	char **users;			/* whom the policy is about, each once */
	size_t n_users;
	struct nsbox_check_limit *limits;
	size_t n_limits;
	struct nsbox_check_entry *passwd, *groups;
	size_t n_passwd, n_groups;
	char *image_path;		/* the image that is open; NULL: none */
	int image;
	struct nsbox_error image_err;	/* why not */
	/* The range of ids that was looked at last: most users have the same. */
	uint32_t id_first, id_last;
	unsigned int id_line;
};

/* One finding, at @where, or in no line of the main file. */
void nsbox_check_say(struct nsbox_check *c, enum nsbox_finding level,
		     const struct nsbox_origin *where, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define ERROR(c, where, ...) nsbox_check_say(c, NSBOX_FINDING_ERROR, where, __VA_ARGS__)
#define WARN(c, where, ...) nsbox_check_say(c, NSBOX_FINDING_WARNING, where, __VA_ARGS__)

/* A copy of the text, or the end of the program. */
char *nsbox_check_copy(const char *text);
void nsbox_check_no_memory(void) __attribute__((noreturn));

/* The box that @d gives @subject. @is_real: he is one whom the name service knows. */
void nsbox_check_box(struct nsbox_check *c, const struct nsbox_subject *subject,
		     const struct nsbox_decision *d, bool is_real);
/* When all users were asked: in [defaults], disk_max is for those who have a root to write. */
void nsbox_check_limits(struct nsbox_check *c);
/* The range of ids that @d takes from. */
void nsbox_check_ids(struct nsbox_check *c, const struct nsbox_decision *d);

#endif
