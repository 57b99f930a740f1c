/* SPDX-License-Identifier: MIT */
/* Starting a keeper: see spawn_keeper.h. */
#include "spawn_keeper.h"
#include "cleanup.h"
#include "proto.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>

#ifndef NSBOX_KEEPER_PATH
#error "NSBOX_KEEPER_PATH must be the absolute path of nsbox-keeper"
#endif

enum { STACK_SIZE = 64 * 1024 };

/* What the two short-lived clones share with the caller, who waits (CLONE_VFORK). */
struct spawn {
	int sock;
	int cpu;		/* which the caller goes on on; negative: not known */
	char *stack;
	volatile int error;	/* errno of what went wrong in a clone, 0 if nothing did */
};

/* Same memory as the caller: no signal handler of his may run in here. */
static void default_signals(void)
{
	struct sigaction dfl = { .sa_handler = SIG_DFL };
	sigset_t none;

	for (int sig = 1; sig < NSIG; sig++)
		(void)sigaction(sig, &dfl, NULL);
	(void)sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/*
 * The caller has something to do while the keeper starts, and waits for us on
 * its processor: at exec the scheduler would take that for the idlest. A hint;
 * the keeper takes all processors that pid 1 may have (nsbox_start_clean()).
 */
static void leave_processor(int cpu)
{
	cpu_set_t set;

	if (cpu < 0 || sched_getaffinity(0, sizeof(set), &set) < 0)
		return;
	CPU_CLR((size_t)cpu, &set);
	if (CPU_COUNT(&set) > 0)
		(void)sched_setaffinity(0, sizeof(set), &set);
}

/* Becomes the keeper: descriptors 0 to 2 on /dev/null, 3 the connection. */
static int exec_keeper(void *data)
{
	static char *const argv[] = { (char *)(uintptr_t)"nsbox-keeper", NULL };
	static char *const envp[] = { NULL };
	struct spawn *s = data;
	int null;

	default_signals();
	leave_processor(s->cpu);
	/*
	 * Away from the low numbers first, which the caller may not have open: so
	 * no dup2 below overwrites one of them, and none leaves a close-on-exec.
	 */
	s->sock = fcntl(s->sock, F_DUPFD, NSBOX_KEEPER_FD + 1);
	null = open("/dev/null", O_RDWR);
	if (null >= 0)
		null = fcntl(null, F_DUPFD, NSBOX_KEEPER_FD + 1);
	if (s->sock < 0 || null < 0 || dup2(s->sock, NSBOX_KEEPER_FD) < 0 || dup2(null, 0) < 0 ||
	    dup2(null, 1) < 0 || dup2(null, 2) < 0) {
		s->error = errno;
		_exit(1);
	}
	(void)close_range(NSBOX_KEEPER_FD + 1, ~0U, 0);
	(void)execve(NSBOX_KEEPER_PATH, argv, envp);
	s->error = errno;
	_exit(1);
}

/*
 * The middle clone: leaves the keeper an orphan. It must not exec itself, since
 * exec resets the exit signal 0 (clone(2)) and the caller would get a SIGCHLD.
 */
static int orphan_keeper(void *data)
{
	struct spawn *s = data;

	if (clone(exec_keeper, s->stack + STACK_SIZE, CLONE_VM | CLONE_VFORK, s) < 0)
		s->error = errno;
	_exit(0);
}

static int run_clones(struct spawn *s)
{
	siginfo_t info;
	pid_t pid;
	int r;

	pid = clone(orphan_keeper, s->stack + 2 * STACK_SIZE, CLONE_VM | CLONE_VFORK, s);
	if (pid < 0)
		return errno;
	/* __WALL: a child with exit signal 0 is seen by nobody else's wait. */
	do
		r = waitid(P_PID, (id_t)pid, &info, WEXITED | __WALL);
	while (r < 0 && errno == EINTR);
	return s->error;
}

int nsbox_spawn_keeper(struct nsbox_error *err)
{
	cleanup_close int ours = -EBADF, theirs = -EBADF;
	struct spawn s = { .cpu = sched_getcpu() };
	sigset_t all, before;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return nsbox_error_set(err, errno, "socketpair");
	ours = pair[0];
	theirs = pair[1];
	s.sock = theirs;
	s.stack = mmap(NULL, 2 * STACK_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (s.stack == MAP_FAILED)
		return nsbox_error_set(err, errno, "mmap of a stack");
	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &before);
	r = run_clones(&s);
	(void)sigprocmask(SIG_SETMASK, &before, NULL);
	(void)munmap(s.stack, 2 * STACK_SIZE);
	if (r != 0)
		return nsbox_error_set(err, r, "start %s", NSBOX_KEEPER_PATH);
	return take_fd(&ours);
}
