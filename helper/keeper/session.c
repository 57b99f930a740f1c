/* SPDX-License-Identifier: MIT */
/* A keeper's talk with its callers: see session.h. */
#include "session.h"
#include "cleanup.h"
#include "file.h"
#include "pidfd.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* For a session that logind ends: to end by itself. */
enum { ENDING_GRACE_MS = 1000 };

/* As deep as anybody forks before we look again. */
enum { DESCENDANTS_DEPTH = 32 };

struct nsbox_session *nsbox_session_add(struct nsbox_server *s, int sock)
{
	struct nsbox_session *new;

	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 16;

		new = realloc(s->sessions, room * sizeof(*new));
		if (!new)
			return NULL;
		s->sessions = new;
		s->room = room;
	}
	new = &s->sessions[s->n++];
	*new = (struct nsbox_session){ .sock = sock, .pidfd = -EBADF,
				       .deadline_ms = nsbox_now_ms() + NSBOX_SESSION_OPEN_MS };
	return new;
}

void nsbox_session_end(struct nsbox_server *s, struct nsbox_session *session)
{
	for (unsigned int i = 0; i < session->n_ttys; i++)
		nsbox_box_forget_tty(&s->box, session->ttys[i]);
	session->n_ttys = 0;
	nsbox_accounting_logout(&session->login, s->user);
	free(session->open);
	session->open = NULL;
	session->sock = nsbox_close(session->sock);
	session->pidfd = nsbox_close(session->pidfd);
	session->stage = NSBOX_STAGE_OVER;
}

/* @pid and all its descendants (proc(5), task/TID/children). */
static void signal_tree(int pid, int sig, int depth)
{
	char path[64];
	cleanup_fclose FILE *f = NULL;
	int child;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", pid, pid);
	f = fopen(path, "re");
	while (f && depth > 0 && fscanf(f, "%d", &child) == 1)
		signal_tree(child, sig, depth - 1);
	(void)kill(pid, sig);
}

void nsbox_session_signal(const struct nsbox_session *session, int sig)
{
	signal_tree(session->pid, sig, DESCENDANTS_DEPTH);
}

void nsbox_refuse(int sock, const struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_REFUSE, .u.error = *err };

	(void)nsbox_msg_send(sock, &msg, NULL, 0, NULL);
}

void nsbox_session_refuse(struct nsbox_server *s, struct nsbox_session *session,
			  const struct nsbox_error *err)
{
	nsbox_refuse(session->sock, err);
	if (session->stage == NSBOX_STAGE_MOVING)
		session->stage = NSBOX_STAGE_REFUSED;
	else
		nsbox_session_end(s, session);
}

void nsbox_send_elsewhere(int sock, const char *name)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_ELSEWHERE };

	(void)snprintf(msg.u.socket, sizeof(msg.u.socket), "%s", name);
	(void)nsbox_msg_send(sock, &msg, NULL, 0, NULL);
}

int nsbox_session_send_cgroups(struct nsbox_server *s, struct nsbox_session *session,
			       struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_CGROUP };
	int fds[2 * NSBOX_HIERARCHIES_MAX];
	unsigned int n;
	int r;

	if (nsbox_cgroup_is_frozen(&s->box.cgroup))
		return nsbox_error_say(err, EBUSY, "the box is frozen: nsbox thaw %s ends that",
				       s->user);
	session->leaf = nsbox_cgroup_choose(&s->box.cgroup);
	r = nsbox_cgroup_open_procs(&s->box.cgroup, session->leaf, session->pid, fds, &n, err);
	if (r < 0)
		return r;
	(void)snprintf(msg.u.socket, sizeof(msg.u.socket), "%s", s->box.record.socket);
	r = nsbox_msg_send(session->sock, &msg, fds, n, err);
	while (n > 0)
		(void)nsbox_close(fds[--n]);
	session->stage = NSBOX_STAGE_MOVING;
	return r;
}

int nsbox_session_know_caller(struct nsbox_session *session, struct nsbox_packet *packet,
			      struct nsbox_error *err)
{
	if (packet->n_fds < 1 || packet->n_fds > 1 + NSBOX_SESSION_TTYS_MAX)
		return nsbox_error_say(err, EPROTO, "OPEN came with %u descriptors", packet->n_fds);
	session->pidfd = take_fd(&packet->fds[0]);
	session->pid = nsbox_pidfd_pid(session->pidfd, err);
	if (session->pid < 0)
		return session->pid;
	session->open = malloc(sizeof(*session->open));
	if (!session->open)
		return nsbox_error_set(err, ENOMEM, "the session");
	*session->open = packet->msg.u.open;
	return 0;
}

int nsbox_session_show_terminals(struct nsbox_server *s, struct nsbox_session *session,
				 struct nsbox_packet *packet, struct nsbox_error *err)
{
	for (unsigned int i = 1; i < packet->n_fds; i++) {
		int r = nsbox_box_show_tty(&s->box, take_fd(&packet->fds[i]), err);

		if (r < 0)
			return r;
		session->ttys[session->n_ttys++] = r;
	}
	return 0;
}

/*
 * An OPEN that comes to a box that is there: by its name, which the caller has
 * from the policy as it is now, so there is nothing to weigh again.
 */
static int join_existing(struct nsbox_server *s, struct nsbox_session *session,
			 struct nsbox_packet *packet, struct nsbox_error *err)
{
	const struct nsbox_msg_open *open = &packet->msg.u.open;
	int r;

	if (strcmp(open->box, s->box.record.socket) != 0 || open->unfit.code)
		return nsbox_error_say(err, EPROTO, "the caller wants box %.40s of this keeper",
				       open->box);
	r = nsbox_session_know_caller(session, packet, err);
	if (r == 0)
		r = nsbox_session_send_cgroups(s, session, err);
	/* While the caller moves; and init is not asked in a frozen box. */
	if (r == 0)
		r = nsbox_session_show_terminals(s, session, packet, err);
	return r < 0 ? r : nsbox_session_send_join(s, session, err);
}

int nsbox_session_send_join(struct nsbox_server *s, struct nsbox_session *session,
			    struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_JOIN };
	int r = nsbox_box_fill_join(&s->box, session->leaf, &msg.u.join, err);

	if (r == 0)
		r = nsbox_msg_send(session->sock, &msg, &s->box.pidfd, 1, err);
	if (r == 0)
		session->stage = NSBOX_STAGE_JOINING;
	return r;
}

size_t nsbox_sessions_count(const struct nsbox_server *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->sessions[i].stage > NSBOX_STAGE_CONNECTED &&
		    s->sessions[i].stage <= NSBOX_STAGE_LIVE)
			n++;
	return n;
}

/* The pam.d arguments of an OPEN, with a unit separator instead of each NUL. */
static void join_args(const struct nsbox_msg_open *open, char ret[NSBOX_ARGS_MAX])
{
	uint32_t left = open->n_args;

	memcpy(ret, open->args, NSBOX_ARGS_MAX);
	ret[NSBOX_ARGS_MAX - 1] = '\0';
	for (char *c = ret; left > 1 && c < ret + NSBOX_ARGS_MAX - 1; c++)
		if (*c == '\0') {
			*c = NSBOX_STATUS_SEPARATOR;
			left--;
		}
}

/* net and publish in one spelling, which the policy's texts need not have. */
static void describe_network(const struct nsbox_server *s, char *net, size_t net_size,
			     char *publish, size_t publish_size)
{
	static const char *const prefix[] = {
		"none", "host", "bridge:", "join:", "join:/run/netns/",
	};
	const struct nsbox_decision *p = &s->box.policy;

	(void)snprintf(net, net_size, "%s%s", prefix[p->net], p->net_name);
	(void)snprintf(publish, publish_size, "%s",
		       p->n_publish ? p->text[NSBOX_KEY_PUBLISH] : "");
}

static void send_status(struct nsbox_server *s, int sock)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_STATUS };
	char args[NSBOX_ARGS_MAX], net[96], publish[1024];

	describe_network(s, net, sizeof(net), publish, sizeof(publish));
	join_args(&s->first, args);
	(void)snprintf(msg.u.status, sizeof(msg.u.status),
		       "user=%s\nuid=%u\nbox=%s\nhostname=%s\ninit=%d\nsessions=%zu\nsince=%lld\n"
		       "ids=%u\nidmap=%s\nnet=%s\nrootfs=%s\nkeeper=%d\nsocket=%s\nservice=%s\n"
		       "flags=%u\naddress=%s\naddress6=%s\nlink=%s\npublish=%s\nargs=%s\n",
		       s->user, s->box.uid,
		       s->box.record.box, s->box.policy.hostname, (int)s->box.init,
		       nsbox_sessions_count(s), (long long)s->since, s->box.ids.base,
		       s->box.ids.keep ? "keep" : "shift",
		       net,
		       s->box.policy.rootfs, (int)getpid(), s->box.record.socket,
		       s->first.service, s->first.flags & NSBOX_OPEN_RUN,
		       s->box.network.reply.address, s->box.network.reply.address6,
		       s->box.network.reply.link, publish, args);
	(void)nsbox_msg_send(sock, &msg, NULL, 0, NULL);
}

void nsbox_session_check_logind(struct nsbox_session *session)
{
	if (session->stage == NSBOX_STAGE_LIVE && session->logind[0] && !session->ending_ms &&
	    nsbox_watch_is_ending(session->logind))
		session->ending_ms = nsbox_now_ms() + ENDING_GRACE_MS;
}

/* The caller is in the box, or may be. */
static void enliven(struct nsbox_server *s, struct nsbox_session *session)
{
	session->stage = NSBOX_STAGE_LIVE;
	session->sock = nsbox_close(session->sock);
	s->joined = true;
	if (s->box.policy.record_login) {
		nsbox_accounting_login(&session->login, session->open, s->box.uid, session->pid);
		nsbox_registry_note_login(&s->box.record, &session->login, s->user);
	}
	(void)snprintf(session->logind, sizeof(session->logind), "%s", session->open->session);
	free(session->open);
	session->open = NULL;
	nsbox_session_check_logind(session);	/* it may have begun before we watched */
}

/*
 * A process that exits has left its cgroups before its pidfd says that it ended.
 * PF_EXITING is among the flags (proc(5), /proc/PID/stat, field 9).
 */
static bool is_exiting(int pid)
{
	enum { EXITING = 0x4 };
	char path[64], text[512];
	unsigned int flags;
	const char *behind;

	(void)snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	if (nsbox_file_read(path, text, sizeof(text), NULL) < 0)
		return true;
	behind = strrchr(text, ')');
	return behind && sscanf(behind, ") %*c %*d %*d %*d %*d %*d %u", &flags) == 1 &&
	       (flags & EXITING);
}

/*
 * The caller says that it is in the box. Its write to cgroup.procs succeeded; but
 * whoever is not in the cgroups all the same is under no limit, and does not stay.
 */
static void admit(struct nsbox_server *s, struct nsbox_session *session)
{
	struct nsbox_error err;

	/* Alive is asked last: the number is its own until then. */
	if (nsbox_cgroup_verify(&s->box.cgroup, session->leaf, session->pid, &err) < 0 &&
	    !is_exiting(session->pid) && nsbox_pidfd_alive(session->pidfd, NULL) == 1) {
		syslog(LOG_ERR, "%s: a session is ended: %s", s->user, err.msg);
		nsbox_session_signal(session, SIGKILL);
	}
	enliven(s, session);
}

/*
 * Another keeper, of the same user, wants the persistent root that our box has:
 * the policy has changed, or says something else for another service. A box
 * that only lingers ends for it.
 */
static int make_way(struct nsbox_server *s, struct nsbox_session *session, struct nsbox_error *err)
{
	size_t n = nsbox_sessions_count(s);

	if (n > 0)
		return nsbox_error_say(err, EBUSY, "box %s has the user's persistent root and %zu "
				       "session%s, and this login is to have another box: log out "
				       "there, or end it with nsbox stop %s", s->box.record.box, n,
				       n == 1 ? "" : "s", s->user);
	session->stage = NSBOX_STAGE_STOPPING;
	s->ending = true;
	return 0;
}

/* A message of a caller that is expected now. */
static int handle(struct nsbox_server *s, struct nsbox_session *session,
		  struct nsbox_packet *packet, struct nsbox_error *err)
{
	uint32_t type = packet->msg.type;
	int r = 0;

	if (session->stage == NSBOX_STAGE_CONNECTED && type == NSBOX_MSG_OPEN)
		return join_existing(s, session, packet, err);
	if (session->stage == NSBOX_STAGE_CONNECTED && type == NSBOX_MSG_QUERY) {
		send_status(s, session->sock);
		nsbox_session_end(s, session);
	} else if (session->stage == NSBOX_STAGE_CONNECTED && type == NSBOX_MSG_STOP) {
		session->stage = NSBOX_STAGE_STOPPING;
		s->ending = true;
	} else if (session->stage == NSBOX_STAGE_CONNECTED && type == NSBOX_MSG_ELSEWHERE) {
		r = make_way(s, session, err);
	} else if (session->stage == NSBOX_STAGE_JOINING && type == NSBOX_MSG_JOINED) {
		admit(s, session);
	} else if (type == NSBOX_MSG_FAILED) {
		nsbox_session_end(s, session);
	} else {
		r = nsbox_error_say(err, EPROTO, "message %u is not due now", type);
	}
	return r;
}

void nsbox_session_read(struct nsbox_server *s, struct nsbox_session *session)
{
	struct nsbox_packet packet cleanup_packet = { .n_fds = 0 };
	struct nsbox_error err;
	int r = nsbox_msg_recv(session->sock, nsbox_now_ms(), &packet, &err);

	if (r == -EPIPE && session->stage == NSBOX_STAGE_JOINING) {
		/* It may be inside, or not: it counts until it ends. */
		enliven(s, session);
		return;
	}
	if (r == 0)
		r = handle(s, session, &packet, &err);
	if (r == -EPIPE)
		nsbox_session_end(s, session);
	else if (r < 0)
		nsbox_session_refuse(s, session, &err);
}
