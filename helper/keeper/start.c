/* SPDX-License-Identifier: MIT */
/* Starting clean: see start.h. */
#include "start.h"
#include "cgroup.h"
#include "cleanup.h"
#include "deprivilege.h"
#include "file.h"
#include "ns.h"
#include "proto.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/ioprio.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>

static void reset_signals(void)
{
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)signal(sig, SIG_DFL);
	/* The processes that hold a user namespace for a moment need no wait (wait(2), NOTES). */
	(void)signal(SIGCHLD, SIG_IGN);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * pid 1's limits: those of a user's session would become the maxima of the
 * box's user namespace. Without CAP_SYS_RESOURCE a lowered hard limit stays.
 */
static void reset_rlimits(void)
{
	for (int what = 0; what < RLIM_NLIMITS; what++) {
		struct rlimit of_init, mine;

		if (prlimit(1, (enum __rlimit_resource)what, NULL, &of_init) < 0 ||
		    setrlimit((enum __rlimit_resource)what, &of_init) == 0 ||
		    getrlimit((enum __rlimit_resource)what, &mine) < 0)
			continue;
		mine.rlim_cur = of_init.rlim_cur < mine.rlim_max ? of_init.rlim_cur : mine.rlim_max;
		(void)setrlimit((enum __rlimit_resource)what, &mine);
	}
}

static void reset_scheduling(void)
{
	const struct sched_param other = { .sched_priority = 0 };
	cpu_set_t all;

	memset(&all, 0xff, sizeof(all));
	(void)sched_setscheduler(0, SCHED_OTHER, &other);
	(void)setpriority(PRIO_PROCESS, 0, 0);
	(void)sched_setaffinity(0, sizeof(all), &all);
	(void)syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, 0);
	(void)prctl(PR_SET_TIMERSLACK, 0, 0, 0, 0);
	(void)nsbox_file_write("/proc/self/oom_score_adj", "0", NULL);
}

/*
 * The host as pid 1 sees it. The user namespace is the initial one already (the
 * module checks), and nobody can go up to another pid namespace.
 */
static int enter_host_namespaces(struct nsbox_error *err)
{
	cleanup_close int own = nsbox_ns_open_dir(0, err), host = nsbox_ns_open_dir(1, err);
	uint64_t mine[NSBOX_NS_COUNT], theirs[NSBOX_NS_COUNT];

	if (own < 0 || host < 0)
		return -err->code;
	if (nsbox_ns_read_inodes(own, false, mine, err) < 0 ||
	    nsbox_ns_read_inodes(host, false, theirs, err) < 0)
		return -err->code;
	for (int i = 0; i < NSBOX_NS_COUNT; i++) {
		const struct nsbox_ns *ns = &nsbox_ns_table[i];
		cleanup_close int fd = -EBADF;

		if (mine[i] == theirs[i] || ns->flag == CLONE_NEWUSER || ns->flag == CLONE_NEWPID)
			continue;
		fd = openat(host, ns->name, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || setns(fd, ns->flag) < 0)
			return nsbox_error_set(err, errno, "join the host's %s namespace",
					       ns->name);
	}
	return 0;
}

/*
 * su and sudo are set-uid: their real ids are still those of whoever called
 * them, and a process can be signalled by its real uid (kill(2)).
 */
static int become_root(struct nsbox_error *err)
{
	if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "become root and nobody else");
	return 0;
}

int nsbox_start_clean(struct nsbox_error *err)
{
	int r;

	(void)clearenv();
	(void)close_range(NSBOX_KEEPER_FD + 1, ~0U, 0);
	(void)fcntl(NSBOX_KEEPER_FD, F_SETFD, FD_CLOEXEC);
	reset_signals();
	(void)umask(022);
	(void)setsid();
	(void)personality(0);
	reset_rlimits();
	reset_scheduling();
	if (prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "prctl(PR_SET_SECUREBITS)");
	r = become_root(err);
	if (r == 0)
		r = nsbox_drop_keyring(err);
	if (r == 0)
		r = nsbox_drop_dumpable(err);
	if (r == 0)
		r = enter_host_namespaces(err);
	if (r == 0 && chdir("/") < 0)
		r = nsbox_error_set(err, errno, "chdir to /");
	return r;
}

void nsbox_start_show(const char *user, const char *box)
{
	/* The title has to stay where it is. */
	static char title[NSBOX_USER_MAX + NSBOX_CGROUP_NAME_MAX + 32];
	int n = snprintf(title, sizeof(title), "nsbox-keeper: %s %s", user, box);

	/* The begin first: it is below the stack, and must not be above the end. */
	if (n > 0 && prctl(PR_SET_MM, PR_SET_MM_ARG_START, title, 0, 0) == 0)
		(void)prctl(PR_SET_MM, PR_SET_MM_ARG_END, title + n + 1, 0, 0);
}
