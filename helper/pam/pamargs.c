/* SPDX-License-Identifier: MIT */
/* The arguments of our rule in pam.d: see pamargs.h. */
#include "pamargs.h"
#include "answer.h"
#include "policy.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>

void nsbox_pam_arguments_split(const char *words, struct nsbox_pam_arguments *ret)
{
	char *rest = ret->text, *word;

	ret->n_policy = ret->n_exempt = 0;
	(void)snprintf(ret->text, sizeof(ret->text), "%s", words);
	while ((word = nsbox_pam_word(&rest))) {
		const char *group = nsbox_exempt_group(word);

		if (group)
			ret->exempt[ret->n_exempt++] = group;
		else
			ret->policy[ret->n_policy++] = word;
	}
}

const char *nsbox_pam_arguments_of(const struct nsbox_pam_rule *ours)
{
	return ours->module + strcspn(ours->module, " \t");
}

int nsbox_pam_arguments_check(const char *words, struct nsbox_error *err)
{
	struct nsbox_pam_arguments args;
	struct nsbox_policy *policy;
	int r;

	nsbox_pam_arguments_split(words, &args);
	if (nsbox_policy_load(NSBOX_POLICY_DIR, NULL, &policy, NULL) == 0) {
		r = nsbox_policy_check_arguments(policy, args.policy, args.n_policy, err);
		nsbox_policy_free(policy);
		if (r < 0)
			return -EINVAL;
	}
	for (size_t i = 0; i < args.n_exempt; i++)
		if (!getgrnam(args.exempt[i]))
			return nsbox_error_say(err, ENOENT, "exempt_group=%.60s: there is no such group, "
					       "so it exempts nobody: write the administrators'",
					       args.exempt[i]);
	return 0;
}
