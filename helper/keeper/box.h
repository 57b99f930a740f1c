/* SPDX-License-Identifier: MIT */
/*
 * A box as its keeper has it: made, handed to sessions, taken down. Host half
 * of everything in helper/box. Runs on the host, as root.
 */
#ifndef NSBOX_BOX_H
#define NSBOX_BOX_H

#include "boxlog.h"
#include "cgroup.h"
#include "error.h"
#include "guest.h"
#include "idmap.h"
#include "lend.h"
#include "network.h"
#include "notes.h"
#include "policy.h"
#include "proto.h"
#include "registry.h"
#include "upper.h"

enum { NSBOX_BOX_TTYS_MAX = 32 };

/* A terminal of the host that a session in the box keeps. */
struct nsbox_tty {
	char name[NSBOX_TTY_MAX];	/* below the box's /dev */
	dev_t dev, rdev;		/* which devpts, which terminal */
	int fd;				/* O_PATH */
	uid_t uid;			/* its owner before */
	gid_t gid;
	unsigned int sessions;		/* 0: this entry is free */
};

struct nsbox_box {
	struct nsbox_record record;
	struct nsbox_decision policy;
	struct nsbox_ids ids;
	struct nsbox_cgroup cgroup;
	bool has_cgroup;
	bool must_move_init;	/* v1: it was not born in its cgroups */
	pid_t init;
	int pidfd, sock;		/* of init */
	unsigned int unanswered;	/* how many answers init still owes us */
	int dev;			/* the box's /dev, ours to make files in */
	uint64_t ns_ino[NSBOX_NS_COUNT];
	uid_t uid;
	gid_t gid;
	struct nsbox_tty ttys[NSBOX_BOX_TTYS_MAX];
	struct nsbox_boxlog log;
	struct nsbox_network_run network;
	struct nsbox_guest guest;	/* net = join:USER */
	int netns;		/* net = join: the namespace; else -EBADF */
	struct nsbox_upper upper;	/* with a root that can be written */
	struct nsbox_lent lent;		/* while it is made */
	char notice[NSBOX_ERROR_MAX];	/* one sentence for the user; "": none */
	struct nsbox_notes notes;	/* to be logged once somebody is in */
};

#define NSBOX_BOX_INIT { .record = NSBOX_RECORD_INIT, .pidfd = -EBADF, .sock = -EBADF, \
			 .dev = -EBADF, .log = NSBOX_BOXLOG_INIT, .upper = NSBOX_UPPER_INIT, \
			 .network = NSBOX_NETWORK_RUN_INIT, .netns = -EBADF, \
			 .guest = NSBOX_GUEST_INIT, .lent = NSBOX_LENT_INIT }

/*
 * A box is made in four steps, in this order. In the first, ids and init, which
 * makes its namespaces from then on; on cgroup v2 it is born in its cgroup, and
 * box->has_cgroup says so. For @unknown_block see nsbox_registry_take_block().
 */
int nsbox_box_begin(struct nsbox_box *box, const struct nsbox_subject *subject,
		    uint32_t unknown_block, struct nsbox_error *err);

/* Finds what the host lends, and gives it to init, which assembles the root from then on. */
int nsbox_box_lend(struct nsbox_box *box, const struct nsbox_subject *subject,
		   struct nsbox_error *err);

/* The cgroups, where box->has_cgroup is not: the caller can be given his after it. */
int nsbox_box_limit(struct nsbox_box *box, struct nsbox_error *err);

/* Moves init into its cgroups where it was not born there, and waits for the root until @deadline_ms. */
int nsbox_box_finish(struct nsbox_box *box, uint64_t deadline_ms, struct nsbox_error *err);

/* Fills the JOIN of a session that goes to @leaf. -E2BIG: the policy's env is too long. */
int nsbox_box_fill_join(const struct nsbox_box *box, enum nsbox_cgroup_leaf leaf,
			struct nsbox_msg_join *ret, struct nsbox_error *err);

/*
 * Shows the terminal behind @fd (O_PATH, taken) to the box, and remembers whose
 * it was. Returns its index for nsbox_box_forget_tty(), or a negative errno.
 */
int nsbox_box_show_tty(struct nsbox_box *box, int fd, struct nsbox_error *err);

/* One session less has it; the last one gives it back to its owner. */
void nsbox_box_forget_tty(struct nsbox_box *box, int index);

/* Kills what lives in it. Idempotent, takes half-made boxes. Returns 0 when all are dead. */
int nsbox_box_kill(struct nsbox_box *box, struct nsbox_error *err);

/* Kills, removes every trace, frees everything. What cannot be removed is kept on record. */
int nsbox_box_end(struct nsbox_box *box, struct nsbox_error *err);

#endif
