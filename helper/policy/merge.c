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
	int r = 0;
	size_t i;

	for (i = 0; i < policy->n_sources && r >= 0; i++) {
		const struct nsbox_source *source = policy->sources[i];

		r = nsbox_section_apply(policy, source, 0, draft, NULL, err);
		if (!r && source->first_bad)
			r = nsbox_section_header_error(source, source->first_bad, err);
	}
	return r;
}

static int apply_section(const struct nsbox_policy *policy, const struct nsbox_source *source,
			 uint32_t index, struct nsbox_draft *draft, struct nsbox_error *err)
{
	int r = nsbox_section_header_error(source, index, err);

	return r < 0 ? r : nsbox_section_apply(policy, source, index, draft, NULL, err);
}

static int apply_defaults(const struct nsbox_policy *policy, struct nsbox_draft *draft,
			  struct nsbox_error *err)
{
	int r = 0;
	size_t i;

	for (i = 0; i < policy->n_sources && r >= 0; i++)
		if (policy->sources[i]->defaults)
			r = apply_section(policy, policy->sources[i], policy->sources[i]->defaults,
					  draft, err);
	return r;
}

/* Sections of one level: which file, and which section of it, in the order that counts. */
struct places {
	uint64_t *list;
	size_t n;
};

static void find_name(const struct nsbox_policy *policy, enum nsbox_section_kind kind,
		      const char *name, struct places *found)
{
	size_t len = strlen(name), i;

	for (i = 0; i < policy->n_sources; i++) {
		uint32_t index = nsbox_source_find(policy->sources[i], kind, name, len);

		if (index)
			found->list[found->n++] = (uint64_t)i << 32 | index;
	}
}

/* The sections of a name, and those of its number. A name of digits is a number. */
static void find_both(const struct nsbox_policy *policy, enum nsbox_section_kind kind,
		      const char *name, uint32_t id, struct places *found)
{
	char number[16];

	(void)snprintf(number, sizeof(number), "%u", id);
	find_name(policy, kind, number, found);
	if (name && !nsbox_is_digits(name, strlen(name)))
		find_name(policy, kind, name, found);
}

static int by_place(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static int apply_sorted(const struct nsbox_policy *policy, struct places *found,
			struct nsbox_draft *draft, struct nsbox_error *err)
{
	size_t i;
	int r;

	qsort(found->list, found->n, sizeof(*found->list), by_place);
	for (i = 0; i < found->n; i++) {
		if (i && found->list[i] == found->list[i - 1])
			continue;
		r = apply_section(policy, policy->sources[found->list[i] >> 32],
				  (uint32_t)found->list[i], draft, err);
		if (r < 0)
			return r;
	}
	found->n = 0;
	return 0;
}

/* The whole of users.d/NAME.conf: whatever is wrong with it concerns this user. */
static int apply_user_file(const struct nsbox_policy *policy, const char *name,
			   struct nsbox_draft *draft, struct nsbox_error *err)
{
	struct nsbox_source *source cleanup_source = NULL;
	int r = nsbox_policy_user_source(policy, name, &source, err);
	uint32_t i;

	for (i = 0; source && i < source->n_sections && r >= 0; i++)
		r = apply_section(policy, source, i, draft, err);
	return r;
}

static int apply_user_files(const struct nsbox_policy *policy, const struct nsbox_subject *subject,
			    struct nsbox_draft *draft, struct nsbox_error *err)
{
	char number[16];
	int r;

	(void)snprintf(number, sizeof(number), "%u", subject->uid);
	r = apply_user_file(policy, number, draft, err);
	if (!r && !nsbox_is_digits(subject->name, strlen(subject->name)))
		r = apply_user_file(policy, subject->name, draft, err);
	return r;
}

static int apply_sections(const struct nsbox_policy *policy, const struct nsbox_subject *subject,
			  struct nsbox_draft *draft, struct nsbox_error *err)
{
	cleanup_free uint64_t *list = calloc((2 * subject->n_groups + 2) * (policy->n_sources + 1),
					     sizeof(*list));
	struct places found = { .list = list };
	size_t i;
	int r;

	if (!list)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	r = apply_defaults(policy, draft, err);
	for (i = 0; i < subject->n_groups && !r; i++)
		find_both(policy, NSBOX_SECTION_GROUP,
			  subject->group_names ? subject->group_names[i] : NULL,
			  subject->gids[i], &found);
	if (!r)
		r = apply_sorted(policy, &found, draft, err);
	if (r < 0)
		return r;
	find_both(policy, NSBOX_SECTION_USER, subject->name, subject->uid, &found);
	r = apply_sorted(policy, &found, draft, err);
	return r < 0 ? r : apply_user_files(policy, subject, draft, err);
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
	if (nsbox_same_word(key, "profile"))
		return 0;
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

static int apply_profile_argument(const struct nsbox_policy *policy, const char *arg,
				  struct nsbox_draft *draft, struct nsbox_error *err)
{
	struct nsbox_slice name = { arg + strlen("profile="), 0 };
	struct nsbox_error why;
	int r;

	if (strncmp(arg, "profile=", strlen("profile=")) != 0)
		return 0;
	name.len = strlen(name.s);
	if (nsbox_text_check(name.s, name.len) != NSBOX_TEXT_GOOD)
		return argument_error(arg, err, "not plain UTF-8 text: correct it");
	r = nsbox_profile_check(policy, name, &why);
	if (r < 0)
		return argument_error(arg, err, why.msg);
	return nsbox_profile_apply(policy, name, "pam.d argument", draft, err);
}

/* "/etc/nsbox/nsbox.conf:12", "pam.d argument", "built-in default" */
static void show_origin(const struct nsbox_origin *origin, char *buf, size_t size)
{
	char file[NSBOX_SHOWN_MAX];

	if (!origin->file || !origin->line) {
		(void)snprintf(buf, size, "%s", origin->section);
		return;
	}
	nsbox_show_name(origin->file, file, sizeof(file));
	(void)snprintf(buf, size, "%s:%u", file, origin->line);
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

/* log_only does nothing and says what else there would be; @refused: that he would not get in. */
static void choose_log_only(struct nsbox_decision *d, const struct nsbox_error *refused)
{
	static const char *const would[] = {
		[NSBOX_ACTION_BOX] = "box", [NSBOX_ACTION_DENY] = "deny",
	};
	char reason[NSBOX_ERROR_MAX];

	d->would = d->action;
	if (!d->log_only || d->action == NSBOX_ACTION_PASS)
		return;
	memcpy(reason, d->reason, sizeof(reason));
	d->unfit = refused && d->action == NSBOX_ACTION_BOX;
	if (d->unfit)
		(void)snprintf(d->reason, sizeof(d->reason), "log_only, would refuse: %.220s",
			       refused->msg);
	else
		(void)snprintf(d->reason, sizeof(d->reason), "log_only, would %s: %.220s",
			       would[d->action], reason);
	d->action = NSBOX_ACTION_PASS;
}

/* Only what a box is made of; a user who is passed is not asked for it. */
static int expand_templates(struct nsbox_draft *draft, const struct nsbox_subject *subject,
			    struct nsbox_error *err)
{
	enum nsbox_key key = NSBOX_KEY_HOSTNAME;
	struct nsbox_error why;
	int r = nsbox_draft_expand(draft, subject, &key, &why);

	return r < 0 ? wrong_value(draft, key, &why, err) : 0;
}

/* A tmpfs without a size of its own has that of /tmp. */
static int check_tmpfs(struct nsbox_draft *draft, struct nsbox_error *err)
{
	struct nsbox_decision *d = &draft->d;
	struct nsbox_tmpfs *list = nsbox_arena_array(draft->arena, d->n_tmpfs, sizeof(*list));
	struct nsbox_error why;
	size_t i, j;

	if (!list)
		return nsbox_error_set(err, ENOMEM, "reading the policy");
	for (i = 0; i < d->n_tmpfs; i++) {
		list[i] = d->tmpfs[i];
		if (!list[i].size)
			list[i].size = d->tmp_size;
		for (j = 0; j < d->n_bind; j++) {
			if (strcmp(d->bind[j].dst, list[i].dst) != 0)
				continue;
			(void)nsbox_error_say(&why, 0, "\"%s\" is in bind too: take one out",
					      nsbox_quote_string(list[i].dst).s);
			return wrong_value(draft, NSBOX_KEY_TMPFS, &why, err);
		}
	}
	d->tmpfs = list;
	return 0;
}

static int check_together(struct nsbox_draft *draft, const struct nsbox_subject *subject,
			  struct nsbox_error *err)
{
	const struct nsbox_decision *d = &draft->d;
	enum nsbox_key key = NSBOX_KEY_HOME;
	struct nsbox_error why;

	/*
	 * Abstract sockets belong to the network namespace and check only the
	 * uid: with the real one, a box talks to the user's unboxed processes.
	 */
	if (d->idmap == NSBOX_IDMAP_KEEP &&
	    (d->net == NSBOX_NET_HOST || d->net == NSBOX_NET_JOIN_PATH)) {
		(void)nsbox_error_say(&why, 0, "not with net = %s, where the real uid opens "
				      "sockets outside: write shift or auto",
				      d->net == NSBOX_NET_HOST ? "host" : "join:/run/netns/...");
		return wrong_value(draft, NSBOX_KEY_IDMAP, &why, err);
	}
	/* What the host lends is never written to, by whatever overlay. */
	if (d->rootfs_mode != NSBOX_ROOTFS_RO && !d->rootfs) {
		(void)nsbox_error_say(&why, 0, "not with rootfs = host: write the directory of an "
				      "image as rootfs, or ro");
		return wrong_value(draft, NSBOX_KEY_ROOTFS_MODE, &why, err);
	}
	/* Two overlays over one upper layer spoil it. */
	if (d->rootfs_mode == NSBOX_ROOTFS_PERSISTENT && d->scope == NSBOX_SCOPE_SESSION) {
		(void)nsbox_error_say(&why, 0, "not with rootfs_mode = persistent, which one box at "
				      "a time can have: write user");
		return wrong_value(draft, NSBOX_KEY_SCOPE, &why, err);
	}
	if (nsbox_account_check(d, subject, &key, &why) < 0)
		return wrong_value(draft, key, &why, err);
	return check_tmpfs(draft, err);
}

/* The network that the box is to have, and what is said about it. */
static int check_network(const struct nsbox_policy *policy, struct nsbox_draft *draft,
			 struct nsbox_error *err)
{
	enum nsbox_key key = NSBOX_KEY_NET;
	struct nsbox_error why;
	bool placed;
	int r;

	if (draft->d.action != NSBOX_ACTION_BOX)
		return 0;
	if (draft->d.net == NSBOX_NET_BRIDGE) {
		r = nsbox_network_find(policy, draft, &placed, &why);
		if (r < 0 && placed) {
			if (err)
				*err = why;
			return r;
		}
		if (r < 0)
			return wrong_value(draft, key, &why, err);
	}
	r = nsbox_net_check(&draft->d, &key, &why);
	return r < 0 ? wrong_value(draft, key, &why, err) : 0;
}

/* What comes of a key for this subject, if it differs from what is written. */
static bool is_shown_expanded(const struct nsbox_decision *d, enum nsbox_key key)
{
	switch (key) {
	case NSBOX_KEY_HOSTNAME:
		return d->hostname[0];
	case NSBOX_KEY_ROOTFS:
		return d->rootfs;
	case NSBOX_KEY_SHELL_FALLBACK:
		return d->shell_fallback;
	case NSBOX_KEY_HOME:
		return d->home_dir;
	case NSBOX_KEY_BIND:
		return d->n_bind;
	case NSBOX_KEY_TMPFS:
		return d->n_tmpfs;
	case NSBOX_KEY_DEVICE:
		return d->n_device;
	case NSBOX_KEY_MASK:
		return d->n_mask;
	case NSBOX_KEY_ENV:
		return d->n_env;
	default:
		return key == NSBOX_KEY_CAPS;
	}
}

/* The texts for explain; all that the decision points to is in its arena now. */
static int fill_text(struct nsbox_draft *draft)
{
	struct nsbox_decision *d = &draft->d;
	cleanup_free char *shown = NULL;
	const char *text;
	size_t size = 0;
	FILE *to;
	int i;

	for (i = 0; i < NSBOX_KEY_COUNT; i++) {
		enum nsbox_key key = (enum nsbox_key)i;

		text = draft->text[key];
		if (is_shown_expanded(d, key)) {
			free(shown);
			shown = NULL;
			to = open_memstream(&shown, &size);
			if (!to)
				return -ENOMEM;
			nsbox_key_print(d, key, to);
			if (fclose(to) != 0)
				return -ENOMEM;
			text = shown;
		}
		d->text[key] = nsbox_arena_copy(draft->arena, text, strlen(text));
		if (!d->text[key])
			return -ENOMEM;
	}
	d->rootfs = d->text[NSBOX_KEY_ROOTFS];
	d->shell_fallback = d->text[NSBOX_KEY_SHELL_FALLBACK];
	return 0;
}

/* Beneath the others, wherever among them a profile stands. */
static int apply_arguments(const struct nsbox_policy *policy, const char *const *args,
			   size_t n_args, struct nsbox_draft *draft, struct nsbox_error *err)
{
	size_t i;
	int r = 0;

	for (i = 0; i < n_args && r >= 0; i++)
		r = apply_profile_argument(policy, args[i], draft, err);
	for (i = 0; i < n_args && r >= 0; i++)
		r = apply_argument(args[i], draft, err);
	return r;
}

int nsbox_policy_check_arguments(const struct nsbox_policy *policy, const char *const *args,
				 size_t n_args, struct nsbox_error *err)
{
	cleanup_arena struct nsbox_arena *arena = nsbox_arena_new();
	struct nsbox_draft draft = { .arena = arena };
	int r;

	if (!arena)
		return nsbox_error_set(err, ENOMEM, "reading the pam.d arguments");
	r = apply_builtin(&draft, err);
	return r < 0 ? r : apply_arguments(policy, args, n_args, &draft, err);
}

static int make_draft(const struct nsbox_policy *policy, const struct nsbox_subject *subject,
		      const char *const *args, size_t n_args, struct nsbox_draft *draft,
		      struct nsbox_error *err)
{
	struct nsbox_filter filter;
	int r;

	/* What was left out for another must not be missing here. */
	nsbox_filter_make(subject, &filter);
	if (policy->is_filtered && !nsbox_filter_has(&policy->filter, &filter))
		return nsbox_error_say(err, 0, "the policy was read for another user: this is a "
				       "bug of nsbox");
	r = apply_builtin(draft, err);
	if (r < 0)
		return r;
	r = check_everyone(policy, draft, err);
	if (r < 0)
		return r;
	r = apply_sections(policy, subject, draft, err);
	return r < 0 ? r : apply_arguments(policy, args, n_args, draft, err);
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
		r = check_together(&draft, subject, &why);
	if (!r)
		r = check_network(policy, &draft, &why);
	choose_log_only(&draft.d, r < 0 ? &why : NULL);
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

/* The same line says it of both, though %u may read differently, or two lines say the same. */
static bool same_words(const struct nsbox_decision *a, const struct nsbox_decision *b, int key)
{
	const struct nsbox_origin *x = &a->origin[key], *y = &b->origin[key];

	if (!x->file || !y->file)
		return !x->file && !y->file;
	return (x->line == y->line && strcmp(x->file, y->file) == 0) ||
	       strcmp(a->text[key], b->text[key]) == 0;
}

enum nsbox_key nsbox_decision_differs(const struct nsbox_decision *a,
				      const struct nsbox_decision *b)
{
	/* What makes a decision of one user another one than that of the other. */
	static const enum nsbox_key first[] = {
		NSBOX_KEY_ACTION, NSBOX_KEY_SERVICES, NSBOX_KEY_DENY_SERVICES, NSBOX_KEY_LOG_ONLY,
	};

	for (size_t i = 0; a->action != b->action && i < sizeof(first) / sizeof(first[0]); i++)
		if (!same_words(a, b, first[i]))
			return first[i];
	if (a->action != b->action)
		return NSBOX_KEY_ACTION;
	/* Whom it passes, or denies, by both names has no box to be of two minds about. */
	for (int key = 0; a->action == NSBOX_ACTION_BOX && key < NSBOX_KEY_COUNT; key++)
		if (!same_words(a, b, key))
			return (enum nsbox_key)key;
	return NSBOX_KEY_COUNT;
}

bool nsbox_decision_same(const struct nsbox_decision *a, const struct nsbox_decision *b)
{
	return nsbox_decision_differs(a, b) == NSBOX_KEY_COUNT;
}

void nsbox_decision_free(struct nsbox_decision *decision)
{
	if (!decision)
		return;
	nsbox_arena_free(decision->arena);
	memset(decision, 0, sizeof(*decision));
}

/* What is wrong with the header and the lines of one section. */
static int section_errors(const struct nsbox_policy *policy, const struct nsbox_source *source,
			  uint32_t index, struct nsbox_complaints *complaints,
			  struct nsbox_error *err)
{
	cleanup_arena struct nsbox_arena *arena = nsbox_arena_new();
	const struct nsbox_section *section = &source->sections[index];
	const struct nsbox_origin where = {
		.file = source->file, .line = nsbox_section_line(source, index),
	};
	struct nsbox_draft draft = { .arena = arena };

	if (!arena)
		return nsbox_error_set(err, ENOMEM, "checking the policy");
	/* Of two equal sections the second is the one too many; 0: there is no other. */
	if ((section->kind == NSBOX_SECTION_BAD || section->twin < index) &&
	    nsbox_section_header_error(source, index, err) < 0)
		nsbox_complain(complaints, &where, err->msg);
	return nsbox_section_apply(policy, source, index, &draft, complaints, err);
}

int nsbox_source_errors(const struct nsbox_policy *policy, struct nsbox_source *source,
			struct nsbox_complaints *complaints, struct nsbox_error *err)
{
	uint32_t i;
	int r = 0;

	nsbox_source_number(source);
	for (i = 0; i < source->n_sections && r >= 0; i++)
		r = section_errors(policy, source, i, complaints, err);
	return r;
}

size_t nsbox_policy_errors(const struct nsbox_policy *policy,
			   void (*each)(const struct nsbox_origin *where, const char *sentence,
					void *data), void *data)
{
	struct nsbox_complaints complaints = { .each = each, .data = data };
	const struct nsbox_origin nowhere = { .section = "" };
	struct nsbox_error err;
	int r = 0;
	size_t i;

	for (i = 0; i < policy->n_sources && r >= 0; i++)
		r = nsbox_source_errors(policy, policy->sources[i], &complaints, &err);
	if (r < 0)
		nsbox_complain(&complaints, &nowhere, err.msg);
	return complaints.n;
}
