/* SPDX-License-Identifier: MIT */
/* The wire: what does not look exactly like a message is refused, and leaks nothing. */
#include "proto.h"
#include "cleanup.h"
#include "test.h"

#include <fcntl.h>
#include <stddef.h>
#include <signal.h>
#include <sys/socket.h>

static int pair[2];
static struct nsbox_packet in;
static struct nsbox_error err;

static unsigned int open_descriptors(void)
{
	unsigned int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static uint64_t soon(void)
{
	return nsbox_now_ms() + 1000;
}

static void round_trip(void)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_OPEN };
	int fds[2] = { 0, 1 };
	unsigned int before = open_descriptors();

	strcpy(msg.u.open.user, "alice");
	OK(nsbox_msg_send(pair[0], &msg, fds, 2, &err) == 0, "an OPEN is sent");
	OK(nsbox_msg_recv(pair[1], soon(), &in, &err) == 0, "and received");
	OK(in.msg.type == NSBOX_MSG_OPEN && in.n_fds == 2, "with its descriptors");
	IS(in.msg.u.open.user, "alice", "and its text");
	OK(fcntl(in.fds[0], F_GETFD) & FD_CLOEXEC, "descriptors are close-on-exec");
	nsbox_packet_drop(&in);
	OK(open_descriptors() == before, "dropping closes them");
	nsbox_packet_drop(&in);
	OK(open_descriptors() == before, "twice is harmless");
}

static void raw(const void *data, size_t len, int want, const char *what)
{
	unsigned int before = open_descriptors();

	(void)!send(pair[0], data, len, 0);
	OK(nsbox_msg_recv(pair[1], soon(), &in, &err) == want, "%s (%s)", what, err.msg);
	OK(open_descriptors() == before, "%s: nothing stays open", what);
}

static void malformed(void)
{
	struct nsbox_msg msg = { .version = NSBOX_PROTO_VERSION, .type = NSBOX_MSG_REFUSE };
	const size_t header = offsetof(struct nsbox_msg, u);

	raw(&msg, header, -EPROTO, "a REFUSE without its error");
	raw(&msg, sizeof(msg), -EPROTO, "a REFUSE that is too long");
	raw(&msg, 3, -EPROTO, "three bytes");
	msg.version++;
	raw(&msg, header + sizeof(msg.u.error), -EPROTO, "another version");
	HAS(err.msg, "nsbox stop", "the sentence says what to do");
}

static void unterminated(void)
{
	struct nsbox_msg msg = { .version = NSBOX_PROTO_VERSION, .type = NSBOX_MSG_OPEN };

	memset(&msg.u.open, 'x', sizeof(msg.u.open));
	(void)!send(pair[0], &msg, offsetof(struct nsbox_msg, u) + sizeof(msg.u.open), 0);
	OK(nsbox_msg_recv(pair[1], soon(), &in, &err) == 0, "an OPEN of x only is received");
	OK(strlen(in.msg.u.open.user) == NSBOX_USER_MAX - 1 &&
	   strlen(in.msg.u.open.unfit.msg) == NSBOX_ERROR_MAX - 1, "its strings end");
}

static void silence(void)
{
	uint64_t before = nsbox_now_ms();

	OK(nsbox_msg_recv(pair[1], before + 50, &in, &err) == -ETIMEDOUT, "silence times out");
	OK(nsbox_now_ms() - before >= 49, "not before its time");
	pair[0] = nsbox_close(pair[0]);
	OK(nsbox_msg_recv(pair[1], soon(), &in, &err) == -EPIPE, "a closed end is EPIPE");
	OK(nsbox_msg_send_type(pair[1], NSBOX_MSG_DONE, &err) == -EPIPE, "also to a sender, "
	   "without a signal");
}

/* Init refuses while the keeper's next message is on its way: that is the sentence to hear. */
static void last_words(void)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_REFUSE };
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
		return;
	(void)nsbox_error_say(&msg.u.error, ELOOP, "no");
	OK(nsbox_msg_send_type(ends[1], NSBOX_MSG_SETTLE, NULL) == 0, "a message that is never read");
	OK(nsbox_msg_send(ends[0], &msg, NULL, 0, NULL) == 0, "last words");
	(void)nsbox_close(ends[0]);
	OK(nsbox_msg_recv(ends[1], soon(), &in, &err) == 0 && in.msg.type == NSBOX_MSG_REFUSE &&
	   strcmp(in.msg.u.error.msg, "no") == 0, "last words are heard");
	OK(nsbox_msg_recv(ends[1], soon(), &in, &err) == -EPIPE, "after them comes the end");
	(void)nsbox_close(ends[1]);
}

int main(void)
{
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return 1;
	round_trip();
	malformed();
	unterminated();
	silence();
	last_words();
	return test_done();
}
