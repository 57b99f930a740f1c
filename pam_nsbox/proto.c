/* SPDX-License-Identifier: MIT */
/* The wire between caller and keeper: see proto.h. */
#include "proto.h"
#include "cleanup.h"

#include <limits.h>
#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

#define HEADER_SIZE offsetof(struct nsbox_msg, u)

uint64_t nsbox_now_ms(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

int nsbox_until_ms(uint64_t deadline_ms)
{
	uint64_t now = nsbox_now_ms();

	if (deadline_ms <= now)
		return 0;
	return deadline_ms - now > INT_MAX ? INT_MAX : (int)(deadline_ms - now);
}

/* How many bytes a message of @type has; a larger or smaller one is not ours. */
static size_t msg_size(uint32_t type)
{
	static const struct nsbox_msg *const m = NULL;

	switch (type) {
	case NSBOX_MSG_OPEN:
		return HEADER_SIZE + sizeof(m->u.open);
	case NSBOX_MSG_JOIN:
		return HEADER_SIZE + sizeof(m->u.join);
	case NSBOX_MSG_REFUSE:
	case NSBOX_MSG_FAILED:
		return HEADER_SIZE + sizeof(m->u.error);
	case NSBOX_MSG_ELSEWHERE:
	case NSBOX_MSG_CGROUP:
		return HEADER_SIZE + sizeof(m->u.socket);
	case NSBOX_MSG_STATUS:
		return HEADER_SIZE + sizeof(m->u.status);
	case NSBOX_MSG_TTY_BIND:
		return HEADER_SIZE + sizeof(m->u.name);
	default:
		return HEADER_SIZE;
	}
}

int nsbox_msg_send(int sock, struct nsbox_msg *msg, const int *fds, unsigned int n_fds,
		   struct nsbox_error *err)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * NSBOX_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = msg };
	struct msghdr mh = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t n;

	msg->version = NSBOX_PROTO_VERSION;
	iov.iov_len = msg_size(msg->type);
	if (n_fds > NSBOX_FDS_MAX)
		return nsbox_error_set(err, E2BIG, "sending %u descriptors", n_fds);
	if (n_fds > 0) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = control.buf;
		mh.msg_controllen = CMSG_SPACE(sizeof(int) * n_fds);
		CMSG_FIRSTHDR(&mh)->cmsg_level = SOL_SOCKET;
		CMSG_FIRSTHDR(&mh)->cmsg_type = SCM_RIGHTS;
		CMSG_FIRSTHDR(&mh)->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
		memcpy(CMSG_DATA(CMSG_FIRSTHDR(&mh)), fds, sizeof(int) * n_fds);
	}
	do
		n = sendmsg(sock, &mh, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	if (n < 0 && (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN))
		return nsbox_error_say(err, EPIPE, "the other end has closed the connection");
	if (n < 0)
		return nsbox_error_set(err, errno, "sendmsg");
	return 0;
}

int nsbox_msg_send_type(int sock, enum nsbox_msg_type type, struct nsbox_error *err)
{
	struct nsbox_msg msg;	/* of which the header is sent: the rest is much to clear */

	msg.type = (uint32_t)type;
	return nsbox_msg_send(sock, &msg, NULL, 0, err);
}

void nsbox_packet_drop(struct nsbox_packet *packet)
{
	if (!packet)
		return;
	for (unsigned int i = 0; i < packet->n_fds; i++)
		packet->fds[i] = nsbox_close(packet->fds[i]);
	packet->n_fds = 0;
}

static void collect_fds(struct msghdr *mh, struct nsbox_packet *packet)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(mh); c; c = CMSG_NXTHDR(mh, c)) {
		size_t n;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		n = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < n && packet->n_fds < NSBOX_FDS_MAX; i++) {
			memcpy(&packet->fds[packet->n_fds], CMSG_DATA(c) + i * sizeof(int),
			       sizeof(int));
			packet->n_fds++;
		}
	}
}

static int wait_readable(int sock, uint64_t deadline_ms, struct nsbox_error *err)
{
	struct pollfd pfd = { .fd = sock, .events = POLLIN };
	int r;

	do
		r = poll(&pfd, 1, nsbox_until_ms(deadline_ms));
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return nsbox_error_set(err, errno, "poll");
	if (r == 0)
		return nsbox_error_say(err, ETIMEDOUT, "no answer in time");
	return 0;
}

/* Strings of the other end are used as strings: end each where its array ends. */
static void terminate_strings(struct nsbox_msg *msg)
{
	switch (msg->type) {
	case NSBOX_MSG_OPEN:
		msg->u.open.user[NSBOX_USER_MAX - 1] = '\0';
		msg->u.open.service[NSBOX_SERVICE_MAX - 1] = '\0';
		msg->u.open.tty[NSBOX_TTY_MAX - 1] = '\0';
		msg->u.open.rhost[NSBOX_RHOST_MAX - 1] = '\0';
		msg->u.open.session[NSBOX_SESSION_MAX - 1] = '\0';
		msg->u.open.args[NSBOX_ARGS_MAX - 1] = '\0';
		msg->u.open.box[NSBOX_SOCKET_MAX - 1] = '\0';
		msg->u.open.unfit.msg[NSBOX_ERROR_MAX - 1] = '\0';
		break;
	case NSBOX_MSG_JOIN:
		msg->u.join.env[NSBOX_ENV_MAX - 1] = '\0';
		msg->u.join.env[NSBOX_ENV_MAX - 2] = '\0';
		msg->u.join.notice[NSBOX_ERROR_MAX - 1] = '\0';
		break;
	case NSBOX_MSG_REFUSE:
	case NSBOX_MSG_FAILED:
		msg->u.error.msg[NSBOX_ERROR_MAX - 1] = '\0';
		break;
	case NSBOX_MSG_STATUS:
		msg->u.status[NSBOX_STATUS_MAX - 1] = '\0';
		break;
	case NSBOX_MSG_ELSEWHERE:
	case NSBOX_MSG_CGROUP:
		msg->u.socket[NSBOX_SOCKET_MAX - 1] = '\0';
		break;
	case NSBOX_MSG_TTY_BIND:
		msg->u.name[NSBOX_TTY_MAX - 1] = '\0';
		break;
	default:
		break;
	}
}

int nsbox_msg_recv(int sock, uint64_t deadline_ms, struct nsbox_packet *ret_packet,
		   struct nsbox_error *err)
{
	union {
		struct cmsghdr align;
		char buf[CMSG_SPACE(sizeof(int) * NSBOX_FDS_MAX)];
	} control;
	struct iovec iov = { .iov_base = &ret_packet->msg, .iov_len = sizeof(ret_packet->msg) };
	struct msghdr mh = {
		.msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = control.buf,
		.msg_controllen = sizeof(control.buf),
	};
	ssize_t n;
	int r, reset = 0;

	ret_packet->n_fds = 0;
	r = wait_readable(sock, deadline_ms, err);
	if (r < 0)
		return r;
	/* ECONNRESET comes once, before what the other end said last, if it left with mail unread. */
	do
		n = recvmsg(sock, &mh, MSG_CMSG_CLOEXEC);
	while (n < 0 && (errno == EINTR || (errno == ECONNRESET && !reset++)));
	if (n == 0 || (n < 0 && errno == ECONNRESET))
		return nsbox_error_say(err, EPIPE, "the other end has closed the connection");
	if (n < 0)
		return nsbox_error_set(err, errno, "recvmsg");
	collect_fds(&mh, ret_packet);
	if ((size_t)n < HEADER_SIZE || ret_packet->msg.version != NSBOX_PROTO_VERSION) {
		nsbox_packet_drop(ret_packet);
		return nsbox_error_say(err, EPROTO, "the other end speaks protocol version %u, "
				       "this one %u: end the user's old box with nsbox stop",
				       (size_t)n < HEADER_SIZE ? 0 : ret_packet->msg.version,
				       NSBOX_PROTO_VERSION);
	}
	if ((size_t)n != msg_size(ret_packet->msg.type) ||
	    (mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC))) {
		nsbox_packet_drop(ret_packet);
		return nsbox_error_say(err, EPROTO, "a message of %zd bytes of type %u came cut",
				       n, ret_packet->msg.type);
	}
	terminate_strings(&ret_packet->msg);
	return 0;
}
