/* SPDX-License-Identifier: MIT */
/* The network of a box: see network.h. */
#include "network.h"
#include "cleanup.h"
#include "nft.h"
#include "resolv.h"

#include <fcntl.h>
#include <linux/nsfs.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <syslog.h>

#ifndef NSBOX_NET_PATH
#define NSBOX_NET_PATH "/usr/libexec/nsbox-net"
#endif

/* Rules anew: other keepers may be before us. */
enum { RESTORE_MS = 3000 };

/* In the child: descriptors as nsbox-net wants them. @fds lie above all of these. */
static void become_net(const int fds[3])
{
	static char name[] = "nsbox-net";
	char *argv[] = { name, NULL }, *envp[] = { NULL };

	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0 && dup2(fds[i], NSBOX_NET_REQUEST_FD + i) < 0)
			_exit(1);
	(void)execve(NSBOX_NET_PATH, argv, envp);
	_exit(1);
}

/* The kernel reaps it (SIGCHLD is ignored), so its number says nothing: a descriptor does. */
static int spawn(const int fds[3], int *ret_pidfd)
{
	struct clone_args args = { .flags = CLONE_PIDFD, .exit_signal = SIGCHLD,
				   .pidfd = (uint64_t)(uintptr_t)ret_pidfd };
	int copies[3], r = access(NSBOX_NET_PATH, X_OK) < 0 ? -errno : 0;
	long pid;

	if (r < 0)
		return r;
	for (int i = 0; i < 3; i++)
		copies[i] = fds[i] < 0 ? -EBADF : fcntl(fds[i], F_DUPFD_CLOEXEC, 16);
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		r = -errno;
	if (pid == 0)
		become_net(copies);
	for (int i = 0; i < 3; i++)
		(void)nsbox_close(copies[i]);
	return r;
}

static int start(const struct nsbox_net_request *request, int ns, struct nsbox_network_run *run,
		 struct nsbox_error *err)
{
	cleanup_close int memory = memfd_create("nsbox-net", MFD_CLOEXEC), end = -EBADF;
	int pair[2], r;

	if (memory < 0 || write(memory, request, sizeof(*request)) != (ssize_t)sizeof(*request))
		return nsbox_error_set(err, errno, "the request to nsbox-net");
	if (pipe2(pair, O_CLOEXEC) < 0)
		return nsbox_error_set(err, errno, "pipe");
	run->reply_fd = pair[0];
	end = pair[1];
	const int fds[3] = { memory, end, ns };

	r = spawn(fds, &run->pidfd);
	if (r == 0)
		return 0;
	run->reply_fd = nsbox_close(run->reply_fd);
	return nsbox_error_set(err, -r, "start " NSBOX_NET_PATH);
}

/* The answer, which is written at once, or the end of a program that gives none. */
static int hear(struct nsbox_network_run *run, uint64_t deadline_ms, struct nsbox_error *err)
{
	struct pollfd pfd = { .fd = run->reply_fd, .events = POLLIN };
	ssize_t n = -1;
	int r;

	do
		r = poll(&pfd, 1, nsbox_until_ms(deadline_ms));
	while (r < 0 && errno == EINTR);
	if (r > 0)
		n = read(run->reply_fd, &run->reply, sizeof(run->reply));
	if (r == 0)
		return nsbox_error_say(err, ETIMEDOUT, "nsbox-net takes too long");
	run->reply_fd = nsbox_close(run->reply_fd);
	run->pidfd = nsbox_close(run->pidfd);
	if (n != (ssize_t)sizeof(run->reply))
		return nsbox_error_say(err, EIO, "nsbox-net ended without an answer");
	if (run->reply.err.code)
		*err = run->reply.err;
	return -run->reply.err.code;
}

static void fill(struct nsbox_net_request *request, const struct nsbox_record *record,
		 const struct nsbox_decision *policy)
{
	*request = (struct nsbox_net_request){
		.version = NSBOX_NET_VERSION, .op = NSBOX_NET_ADD, .keeper = (int)getpid(),
		.uid = record->uid, .network = policy->network, .address = policy->address,
		.egress_mode = policy->egress_mode, .n_publish = policy->n_publish,
		.n_egress = policy->n_egress, .rate_up = policy->rate_up,
		.rate_down = policy->rate_down,
	};
	memcpy(request->box, record->box, sizeof(request->box));
	memcpy(request->hostname, policy->hostname, sizeof(request->hostname));
	memcpy(request->publish, policy->publish, sizeof(request->publish));
	memcpy(request->egress, policy->egress, sizeof(request->egress));
	request->n_dns = nsbox_resolvers(policy, request->dns);
}

int nsbox_network_begin(struct nsbox_network_run *run, struct nsbox_record *record,
			const struct nsbox_decision *policy, pid_t init, struct nsbox_error *err)
{
	struct nsbox_net_request request;
	cleanup_close int ns = -EBADF;
	char path[64];

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)init);
	ns = open(path, O_RDONLY | O_CLOEXEC);
	if (ns < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	fill(&request, record, policy);
	/* Before there are rules, so that none can go unseen. */
	run->watch = nsbox_nft_watch();
	if (run->watch < 0)
		return nsbox_error_set(err, -run->watch, "watch nf_tables");
	/* On record before anything is made: a successor finds it. */
	nsbox_registry_note_network(record);
	run->begun = true;
	return start(&request, ns, run, err);
}

int nsbox_network_wait(struct nsbox_network_run *run, uint64_t deadline_ms,
		       struct nsbox_error *err)
{
	return run->reply_fd < 0 ? 0 : hear(run, deadline_ms, err);
}

static int run_once(const struct nsbox_net_request *request, uint64_t deadline_ms,
		    struct nsbox_error *err)
{
	struct nsbox_network_run run = NSBOX_NETWORK_RUN_INIT;
	int r = start(request, -EBADF, &run, err);

	if (r == 0)
		r = hear(&run, deadline_ms, err);
	(void)nsbox_close(run.reply_fd);
	(void)nsbox_close(run.pidfd);
	return r;
}

int nsbox_network_clear(const char *box, uint64_t deadline_ms, struct nsbox_error *err)
{
	struct nsbox_net_request request = { .version = NSBOX_NET_VERSION,
					     .op = NSBOX_NET_REMOVE };

	(void)snprintf(request.box, sizeof(request.box), "%s", box);
	return run_once(&request, deadline_ms, err);
}

int nsbox_network_repair(uint64_t deadline_ms, struct nsbox_error *err)
{
	const struct nsbox_net_request request = { .version = NSBOX_NET_VERSION,
						   .op = NSBOX_NET_REPAIR };

	return run_once(&request, deadline_ms, err);
}

void nsbox_network_look(struct nsbox_network_run *run, const char *user)
{
	const struct nsbox_net_request request = { .version = NSBOX_NET_VERSION,
						   .op = NSBOX_NET_RESTORE };
	struct nsbox_network_run restore = NSBOX_NETWORK_RUN_INIT;
	struct nsbox_error err;
	int r;

	nsbox_nft_drain(run->watch);
	if (nsbox_nft_in_force())
		return;
	/* Every keeper comes here; nsbox-net looks again, under its lock, and one of them does it. */
	r = start(&request, -EBADF, &restore, &err);
	if (r == 0)
		r = hear(&restore, nsbox_now_ms() + RESTORE_MS, &err);
	(void)nsbox_close(restore.reply_fd);
	(void)nsbox_close(restore.pidfd);
	if (r < 0)
		syslog(LOG_ERR, "%s: nsbox's rules are not in nftables: %s", user, err.msg);
	else if (restore.reply.note[0])
		syslog(LOG_WARNING, "%s", restore.reply.note);
}

int nsbox_network_end(struct nsbox_network_run *run, const char *box, uint64_t deadline_ms,
		      struct nsbox_error *err)
{
	int r;

	run->watch = nsbox_close(run->watch);
	if (!run->begun)
		return 0;
	/* One that is still at work must not add what we have just removed. */
	if (run->reply_fd >= 0) {
		(void)pidfd_send_signal(run->pidfd, SIGKILL, NULL, 0);
		(void)hear(run, deadline_ms, &(struct nsbox_error){ .code = 0 });
		run->reply_fd = nsbox_close(run->reply_fd);
		run->pidfd = nsbox_close(run->pidfd);
	}
	r = nsbox_network_clear(box, deadline_ms, err);
	run->begun = r < 0;
	return r;
}

int nsbox_network_open(const struct nsbox_decision *policy, struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	char path[128];

	(void)snprintf(path, sizeof(path), "/run/netns/%s", policy->net_name);
	fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		return nsbox_error_set(err, errno, "the network namespace %s", path);
	if (ioctl(fd, NS_GET_NSTYPE) != CLONE_NEWNET)
		return nsbox_error_say(err, EINVAL, "%s is no network namespace: make it with "
				       "ip netns add %s", path, policy->net_name);
	return take_fd(&fd);
}
