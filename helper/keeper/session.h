/* SPDX-License-Identifier: MIT */
/*
 * The sessions of a box, as its keeper has them: what a caller says and hears
 * from its connection on, and what is kept of it until it ends. Runs on the
 * host, as root. The keeper's loop and life are server.c's.
 */
#ifndef NSBOX_SESSION_H
#define NSBOX_SESSION_H

#include "accounting.h"
#include "box.h"
#include "proto.h"
#include "watch.h"

#include <time.h>

enum {
	NSBOX_SESSION_TTYS_MAX = 3,
	/* From OPEN to JOINED; the caller gives up earlier. */
	NSBOX_SESSION_OPEN_MS = 5000,
};

/* A caller, from its connection to its end. */
enum nsbox_stage {
	NSBOX_STAGE_CONNECTED,	/* has not said OPEN yet */
	NSBOX_STAGE_REFUSED,	/* is on its way back to its own cgroups */
	NSBOX_STAGE_MOVING,	/* has been told its cgroups */
	NSBOX_STAGE_JOINING,	/* has been told the box */
	NSBOX_STAGE_LIVE,	/* in the box, until its pidfd says that it ended */
	NSBOX_STAGE_STOPPING,	/* not a session: waits for the end of the box (nsbox stop) */
	NSBOX_STAGE_OVER,
};

struct nsbox_session {
	enum nsbox_stage stage;
	int sock;		/* -EBADF once it has nothing more to say */
	int pidfd;
	int pid;
	enum nsbox_cgroup_leaf leaf;
	uint64_t deadline_ms;
	struct nsbox_msg_open *open;	/* until it is live: what its login is recorded by */
	struct nsbox_accounting login;
	char logind[NSBOX_SESSION_MAX];	/* logind's name of it, or "" */
	uint64_t ending_ms;	/* not 0: logind ends it, and then we do the next thing */
	bool terminated;	/* it has had its SIGTERM */
	int ttys[NSBOX_SESSION_TTYS_MAX];	/* indexes in box->ttys */
	unsigned int n_ttys;
};

struct nsbox_server {
	struct nsbox_box box;
	char user[NSBOX_USER_MAX];
	struct nsbox_msg_open first;	/* the OPEN that the box was made for */
	struct nsbox_session *sessions;
	size_t n, room;
	time_t since;
	uint64_t idle_since_ms;	/* when the last session ended; 0: there is one */
	uint64_t deaf_until_ms;	/* not 0: nobody can be let in before */
	int signals;		/* signalfd: SIGTERM and SIGINT end the box in good order */
	bool ending;
	struct nsbox_watch watch;
	bool in_passwd;		/* the user was in /etc/passwd when the box was made */
	bool joined;		/* somebody has: the caller's cgroup can be left now */
};

/* A new one, connected by @sock (taken); NULL: no memory, and @sock stays the caller's. */
struct nsbox_session *nsbox_session_add(struct nsbox_server *s, int sock);

/* Gives back its terminals, records the logout, closes what it has. */
void nsbox_session_end(struct nsbox_server *s, struct nsbox_session *session);

/* Tells who is at @sock why not. */
void nsbox_refuse(int sock, const struct nsbox_error *err);

/*
 * A caller that has moved must be out of the box's cgroups before these are
 * killed: it says FAILED, or its connection ends, when it is.
 */
void nsbox_session_refuse(struct nsbox_server *s, struct nsbox_session *session,
			  const struct nsbox_error *err);

/* Tells who is at @sock to ask the keeper that listens as @name. */
void nsbox_send_elsewhere(int sock, const char *name);

/* Step two of an open: the caller gets the way into its cgroups. 0, or a negative errno. */
int nsbox_session_send_cgroups(struct nsbox_server *s, struct nsbox_session *session,
			       struct nsbox_error *err);

/* Takes from an OPEN who calls: his pidfd. His terminals wait in @packet. Returns as above. */
int nsbox_session_know_caller(struct nsbox_session *session, struct nsbox_packet *packet,
			      struct nsbox_error *err);

/* Shows the box the terminals that came with the OPEN in @packet. Returns as above. */
int nsbox_session_show_terminals(struct nsbox_server *s, struct nsbox_session *session,
				 struct nsbox_packet *packet, struct nsbox_error *err);

/* The last step: the caller gets the box, which is there. Returns as above. */
int nsbox_session_send_join(struct nsbox_server *s, struct nsbox_session *session,
			    struct nsbox_error *err);

/* Those that the box must not end under: from OPEN to their end. */
size_t nsbox_sessions_count(const struct nsbox_server *s);

/* Sends @sig to the caller and all that came of it. The caller must be alive: its pid is used. */
void nsbox_session_signal(const struct nsbox_session *session, int sig);

/* Does logind end it? */
void nsbox_session_check_logind(struct nsbox_session *session);

/* Reads and answers one message of it; whatever comes, it is dealt with. */
void nsbox_session_read(struct nsbox_server *s, struct nsbox_session *session);

#endif
