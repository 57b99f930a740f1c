/* SPDX-License-Identifier: MIT */
/* pid 1 of a box: see init.h. */
#include "init.h"
#include "cleanup.h"
#include "deprivilege.h"
#include "filter.h"
#include "proto.h"
#include "root.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

/* The box's end is not a question of patience: init waits for the keeper for ever. */
#define FOREVER UINT64_MAX

static int receive(int sock, struct nsbox_packet *in, struct nsbox_error *err)
{
	return nsbox_msg_recv(sock, FOREVER, in, err);
}

/* All orphans of the box are ours; ignoring SIGCHLD reaps them (wait(2)). */
static int ignore_children(struct nsbox_error *err)
{
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	if (sigaction(SIGCHLD, &ignore, NULL) < 0)
		return nsbox_error_set(err, errno, "sigaction(SIGCHLD)");
	return 0;
}

static int become_box_root(struct nsbox_error *err)
{
	if (setgroups(0, NULL) < 0)
		return nsbox_error_set(err, errno, "setgroups in the box");
	if (setresgid(0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "setresgid in the box");
	if (setresuid(0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "setresuid in the box");
	return 0;
}

static int bring_up_loopback(struct nsbox_error *err)
{
	cleanup_close int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING };

	if (sock < 0 || ioctl(sock, SIOCSIFFLAGS, &ifr) < 0)
		return nsbox_error_set(err, errno, "bring lo up");
	return 0;
}

static int name_box(const struct nsbox_init *init, struct nsbox_error *err)
{
	const char *name = init->policy->hostname;

	if (sethostname(name, strlen(name)) < 0)
		return nsbox_error_set(err, errno, "sethostname %s", name);
	return nsbox_init_owns_net(init) ? bring_up_loopback(err) : 0;
}

/* Is @fd one that the plans need? Also tells the highest of those. */
static bool is_lent(const struct nsbox_init *init, int fd, int *highest)
{
	const struct nsbox_plan *const plans[] = { init->content, init->mounts };
	bool found = fd == init->content->image || fd == init->content->layers;

	*highest = init->sock > init->content->image ? init->sock : init->content->image;
	*highest = *highest > init->content->layers ? *highest : init->content->layers;
	for (size_t p = 0; p < 2; p++)
		for (size_t i = 0; i < plans[p]->n; i++) {
			int tree = plans[p]->steps[i].tree;

			found |= tree == fd;
			*highest = tree > *highest ? tree : *highest;
		}
	return found;
}

/*
 * Of the keeper's descriptors only the way to it and, with @lent, what it lends
 * stay open. Else init would hold the keeper's end of that way, its listening
 * socket and its locks, and a keeper that is killed would seem alive for ever.
 */
static int close_rest(const struct nsbox_init *init, bool lent, struct nsbox_error *err)
{
	int highest = init->sock;

	for (int fd = 3; fd <= highest; fd++) {
		bool keep = is_lent(init, fd, &highest) && lent;

		if (fd != init->sock && !keep)
			(void)close(fd);
	}
	if (close_range((unsigned int)highest + 1, ~0U, 0) < 0)
		return nsbox_error_set(err, errno, "close_range");
	return 0;
}

/* Of all capabilities in the box, init needs the one that mounts a terminal. */
static int drop_privileges(const struct nsbox_init *init, struct nsbox_error *err)
{
	const struct nsbox_filter *filter = nsbox_filter_for(init->policy);
	int r = nsbox_drop_keyring(err);

	if (r == 0)
		r = nsbox_drop_dumpable(err);
	if (r == 0)
		r = nsbox_install_filter(filter->insns, filter->len, err);
	if (r == 0)
		r = nsbox_drop_caps(init->policy->caps, UINT64_C(1) << CAP_SYS_ADMIN, err);
	return r;
}

/*
 * What had to wait for the keeper. The cgroup that we are in becomes the root
 * of the cgroup namespace: on v1 not before the keeper has moved us, or it
 * would be the host's.
 */
static int settle(const struct nsbox_init *init, struct nsbox_error *err)
{
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };
	int r = receive(init->sock, &in, err);

	if (r < 0)
		return r;
	if (in.msg.type != NSBOX_MSG_SETTLE)
		return nsbox_error_say(err, EPROTO, "the keeper said %u where SETTLE was due",
				       in.msg.type);
	if (init->unshare_cgroup && unshare(CLONE_NEWCGROUP) < 0)
		return nsbox_error_set(err, errno, "unshare(CLONE_NEWCGROUP)");
	return drop_privileges(init, err);
}

static int assemble(const struct nsbox_init *init, struct nsbox_error *err)
{
	int r = become_box_root(err);

	(void)umask(022);
	if (r == 0)
		r = ignore_children(err);
	if (r == 0)
		r = name_box(init, err);
	if (r == 0) {
		(void)umask(0);
		r = nsbox_root_make(init, err);
		(void)umask(022);
	}
	if (r == 0)
		r = settle(init, err);
	if (r == 0)
		r = close_rest(init, false, err);
	return r;
}

static void answer(int sock, int r, const struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = r < 0 ? NSBOX_MSG_REFUSE : NSBOX_MSG_DONE };

	if (r < 0)
		msg.u.error = *err;
	(void)nsbox_msg_send(sock, &msg, NULL, 0, NULL);
}

static void serve(const struct nsbox_init *init)
{
	struct nsbox_error err;

	for (;;) {
		struct nsbox_packet in cleanup_packet;
		int r = receive(init->sock, &in, &err);

		if (r < 0)
			_exit(0);
		if (in.msg.type == NSBOX_MSG_TTY_BIND && in.n_fds == 1)
			r = nsbox_root_bind_tty(in.msg.u.name, in.fds[0], &err);
		else
			r = nsbox_error_say(&err, EPROTO, "init does not know message %u",
					    in.msg.type);
		answer(init->sock, r, &err);
	}
}

/* For ps: the argument is a copy of the keeper's since the clone. */
static void name_process(void)
{
	static const char name[] = "nsbox-init";

	(void)prctl(PR_SET_NAME, name);
	if (strlen(program_invocation_name) < strlen(name))
		return;
	memset(program_invocation_name, 0, strlen(program_invocation_name));
	memcpy(program_invocation_name, name, strlen(name));
}

void nsbox_init_run(const struct nsbox_init *init)
{
	struct nsbox_packet in = { .n_fds = 0 };
	struct nsbox_error err;
	struct nsbox_msg ready = { .type = NSBOX_MSG_READY };
	int r;

	name_process();
	if (close_rest(init, true, &err) < 0 || receive(init->sock, &in, &err) < 0 || in.msg.type != NSBOX_MSG_BUILD)
		_exit(1);
	r = assemble(init, &err);
	if (r < 0) {
		answer(init->sock, r, &err);
		_exit(1);
	}
	if (nsbox_msg_send(init->sock, &ready, NULL, 0, NULL) < 0)
		_exit(1);
	serve(init);
	_exit(0);
}
