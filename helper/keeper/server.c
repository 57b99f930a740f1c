/* SPDX-License-Identifier: MIT */
/* The keeper's loop: see server.h. One thread, one poll(2), no callbacks. */
#include "server.h"
#include "answer.h"
#include "box.h"
#include "cleanup.h"
#include "defence.h"
#include "pidfd.h"
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
	/* From OPEN to JOINED; the caller gives up earlier. */
	OPEN_TIMEOUT_MS = 5000,
	BUILD_TIMEOUT_MS = 4000,
	TTYS_MAX = 3,
	/* Without a descriptor for whoever knocks. */
	DEAF_MS = 100,
	/* For a session that logind ends: to end by itself; after SIGTERM. */
	ENDING_GRACE_MS = 1000,
	ENDING_TERM_MS = 3000,
};

/* A caller, from its connection to its end. */
enum stage {
	STAGE_CONNECTED,	/* has not said OPEN yet */
	STAGE_REFUSED,		/* is on its way back to its own cgroups */
	STAGE_MOVING,		/* has been told its cgroups */
	STAGE_JOINING,		/* has been told the box */
	STAGE_LIVE,		/* in the box, until its pidfd says that it ended */
	STAGE_STOPPING,		/* not a session: waits for the end of the box (nsbox stop) */
	STAGE_OVER,
};

struct session {
	enum stage stage;
	int sock;		/* -EBADF once it has nothing more to say */
	int pidfd;
	int pid;
	enum nsbox_cgroup_leaf leaf;
	uint64_t deadline_ms;
	struct nsbox_msg_open *open;	/* until it is live: what its login is recorded by */
	struct nsbox_accounting login;
	char logind[NSBOX_SESSION_MAX];	/* logind's name of it, or "" */
	uint64_t ending_ms;	/* not 0: logind ends it, and this is when we do the next thing */
	bool terminated;	/* it has had its SIGTERM */
	int ttys[TTYS_MAX];	/* indexes in box->ttys */
	unsigned int n_ttys;
};

struct server {
	struct nsbox_box box;
	char user[NSBOX_USER_MAX];
	struct nsbox_msg_open first;	/* the OPEN that the box was made for */
	struct session *sessions;
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

static struct session *add_session(struct server *s, int sock)
{
	struct session *new;

	if (s->n == s->room) {
		size_t room = s->room ? 2 * s->room : 16;

		new = realloc(s->sessions, room * sizeof(*new));
		if (!new)
			return NULL;
		s->sessions = new;
		s->room = room;
	}
	new = &s->sessions[s->n++];
	*new = (struct session){ .sock = sock, .pidfd = -EBADF,
				 .deadline_ms = nsbox_now_ms() + OPEN_TIMEOUT_MS };
	return new;
}

static void end_session(struct server *s, struct session *session)
{
	for (unsigned int i = 0; i < session->n_ttys; i++)
		nsbox_box_forget_tty(&s->box, session->ttys[i]);
	session->n_ttys = 0;
	nsbox_accounting_logout(&session->login);
	free(session->open);
	session->open = NULL;
	session->sock = nsbox_close(session->sock);
	session->pidfd = nsbox_close(session->pidfd);
	session->stage = STAGE_OVER;
}

static void refuse(int sock, const struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_REFUSE, .u.error = *err };

	(void)nsbox_msg_send(sock, &msg, NULL, 0, NULL);
}

/*
 * A caller that has moved must be out of the box's cgroups before these are
 * killed: it says FAILED, or its connection ends, when it is.
 */
static void refuse_session(struct server *s, struct session *session,
			   const struct nsbox_error *err)
{
	refuse(session->sock, err);
	if (session->stage == STAGE_MOVING)
		session->stage = STAGE_REFUSED;
	else
		end_session(s, session);
}

static void send_elsewhere(int sock, const char *name)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_ELSEWHERE };

	(void)snprintf(msg.u.socket, sizeof(msg.u.socket), "%s", name);
	(void)nsbox_msg_send(sock, &msg, NULL, 0, NULL);
}

/* Step two of an open: the caller gets the way into its cgroups. */
static int send_cgroups(struct server *s, struct session *session, struct nsbox_error *err)
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
	session->stage = STAGE_MOVING;
	return r;
}

/* Takes from an OPEN who calls: his pidfd. His terminals wait in @packet. */
static int know_caller(struct session *session, struct nsbox_packet *packet,
		       struct nsbox_error *err)
{
	if (packet->n_fds < 1 || packet->n_fds > 1 + TTYS_MAX)
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

static int show_terminals(struct server *s, struct session *session, struct nsbox_packet *packet,
			  struct nsbox_error *err)
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
static int join_existing(struct server *s, struct session *session, struct nsbox_packet *packet,
			 struct nsbox_error *err)
{
	const struct nsbox_msg_open *open = &packet->msg.u.open;
	int r;

	if (strcmp(open->box, s->box.record.socket) != 0 || open->unfit.code)
		return nsbox_error_say(err, EPROTO, "the caller wants box %.40s of this keeper",
				       open->box);
	r = know_caller(session, packet, err);
	if (r == 0)
		r = send_cgroups(s, session, err);
	/* While the caller moves; and init is not asked in a frozen box. */
	return r < 0 ? r : show_terminals(s, session, packet, err);
}

static void send_join(struct server *s, struct session *session, struct nsbox_error *err, int *ret)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_JOIN };

	*ret = nsbox_cgroup_verify(&s->box.cgroup, session->leaf, session->pid, err);
	if (*ret < 0)
		return;
	*ret = nsbox_box_fill_join(&s->box, session->leaf, &msg.u.join, err);
	if (*ret == 0)
		*ret = nsbox_msg_send(session->sock, &msg, &s->box.pidfd, 1, err);
	if (*ret == 0)
		session->stage = STAGE_JOINING;
}

static size_t count_sessions(const struct server *s)
{
	size_t n = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->sessions[i].stage > STAGE_CONNECTED && s->sessions[i].stage <= STAGE_LIVE)
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
static void describe_network(const struct server *s, char *net, size_t net_size, char *publish,
			     size_t publish_size)
{
	static const char *const prefix[] = {
		"none", "host", "bridge:", "join:", "join:/run/netns/",
	};
	const struct nsbox_decision *p = &s->box.policy;

	(void)snprintf(net, net_size, "%s%s", prefix[p->net], p->net_name);
	(void)snprintf(publish, publish_size, "%s",
		       p->n_publish ? p->text[NSBOX_KEY_PUBLISH] : "");
}

static void send_status(struct server *s, int sock)
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
		       count_sessions(s), (long long)s->since, s->box.ids.base,
		       s->box.ids.keep ? "keep" : "shift",
		       net,
		       s->box.policy.rootfs, (int)getpid(), s->box.record.socket,
		       s->first.service, s->first.flags & NSBOX_OPEN_RUN,
		       s->box.network.reply.address, s->box.network.reply.address6,
		       s->box.network.reply.link, publish, args);
	(void)nsbox_msg_send(sock, &msg, NULL, 0, NULL);
}

/* Does logind end it? */
static void check_logind(struct session *session)
{
	if (session->stage == STAGE_LIVE && session->logind[0] && !session->ending_ms &&
	    nsbox_watch_is_ending(session->logind))
		session->ending_ms = nsbox_now_ms() + ENDING_GRACE_MS;
}

/* The caller is in the box. */
static void enliven(struct server *s, struct session *session)
{
	session->stage = STAGE_LIVE;
	session->sock = nsbox_close(session->sock);
	s->joined = true;
	if (s->box.policy.record_login) {
		nsbox_accounting_login(&session->login, session->open, s->box.uid, session->pid);
		nsbox_registry_note_login(&s->box.record, &session->login);
	}
	(void)snprintf(session->logind, sizeof(session->logind), "%s", session->open->session);
	free(session->open);
	session->open = NULL;
	check_logind(session);	/* it may have begun before we watched */
}

/*
 * Another keeper, of the same user, wants the persistent root that our box has:
 * the policy has changed, or says something else for another service. A box
 * that only lingers ends for it.
 */
static int make_way(struct server *s, struct session *session, struct nsbox_error *err)
{
	size_t n = count_sessions(s);

	if (n > 0)
		return nsbox_error_say(err, EBUSY, "box %s has the user's persistent root and %zu "
				       "session%s, and this login is to have another box: log out "
				       "there, or end it with nsbox stop %s", s->box.record.box, n,
				       n == 1 ? "" : "s", s->user);
	session->stage = STAGE_STOPPING;
	s->ending = true;
	return 0;
}

/* A message of a caller that is expected now. */
static int handle(struct server *s, struct session *session, struct nsbox_packet *packet,
		  struct nsbox_error *err)
{
	uint32_t type = packet->msg.type;
	int r = 0;

	if (session->stage == STAGE_CONNECTED && type == NSBOX_MSG_OPEN)
		return join_existing(s, session, packet, err);
	if (session->stage == STAGE_CONNECTED && type == NSBOX_MSG_QUERY) {
		send_status(s, session->sock);
		end_session(s, session);
	} else if (session->stage == STAGE_CONNECTED && type == NSBOX_MSG_STOP) {
		session->stage = STAGE_STOPPING;
		s->ending = true;
	} else if (session->stage == STAGE_CONNECTED && type == NSBOX_MSG_ELSEWHERE) {
		r = make_way(s, session, err);
	} else if (session->stage == STAGE_MOVING && type == NSBOX_MSG_MOVED) {
		send_join(s, session, err, &r);
	} else if (session->stage == STAGE_JOINING && type == NSBOX_MSG_JOINED) {
		enliven(s, session);
	} else if (type == NSBOX_MSG_FAILED) {
		end_session(s, session);
	} else if (session->stage == STAGE_REFUSED && type == NSBOX_MSG_MOVED) {
		;	/* said before it heard: its FAILED comes */
	} else {
		r = nsbox_error_say(err, EPROTO, "message %u is not due now", type);
	}
	return r;
}

static void read_session(struct server *s, struct session *session)
{
	struct nsbox_packet packet cleanup_packet = { .n_fds = 0 };
	struct nsbox_error err;
	int r = nsbox_msg_recv(session->sock, nsbox_now_ms(), &packet, &err);

	if (r == -EPIPE && session->stage == STAGE_JOINING) {
		/* It may be inside, or not: it counts until it ends. */
		enliven(s, session);
		return;
	}
	if (r == 0)
		r = handle(s, session, &packet, &err);
	if (r == -EPIPE)
		end_session(s, session);
	else if (r < 0)
		refuse_session(s, session, &err);
}

static void accept_all(struct server *s)
{
	int sock;

	while ((sock = accept4(s->box.record.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) {
		struct ucred peer = { .uid = (uid_t)-1 };
		socklen_t len = sizeof(peer);

		/* The directory is root's alone already; a second look costs nothing. */
		if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != 0 ||
		    !add_session(s, sock))
			(void)nsbox_close(sock);
	}
	/* Too many descriptors, here or on the machine: he waits, and poll() must not spin for him. */
	if (errno != EAGAIN)
		s->deaf_until_ms = nsbox_now_ms() + DEAF_MS;
}

/* passwd, a session of logind or, if @what is "", any of them has changed: does it concern us? */
static void look_at(struct server *s, const char *what)
{
	if (s->in_passwd && (!*what || strcmp(what, "passwd") == 0) &&
	    !nsbox_watch_has_user(s->user, s->box.uid)) {
		syslog(LOG_NOTICE, "%s is no user any more: the box ends", s->user);
		s->ending = true;
	}
	for (size_t i = 0; i < s->n; i++)
		if (!*what || strcmp(what, s->sessions[i].logind) == 0)
			check_logind(&s->sessions[i]);
}

static void look_around(struct server *s)
{
	char what[NSBOX_SESSION_MAX];

	while (nsbox_watch_next(&s->watch, what, sizeof(what)))
		look_at(s, what);
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

/* What logind does to a scope: SIGTERM, then SIGKILL. The pidfd says whether it is still he. */
static void end_from_outside(struct session *session)
{
	if (nsbox_pidfd_alive(session->pidfd, NULL) != 1)
		return;
	signal_tree(session->pid, session->terminated ? SIGKILL : SIGTERM, 32);
	session->terminated = true;
	session->ending_ms = nsbox_now_ms() + ENDING_TERM_MS;
}

static void forget_ended(struct server *s)
{
	size_t kept = 0;

	for (size_t i = 0; i < s->n; i++)
		if (s->sessions[i].stage != STAGE_OVER)
			s->sessions[kept++] = s->sessions[i];
	s->n = kept;
}

static void check_deadlines(struct server *s)
{
	uint64_t now = nsbox_now_ms();

	for (size_t i = 0; i < s->n; i++) {
		struct session *session = &s->sessions[i];

		if (session->stage < STAGE_JOINING && now >= session->deadline_ms)
			end_session(s, session);
		if (session->stage == STAGE_LIVE && session->ending_ms && now >= session->ending_ms)
			end_from_outside(session);
	}
	if (count_sessions(s) > 0)
		s->idle_since_ms = 0;
	else if (!s->idle_since_ms)
		s->idle_since_ms = now;
	if (s->idle_since_ms && s->box.policy.linger_ms != NSBOX_LINGER_FOREVER &&
	    now - s->idle_since_ms >= s->box.policy.linger_ms)
		s->ending = true;
}

/* When poll() must return although nothing happened. */
static int poll_timeout(const struct server *s)
{
	uint64_t next = s->deaf_until_ms ? s->deaf_until_ms : UINT64_MAX;

	for (size_t i = 0; i < s->n; i++) {
		const struct session *session = &s->sessions[i];

		if (session->stage < STAGE_JOINING && session->deadline_ms < next)
			next = session->deadline_ms;
		if (session->stage == STAGE_LIVE && session->ending_ms && session->ending_ms < next)
			next = session->ending_ms;
	}
	if (s->idle_since_ms && s->box.policy.linger_ms != NSBOX_LINGER_FOREVER &&
	    s->idle_since_ms + s->box.policy.linger_ms < next)
		next = s->idle_since_ms + s->box.policy.linger_ms;
	return next == UINT64_MAX ? -1 : nsbox_until_ms(next);
}

/* Before the sessions in the poll(2) of a turn. */
enum { POLL_LISTENER, POLL_INIT, POLL_SIGNALS, POLL_LOG, POLL_WATCH, POLL_GUEST, POLL_SESSIONS };

/* One turn: waits, and does what there is to do. Returns a negative errno without memory. */
static int turn(struct server *s)
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
	of_session = &fds[POLL_SESSIONS];
	for (size_t i = 0; i < n; i++) {
		of_session[2 * i] = (struct pollfd){ .fd = s->sessions[i].sock, .events = POLLIN };
		of_session[2 * i + 1] = (struct pollfd){ .fd = s->sessions[i].pidfd, .events = POLLIN };
	}
	if (poll(fds, POLL_SESSIONS + 2 * n, poll_timeout(s)) < 0 && errno != EINTR)
		return -errno;
	if (fds[POLL_INIT].revents || fds[POLL_SIGNALS].revents)
		s->ending = true;	/* init has died, or somebody asks us to end */
	if (fds[POLL_GUEST].revents)
		s->ending = true;	/* the box whose network we have has ended */
	if (fds[POLL_LOG].revents)
		nsbox_boxlog_forward(&s->box.log, s->user);
	if (fds[POLL_WATCH].revents)
		look_around(s);
	for (size_t i = 0; i < n; i++) {
		struct session *session = &s->sessions[i];

		if (of_session[2 * i].revents)
			read_session(s, session);
		if (of_session[2 * i + 1].revents && session->stage != STAGE_OVER)
			end_session(s, session);
	}
	if (fds[POLL_LISTENER].revents)
		accept_all(s);
	forget_ended(s);
	check_deadlines(s);
	return 0;
}

static void log_opened(struct server *s)
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
static void leave_caller(struct server *s)
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
static void settle_down(struct server *s)
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

static void serve(struct server *s)
{
	bool settled = false;
	int r = 0;

	s->signals = catch_signals();
	while (!s->ending && r == 0) {
		r = turn(s);
		/* Who called first may have failed: then nobody waits. */
		if (!settled && !s->ending && (s->joined || count_sessions(s) == 0)) {
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
static void dismiss(struct server *s, bool begun_only, const struct nsbox_error *err)
{
	for (size_t i = 0; i < s->n; i++) {
		struct session *session = &s->sessions[i];
		struct nsbox_packet packet cleanup_packet = { .n_fds = 0 };
		int r = 0;

		if (session->stage == STAGE_CONNECTED && begun_only)
			end_session(s, session);
		else if (session->stage == STAGE_CONNECTED || session->stage == STAGE_MOVING)
			refuse_session(s, session, err);
		/* A MOVED may still come before the FAILED. */
		while (r == 0 && (session->stage == STAGE_REFUSED || session->stage == STAGE_JOINING)) {
			r = nsbox_msg_recv(session->sock, session->deadline_ms, &packet, NULL);
			if (r == 0 && packet.msg.type != NSBOX_MSG_MOVED)
				break;
			nsbox_packet_drop(&packet);
		}
	}
}

static void finish(struct server *s)
{
	struct nsbox_error err;
	int r;

	/* First nobody finds us, then all dies, then everything is removed. */
	nsbox_registry_close(&s->box.record);
	(void)nsbox_error_say(&err, ESHUTDOWN, "the box ends");
	dismiss(s, true, &err);
	for (size_t i = 0; i < s->n; i++) {
		nsbox_accounting_logout(&s->sessions[i].login);
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
		if (s->sessions[i].stage != STAGE_STOPPING)
			continue;
		if (r < 0)
			refuse(s->sessions[i].sock, &err);
		else
			(void)nsbox_msg_send_type(s->sessions[i].sock, NSBOX_MSG_DONE, NULL);
	}
	free(s->sessions);
}

/* Makes the box for the first session, whose move into the cgroups runs meanwhile. */
static int build(struct server *s, struct session *session, struct nsbox_packet *packet,
		 const struct nsbox_subject *subject, struct nsbox_error *err)
{
	int r = know_caller(session, packet, err);

	if (r == 0)
		r = nsbox_box_begin(&s->box, subject, packet->msg.u.open.unknown_block, err);
	if (r == 0)
		r = send_cgroups(s, session, err);
	if (r == 0)
		r = nsbox_box_finish(&s->box, subject, nsbox_now_ms() + BUILD_TIMEOUT_MS, err);
	if (r == 0)
		r = show_terminals(s, session, packet, err);
	return r;
}

/* The box of the first OPEN: entered into the registry, made, served to its end. */
static int keep_box(struct server *s, int first, struct nsbox_packet *packet,
		    struct nsbox_answer *answer, struct nsbox_error *err)
{
	struct session *session;
	int r = nsbox_registry_enter(answer->identity.subject.uid, answer->box,
				     answer->decision.scope, &s->box.record, err);

	if (r == 1) {
		send_elsewhere(first, s->box.record.socket);
		return 0;
	}
	if (r < 0)
		return r;
	s->box.policy = answer->decision;
	memset(&answer->decision, 0, sizeof(answer->decision));
	session = add_session(s, first);
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
	static struct server s = { .box = NSBOX_BOX_INIT, .watch = NSBOX_WATCH_INIT };
	struct nsbox_packet packet cleanup_packet = { .n_fds = 0 };
	struct nsbox_answer answer cleanup_answer = { .box = "" };
	struct nsbox_error err;
	int r = nsbox_msg_recv(first, nsbox_now_ms() + OPEN_TIMEOUT_MS, &packet, &err);

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
		refuse(first, &err);
	return r;
}
