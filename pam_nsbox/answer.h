/* SPDX-License-Identifier: MIT */
/*
 * What the policy says to an OPEN: everything before a box comes into it. Asked
 * by the caller at every login: who is passed needs no keeper, and who is boxed
 * joins the box of that name. Asked again by the keeper of a new box, which it
 * makes by its own reading of the policy; who the user is the caller tells it.
 */
#ifndef NSBOX_ANSWER_H
#define NSBOX_ANSWER_H

#include "identity.h"
#include "policy.h"
#include "proto.h"

#ifndef NSBOX_POLICY_DIR
#error "NSBOX_POLICY_DIR must be the absolute path of the policy directory"
#endif

/* An OPEN, weighed. Drop with nsbox_answer_drop() unless the decision was taken. */
struct nsbox_answer {
	struct nsbox_identity identity;
	struct nsbox_decision decision;
	/* Name of the box below RUN_DIR/UID: a hash of what shapes it. */
	char box[NSBOX_SOCKET_MAX];
};

/*
 * Asks the name service and the policy. Returns 0 and *ret when the policy has
 * spoken (see decision.action; for DENY, @err has the sentence; for PASS it has
 * code 0 and what log_only has to say, or ""); a negative errno with the reason
 * when it could not, or the caller is unfit for the box that it wants. Runs on
 * the host, as root, without a lock.
 */
int nsbox_answer_open(const struct nsbox_msg_open *open, struct nsbox_answer *ret,
		      struct nsbox_error *err);

/*
 * The same for the keeper, with what the caller has found out of the user
 * (nsbox_identity_pack) in @identity, which stays the caller's.
 */
int nsbox_answer_told(const struct nsbox_msg_open *open, int identity, struct nsbox_answer *ret,
		      struct nsbox_error *err);

/* The group that a word of the pam.d line exempts; NULL if it is another word. */
const char *nsbox_exempt_group(const char *word);

/* Adds a word of the pam.d line; -E2BIG if there are too many. */
int nsbox_open_add_arg(struct nsbox_msg_open *open, const char *word, struct nsbox_error *err);

/* Idempotent. */
void nsbox_answer_drop(struct nsbox_answer *answer);
#define cleanup_answer __attribute__((cleanup(nsbox_answer_drop)))

#endif
