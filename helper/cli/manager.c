/* SPDX-License-Identifier: MIT */
/*
 * nsbox manager: may a user's systemd manager run outside the box? systemd asks
 * before it starts user@UID.service (ExecCondition= in conf/systemd), so that a
 * manager which pam_nsbox would refuse is not started, instead of failing at
 * every first login. It only spares the attempt: where it says yes by mistake,
 * the module still refuses.
 */
#include "answer.h"
#include "cleanup.h"
#include "cli.h"
#include "pamargs.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERVICE "systemd-user"

/* As the module does: by the name of a group that has this user. */
static bool is_member(const struct nsbox_subject *subject, const char *group)
{
	for (size_t i = 0; i < subject->n_groups; i++)
		if (subject->group_names[i] && strcmp(subject->group_names[i], group) == 0)
			return true;
	return false;
}

/* Puts the arguments of the pam.d line into @open. */
static int read_words(const char *words, const struct nsbox_subject *subject,
		      struct nsbox_msg_open *open, bool *ret_exempt, struct nsbox_error *err)
{
	struct nsbox_pam_arguments args;
	int r = 0;

	nsbox_pam_arguments_split(words, &args);
	for (size_t i = 0; i < args.n_exempt; i++)
		*ret_exempt |= is_member(subject, args.exempt[i]);
	for (size_t i = 0; r == 0 && i < args.n_policy; i++)
		r = nsbox_open_add_arg(open, args.policy[i], err);
	return r;
}

/* Returns 0 if the module would not refuse a manager; else a negative errno and why it would. */
static int weigh(const char *user, const char *words, struct nsbox_error *err)
{
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_answer answer cleanup_answer = { .box = "" };
	struct nsbox_msg_open open = { .service = SERVICE };
	bool exempt = false;
	int r = nsbox_identity_get(user, &id, err);

	if (r < 0)
		return r;
	(void)snprintf(open.user, sizeof(open.user), "%s", id.subject.name);
	r = read_words(words, &id.subject, &open, &exempt, err);
	if (exempt || id.subject.uid == 0)
		return 0;
	if (r == 0)
		r = nsbox_answer_open(&open, &answer, err);
	if (r == 0 && answer.decision.action == NSBOX_ACTION_DENY)
		r = -err->code;
	return r;
}

/* By uid, as systemd names it, or by name. */
static const char *name_of(const char *user)
{
	char *end;
	unsigned long uid = strtoul(user, &end, 10);
	const struct passwd *pw = *end == '\0' && uid < (uid_t)-1 ? getpwuid((uid_t)uid) : NULL;

	return pw ? pw->pw_name : user;
}

int nsbox_cli_manager(int argc, char **argv)
{
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	const struct nsbox_pam_rule *ours;
	cleanup_free char *user = NULL;
	struct nsbox_error err;

	if (argc != 2)
		return nsbox_cli_usage("manager USER|UID");
	/* A stack that cannot be read is libpam's to judge. */
	if (nsbox_pam_stack_read(SERVICE, NULL, &stack, &err) < 0)
		return 0;
	ours = nsbox_pam_stack_ours(&stack);
	if (!ours)
		return 0;
	user = strdup(name_of(argv[1]));
	if (!user)
		(void)nsbox_error_set(&err, ENOMEM, "weighing the policy");
	else if (weigh(user, nsbox_pam_arguments_of(ours), &err) == 0)
		return 0;
	(void)nsbox_error_wrap(&err, "no systemd manager outside the box for %s",
			       user ? user : argv[1]);
	return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
}
