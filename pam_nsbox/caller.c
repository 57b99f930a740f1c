/* SPDX-License-Identifier: MIT */
/* The process that called PAM: see caller.h. */
#include "caller.h"
#include "cleanup.h"
#include "ns.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Where the masters of pseudoterminals are looked for. */
enum { MASTERS_END = 32 };

bool nsbox_sees_marker(void)
{
	struct stat st;

	return lstat(NSBOX_MARKER, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0;
}

enum nsbox_place nsbox_caller_place(struct nsbox_error *why)
{
	struct stat st;

	if (stat("/proc/self/ns/user", &st) == 0 && st.st_ino == NSBOX_INITIAL_USER_NS)
		return NSBOX_PLACE_HOST;
	/*
	 * A joined caller stays in the host's pid namespace, so the box's /proc
	 * has no "self" for it: no answer there says nothing, the marker does.
	 */
	if (nsbox_sees_marker())
		return NSBOX_PLACE_BOX;
	(void)nsbox_error_say(why, EPERM, "this process is in a user namespace that is not nsbox's "
			      "(a container, or a unit with PrivateUsers=): log in on the host");
	return NSBOX_PLACE_OTHER;
}

/* setns(2): a process with threads cannot join a user or mount namespace. */
static int check_threads(struct nsbox_error *err)
{
	struct stat st;

	/* A task directory has one link per thread and two of its own (proc(5)). */
	if (stat("/proc/self/task", &st) < 0)
		return nsbox_error_set(err, errno, "stat /proc/self/task");
	if (st.st_nlink > 3)
		return nsbox_error_say(err, EPERM, "the calling program has %lu threads, and only "
				       "one without threads can enter a box: a PAM module before "
				       "pam_nsbox started them", (unsigned long)st.st_nlink - 2);
	return 0;
}

/*
 * systemd runs PAMName= sessions (also machinectl shell) in the very process
 * that execs the shell, which would stay in the host's pid namespace.
 */
static int check_exec_without_fork(struct nsbox_error *err)
{
	char exe[256];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof(exe) - 1);
	const char *name;

	if (n < 0)
		return nsbox_error_set(err, errno, "readlink /proc/self/exe");
	exe[n] = '\0';
	name = strrchr(exe, '/') ? strrchr(exe, '/') + 1 : exe;
	if (strncmp(name, "systemd", 7) == 0)
		return nsbox_error_say(err, EPERM, "%s starts the session without a fork and would "
				       "stay in the host's pid namespace: use ssh, su or login",
				       name);
	return 0;
}

static int check_standard_fds(struct nsbox_error *err)
{
	struct stat st;

	for (int fd = 0; fd <= 2; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (flags < 0)
			continue;	/* closed */
		if ((flags & O_PATH) || (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)))
			return nsbox_error_say(err, EPERM, "descriptor %d is a directory of the "
					       "host and would lead out of the box", fd);
	}
	return 0;
}

/* With 1, every later setuid() in the box would make the monitor readable again (proc(5)). */
static int check_suid_dumpable(struct nsbox_error *err)
{
	cleanup_fclose FILE *f = fopen("/proc/sys/fs/suid_dumpable", "re");
	int value;

	if (!f || fscanf(f, "%d", &value) != 1)
		return nsbox_error_say(err, EIO, "cannot read /proc/sys/fs/suid_dumpable");
	if (value == 1)
		return nsbox_error_say(err, EPERM, "fs.suid_dumpable is 1, which lets a box read the "
				       "memory of sshd: set it to 0 or 2 with sysctl");
	return 0;
}

int nsbox_caller_fit(struct nsbox_error *err)
{
	int r;

	r = check_threads(err);
	if (r == 0)
		r = check_exec_without_fork(err);
	if (r == 0)
		r = check_standard_fds(err);
	if (r == 0)
		r = check_suid_dumpable(err);
	return r;
}

static bool has_terminal(const struct nsbox_caller *caller, const struct stat *st)
{
	for (unsigned int i = 0; i < caller->n_terminals; i++)
		if (caller->terminals[i].dev == st->st_dev && caller->terminals[i].rdev == st->st_rdev)
			return true;
	return false;
}

/* @fd is one of its own for as long as this lasts; nothing if it is no terminal, or known. */
static int add_terminal(struct nsbox_caller *caller, int fd, struct nsbox_error *err)
{
	struct nsbox_terminal *t = &caller->terminals[caller->n_terminals];
	char path[32];
	struct stat st;

	/* /dev/tty is whichever terminal asks, and belongs to all. */
	if (!isatty(fd) || fstat(fd, &st) < 0 || st.st_rdev == makedev(5, 0) ||
	    has_terminal(caller, &st) || caller->n_terminals == NSBOX_TERMINALS_MAX)
		return 0;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	t->fd = open(path, O_PATH | O_CLOEXEC);
	if (t->fd < 0)
		return nsbox_error_set(err, errno, "open the terminal on descriptor %d", fd);
	t->dev = st.st_dev;
	t->rdev = st.st_rdev;
	t->uid = st.st_uid;
	t->gid = st.st_gid;
	t->given = false;
	caller->n_terminals++;
	return 0;
}

int nsbox_caller_find_terminals(struct nsbox_caller *caller, struct nsbox_error *err)
{
	int r = 0;

	for (int fd = 0; r == 0 && fd <= 2; fd++)
		r = add_terminal(caller, fd, err);
	/*
	 * sudo with use_pty has made a terminal by now that the command gets. Its
	 * master tells it from one that somebody else's descriptor leads to.
	 */
	for (int fd = 3; r == 0 && fd < MASTERS_END; fd++) {
		cleanup_close int peer = -EBADF;
		struct stat st;

		if (fstat(fd, &st) == 0 && S_ISCHR(st.st_mode) && st.st_rdev == makedev(5, 2))
			peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
		if (peer >= 0)
			r = add_terminal(caller, peer, err);
	}
	return r;
}

/* Writing 0 to cgroup.procs moves the writer (cgroups(7)). */
static int move_self(int procs, const char *what, struct nsbox_error *err)
{
	if (write(procs, "0", 1) != 1)
		return nsbox_error_set(err, errno, "%s", what);
	return 0;
}

int nsbox_caller_move(struct nsbox_caller *caller, int *procs, unsigned int n,
		      struct nsbox_error *err)
{
	int r = 0;

	if (n % 2 || n / 2 > NSBOX_CGROUPS_MAX)
		return nsbox_error_say(err, EPROTO, "the box came with %u cgroup descriptors", n);
	for (unsigned int i = 0; r == 0 && i < n / 2; i++) {
		caller->old_cgroups[caller->n_moved++] = take_fd(&procs[n / 2 + i]);
		r = move_self(procs[i], "move into the box's cgroup", err);
	}
	return r;
}

int nsbox_caller_give_terminals(struct nsbox_caller *caller, uid_t uid, gid_t gid,
				struct nsbox_error *err)
{
	for (unsigned int i = 0; i < caller->n_terminals; i++) {
		struct nsbox_terminal *t = &caller->terminals[i];

		if (fchownat(t->fd, "", uid, gid, AT_EMPTY_PATH) < 0)
			return nsbox_error_set(err, errno, "chown of the terminal");
		t->given = true;
	}
	return 0;
}

int nsbox_caller_restore(struct nsbox_caller *caller, struct nsbox_error *err)
{
	struct nsbox_error first = { .code = 0 };

	for (unsigned int i = 0; i < caller->n_terminals; i++) {
		struct nsbox_terminal *t = &caller->terminals[i];

		if (t->given && fchownat(t->fd, "", t->uid, t->gid, AT_EMPTY_PATH) < 0)
			(void)nsbox_error_set(&first, errno, "give the terminal back");
		t->given = false;
	}
	while (caller->n_moved > 0) {
		struct nsbox_error e;
		int *fd = &caller->old_cgroups[--caller->n_moved];

		if (move_self(*fd, "move back into the caller's own cgroup", &e) < 0 && !first.code)
			first = e;
		*fd = nsbox_close(*fd);
	}
	if (first.code && err)
		*err = first;
	return -first.code;
}

void nsbox_caller_drop(struct nsbox_caller *caller)
{
	for (unsigned int i = 0; i < caller->n_terminals; i++)
		caller->terminals[i].fd = nsbox_close(caller->terminals[i].fd);
	caller->n_terminals = 0;
	while (caller->n_moved > 0) {
		caller->n_moved--;
		caller->old_cgroups[caller->n_moved] =
			nsbox_close(caller->old_cgroups[caller->n_moved]);
	}
}
