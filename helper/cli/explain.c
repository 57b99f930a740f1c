/* SPDX-License-Identifier: MIT */
/* nsbox explain: every effective key of a user's policy and where it comes from. */
#include "cli.h"
#include "identity.h"
#include "policy.h"

#include <stdio.h>
#include <string.h>

static void print_origin(const struct nsbox_origin *o)
{
	if (!o->file)
		(void)printf("default");
	else if (o->line)
		(void)printf("%s:%u %s", o->file, o->line, o->section);
	else
		(void)printf("%s", o->section);
}

static void print_decision(const struct nsbox_subject *subject, const char *service,
			   const struct nsbox_decision *d)
{
	static const char *const actions[] = {
		[NSBOX_ACTION_PASS] = "pass", [NSBOX_ACTION_BOX] = "box",
		[NSBOX_ACTION_DENY] = "deny",
	};

	(void)printf("%s (uid %u) through %s: %s (%s)\n", subject->name, subject->uid, service,
		     actions[d->action], d->reason);
	for (int key = 0; key < NSBOX_KEY_COUNT; key++) {
		(void)printf("  %-16s = %-24s # ", nsbox_key_name((enum nsbox_key)key),
			     d->text[key]);
		print_origin(&d->origin[key]);
		if (d->overrode[key].section) {
			(void)printf(", over ");
			print_origin(&d->overrode[key]);
		}
		(void)putchar('\n');
	}
}

static int explain(const char *user, const char *service)
{
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_policy *policy;
	struct nsbox_decision d;
	struct nsbox_error err;

	if (nsbox_identity_get(user, &id, &err) < 0 ||
	    nsbox_policy_load(NSBOX_POLICY_DIR, &policy, &err) < 0)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	if (nsbox_policy_decide(policy, &id.subject, service, NULL, 0, &d, &err) < 0) {
		nsbox_policy_free(policy);
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	}
	print_decision(&id.subject, service, &d);
	nsbox_decision_free(&d);
	nsbox_policy_free(policy);
	return 0;
}

int nsbox_cli_explain(int argc, char **argv)
{
	if (argc == 2)
		return explain(argv[1], "sshd");
	if (argc == 4 && strcmp(argv[2], "--service") == 0)
		return explain(argv[1], argv[3]);
	return nsbox_cli_usage("explain USER [--service SERVICE]");
}
