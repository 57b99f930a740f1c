/* SPDX-License-Identifier: MIT */
/*
 * A program that calls PAM, for tests: opens one session through the real
 * libpam and says what it was before and after, as lines "before KEY VALUE",
 * "after KEY VALUE", "code N", "message STYLE TEXT". The state is read through
 * a descriptor of the host's /proc/self, since a box's /proc does not have us.
 *
 *	caller [options] CONFDIR SERVICE USER
 *
 * --sigchld=default|ignore|count|reap	the action for SIGCHLD (count)
 * --thread		a second thread runs meanwhile
 * --fd0=dir|path|pty	what descriptor 0 is (as inherited)
 * --userns		in a user namespace that is not nsbox's
 * --child		one child of our own lives meanwhile
 * --pam-user=NAME	PAM_USER after pam_start
 * --tty=NAME --rhost=NAME
 * --nproc=N		the soft RLIMIT_NPROC
 * --warm		the user and the groups have been looked up before, as su and sshd do
 * --wait		wait(NULL) after the open, as shadow's login does
 * --times=N		open N times and say how long each took, in ns
 * --run=COMMAND	fork, sh -c COMMAND, wait: the session's program
 * --hold		stay until descriptor 0 ends
 * --close		pam_close_session at the end
 * --fresh		pam_close_session on a handle of its own, which opened nothing
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include <security/pam_appl.h>

extern char **environ;

enum { KEYCTL_GET_KEYRING_ID = 0, SESSION_KEYRING = -3 };

static int proc = -1;		/* /proc/self of the host */
static int child_life = -1;
static volatile sig_atomic_t sigchlds, reaped;

static void fail(const char *what)
{
	printf("broken %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(99);
}

/* ---- what we are ---- */

static void say_lines(const char *when, const char *key, const char *path, const char *prefix)
{
	int fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
	char *line = NULL;
	size_t size = 0;
	FILE *f = fd < 0 ? NULL : fdopen(fd, "r");

	if (!f) {
		printf("%s %s cannot be read: %s\n", when, key, strerror(errno));
		return;
	}
	while (getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, prefix, strlen(prefix)) == 0)
			printf("%s %s %s\n", when, key, line + strlen(prefix));
	}
	free(line);
	fclose(f);
}

static void say_stat(const char *when, const char *key, int dir, const char *path, int flags)
{
	struct stat st;

	if (fstatat(dir, path, &st, flags) < 0)
		printf("%s %s cannot be read: %s\n", when, key, strerror(errno));
	else
		printf("%s %s %lx:%lu\n", when, key, (unsigned long)st.st_dev,
		       (unsigned long)st.st_ino);
}

static void say_namespaces(const char *when)
{
	static const char *const names[] = { "cgroup", "ipc", "mnt", "net", "pid",
		"pid_for_children", "time", "time_for_children", "user", "uts" };
	char key[64], path[64];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(key, sizeof(key), "ns.%s", names[i]);
		snprintf(path, sizeof(path), "ns/%s", names[i]);
		say_stat(when, key, proc, path, 0);
	}
}

static void say_signals(const char *when)
{
	/* As the kernel has them: 64 actions of handler, flags, restorer, mask. */
	struct { unsigned long handler, flags, restorer, mask; } a;
	unsigned long mask;

	for (int sig = 1; sig <= 64; sig++)
		if (syscall(SYS_rt_sigaction, sig, NULL, &a, sizeof(a.mask)) == 0)
			printf("%s sig.%d %#lx %#lx %#lx\n", when, sig, a.handler, a.flags, a.mask);
	syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &mask, sizeof(mask));
	printf("%s sigmask %#lx\n", when, mask);
}

static void say_descriptors(const char *when)
{
	int fd = openat(proc, "fd", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		printf("%s fd cannot be read: %s\n", when, strerror(errno));
		return;
	}
	while ((e = readdir(d))) {
		char path[512], target[512];
		ssize_t n;

		if (e->d_name[0] == '.' || atoi(e->d_name) == fd)
			continue;
		snprintf(path, sizeof(path), "fd/%s", e->d_name);
		n = readlinkat(proc, path, target, sizeof(target) - 1);
		if (n >= 0)
			printf("%s fd.%s %.*s\n", when, e->d_name, (int)n, target);
	}
	closedir(d);
}

static void say_terminal(const char *when)
{
	struct stat st;

	if (isatty(0) && fstat(0, &st) == 0)
		printf("%s tty %u:%u %o\n", when, st.st_uid, st.st_gid, st.st_mode);
}

static void say_limits(const char *when)
{
	struct rlimit rl;

	for (int i = 0; i < RLIM_NLIMITS; i++)
		if (getrlimit(i, &rl) == 0)
			printf("%s rlimit.%d %lu %lu\n", when, i, (unsigned long)rl.rlim_cur,
			       (unsigned long)rl.rlim_max);
}

static void say_children(const char *when)
{
	char path[64];

	snprintf(path, sizeof(path), "task/%d/children", (int)syscall(SYS_gettid));
	say_lines(when, "children", path, "");
}

static void say_environment(const char *when, pam_handle_t *pamh)
{
	char **list = pam_getenvlist(pamh);

	for (char **e = environ; *e; e++)
		printf("%s env %s\n", when, *e);
	for (char **e = list; e && *e; e++) {
		printf("%s pamenv %s\n", when, *e);
		free(*e);
	}
	free(list);
}

static void say_state(const char *when, pam_handle_t *pamh)
{
	static const char *const status[] = { "Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff",
		"CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Umask", "Threads", "NSpid" };
	char key[32], prefix[32];

	say_lines(when, "cgroup", "cgroup", "");
	say_namespaces(when);
	say_stat(when, "root", AT_FDCWD, "/", 0);
	say_stat(when, "cwd", AT_FDCWD, ".", 0);
	for (size_t i = 0; i < sizeof(status) / sizeof(status[0]); i++) {
		snprintf(key, sizeof(key), "status.%s", status[i]);
		snprintf(prefix, sizeof(prefix), "%s:\t", status[i]);
		say_lines(when, key, "status", prefix);
	}
	say_terminal(when);
	say_signals(when);
	say_children(when);
	printf("%s sigchlds %d\n", when, (int)sigchlds);
	printf("%s reaped %d\n", when, (int)reaped);
	say_descriptors(when);
	say_limits(when);
	say_environment(when, pamh);
	printf("%s keyring %ld\n", when,
	       syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, SESSION_KEYRING, 0));
	printf("%s dumpable %d\n", when, prctl(PR_GET_DUMPABLE));
	printf("%s nice %d\n", when, getpriority(PRIO_PROCESS, 0));
	fflush(stdout);
}

/* ---- what we are made to be ---- */

static void count_child(int sig)
{
	(void)sig;
	sigchlds++;
}

static void reap_child(int sig)
{
	int saved = errno;

	(void)sig;
	sigchlds++;
	while (waitpid(-1, NULL, WNOHANG) > 0)
		reaped++;
	errno = saved;
}

static void on_usr1(int sig, siginfo_t *info, void *context)
{
	(void)sig;
	(void)info;
	(void)context;
}

/* Actions and a mask that nobody has by chance. */
static void set_signals(const char *sigchld)
{
	struct sigaction usr1 = { .sa_sigaction = on_usr1, .sa_flags = SA_SIGINFO | SA_RESTART };
	struct sigaction chld = { .sa_handler = SIG_DFL, .sa_flags = SA_RESTART };
	sigset_t mask;

	sigaddset(&usr1.sa_mask, SIGALRM);
	sigaction(SIGUSR1, &usr1, NULL);
	signal(SIGHUP, SIG_IGN);
	signal(SIGPIPE, SIG_DFL);
	if (strcmp(sigchld, "ignore") == 0)
		chld.sa_handler = SIG_IGN;
	else if (strcmp(sigchld, "count") == 0)
		chld.sa_handler = count_child;
	else if (strcmp(sigchld, "reap") == 0)
		chld.sa_handler = reap_child;
	sigaction(SIGCHLD, &chld, NULL);
	sigemptyset(&mask);
	sigaddset(&mask, SIGUSR2);
	sigaddset(&mask, SIGRTMIN + 3);
	sigprocmask(SIG_SETMASK, &mask, NULL);
}

static void put_on_0(int fd)
{
	if (fd < 0 || dup2(fd, 0) < 0)
		fail("descriptor 0");
	if (fd != 0)
		close(fd);
}

static void set_descriptor_0(const char *what)
{
	if (strcmp(what, "dir") == 0) {
		put_on_0(open("/etc", O_RDONLY | O_DIRECTORY));
	} else if (strcmp(what, "path") == 0) {
		put_on_0(open("/etc/passwd", O_PATH));
	} else if (strcmp(what, "pty") == 0) {
		int master = posix_openpt(O_RDWR | O_NOCTTY);

		if (master < 0 || grantpt(master) < 0 || unlockpt(master) < 0)
			fail("pty");
		setsid();
		put_on_0(open(ptsname(master), O_RDWR));
	} else {
		errno = EINVAL;
		fail(what);
	}
}

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		fail(path);
	close(fd);
}

static void enter_user_namespace(void)
{
	if (unshare(CLONE_NEWUSER) < 0)
		fail("unshare");
	write_file("/proc/self/uid_map", "0 0 1");
	write_file("/proc/self/setgroups", "deny");
	write_file("/proc/self/gid_map", "0 0 1");
}

static void *idle(void *nothing)
{
	for (;;)
		pause();
	return nothing;
}

/*
 * Ends with us, by a pipe: we may neither kill it nor be its PR_SET_PDEATHSIG
 * once we are in a box.
 */
static pid_t start_child(void)
{
	int life[2];
	pid_t pid;
	char c;

	if (pipe2(life, O_CLOEXEC) < 0)
		fail("pipe");
	pid = fork();
	if (pid == 0) {
		close(life[1]);
		_exit(read(life[0], &c, 1) != 0);
	}
	close(life[0]);
	child_life = life[1];
	return pid;
}

/* Loads what the name service loads once in a process. */
static void warm_up(const char *user)
{
	gid_t gids[256];
	int n = 256;

	if (getpwnam(user))
		getgrouplist(user, 0, gids, &n);
	getgrgid(0);
	getpwuid(0);
}

/* ---- PAM ---- */

static int converse(int n, const struct pam_message **msg, struct pam_response **resp, void *data)
{
	(void)data;
	*resp = calloc((size_t)n, sizeof(**resp));
	for (int i = 0; i < n; i++)
		printf("message %d %s\n", msg[i]->msg_style, msg[i]->msg);
	return *resp ? PAM_SUCCESS : PAM_BUF_ERR;
}

static long long now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static int open_session(pam_handle_t *pamh, int times)
{
	int code = PAM_SUCCESS;

	for (int i = 0; i < times; i++) {
		long long start;

		fflush(stdout);
		(void)access("/caller-begins", F_OK);	/* found in strace's output */
		start = now_ns();
		code = pam_open_session(pamh, 0);
		start = now_ns() - start;
		(void)access("/caller-ends", F_OK);
		printf("took %lld\n", start);
	}
	printf("code %d\n", code);
	fflush(stdout);
	return code;
}

static void say_wait(void)
{
	int status;
	pid_t pid;

	alarm(5);	/* a child that does not end is found too: SIGALRM ends us */
	do
		pid = wait(&status);
	while (pid < 0 && errno == EINTR);
	alarm(0);
	printf("wait %d %s\n", pid < 0 ? -1 : 1, pid < 0 ? strerror(errno) : "a child");
}

static void run(const char *command)
{
	int status = -1;
	pid_t pid;

	signal(SIGCHLD, SIG_DFL);
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	if (pid > 0)
		waitpid(pid, &status, 0);
	printf("ran %d\n", pid < 0 ? -errno : WIFEXITED(status) ? WEXITSTATUS(status) : 256);
}

int main(int argc, char **argv)
{
	enum { O_SIGCHLD = 256, O_THREAD, O_FD0, O_USERNS, O_CHILD, O_PAMUSER, O_TTY, O_RHOST,
	       O_NPROC, O_WAIT, O_TIMES, O_RUN, O_HOLD, O_CLOSE, O_FRESH, O_WARM };
	static const struct option options[] = {
		{ "sigchld", 1, 0, O_SIGCHLD }, { "thread", 0, 0, O_THREAD },
		{ "fd0", 1, 0, O_FD0 }, { "userns", 0, 0, O_USERNS }, { "child", 0, 0, O_CHILD },
		{ "pam-user", 1, 0, O_PAMUSER }, { "tty", 1, 0, O_TTY }, { "rhost", 1, 0, O_RHOST },
		{ "nproc", 1, 0, O_NPROC }, { "wait", 0, 0, O_WAIT }, { "times", 1, 0, O_TIMES },
		{ "run", 1, 0, O_RUN }, { "hold", 0, 0, O_HOLD }, { "close", 0, 0, O_CLOSE },
		{ "fresh", 0, 0, O_FRESH },
		{ "warm", 0, 0, O_WARM },
		{ 0, 0, 0, 0 },
	};
	const char *sigchld = "count", *fd0 = NULL, *pam_user = NULL, *tty = NULL, *rhost = NULL;
	const char *command = NULL;
	bool thread = false, userns = false, child = false, waits = false, hold = false;
	bool closes = false, fresh = false, warm = false;
	const struct pam_conv conv = { .conv = converse };
	pam_handle_t *pamh = NULL;
	struct rlimit nproc;
	pthread_t second;
	int opt, code, times = 1;
	pid_t pid = 0;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (opt) {
		case O_SIGCHLD: sigchld = optarg; break;
		case O_THREAD: thread = true; break;
		case O_FD0: fd0 = optarg; break;
		case O_USERNS: userns = true; break;
		case O_CHILD: child = true; break;
		case O_PAMUSER: pam_user = optarg; break;
		case O_TTY: tty = optarg; break;
		case O_RHOST: rhost = optarg; break;
		case O_NPROC:
			getrlimit(RLIMIT_NPROC, &nproc);
			nproc.rlim_cur = strtoul(optarg, NULL, 10);
			if (setrlimit(RLIMIT_NPROC, &nproc) < 0)
				fail("setrlimit");
			break;
		case O_WAIT: waits = true; break;
		case O_TIMES: times = atoi(optarg); break;
		case O_RUN: command = optarg; break;
		case O_HOLD: hold = true; break;
		case O_CLOSE: closes = true; break;
		case O_FRESH: fresh = true; break;
		case O_WARM: warm = true; break;
		default: return 98;
		}
	}
	if (argc - optind != 3)
		return 98;
	if (fd0)
		set_descriptor_0(fd0);
	if (userns)
		enter_user_namespace();
	proc = open("/proc/self", O_PATH | O_CLOEXEC);
	if (proc < 0)
		fail("/proc/self");
	/* sshd and login have theirs open already; else our first line would open it. */
	openlog("caller", LOG_NDELAY, LOG_AUTHPRIV);
	if (warm)
		warm_up(argv[optind + 2]);
	set_signals(sigchld);
	if (child)
		pid = start_child();
	if (thread && pthread_create(&second, NULL, idle, NULL) != 0)
		fail("pthread_create");
	code = pam_start_confdir(argv[optind + 1], argv[optind + 2], &conv, argv[optind], &pamh);
	if (code != PAM_SUCCESS) {
		printf("start %d\n", code);
		return 97;
	}
	if (pam_user)
		pam_set_item(pamh, PAM_USER, pam_user);
	if (tty)
		pam_set_item(pamh, PAM_TTY, tty);
	if (rhost)
		pam_set_item(pamh, PAM_RHOST, rhost);
	printf("pid %d\n", getpid());
	say_state("before", pamh);
	code = open_session(pamh, times);
	say_state("after", pamh);
	if (pid > 0)
		close(child_life);
	if (waits)
		say_wait();
	if (command && code == PAM_SUCCESS)
		run(command);
	if (hold) {
		char c;

		printf("holding\n");
		fflush(stdout);
		while (read(0, &c, 1) > 0 || errno == EINTR)
			errno = 0;
	}
	if (closes)
		printf("close %d\n", pam_close_session(pamh, 0));
	if (fresh) {
		pam_handle_t *other;

		if (pam_start_confdir(argv[optind + 1], argv[optind + 2], &conv, argv[optind],
				      &other) == PAM_SUCCESS)
			printf("fresh %d\n", pam_close_session(other, 0));
	}
	printf("end %d\n", pam_end(pamh, code));
	fflush(stdout);
	_exit(0);
}
