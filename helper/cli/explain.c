/* SPDX-License-Identifier: MIT */
/*
 * nsbox explain: every effective key of a user's policy and where it comes from.
 *
 * With --json one object: "user", "uid", "service", "action", "would" (what
 * log_only keeps from happening, else as "action"), "reason", "deny_message"
 * (or null) and "keys", an object with for each key "value" and "from", and
 * "over", what that beat, or null. "from" and "over" have "file" and "line",
 * null where there is none, and "section". If the policy refuses the user:
 * "user", "service" and "error" instead, and exit status 1.
 */
#include "cli.h"
#include "identity.h"
#include "json.h"
#include "policy.h"

#include <stdio.h>
#include <string.h>

static const char *const actions[] = {
	[NSBOX_ACTION_PASS] = "pass", [NSBOX_ACTION_BOX] = "box", [NSBOX_ACTION_DENY] = "deny",
};

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

static void json_origin(struct nsbox_json *json, const char *name, const struct nsbox_origin *o)
{
	if (!o->section) {
		nsbox_json_string(json, name, NULL);
		return;
	}
	nsbox_json_open(json, name, '{');
	nsbox_json_string(json, "file", o->file);
	if (o->line)
		nsbox_json_number(json, "line", o->line);
	else
		nsbox_json_string(json, "line", NULL);
	nsbox_json_string(json, "section", o->section);
	nsbox_json_close(json, '}');
}

static void json_decision(const struct nsbox_subject *subject, const char *service,
			  const struct nsbox_decision *d)
{
	struct nsbox_json json = { .depth = 0 };

	nsbox_json_open(&json, NULL, '{');
	nsbox_json_string(&json, "user", subject->name);
	nsbox_json_number(&json, "uid", subject->uid);
	nsbox_json_string(&json, "service", service);
	nsbox_json_string(&json, "action", actions[d->action]);
	nsbox_json_string(&json, "would", actions[d->would]);
	nsbox_json_string(&json, "reason", d->reason);
	nsbox_json_string(&json, "deny_message", d->deny_message);
	nsbox_json_open(&json, "keys", '{');
	for (int key = 0; key < NSBOX_KEY_COUNT; key++) {
		nsbox_json_open(&json, nsbox_key_name((enum nsbox_key)key), '{');
		nsbox_json_string(&json, "value", d->text[key]);
		json_origin(&json, "from", &d->origin[key]);
		json_origin(&json, "over", &d->overrode[key]);
		nsbox_json_close(&json, '}');
	}
	nsbox_json_close(&json, '}');
	nsbox_json_close(&json, '}');
}

static int refused(const char *user, const char *service, bool as_json,
		   const struct nsbox_error *err)
{
	struct nsbox_json json = { .depth = 0 };

	if (as_json) {
		nsbox_json_open(&json, NULL, '{');
		nsbox_json_string(&json, "user", user);
		nsbox_json_string(&json, "service", service);
		nsbox_json_string(&json, "error", err->msg);
		nsbox_json_close(&json, '}');
	}
	return nsbox_cli_fail(NSBOX_EXIT_FAILED, err);
}

static int explain(const char *user, const char *service, bool as_json)
{
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_policy *policy;
	struct nsbox_decision d;
	struct nsbox_error err;
	int r;

	if (nsbox_identity_get(user, &id, &err) < 0 ||
	    nsbox_policy_load(NSBOX_POLICY_DIR, &id.subject, &policy, &err) < 0)
		return refused(user, service, as_json, &err);
	r = nsbox_policy_decide(policy, &id.subject, service, NULL, 0, &d, &err);
	nsbox_policy_free(policy);
	if (r < 0)
		return refused(user, service, as_json, &err);
	(as_json ? json_decision : print_decision)(&id.subject, service, &d);
	nsbox_decision_free(&d);
	return 0;
}

int nsbox_cli_explain(int argc, char **argv)
{
	const char *user = NULL, *service = "sshd";
	bool as_json = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			as_json = true;
		else if (strcmp(argv[i], "--service") == 0 && i + 1 < argc)
			service = argv[++i];
		else if (argv[i][0] != '-' && !user)
			user = argv[i];
		else
			return nsbox_cli_usage("explain USER [--service SERVICE] [--json]");
	}
	if (!user)
		return nsbox_cli_usage("explain USER [--service SERVICE] [--json]");
	return explain(user, service, as_json);
}
