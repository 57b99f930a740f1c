/* SPDX-License-Identifier: MIT */
/* The caller's half of an open: see client.h. */
#include "client.h"
#include "answer.h"
#include "block.h"
#include "caller.h"
#include "cleanup.h"
#include "join.h"
#include "spawn_keeper.h"

#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <sys/un.h>

/*
 * How often a keeper may send us elsewhere or vanish before it has done
 * anything for us: the box of a moment ago may be ending. Each round is a new
 * keeper or another box, so more than a few mean that something is wrong.
 */
enum { ROUNDS_MAX = 16 };

/* How many keepers may be killed on us while they make the box. */
enum { DEATHS_MAX = 3 };

struct conversation {
	struct nsbox_caller caller;
	struct nsbox_packet in;
	struct nsbox_answer answer;
	uint64_t deadline_ms;
	int sock;
	bool new_keeper;	/* started by us: has to be told who the user is */
	bool confirmed;		/* what the name service said */
	bool keeper_died;	/* the connection ended without a word */
};

static void end_conversation(struct conversation *c)
{
	nsbox_packet_drop(&c->in);
	nsbox_caller_drop(&c->caller);
	nsbox_answer_drop(&c->answer);
	c->sock = nsbox_close(c->sock);
}

static int check_peer(int sock, struct nsbox_error *err)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(sock, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0)
		return nsbox_error_set(err, errno, "SO_PEERCRED");
	if (peer.uid != 0)
		return nsbox_error_say(err, EPERM, "the keeper's socket belongs to uid %u, not to "
				       "root", peer.uid);
	return 0;
}

int nsbox_connect(uid_t uid, const char *name, uint64_t deadline_ms, struct nsbox_error *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	cleanup_close int sock = -EBADF;
	int left = nsbox_until_ms(deadline_ms);
	struct timeval tv = { .tv_sec = left / 1000, .tv_usec = (left % 1000 + 1) * 1000 };
	int r;

	if ((size_t)snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/%u/%s", NSBOX_RUN_DIR, uid,
			     name) >= sizeof(sa.sun_path))
		return nsbox_error_say(err, ENAMETOOLONG, "the socket name %s is too long", name);
	sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (sock < 0)
		return nsbox_error_set(err, errno, "socket");
	/* unix(7): also bounds a connect() that waits for a full backlog. */
	(void)setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	do
		r = connect(sock, (struct sockaddr *)&sa, sizeof(sa));
	while (r < 0 && errno == EINTR);
	if (r < 0 && (errno == ENOENT || errno == ECONNREFUSED))
		return nsbox_error_say(err, ENOENT, "no keeper at %s", sa.sun_path);
	if (r < 0)
		return nsbox_error_set(err, errno, "connect to %s", sa.sun_path);
	r = check_peer(sock, err);
	return r < 0 ? r : take_fd(&sock);
}

/* To the keeper that listens as @name; if there is none, to a new one. */
static int reach_keeper(struct conversation *c, uid_t uid, const char *name,
			struct nsbox_error *err)
{
	int r = -ENOENT;

	if (*name)
		r = nsbox_connect(uid, name, c->deadline_ms, err);
	c->new_keeper = r == -ENOENT;
	if (c->new_keeper)
		r = nsbox_spawn_keeper(err);
	if (r < 0)
		return r;
	c->sock = r;
	return 0;
}

/*
 * What only a new keeper asks for. Found out while it starts: our name service
 * is loaded, its own would have to be.
 */
static int introduce(const struct conversation *c, struct nsbox_msg_open *open,
		     struct nsbox_error *err)
{
	const struct nsbox_subject *subject = &c->answer.identity.subject;
	const struct nsbox_decision *d = &c->answer.decision;
	uint32_t base = nsbox_block_base(subject->uid, d->id_first, d->id_last, 0);

	open->flags |= NSBOX_OPEN_IDENTITY;
	open->unknown_block = nsbox_block_is_known(base) ? 0 : base;
	return nsbox_identity_pack(subject, err);
}

static int send_open(struct conversation *c, const struct nsbox_msg_open *open,
		     struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_OPEN };
	cleanup_close int self = pidfd_open(getpid(), 0), identity = -EBADF;
	int fds[2 + NSBOX_TERMINALS_MAX];
	unsigned int n = 0;

	if (self < 0)
		return nsbox_error_set(err, errno, "pidfd_open");
	fds[n++] = self;
	msg.u.open = *open;
	if (c->new_keeper) {
		identity = introduce(c, &msg.u.open, err);
		if (identity < 0)
			return identity;
		fds[n++] = identity;
	}
	for (unsigned int i = 0; i < c->caller.n_terminals; i++)
		fds[n++] = c->caller.terminals[i].fd;
	return nsbox_msg_send(c->sock, &msg, fds, n, err);
}

static int receive(struct conversation *c, struct nsbox_error *err)
{
	int r;

	nsbox_packet_drop(&c->in);
	r = nsbox_msg_recv(c->sock, c->deadline_ms, &c->in, err);
	c->keeper_died = r == -EPIPE;
	if (r == -EPIPE)
		return nsbox_error_say(err, EPIPE, "the keeper ended without an answer");
	if (r == -ETIMEDOUT)
		return nsbox_error_say(err, ETIMEDOUT, "the keeper did not answer in %d ms",
				       NSBOX_OPEN_TIMEOUT_MS);
	if (r < 0)
		return nsbox_error_wrap(err, "keeper");
	return 0;
}

static int expect(const struct conversation *c, enum nsbox_msg_type type, struct nsbox_error *err)
{
	if (c->in.msg.type == NSBOX_MSG_REFUSE) {
		*err = c->in.msg.u.error;
		return err->code > 0 ? -err->code : nsbox_error_say(err, EPROTO, "refused");
	}
	if (c->in.msg.type != (uint32_t)type || c->in.n_fds == 0)
		return nsbox_error_say(err, EPROTO, "the keeper said %u where %u was due",
				       c->in.msg.type, type);
	return 0;
}

/* Moves into the box's cgroups, and waits for the box. */
static int get_ready(struct conversation *c, struct nsbox_error *err)
{
	int r = expect(c, NSBOX_MSG_CGROUP, err);

	if (r == 0)
		r = nsbox_caller_move(&c->caller, c->in.fds, c->in.n_fds, err);
	if (r == 0)
		r = receive(c, err);
	if (r == 0)
		r = expect(c, NSBOX_MSG_JOIN, err);
	return r;
}

/* Everything from the keeper's CGROUP to the end of the join. */
static enum nsbox_outcome enter(struct conversation *c, struct nsbox_error *err)
{
	const struct nsbox_msg_join *join = &c->in.msg.u.join;
	struct nsbox_join_plan plan = NSBOX_JOIN_PLAN_INIT;
	struct nsbox_error back;
	bool entered = false;
	int r;

	r = get_ready(c, err);
	if (r == 0)
		r = nsbox_caller_give_terminals(&c->caller, join->tty_uid, join->tty_gid, err);
	if (r == 0)
		r = nsbox_join_prepare(join, c->in.fds[0], &plan, err);
	if (r == 0)
		r = nsbox_join(&plan, &entered, err);
	if (entered)
		plan.ns_dir = nsbox_close(plan.ns_dir);
	else
		nsbox_join_abandon(&plan);
	if (r == 0) {
		(void)nsbox_msg_send_type(c->sock, NSBOX_MSG_JOINED, NULL);
		return NSBOX_ENTERED;
	}
	if (entered)
		return NSBOX_BROKEN;
	/* Before FAILED: the keeper may end the box, and everything in its cgroups, then. */
	if (nsbox_caller_restore(&c->caller, &back) < 0)
		(void)nsbox_error_wrap(err, "%s; and after", back.msg);
	(void)nsbox_msg_send_type(c->sock, NSBOX_MSG_FAILED, NULL);
	return NSBOX_REFUSED;
}

static int confirm(struct conversation *c, struct nsbox_error *err)
{
	int r = c->confirmed ? 0 : nsbox_identity_confirm(&c->answer.identity, err);

	c->confirmed = r == 0;
	return r;
}

/*
 * One keeper's answer to OPEN. Returns 1 to ask again (*name may have changed),
 * 0 when it is not to ask elsewhere, or a negative errno.
 */
static int ask(struct conversation *c, const struct nsbox_msg_open *open, uid_t uid,
	       char name[NSBOX_SOCKET_MAX], struct nsbox_error *err)
{
	int r = reach_keeper(c, uid, name, err);

	if (r == 0)
		r = send_open(c, open, err);
	if (r == 0)
		r = confirm(c, err);	/* while the keeper works */
	if (r == 0)
		r = receive(c, err);
	if (r == 0 && c->in.msg.type == NSBOX_MSG_ELSEWHERE)
		(void)snprintf(name, NSBOX_SOCKET_MAX, "%s", c->in.msg.u.socket);
	else if (r != -EPIPE)
		return r;
	c->sock = nsbox_close(c->sock);
	return 1;
}

/*
 * Weighs the policy here first. Whom it passes or denies needs no keeper: he
 * logs in, or not, also where that cannot start, and at once.
 */
static enum nsbox_outcome weigh(struct nsbox_msg_open *open, struct nsbox_answer *answer,
				struct nsbox_error *err)
{
	(void)nsbox_caller_fit(&open->unfit);
	if (nsbox_answer_open(open, answer, err) < 0)
		return NSBOX_REFUSED;
	if (answer->decision.action != NSBOX_ACTION_BOX) {
		if (nsbox_identity_confirm(&answer->identity, err) < 0)
			return NSBOX_REFUSED;
		return answer->decision.action == NSBOX_ACTION_PASS ? NSBOX_PASSED : NSBOX_DENIED;
	}
	if (answer->decision.scope == NSBOX_SCOPE_USER)
		strcpy(open->box, answer->box);
	return NSBOX_ENTERED;
}

/* Asks from keeper to keeper until one has our box, and goes in. */
static enum nsbox_outcome open_once(struct conversation *c, const struct nsbox_msg_open *open,
				    uid_t uid, struct nsbox_error *err)
{
	char name[NSBOX_SOCKET_MAX];
	int r = 1;

	strcpy(name, open->box);
	c->sock = nsbox_close(c->sock);
	for (int round = 0; r == 1 && round < ROUNDS_MAX; round++)
		r = ask(c, open, uid, name, err);
	if (r == 1) {
		c->keeper_died = false;
		(void)nsbox_error_say(err, ELOOP, "no keeper stays long enough to open a box: see "
				      "the log for why they end");
	}
	if (r != 0)
		return NSBOX_REFUSED;
	/*
	 * We have just read that he is boxed: the policy changed since. Fail
	 * closed, the next login knows.
	 */
	if (c->in.msg.type == NSBOX_MSG_PASS) {
		(void)nsbox_error_say(err, EAGAIN, "the policy changed while the session was "
				      "opened: log in again");
		return NSBOX_REFUSED;
	}
	return enter(c, err);
}

/* Whom the policy does not box: its own words for him or for the log. */
static void tell(const struct nsbox_decision *d, enum nsbox_outcome outcome,
		 struct nsbox_opened *ret)
{
	const char *said = NULL;

	if (outcome == NSBOX_DENIED)
		said = d->deny_message;
	if (outcome == NSBOX_PASSED && d->log_only)
		said = d->reason;
	(void)snprintf(ret->said, sizeof(ret->said), "%s", said ? said : "");
}

static void take_join(const struct nsbox_msg_join *join, struct nsbox_opened *ret)
{
	memcpy(ret->said, join->notice, sizeof(ret->said));
	memcpy(ret->env, join->env, sizeof(ret->env));
	ret->uid = join->uid;
	ret->gid = join->gid;
}

enum nsbox_outcome nsbox_open(struct nsbox_msg_open *open, uid_t uid, struct nsbox_opened *ret,
			      struct nsbox_error *err)
{
	struct conversation c __attribute__((cleanup(end_conversation))) = {
		.caller = NSBOX_CALLER_INIT,
		.sock = -EBADF,
		.deadline_ms = nsbox_now_ms() + NSBOX_OPEN_TIMEOUT_MS,
	};
	enum nsbox_outcome outcome = weigh(open, &c.answer, err);
	int deaths = 0;

	ret->said[0] = '\0';
	if (outcome != NSBOX_ENTERED) {
		tell(&c.answer.decision, outcome, ret);
		return outcome;
	}
	if (nsbox_caller_find_terminals(&c.caller, err) < 0)
		return NSBOX_REFUSED;
	/* A keeper that is killed under our hands has changed nothing: the next one. */
	do {
		c.keeper_died = false;
		outcome = open_once(&c, open, uid, err);
	} while (outcome == NSBOX_REFUSED && c.keeper_died && ++deaths < DEATHS_MAX);
	if (outcome == NSBOX_ENTERED)
		take_join(&c.in.msg.u.join, ret);
	return outcome;
}
