/* SPDX-License-Identifier: MIT */
/*
 * The network of a box, by nsbox-net: started while init makes the root, and
 * waited for before anybody may join. Also the namespace of others that a box
 * may have instead. Runs in the keeper, on the host, as root.
 */
#ifndef NSBOX_NETWORK_H
#define NSBOX_NETWORK_H

#include "registry.h"
#include "request.h"

struct nsbox_network_run {
	int pidfd;
	int reply_fd;			/* -EBADF: no answer is due */
	bool begun;			/* there is something to remove */
	int watch;			/* of nf_tables; -EBADF: none */
	struct nsbox_net_reply reply;	/* after nsbox_network_wait() */
};

#define NSBOX_NETWORK_RUN_INIT { .pidfd = -EBADF, .reply_fd = -EBADF, .watch = -EBADF }

/* net = bridge: begins to give the namespace of @init its network. */
int nsbox_network_begin(struct nsbox_network_run *run, struct nsbox_record *record,
			const struct nsbox_decision *policy, pid_t init, struct nsbox_error *err);
/* Until it is there. The box may not be entered before. */
int nsbox_network_wait(struct nsbox_network_run *run, uint64_t deadline_ms,
		       struct nsbox_error *err);
/* After @run->watch was ready: rules of ours that somebody flushed are in force again. */
void nsbox_network_look(struct nsbox_network_run *run, const char *user);
/* Takes away what there is of it, also half-made. Idempotent. */
int nsbox_network_end(struct nsbox_network_run *run, const char *box, uint64_t deadline_ms,
		      struct nsbox_error *err);
/* The same for a box whose keeper was killed. */
int nsbox_network_clear(const char *box, uint64_t deadline_ms, struct nsbox_error *err);

/* Rules that somebody flushed are in force again, if there is a box that needs them. */
int nsbox_network_repair(uint64_t deadline_ms, struct nsbox_error *err);

/* net = join:/run/netns/NAME: the namespace. Returns its descriptor. */
int nsbox_network_open(const struct nsbox_decision *policy, struct nsbox_error *err);

#endif
