/* SPDX-License-Identifier: MIT */
/*
 * What a caller (the module, or nsbox run) and a keeper say to each other over
 * one AF_UNIX SOCK_SEQPACKET connection. A message is a header and one body of
 * a fixed layout; descriptors travel beside it (SCM_RIGHTS). Both ends are root
 * on one machine, so there is no byte order; an old keeper may meet a new
 * module, so there is a version, and a wrong one is refused by name.
 *
 *	caller				keeper
 *	OPEN + pidfd [+ identity] [+ terminals]  ->
 *				   <-	PASS			not boxed; the end
 *				   <-	REFUSE{error}		the end
 *				   <-	ELSEWHERE{socket}	ask there
 *				   <-	CGROUP + cgroup.procs of the box, and of now
 *				   <-	JOIN{...} + pidfd of init	or REFUSE
 *	JOINED or FAILED	   ->				the end
 *
 * CGROUP comes as soon as there are cgroups, for the caller's move takes long,
 * and JOIN as soon as there is a box: for one that exists both come at once.
 *
 * The administrator's verbs are questions of their own: QUERY -> STATUS,
 * STOP -> DONE (sent when everything is gone) or REFUSE.
 */
#ifndef NSBOX_PROTO_H
#define NSBOX_PROTO_H

#include "error.h"
#include "ns.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#ifndef NSBOX_PROTO_VERSION	/* a test builds another one */
#define NSBOX_PROTO_VERSION 2u
#endif
#define NSBOX_RUN_DIR "/run/nsbox"
/* Where a started keeper finds its first connection. */
#define NSBOX_KEEPER_FD 3

enum {
	NSBOX_USER_MAX = 256,
	NSBOX_SERVICE_MAX = 128,
	NSBOX_TTY_MAX = 128,
	NSBOX_RHOST_MAX = 256,
	NSBOX_ARGS_MAX = 2048,
	NSBOX_SOCKET_MAX = 64,
	NSBOX_GROUPS_MAX = 1024,
	NSBOX_INSNS_MAX = 128,
	NSBOX_ENV_MAX = 8192,
	NSBOX_STATUS_MAX = 4096,
	NSBOX_SESSION_MAX = 64,
	NSBOX_FDS_MAX = 64,
};

enum nsbox_msg_type {
	NSBOX_MSG_OPEN = 1,
	NSBOX_MSG_JOINED,
	NSBOX_MSG_FAILED,
	NSBOX_MSG_QUERY,
	NSBOX_MSG_STOP,
	NSBOX_MSG_PASS,
	NSBOX_MSG_REFUSE,
	NSBOX_MSG_ELSEWHERE,
	NSBOX_MSG_CGROUP,
	NSBOX_MSG_JOIN,
	NSBOX_MSG_STATUS,
	/* Between keeper and init, over a socket of their own. */
	NSBOX_MSG_BUILD,	/* the id maps are written */
	NSBOX_MSG_LENT,		/* a part of the plan of the box's root (parcel.h) */
	NSBOX_MSG_SETTLE,	/* you are in your cgroups */
	NSBOX_MSG_READY,
	NSBOX_MSG_TTY_BIND,
	NSBOX_MSG_DONE = 17,
};

/* enum nsbox_open_flags */
#define NSBOX_OPEN_RUN 1u	/* nsbox run: box the user even if the policy passes him */
#define NSBOX_OPEN_IDENTITY 2u	/* a descriptor with who he is comes after the pidfd (identity.h) */

/* Between the arguments in a STATUS. */
#define NSBOX_STATUS_SEPARATOR '\x1f'

struct nsbox_msg_open {
	uint32_t flags;
	uint32_t n_args;
	uint32_t unknown_block;		/* nobody has an id in the block from here; 0: not asked */
	char user[NSBOX_USER_MAX];
	char service[NSBOX_SERVICE_MAX];
	char tty[NSBOX_TTY_MAX];	/* PAM_TTY, for people only */
	char rhost[NSBOX_RHOST_MAX];
	char session[NSBOX_SESSION_MAX];	/* logind's name of it, or "" */
	char args[NSBOX_ARGS_MAX];	/* n_args strings, one after another */
	char box[NSBOX_SOCKET_MAX];	/* the box that the policy gives him; "": his own */
	struct nsbox_error unfit;	/* why this caller cannot be boxed; code 0: it can */
};

struct nsbox_msg_join {
	int32_t init;			/* the process of the pidfd, in the host's pid namespace */
	uint64_t ns_ino[NSBOX_NS_COUNT];
	uint64_t caller_caps;		/* permitted and effective after the join */
	uint64_t bounding_caps;
	uint32_t no_new_privs;
	uint32_t tty_uid;		/* host ids for the caller's terminal */
	uint32_t tty_gid;
	uint32_t uid;			/* of the user, as numbered in the box */
	uint32_t gid;
	uint32_t min_nproc;		/* not 0: RLIMIT_NPROC must allow that many (rescue) */
	uint32_t umask;			/* or UINT32_MAX: the caller's */
	uint64_t nofile;		/* RLIMIT_NOFILE, or UINT64_MAX: the caller's */
	uint32_t n_groups;
	gid_t groups[NSBOX_GROUPS_MAX];
	uint32_t n_insns;
	struct sock_filter insns[NSBOX_INSNS_MAX];
	char env[NSBOX_ENV_MAX];	/* NAME=value strings, an empty one ends */
	char notice[NSBOX_ERROR_MAX];	/* what the user is told, one sentence; or "" */
};

struct nsbox_msg {
	uint32_t version;
	uint32_t type;			/* enum nsbox_msg_type */
	union {
		struct nsbox_msg_open open;
		struct nsbox_msg_join join;
		struct nsbox_error error;	/* REFUSE, FAILED, STATUS of a failed STOP */
		char socket[NSBOX_SOCKET_MAX];	/* ELSEWHERE, CGROUP: name in RUN_DIR/UID */
		char status[NSBOX_STATUS_MAX];	/* STATUS: name=value lines */
		char name[NSBOX_TTY_MAX];	/* TTY_*: name below /dev */
	} u;
};

/* A received message and the descriptors that came with it; see nsbox_msg_drop(). */
struct nsbox_packet {
	struct nsbox_msg msg;
	int fds[NSBOX_FDS_MAX];
	unsigned int n_fds;
};

/*
 * Sends @msg (type set by the caller, version by this function) with copies of
 * @n_fds descriptors. Never raises SIGPIPE. Returns 0; -EPIPE if the other end
 * is gone; another negative errno. The descriptors stay the caller's.
 */
int nsbox_msg_send(int sock, struct nsbox_msg *msg, const int *fds, unsigned int n_fds,
		   struct nsbox_error *err);

/* Sends a message that has no body. */
int nsbox_msg_send_type(int sock, enum nsbox_msg_type type, struct nsbox_error *err);

/*
 * Receives one message, waiting until @deadline_ms (CLOCK_MONOTONIC, see
 * nsbox_now_ms). Returns 0, and *ret_packet is the caller's, who calls
 * nsbox_packet_drop(); -EPIPE if the other end closed; -ETIMEDOUT; -EPROTO for
 * another version, a short or cut message. On failure nothing is left open.
 */
int nsbox_msg_recv(int sock, uint64_t deadline_ms, struct nsbox_packet *ret_packet,
		   struct nsbox_error *err);

/* Closes the descriptors that were not taken (take_fd). NULL-safe, idempotent. */
void nsbox_packet_drop(struct nsbox_packet *packet);
#define cleanup_packet __attribute__((cleanup(nsbox_packet_drop)))

/* CLOCK_MONOTONIC in milliseconds. */
uint64_t nsbox_now_ms(void);

/* Milliseconds from now to @deadline_ms for poll(2): 0 when it has passed. */
int nsbox_until_ms(uint64_t deadline_ms);

#endif
