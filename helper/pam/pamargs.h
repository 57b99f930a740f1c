/* SPDX-License-Identifier: MIT */
/* The arguments of our rule in pam.d, as the module and the policy take them. */
#ifndef NSBOX_PAMARGS_H
#define NSBOX_PAMARGS_H

#include "error.h"
#include "pamd.h"

enum { NSBOX_PAM_WORDS_MAX = NSBOX_PAM_LINE_MAX / 2 };

struct nsbox_pam_arguments {
	char text[NSBOX_PAM_LINE_MAX];		/* cut up */
	const char *policy[NSBOX_PAM_WORDS_MAX];	/* key=value */
	const char *exempt[NSBOX_PAM_WORDS_MAX];	/* the groups' names */
	size_t n_policy, n_exempt;
};

/* Takes @words apart, the arguments without the module's name. */
void nsbox_pam_arguments_split(const char *words, struct nsbox_pam_arguments *ret);

/* The arguments of the rule @ours; "" if it has none. */
const char *nsbox_pam_arguments_of(const struct nsbox_pam_rule *ours);

/*
 * Would a login through a rule with these refuse everybody, as the policy reads
 * them? Or is a group not there that they exempt? Then negative with the sentence,
 * -ENOENT for the group. A policy that cannot be read is another's to say.
 */
int nsbox_pam_arguments_check(const char *words, struct nsbox_error *err);

#endif
