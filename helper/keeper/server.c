/* SPDX-License-Identifier: MIT */
/* The keeper's loop: see server.h. One thread, one poll(2), no callbacks. */
#include "server.h"
#include "answer.h"
#include "box.h"
#include "cleanup.h"
#include "defence.h"
#include "pidfd.h"
#include "session.h"
#include "start.h"
#include "watch.h"

#include <malloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <syslog.h>
#include <time.h>

enum {
	BUILD_TIMEOUT_MS = 4000,
	/* Without a descriptor for whoever knocks. */
	DEAF_MS = 100,
	/* For a session that logind ends: after SIGTERM. */
	ENDING_TERM_MS = 3000,
	HEAP_STEP = 512 << 10,
};

static void accept_all(struct nsbox_server *s)
{
	int sock;

	while ((sock = accept4(s->box.record.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct ucred peer = { .uid = (uid_t)-1 };
		socklen_t len = sizeof(peer);

		/* The directory is root's alone already; a second look costs nothing. */
		if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != 0 ||
		    !nsbox_session_add(s, sock))
			(void)nsbox_close(sock);
	}
	/* Too many descriptors, here or on the machine: he waits; poll() must not spin for him. */
	if (errno != EAGAIN)
		s->deaf_until_ms = nsbox_now_ms() + DEAF_MS;
}

/* passwd, a session of logind or, if @what is "", any of them has changed: does it concern us? */
static void look_at(struct nsbox_server *s, const char *what)
{
	if (s->in_passwd && (!*what || strcmp(what, "passwd") == 0) &&
	    !nsbox_watch_has_user(s->user, s->box.uid)) {
		syslog(LOG_NOTICE, "%s is no user any more: the box ends", s->user);
		s->ending = true;
	}
	for (size_t i = 0; i < s->n; i++)
		if (!*what || strcmp(what, s->sessions[i].logind) == 0)
			nsbox_session_check_logind(&s->sessions[i]);
}

static void look_around(struct nsbox_server *s)
{
	char what[NSBOX_SESSION_MAX];

	while (nsbox_watch_next(&s->watch, what, sizeof(what)))
		look_at(s, what);
}

/* What logind does to a scope: SIGTERM, then SIGKILL. The pidfd says whether it is still he. */
static void end_from_outside(struct nsbox_session *session)
{
	if (nsbox_pidfd_alive(session->pidfd, NULL) != 1)
		return;
	nsbox_session_signal(session, session->terminated ? SIGKILL : SIGTERM);
	session->terminated = true;
	session->ending_ms = nsbox_now_ms() + ENDING_TERM_MS;
}

static void forget_ended(struct nsbox_server *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->sessions[i].stage != NSBOX_STAGE_OVER)
			s->sessions[kept++] = s->sessions[i];
	s->n = kept;
}

static void check_deadlines(struct nsbox_server *s)
{
	uint64_t now = nsbox_now_ms();

	for (size_t i = 0; i < s->n; i++) {
		struct nsbox_session *session = &s->sessions[i];

		if (session->stage < NSBOX_STAGE_JOINING && now >= session->deadline_ms)
			nsbox_session_end(s, session);
		if (session->stage == NSBOX_STAGE_LIVE && session->ending_ms &&
		    now >= session->ending_ms)
			end_from_outside(session);
	}
	if (nsbox_sessions_count(s) > 0)
		s->idle_since_ms = 0;
	else if (!s->idle_since_ms)
		s->idle_since_ms = now;
	if (s->idle_since_ms && s->box.policy.linger_ms != NSBOX_LINGER_FOREVER &&
	    now - s->idle_since_ms >= s->box.policy.linger_ms)
		s->ending = true;
}

/* When poll() must return although nothing happened. */
static int poll_timeout(const struct nsbox_server *s)
{
	uint64_t next = s->deaf_until_ms ? s->deaf_until_ms : UINT64_MAX;

	for (size_t i = 0; i < s->n; i++) {
		const struct nsbox_session *session = &s->sessions[i];

		if (session->stage < NSBOX_STAGE_JOINING && session->deadline_ms < next)
			next = session->deadline_ms;
		if (session->stage == NSBOX_STAGE_LIVE && session->ending_ms &&
		    session->ending_ms < next)
			next = session->ending_ms;
	}
	if (s->idle_since_ms && s->box.policy.linger_ms != NSBOX_LINGER_FOREVER &&
	    s->idle_since_ms + s->box.policy.linger_ms < next)
		next = s->idle_since_ms + s->box.policy.linger_ms;
	return next == UINT64_MAX ? -1 : nsbox_until_ms(next);
}

/* Before the sessions in the poll(2) of a turn. */
enum { POLL_LISTENER, POLL_INIT, POLL_SIGNALS, POLL_LOG, POLL_WATCH, POLL_GUEST, POLL_RULES,
       POLL_SESSIONS };

/* One turn: waits, and does what there is to do. Returns a negative errno without memory. */
static int turn(struct nsbox_server *s)
{
	size_t n = s->n;
	cleanup_free struct pollfd *fds = calloc(POLL_SESSIONS + 2 * n, sizeof(*fds));

	struct pollfd *of_session;	/* two each: its connection, its pidfd */

	if (!fds)
		return -ENOMEM;
	fds[POLL_LISTENER] = (struct pollfd){ .fd = s->box.record.listener, .events = POLLIN };
	if (s->deaf_until_ms > nsbox_now_ms())
		fds[POLL_LISTENER].fd = -EBADF;
	else
		s->deaf_until_ms = 0;
	fds[POLL_INIT] = (struct pollfd){ .fd = s->box.pidfd, .events = POLLIN };
	fds[POLL_SIGNALS] = (struct pollfd){ .fd = s->signals, .events = POLLIN };
	fds[POLL_LOG] = (struct pollfd){ .fd = s->box.log.box, .events = POLLIN };
	fds[POLL_WATCH] = (struct pollfd){ .fd = s->watch.fd, .events = POLLIN };
	fds[POLL_GUEST] = (struct pollfd){ .fd = s->box.guest.sock, .events = POLLIN };
	fds[POLL_RULES] = (struct pollfd){ .fd = s->box.network.watch, .events = POLLIN };
	of_session = &fds[POLL_SESSIONS];
	for (size_t i = 0; i < n; i++) {
		of_session[2 * i] = (struct pollfd){ .fd = s->sessions[i].sock, .events = POLLIN };
		of_session[2 * i + 1] = (struct pollfd){ .fd = s->sessions[i].pidfd,
							 .events = POLLIN };
	}
	if (poll(fds, POLL_SESSIONS + 2 * n, poll_timeout(s)) < 0 && errno != EINTR)
		return -errno;
	if (fds[POLL_INIT].revents || fds[POLL_SIGNALS].revents)
		s->ending = true;	/* init has died, or somebody asks us to end */
	if (fds[POLL_GUEST].revents)
		s->ending = true;	/* the box whose network we have has ended */
	if (fds[POLL_RULES].revents)
		nsbox_network_look(&s->box.network, s->user);
	if (fds[POLL_LOG].revents)
		nsbox_boxlog_forward(&s->box.log, s->user);
	if (fds[POLL_WATCH].revents)
		look_around(s);
	for (size_t i = 0; i < n; i++) {
		struct nsbox_session *session = &s->sessions[i];

		if (of_session[2 * i].revents)
			nsbox_session_read(s, session);
		if (of_session[2 * i + 1].revents && session->stage != NSBOX_STAGE_OVER)
			nsbox_session_end(s, session);
	}
	if (fds[POLL_LISTENER].revents)
		accept_all(s);
	forget_ended(s);
	check_deadlines(s);
	return 0;
}

static void log_opened(struct nsbox_server *s)
{
	syslog(LOG_INFO, "%s: box %s opened, ids from %u", s->user, s->box.record.box,
	       s->box.ids.base);
	if (s->box.ids.n_left_out)
		syslog(LOG_WARNING, "%s: %zu of the user's groups are left out of the box, which "
		       "cannot map so many", s->user, s->box.ids.n_left_out);
	if (s->box.network.reply.address[0] || s->box.network.reply.address6[0])
		syslog(LOG_INFO, "%s: network %s, address %s%s%s", s->user, s->box.policy.net_name,
		       s->box.network.reply.address, s->box.network.reply.address[0] &&
		       s->box.network.reply.address6[0] ? " and " : "",
		       s->box.network.reply.address6);
	if (s->box.network.reply.note[0])
		syslog(LOG_NOTICE, "%s", s->box.network.reply.note);
	if (s->box.cgroup.missing[0])
		syslog(LOG_WARNING, "%s: not limited on this machine:%s", s->user,
		       s->box.cgroup.missing);
	if (s->box.notice[0])
		syslog(LOG_NOTICE, "%s: %s", s->user, s->box.notice);
	nsbox_notes_log(&s->box.notes, s->user);
	if (NSBOX_LEFT_OUT)
		syslog(LOG_CRIT, "this build leaves a defence out and is for tests alone");
}

/* Out of the cgroup of whoever called first; off the open path, since a move may wait. */
static void leave_caller(struct nsbox_server *s)
{
	struct nsbox_error err;

	if (nsbox_cgroup_leave_caller(&s->box.cgroup, (int)getpid(), &err) < 0)
		syslog(LOG_WARNING, "%s: the keeper stays in its caller's cgroup: %s", s->user,
		       err.msg);
}

/* After the box is made: until then a signal ends the keeper, and init with it. */
static int catch_signals(void)
{
	sigset_t mask;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	return signalfd(-1, &mask, SFD_CLOEXEC);
}

/* What the first session need not wait for. */
static void settle_down(struct nsbox_server *s)
{
	leave_caller(s);
	nsbox_start_show(s->user, s->box.record.box);
	log_opened(s);
	nsbox_upper_clear(s->box.uid);
	s->in_passwd = nsbox_watch_has_user(s->user, s->box.uid);
	if (nsbox_watch_open(&s->watch) == 0)
		look_at(s, "");		/* what happened before */
	/* A keeper mostly waits: what making the box took goes back to the machine. */
	(void)malloc_trim(0);
}

static void serve(struct nsbox_server *s)
{
	bool settled = false;
	int r = 0;

	s->signals = catch_signals();
	while (!s->ending && r == 0) {
		r = turn(s);
		/* Who called first may have failed: then nobody waits. */
		if (!settled && !s->ending && (s->joined || nsbox_sessions_count(s) == 0)) {
			settled = true;
			settle_down(s);
		}
	}
	if (r < 0)
		syslog(LOG_ERR, "%s: the keeper ends: %s", s->user, strerror(-r));
}

/*
 * The box ends, or was never made: whoever is on the way in is told why, and
 * waited for until he has left its cgroups, or has joined and ends with it.
 * Who has not begun is told why the box could not be made; when a box only
 * ends he hears nothing (@begun_only), asks again and gets a new one.
 */
static void dismiss(struct nsbox_server *s, bool begun_only, const struct nsbox_error *err)
{
	for (size_t i = 0; i < s->n; i++) {
		struct nsbox_session *session = &s->sessions[i];
		struct nsbox_packet packet cleanup_packet = { .n_fds = 0 };

		if (session->stage == NSBOX_STAGE_CONNECTED && begun_only)
			nsbox_session_end(s, session);
		else if (session->stage == NSBOX_STAGE_CONNECTED ||
			 session->stage == NSBOX_STAGE_MOVING)
			nsbox_session_refuse(s, session, err);
		/* His FAILED, or JOINED. */
		if (session->stage == NSBOX_STAGE_REFUSED || session->stage == NSBOX_STAGE_JOINING)
			(void)nsbox_msg_recv(session->sock, session->deadline_ms, &packet, NULL);
	}
}

static void finish(struct nsbox_server *s)
{
	struct nsbox_error err;
	int r;

	/* First nobody finds us, then all dies, then everything is removed. */
	nsbox_registry_close(&s->box.record);
	(void)nsbox_error_say(&err, ESHUTDOWN, "the box ends");
	dismiss(s, true, &err);
	for (size_t i = 0; i < s->n; i++) {
		nsbox_accounting_logout(&s->sessions[i].login, s->user);
		free(s->sessions[i].open);
		s->sessions[i].open = NULL;
	}
	if (s->box.log.box >= 0)	/* the last lines, before it goes */
		nsbox_boxlog_forward(&s->box.log, s->user);
	r = nsbox_box_end(&s->box, &err);
	if (r < 0)
		syslog(LOG_ERR, "%s: box %s is not gone: %s", s->user, s->box.record.box, err.msg);
	else
		syslog(LOG_INFO, "%s: box %s ended", s->user, s->box.record.box);
	for (size_t i = 0; i < s->n; i++) {
		if (s->sessions[i].stage != NSBOX_STAGE_STOPPING)
			continue;
		if (r < 0)
			nsbox_refuse(s->sessions[i].sock, &err);
		else
			(void)nsbox_msg_send_type(s->sessions[i].sock, NSBOX_MSG_DONE, NULL);
	}
	free(s->sessions);
}

/*
 * Makes the box for the first session, whose move into the cgroups runs meanwhile:
 * on v2 it may take long and begins early; on v1 init would wait for the cgroups.
 */
static int build(struct nsbox_server *s, struct nsbox_session *session, struct nsbox_packet *packet,
		 const struct nsbox_subject *subject, struct nsbox_error *err)
{
	int r = nsbox_session_know_caller(session, packet, err);
	bool early;

	if (r == 0)
		r = nsbox_box_begin(&s->box, subject, packet->msg.u.open.unknown_block, err);
	early = r == 0 && s->box.has_cgroup;
	if (early)
		r = nsbox_session_send_cgroups(s, session, err);
	if (r == 0)
		r = nsbox_box_lend(&s->box, subject, err);
	if (r == 0)
		r = nsbox_box_limit(&s->box, err);
	if (r == 0 && !early)
		r = nsbox_session_send_cgroups(s, session, err);
	if (r == 0)
		r = nsbox_box_finish(&s->box, nsbox_now_ms() + BUILD_TIMEOUT_MS, err);
	if (r == 0)
		r = nsbox_session_show_terminals(s, session, packet, err);
	return r < 0 ? r : nsbox_session_send_join(s, session, err);
}

/* The box of the first OPEN: entered into the registry, made, served to its end. */
static int keep_box(struct nsbox_server *s, int first, struct nsbox_packet *packet,
		    struct nsbox_answer *answer, struct nsbox_error *err)
{
	struct nsbox_session *session;
	int r = nsbox_registry_enter(answer->identity.subject.uid, answer->box,
				     answer->decision.scope, &s->box.record, err);

	if (r == 1) {
		nsbox_send_elsewhere(first, s->box.record.socket);
		return 0;
	}
	if (r < 0)
		return r;
	s->box.policy = answer->decision;
	memset(&answer->decision, 0, sizeof(answer->decision));
	session = nsbox_session_add(s, first);
	r = session ? build(s, session, packet, &answer->identity.subject, err) :
		      nsbox_error_set(err, ENOMEM, "the first session");
	nsbox_answer_drop(answer);
	nsbox_packet_drop(packet);
	if (r == 0) {
		serve(s);
	} else {
		accept_all(s);
		dismiss(s, false, err);
	}
	finish(s);
	return 0;
}

/* Takes from the first OPEN the descriptor with the user's identity, and weighs the OPEN. */
static int answer_first(struct nsbox_packet *packet, struct nsbox_answer *ret,
			struct nsbox_error *err)
{
	const struct nsbox_msg_open *open = &packet->msg.u.open;
	cleanup_close int identity = -EBADF;

	if (packet->msg.type != NSBOX_MSG_OPEN)
		return nsbox_error_say(err, EPROTO, "message %u where OPEN was due",
				       packet->msg.type);
	if (!(open->flags & NSBOX_OPEN_IDENTITY) || packet->n_fds < 2)
		return nsbox_error_say(err, EPROTO, "OPEN to a new keeper came without the "
				       "user's identity");
	identity = packet->fds[1];
	packet->n_fds--;
	memmove(&packet->fds[1], &packet->fds[2], (packet->n_fds - 1) * sizeof(packet->fds[0]));
	return nsbox_answer_told(open, identity, ret, err);
}

int nsbox_server_run(int first)
{
	static struct nsbox_server s = { .box = NSBOX_BOX_INIT, .watch = NSBOX_WATCH_INIT };
	struct nsbox_packet packet cleanup_packet = { .n_fds = 0 };
	struct nsbox_answer answer cleanup_answer = { .box = "" };
	struct nsbox_error err;
	int r = nsbox_msg_recv(first, nsbox_now_ms() + NSBOX_SESSION_OPEN_MS, &packet, &err);

	/* settle_down() gives back what making the box takes; until then the heap only grows. */
	(void)mallopt(M_TRIM_THRESHOLD, HEAP_STEP);
	(void)mallopt(M_TOP_PAD, HEAP_STEP);
	if (r == 0)
		r = answer_first(&packet, &answer, &err);
	if (r == 0 && answer.decision.action == NSBOX_ACTION_DENY)
		r = -EACCES;
	if (r == 0 && answer.decision.action == NSBOX_ACTION_PASS)
		return nsbox_msg_send_type(first, NSBOX_MSG_PASS, NULL);
	if (r == 0) {
		s.since = time(NULL);
		(void)snprintf(s.user, sizeof(s.user), "%s", answer.identity.subject.name);
		s.first = packet.msg.u.open;
		r = keep_box(&s, first, &packet, &answer, &err);
	}
	if (r < 0)
		nsbox_refuse(first, &err);
	return r;
}
