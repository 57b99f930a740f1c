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

/*
 * Of the keeper's descriptors only the way to it stays open. Else init would
 * hold the keeper's end of that way, its listening socket and its locks, and a
 * keeper that is killed would seem alive for ever.
 */
static int close_rest(int sock, struct nsbox_error *err)
{
	if ((sock > 3 && close_range(3, (unsigned int)sock - 1, 0) < 0) ||
	    close_range((unsigned int)sock + 1, ~0U, 0) < 0)
		return nsbox_error_set(err, errno, "close_range");
	return 0;
}

/* Nothing that makes the root needs what the filter refuses, and the keeper is not ready yet. */
static int confine(const struct nsbox_init *init, struct nsbox_error *err)
{
	const struct nsbox_filter *filter = nsbox_filter_for(init->policy);
	int r = nsbox_drop_keyring(err);

	return r < 0 ? r : nsbox_install_filter(filter->insns, filter->len, err);
}

/* Of all capabilities in the box, init needs the one that mounts a terminal. */
static int drop_privileges(const struct nsbox_init *init, struct nsbox_error *err)
{
	int r = nsbox_drop_dumpable(err);

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

/* What needs no id map and nothing of the keeper's. */
static int make_namespaces(const struct nsbox_init *init, struct nsbox_error *err)
{
	int r = unshare(init->unshare) < 0 ? errno : 0;

	if (r == ENOSPC)
		return nsbox_error_say(err, r, "no namespace can be made: raise user.max_mnt_namespaces "
				       "and its like (see namespaces(7)) with sysctl");
	return r ? nsbox_error_set(err, r, "unshare of the box's namespaces") : name_box(init, err);
}

static bool told_to_build(int sock)
{
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };

	return receive(sock, &in, NULL) == 0 && in.msg.type == NSBOX_MSG_BUILD;
}

/* The root, and with the keeper's parcel all that is in it. */
static int make_root(struct nsbox_init *init, struct nsbox_error *err)
{
	struct nsbox_parcel parcel = NSBOX_PARCEL_INIT;
	int r = nsbox_root_begin(err);

	if (r == 0 && strcmp(init->policy->rootfs, "host") == 0)
		r = nsbox_root_mount_early(init, err);
	if (r == 0)
		r = nsbox_parcel_receive(init->sock, &parcel, err);
	init->content = &parcel.content;
	init->mounts = &parcel.mounts;
	if (r == 0)
		r = nsbox_root_make(init, err);
	init->content = init->mounts = NULL;
	nsbox_parcel_drop(&parcel);
	return r;
}

static int assemble(struct nsbox_init *init, struct nsbox_error *err)
{
	int r = become_box_root(err);

	if (r == 0)
		r = ignore_children(err);
	if (r == 0)
		r = confine(init, err);
	if (r == 0) {
		(void)umask(0);
		r = make_root(init, err);
		(void)umask(022);
	}
	return r == 0 ? settle(init, err) : r;
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

void nsbox_init_run(const struct nsbox_init *given)
{
	struct nsbox_init init = *given;
	struct nsbox_msg ready = { .type = NSBOX_MSG_READY };
	struct nsbox_error err;
	int r;

	name_process();
	if (close_rest(init.sock, NULL) < 0)
		_exit(1);
	r = make_namespaces(&init, &err);
	/* Whatever came of it: the keeper listens to us only after BUILD. */
	if (!told_to_build(init.sock))
		_exit(1);
	if (r == 0)
		r = assemble(&init, &err);
	if (r < 0) {
		answer(init.sock, r, &err);
		_exit(1);
	}
	if (nsbox_msg_send(init.sock, &ready, NULL, 0, NULL) < 0)
		_exit(1);
	serve(&init);
	_exit(0);
}
