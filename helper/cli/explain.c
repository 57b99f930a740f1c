/* SPDX-License-Identifier: MIT */
/*
 * nsbox explain: every effective key of a user's policy and where it comes from.
 *
 * With --json one object: "user", "uid", "service", "action", "would" (what
 * log_only keeps from happening, else as "action"), "reason", "deny_message"
 * (or null), "keys", an object with for each key "value" and "from", and
 * "over", what that beat, or null, and "machine". "from" and "over" have "file"
 * and "line", null where there is none, and "section". "machine" is null if
 * there is no box; else it has "idmap", what that comes to on this machine
 * ("shift", "keep" or null), "why", "notes", a list of what the log will say
 * beside, and "error", the sentence that a login would be refused with, or null.
 * If the policy refuses the user: "user", "service" and "error" instead, and
 * exit status 1.
 */
#include "cli.h"
#include "idmapped.h"
#include "identity.h"
#include "json.h"
#include "pamargs.h"
#include "policy.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const actions[] = {
	[NSBOX_ACTION_PASS] = "pass", [NSBOX_ACTION_BOX] = "box", [NSBOX_ACTION_DENY] = "deny",
};

/* What the machine makes of a decision. */
struct machine {
	bool has_box, asked, known;	/* known: the kernel was asked, and a box can be */
	struct nsbox_idmapped idmapped;
	const char *why;	/* idmap is what it is; or "" */
	size_t first;		/* of the notes, that are not why */
	struct nsbox_error err;
};

static void ask_machine(const struct nsbox_subject *subject, const struct nsbox_decision *d,
			struct machine *m)
{
	m->has_box = d->would == NSBOX_ACTION_BOX && !d->unfit;
	if (!m->has_box)
		return;
	if (geteuid() != 0) {
		(void)nsbox_error_say(&m->err, EPERM, "only root can ask the kernel what idmap is "
				      "to be");
		return;
	}
	m->asked = true;
	(void)signal(SIGCHLD, SIG_IGN);		/* userns.h */
	m->known = nsbox_idmapped_ask(subject, d, &m->idmapped, &m->err) == 0;
	if (d->idmap != NSBOX_IDMAP_AUTO) {
		m->why = m->idmapped.keep ? "idmap = keep, as the policy says" :
					    "idmap = shift, as the policy says";
	} else if (m->known && m->idmapped.keep && m->idmapped.notes.n_lines) {
		m->why = m->idmapped.notes.lines[0];
		m->first = 1;
	} else {
		m->why = "idmap = shift, since no file system that the box writes to is without "
			 "idmapped mounts";
	}
}

static void print_machine(const struct machine *m)
{
	if (!m->has_box)
		return;
	(void)printf("on this machine:\n");
	if (m->known)
		(void)printf("  %s\n", m->why);
	else
		(void)printf("  %s%s\n", m->asked ? "refused: " : "", m->err.msg);
	for (size_t i = m->first; m->known && i < m->idmapped.notes.n_lines; i++)
		(void)printf("  %s\n", m->idmapped.notes.lines[i]);
}

static void json_machine(struct nsbox_json *json, const struct machine *m)
{
	if (!m->has_box) {
		nsbox_json_string(json, "machine", NULL);
		return;
	}
	nsbox_json_open(json, "machine", '{');
	nsbox_json_string(json, "idmap", !m->known ? NULL : m->idmapped.keep ? "keep" : "shift");
	nsbox_json_string(json, "why", m->known ? m->why : NULL);
	nsbox_json_open(json, "notes", '[');
	for (size_t i = m->first; m->known && i < m->idmapped.notes.n_lines; i++)
		nsbox_json_string(json, NULL, m->idmapped.notes.lines[i]);
	nsbox_json_close(json, ']');
	nsbox_json_string(json, "error", m->known ? NULL : m->err.msg);
	nsbox_json_close(json, '}');
}

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
			   const struct nsbox_decision *d, const struct machine *m)
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
	print_machine(m);
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
			  const struct nsbox_decision *d, const struct machine *m)
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
	json_machine(&json, m);
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

/* Where the arguments stand; NULL if the service has no line of ours, or cannot be read. */
static const struct nsbox_pam_rule *find_rule(const char *service, struct nsbox_pam_stack *stack)
{
	if (!nsbox_pam_is_service(service) || nsbox_pam_stack_read(service, NULL, stack, NULL) < 0)
		return NULL;
	return nsbox_pam_stack_ours(stack);
}

/* The policy knows only that it was an argument. */
static void show_rule(const struct nsbox_pam_rule *rule, struct nsbox_decision *d)
{
	for (int key = 0; key < NSBOX_KEY_COUNT; key++) {
		struct nsbox_origin *o = &d->origin[key];

		if (o->file && strcmp(o->file, "pam.d") == 0) {
			o->file = rule->file;
			o->line = rule->line;
		}
	}
}

static int explain(const char *user, const char *service, bool as_json)
{
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct machine machine = { .why = "" };
	struct nsbox_policy *policy;
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	const struct nsbox_pam_rule *rule = find_rule(service, &stack);
	struct nsbox_pam_arguments args;
	struct nsbox_decision d;
	struct nsbox_error err;
	int r;

	nsbox_pam_arguments_split(rule ? nsbox_pam_arguments_of(rule) : "", &args);
	if (nsbox_identity_get(user, &id, &err) < 0 ||
	    nsbox_policy_load(NSBOX_POLICY_DIR, &id.subject, &policy, &err) < 0)
		return refused(user, service, as_json, &err);
	r = nsbox_policy_decide(policy, &id.subject, service, args.policy, args.n_policy, &d, &err);
	nsbox_policy_free(policy);
	if (r < 0)
		return refused(user, service, as_json, &err);
	if (rule)
		show_rule(rule, &d);
	ask_machine(&id.subject, &d, &machine);
	(as_json ? json_decision : print_decision)(&id.subject, service, &d, &machine);
	nsbox_notes_drop(&machine.idmapped.notes);
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
