/* SPDX-License-Identifier: MIT */
/* The environment that a session gets from its box. */
#ifndef NSBOX_ENV_H
#define NSBOX_ENV_H

#include "policy.h"
#include "proto.h"

/* Fills @env: NUL after each, an empty string at the end. @env is all zero before. -E2BIG: too much. */
int nsbox_env_fill(const struct nsbox_decision *policy, uid_t uid, char env[NSBOX_ENV_MAX],
		   struct nsbox_error *err);

#endif
