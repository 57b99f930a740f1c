/* SPDX-License-Identifier: MIT */
/* The environment of a session: see env.h. */
#include "env.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int nsbox_env_fill(const struct nsbox_decision *policy, uid_t uid, char env[NSBOX_ENV_MAX],
		   struct nsbox_error *err)
{
	size_t used = (size_t)snprintf(env, NSBOX_ENV_MAX, "XDG_RUNTIME_DIR=/run/user/%u", uid) + 1;

	for (size_t i = 0; i < policy->n_env; i++) {
		size_t len = strlen(policy->env[i]) + 1;

		if (used + len >= NSBOX_ENV_MAX)
			return nsbox_error_say(err, E2BIG, "the policy's env is longer than %d bytes",
					       NSBOX_ENV_MAX);
		memcpy(env + used, policy->env[i], len);
		used += len;
	}
	return 0;
}
