/* SPDX-License-Identifier: MIT */
/*
 * The answer: which sections concern a subject, laid over each other (built-in
 * defaults, [defaults], groups in file order, user, pam.d arguments), and what
 * comes of it for one service. An error in a section that concerns the subject
 * is the answer; an error elsewhere is not his business.
 */
#include "cleanup.h"
#include "internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int apply_builtin(struct nsbox_draft *draft, struct nsbox_error *err)
{
	static const struct nsbox_origin builtin = { .section = "built-in default" };
	int key, r;

	for (key = 0; key < NSBOX_KEY_COUNT; key++) {
		r = nsbox_draft_set(draft, (enum nsbox_key)key,
				    nsbox_key_info((enum nsbox_key)key)->fallback, &builtin, err);
		if (r < 0)
			return r;
	}
	return 0;
}

/* What everyone has to answer for: text above the first header, bad headers. */
static int check_everyone(const struct nsbox_policy *policy, struct nsbox_draft *draft,
			  struct nsbox_error *err)
{
	int r = nsbox_section_apply(policy, 0, draft, NULL, err);

	if (r < 0)
		return r;
	return policy->first_bad ? nsbox_section_header_error(policy, policy->first_bad, err) : 0;
}

static int apply_section(const struct nsbox_policy *policy, uint32_t index,
			 struct nsbox_draft *draft, struct nsbox_error *err)
{
	int r = nsbox_section_header_error(policy, index, err);

	return r < 0 ? r : nsbox_section_apply(policy, index, draft, NULL, err);
}

/* The section of a name, and the one of its number. A name of digits is a number. */
static size_t find_both(const struct nsbox_policy *policy, enum nsbox_section_kind kind,
			const char *name, uint32_t id, uint32_t *found)
{
	char number[16];
	size_t n = 0;

	(void)snprintf(number, sizeof(number), "%u", id);
	found[n] = nsbox_policy_find(policy, kind, number, strlen(number));
	n += found[n] != 0;
	if (name && !nsbox_is_digits(name, strlen(name))) {
		found[n] = nsbox_policy_find(policy, kind, name, strlen(name));
		n += found[n] != 0;
	}
	return n;
}

static int by_place(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static int apply_sorted(const struct nsbox_policy *policy, uint32_t *found, size_t n,
			struct nsbox_draft *draft, struct nsbox_error *err)
{
	size_t i;
	int r;

	qsort(found, n, sizeof(*found), by_place);
	for (i = 0; i < n; i++) {
		if (i && found[i] == found[i - 1])
			continue;
		r = apply_section(policy, found[i], draft, err);
		if (r < 0)
			return r;
	}
	return 0;
}

static int apply_sections(const struct nsbox_policy *policy, const struct nsbox_subject *subject,
			  struct nsbox_draft *draft, struct nsbox_error *err)
{
	cleanup_free uint32_t *found = calloc(2 * subject->n_groups + 2, sizeof(*found));
	size_t n = 0, i;
	int r;

	if (!found)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	r = policy->defaults ? apply_section(policy, policy->defaults, draft, err) : 0;
	if (r < 0)
		return r;
	for (i = 0; i < subject->n_groups; i++)
		n += find_both(policy, NSBOX_SECTION_GROUP,
			       subject->group_names ? subject->group_names[i] : NULL,
			       subject->gids[i], found + n);
	r = apply_sorted(policy, found, n, draft, err);
	if (r < 0)
		return r;
	n = find_both(policy, NSBOX_SECTION_USER, subject->name, subject->uid, found);
	return apply_sorted(policy, found, n, draft, err);
}

static int argument_error(const char *arg, struct nsbox_error *err, const char *why)
{
	return nsbox_error_say(err, 0, "pam.d argument \"%s\": %s", nsbox_quote_string(arg).s, why);
}

static int apply_argument(const char *arg, struct nsbox_draft *draft, struct nsbox_error *err)
{
	static const struct nsbox_origin origin = { .file = "pam.d", .section = "pam.d argument" };
	const char *equals = strchr(arg, '=');
	struct nsbox_error why;
	struct nsbox_slice key;
	enum nsbox_key which;
	const char *value;

	if (strlen(arg) > NSBOX_LINE_MAX || nsbox_text_check(arg, strlen(arg)) != NSBOX_TEXT_GOOD)
		return argument_error(arg, err, "too long, or not plain UTF-8 text: correct it");
	if (!equals)
		return argument_error(arg, err, "write key=value");
	key.s = arg;
	key.len = (size_t)(equals - arg);
	if (!nsbox_key_find(key, &which)) {
		const char *near = nsbox_nearest(key, nsbox_key_nth);

		if (!near)
			return argument_error(arg, err, "unknown key (see nsbox.conf(5))");
		return nsbox_error_say(err, 0,
				       "pam.d argument \"%s\": unknown key (did you mean %s?)",
				       nsbox_quote_string(arg).s, near);
	}
	value = nsbox_arena_copy(draft->arena, equals + 1, strlen(equals + 1));
	if (!value)
		return nsbox_error_set(err, ENOMEM, "reading the pam.d arguments");
	if (nsbox_draft_set(draft, which, value, &origin, &why) < 0)
		return argument_error(arg, err, why.msg);
	return 0;
}

/* "/etc/nsbox/nsbox.conf:12", "pam.d argument", "built-in default" */
static void show_origin(const struct nsbox_origin *origin, char *buf, size_t size)
{
	size_t len;

	if (!origin->file || !origin->line) {
		(void)snprintf(buf, size, "%s", origin->section);
		return;
	}
	len = strlen(origin->file);
	(void)snprintf(buf, size, "%s%s:%u", len < NSBOX_SHOWN_MAX ? "" : "...",
		       len < NSBOX_SHOWN_MAX ? origin->file :
					       origin->file + len - (NSBOX_SHOWN_MAX - 4),
		       origin->line);
}

static int wrong_value(const struct nsbox_draft *draft, enum nsbox_key key,
		       const struct nsbox_error *why, struct nsbox_error *err)
{
	char place[NSBOX_SHOWN_MAX + 16];

	show_origin(&draft->d.origin[key], place, sizeof(place));
	/* Whatever it is, it is the policy that has to change; but no memory stays no memory. */
	return nsbox_error_say(err, why->code == ENOMEM ? ENOMEM : EINVAL, "%s: %s = \"%s\": %s",
			       place, nsbox_key_name(key), nsbox_quote_string(draft->text[key]).s,
			       why->msg);
}

/* From the configured action to the one for this service, and why. */
static void choose_action(struct nsbox_draft *draft, const char *service)
{
	struct nsbox_decision *d = &draft->d;
	struct nsbox_quote shown = nsbox_quote_string(service);
	const char *services = draft->text[NSBOX_KEY_SERVICES];
	const char *section = d->origin[NSBOX_KEY_ACTION].section;
	char place[NSBOX_SHOWN_MAX + 16];

	/* First: a service that leads around the box does so wherever else it applies. */
	if (d->action == NSBOX_ACTION_BOX &&
	    strcmp(draft->text[NSBOX_KEY_DENY_SERVICES], "none") != 0 &&
	    nsbox_services_has(draft->text[NSBOX_KEY_DENY_SERVICES], service)) {
		show_origin(&d->origin[NSBOX_KEY_DENY_SERVICES], place, sizeof(place));
		(void)snprintf(d->reason, sizeof(d->reason), "service %s is in deny_services (%s)",
			       shown.s, place);
		d->action = NSBOX_ACTION_DENY;
		return;
	}
	if (d->action != NSBOX_ACTION_PASS && strcmp(services, "all") != 0 &&
	    !nsbox_services_has(services, service)) {
		show_origin(&d->origin[NSBOX_KEY_SERVICES], place, sizeof(place));
		(void)snprintf(d->reason, sizeof(d->reason), "service %s is not in services (%s)",
			       shown.s, place);
		d->action = NSBOX_ACTION_PASS;
		return;
	}
	show_origin(&d->origin[NSBOX_KEY_ACTION], place, sizeof(place));
	if (d->origin[NSBOX_KEY_ACTION].line)
		(void)snprintf(d->reason, sizeof(d->reason), "action = %s in %s (%s)",
			       draft->text[NSBOX_KEY_ACTION], nsbox_quote_string(section).s, place);
	else
		(void)snprintf(d->reason, sizeof(d->reason), "action = %s, %s",
			       draft->text[NSBOX_KEY_ACTION], place);
}

/* Only what a box is made of; a user who is passed is not asked for it. */
static int expand_templates(struct nsbox_draft *draft, const struct nsbox_subject *subject,
			    struct nsbox_error *err)
{
	struct nsbox_decision *d = &draft->d;
	enum nsbox_key key = NSBOX_KEY_HOSTNAME;
	struct nsbox_error why;
	int r;

	r = nsbox_expand_hostname(draft->text[key], subject, d->hostname, &why);
	if (!r && strcmp(draft->text[NSBOX_KEY_ROOTFS], "host") != 0) {
		key = NSBOX_KEY_ROOTFS;
		r = nsbox_expand_path(draft->text[key], subject, draft->arena, &d->rootfs, &why);
	}
	if (!r && strcmp(draft->text[NSBOX_KEY_SHELL_FALLBACK], "none") != 0) {
		key = NSBOX_KEY_SHELL_FALLBACK;
		r = nsbox_expand_path(draft->text[key], subject, draft->arena, &d->shell_fallback,
				      &why);
	}
	if (!r)
		return 0;
	return wrong_value(draft, key, &why, err);
}

static int check_together(const struct nsbox_draft *draft, struct nsbox_error *err)
{
	struct nsbox_error why;

	/*
	 * Abstract sockets belong to the network namespace and check only the
	 * uid: with the real one, a box talks to the user's unboxed processes.
	 */
	if (draft->d.idmap == NSBOX_IDMAP_KEEP && draft->d.net == NSBOX_NET_HOST) {
		(void)nsbox_error_say(&why, 0, "not with net = host, where the real uid opens "
				      "sockets outside: write shift or auto");
		return wrong_value(draft, NSBOX_KEY_IDMAP, &why, err);
	}
	return 0;
}

/* The texts for explain; all that the decision points to is in its arena now. */
static int fill_text(struct nsbox_draft *draft)
{
	struct nsbox_decision *d = &draft->d;
	char caps[1024];
	int key;

	nsbox_caps_print(d->caps, caps, sizeof(caps));
	draft->text[NSBOX_KEY_CAPS] = caps;
	if (d->hostname[0])
		draft->text[NSBOX_KEY_HOSTNAME] = d->hostname;
	if (d->rootfs)
		draft->text[NSBOX_KEY_ROOTFS] = d->rootfs;
	if (d->shell_fallback)
		draft->text[NSBOX_KEY_SHELL_FALLBACK] = d->shell_fallback;
	for (key = 0; key < NSBOX_KEY_COUNT; key++) {
		d->text[key] = nsbox_arena_copy(draft->arena, draft->text[key],
						strlen(draft->text[key]));
		if (!d->text[key])
			return -ENOMEM;
	}
	d->rootfs = d->text[NSBOX_KEY_ROOTFS];
	d->shell_fallback = d->text[NSBOX_KEY_SHELL_FALLBACK];
	return 0;
}

static int make_draft(const struct nsbox_policy *policy, const struct nsbox_subject *subject,
		      const char *const *args, size_t n_args, struct nsbox_draft *draft,
		      struct nsbox_error *err)
{
	size_t i;
	int r;

	r = apply_builtin(draft, err);
	if (r < 0)
		return r;
	r = check_everyone(policy, draft, err);
	if (r < 0)
		return r;
	r = apply_sections(policy, subject, draft, err);
	for (i = 0; i < n_args && r >= 0; i++)
		r = apply_argument(args[i], draft, err);
	return r;
}

int nsbox_policy_decide(const struct nsbox_policy *policy, const struct nsbox_subject *subject,
			const char *service, const char *const *args, size_t n_args,
			struct nsbox_decision *ret, struct nsbox_error *err)
{
	cleanup_arena struct nsbox_arena *arena = nsbox_arena_new();
	struct nsbox_draft draft = { .arena = arena };
	struct nsbox_error why;
	int r;

	if (!arena)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	r = make_draft(policy, subject, args, n_args, &draft, err);
	if (r < 0)
		return r;
	choose_action(&draft, service ? service : "");
	r = expand_templates(&draft, subject, &why);
	if (!r)
		r = check_together(&draft, &why);
	if (r < 0 && draft.d.action == NSBOX_ACTION_BOX) {
		if (err)
			*err = why;
		return r;
	}
	if (fill_text(&draft) < 0)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	draft.d.arena = arena;
	arena = NULL;
	*ret = draft.d;
	return 0;
}

void nsbox_decision_free(struct nsbox_decision *decision)
{
	if (!decision)
		return;
	nsbox_arena_free(decision->arena);
	memset(decision, 0, sizeof(*decision));
}

size_t nsbox_policy_errors(const struct nsbox_policy *policy,
			   void (*each)(const char *sentence, void *data), void *data)
{
	struct nsbox_complaints complaints = { .each = each, .data = data };
	struct nsbox_error err;
	uint32_t i;

	for (i = 0; i < policy->n_sections; i++) {
		cleanup_arena struct nsbox_arena *arena = nsbox_arena_new();
		struct nsbox_draft draft = { .arena = arena };
		const struct nsbox_section *section = &policy->sections[i];
		int r = arena ? 0 : nsbox_error_set(&err, ENOMEM, "checking the policy");

		/* Of two equal sections the second is the one too many. */
		if (!r && (section->kind == NSBOX_SECTION_BAD || section->twin < i) &&
		    nsbox_section_header_error(policy, i, &err) < 0) {
			complaints.n++;
			each(err.msg, data);
		}
		if (!r)
			r = nsbox_section_apply(policy, i, &draft, &complaints, &err);
		if (r < 0) {
			complaints.n++;
			each(err.msg, data);
			break;
		}
	}
	return complaints.n;
}
