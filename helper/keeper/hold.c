/* SPDX-License-Identifier: MIT */
/* Holding the delegated cgroup: see hold.h. */
#include "hold.h"
#include "cgroup.h"
#include "cleanup.h"
#include "proto.h"

#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

/* sd_notify(3) without its library: one datagram to the socket that systemd named. */
static void notify(const char *text)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	cleanup_close int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const char *to = getenv("NOTIFY_SOCKET");
	size_t len = to ? strlen(to) : 0;

	if (sock < 0 || len == 0 || len >= sizeof(sa.sun_path))
		return;
	memcpy(sa.sun_path, to, len);
	if (to[0] == '@')	/* the abstract name space, unix(7) */
		sa.sun_path[0] = '\0';
	(void)sendto(sock, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&sa,
		     (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
}

static int make_run_dir(struct nsbox_error *err)
{
	if (mkdir(NSBOX_RUN_DIR, 0700) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir " NSBOX_RUN_DIR);
	return 0;
}

int nsbox_hold(struct nsbox_error *err)
{
	sigset_t ends;
	int r, sig;

	(void)sigemptyset(&ends);
	(void)sigaddset(&ends, SIGTERM);
	(void)sigaddset(&ends, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &ends, NULL);
	r = make_run_dir(err);
	if (r == 0)
		r = nsbox_cgroup_offer_base(err);
	if (r < 0)
		return r;
	notify("READY=1\nSTATUS=Boxes are made below this unit.");
	(void)sigwait(&ends, &sig);
	notify("STOPPING=1");
	(void)unlink(NSBOX_BASE_FILE);
	return 0;
}
