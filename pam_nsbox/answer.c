/* SPDX-License-Identifier: MIT */
/* Weighing an OPEN: see answer.h. */
#include "answer.h"
#include "cleanup.h"

#include <errno.h>
#include <string.h>

enum { ARGS_MAX = 64 };

/*
 * FNV-1a of 128 bits. Two policies that shape different boxes must not get one
 * name; nobody who could gain by that chooses the text, root writes it.
 */
static void name_box(const char *shape, char ret[NSBOX_SOCKET_MAX])
{
	const unsigned __int128 prime = ((unsigned __int128)1 << 88) + 0x13b;
	unsigned __int128 hash = ((unsigned __int128)0x6c62272e07bb0142ULL << 64) |
				 0x62b821756295c58dULL;

	for (; *shape; shape++)
		hash = (hash ^ (unsigned char)*shape) * prime;
	(void)snprintf(ret, NSBOX_SOCKET_MAX, "%016llx%016llx", (unsigned long long)(hash >> 64),
		       (unsigned long long)hash);
}

static size_t split_args(const struct nsbox_msg_open *open, const char *args[ARGS_MAX])
{
	const char *arg = open->args, *end = open->args + sizeof(open->args);
	size_t n = 0;

	while (n < open->n_args && n < ARGS_MAX && arg < end && *arg) {
		args[n++] = arg;
		arg += strlen(arg) + 1;
	}
	return n;
}

static int decide(const struct nsbox_policy *policy, const struct nsbox_msg_open *open,
		  const struct nsbox_subject *subject, struct nsbox_decision *ret,
		  struct nsbox_error *err)
{
	const char *args[ARGS_MAX];
	size_t n = split_args(open, args);

	if (n != open->n_args || n + 3 > ARGS_MAX)
		return nsbox_error_say(err, E2BIG, "more than %d arguments on the pam.d line",
				       ARGS_MAX - 3);
	if (open->flags & NSBOX_OPEN_RUN) {
		args[n++] = "action=box";
		args[n++] = "services=all";
		args[n++] = "log_only=no";
	}
	return nsbox_policy_decide(policy, subject, open->service, args, n, ret, err);
}

/*
 * A uid with two names has one box and one set of processes: what the policy
 * says of the other name must be the same, or the stricter one could be evaded.
 */
static int check_alias(const struct nsbox_msg_open *open, const struct nsbox_answer *answer,
		       struct nsbox_error *err)
{
	struct nsbox_identity other cleanup_identity = { .alias = NULL };
	struct nsbox_decision theirs = { .arena = NULL };
	struct nsbox_policy *policy = NULL;
	bool same;
	int r;

	if (!answer->identity.alias)
		return 0;
	r = nsbox_identity_get(answer->identity.alias, &other, err);
	if (r == 0)
		r = nsbox_identity_confirm(&other, err);
	if (r == 0)
		r = nsbox_policy_load(NSBOX_POLICY_DIR, &other.subject, &policy, err);
	if (r == 0)
		r = decide(policy, open, &other.subject, &theirs, err);
	nsbox_policy_free(policy);
	if (r < 0)
		return nsbox_error_wrap(err, "%.40s, another name of uid %u",
					answer->identity.alias, answer->identity.subject.uid);
	same = nsbox_decision_same(&theirs, &answer->decision);
	nsbox_decision_free(&theirs);
	if (!same)
		return nsbox_error_say(err, EPERM, "%.40s and %.40s are one uid, %u, and the policy "
				       "says different things about them: make it the same",
				       answer->identity.subject.name, answer->identity.alias,
				       answer->identity.subject.uid);
	return 0;
}

static int weigh(const struct nsbox_policy *policy, const struct nsbox_msg_open *open,
		 struct nsbox_answer *ret, struct nsbox_error *err)
{
	cleanup_free char *shape = NULL;
	int r = decide(policy, open, &ret->identity.subject, &ret->decision, err);

	if (r == 0)
		r = check_alias(open, ret, err);
	if (r < 0)
		return r;
	if (ret->decision.action == NSBOX_ACTION_DENY) {
		(void)nsbox_error_say(err, EACCES, "the policy denies it: %.200s",
				      ret->decision.reason);
		return 0;
	}
	if (ret->decision.action == NSBOX_ACTION_PASS) {
		/* Who asks may have something to log: log_only. */
		*err = (struct nsbox_error){ .code = 0 };
		if (ret->decision.would != NSBOX_ACTION_PASS)
			(void)snprintf(err->msg, sizeof(err->msg), "%s", ret->decision.reason);
		return 0;
	}
	if (open->unfit.code) {
		*err = open->unfit;
		return -EPERM;
	}
	shape = nsbox_decision_shape(&ret->decision, &ret->identity.subject);
	if (!shape)
		return nsbox_error_set(err, ENOMEM, "weighing the policy");
	name_box(shape, ret->box);
	return 0;
}

/* @r is how the look-up of ret->identity ended. */
static int answer(const struct nsbox_msg_open *open, int r, struct nsbox_answer *ret,
		  struct nsbox_error *err)
{
	struct nsbox_policy *policy;

	if (r == 0)
		r = nsbox_policy_load(NSBOX_POLICY_DIR, &ret->identity.subject, &policy, err);
	if (r == 0) {
		r = weigh(policy, open, ret, err);
		nsbox_policy_free(policy);
	}
	if (r < 0)
		nsbox_answer_drop(ret);
	return r;
}

int nsbox_answer_open(const struct nsbox_msg_open *open, struct nsbox_answer *ret,
		      struct nsbox_error *err)
{
	memset(ret, 0, sizeof(*ret));
	return answer(open, nsbox_identity_get(open->user, &ret->identity, err), ret, err);
}

int nsbox_answer_told(const struct nsbox_msg_open *open, int identity, struct nsbox_answer *ret,
		      struct nsbox_error *err)
{
	memset(ret, 0, sizeof(*ret));
	return answer(open, nsbox_identity_unpack(identity, &ret->identity, err), ret, err);
}

const char *nsbox_exempt_group(const char *word)
{
	static const char exempt[] = "exempt_group=";

	return strncmp(word, exempt, strlen(exempt)) == 0 ? word + strlen(exempt) : NULL;
}

int nsbox_open_add_arg(struct nsbox_msg_open *open, const char *word, struct nsbox_error *err)
{
	size_t size = strlen(word) + 1, used = 0;

	for (uint32_t i = 0; i < open->n_args; i++)
		used += strlen(open->args + used) + 1;
	if (used + size >= sizeof(open->args))
		return nsbox_error_say(err, E2BIG, "the arguments on the pam.d line are longer than "
				       "%zu bytes", sizeof(open->args) - 2);
	memcpy(open->args + used, word, size);
	open->n_args++;
	return 0;
}

void nsbox_answer_drop(struct nsbox_answer *answer)
{
	nsbox_identity_drop(&answer->identity);
	nsbox_decision_free(&answer->decision);
}
