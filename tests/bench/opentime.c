/* SPDX-License-Identifier: MIT */
/*
 * Times pam_open_session() of one module, as a program that logs users in
 * meets it: every session has a process of its own, which opens it, and ends.
 *
 *   opentime [-n COUNT] [-g GAP_MS] [-k] [-w] [-s] -u USER -m MODULE
 *
 *   -k   hold one further session open all the while, so that the box exists
 *   -w   wait before each session until no box is left, so that none exists
 *   -s   no session ends before the last was opened, and each is of a user of
 *        its own: USER0, USER1, ...; a second number is the processor time of
 *        everything in our cgroup, with the start and the user's look-up
 *
 * Prints microseconds, one line per session. Starting the process, pam_start()
 * and the look-up of the user and of his groups (sshd's, su's and login's
 * initgroups), which a real caller has behind it when it opens the session, are
 * not in the time.
 */
#define _GNU_SOURCE
#include "bench.h"

#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <security/pam_appl.h>
#include <stdbool.h>
#include <sys/wait.h>

#define SERVICE "nsbox-bench"
#define END_OF_BOX_MS 15000

static const char *arg_user, *arg_module;
static unsigned int arg_count = 50, arg_gap_ms = 100;
static bool arg_keep, arg_wait, arg_stay;

static char confdir[] = "/tmp/opentime-XXXXXX";

static int converse(int n, const struct pam_message **msg, struct pam_response **resp, void *data)
{
	(void)data;
	for (int i = 0; i < n; i++)
		fprintf(stderr, "opentime: %s\n", msg[i]->msg);
	*resp = calloc((size_t)n, sizeof(**resp));
	return *resp ? PAM_SUCCESS : PAM_BUF_ERR;
}

static void confdir_path(char *path, size_t size)
{
	snprintf(path, size, "%s/" SERVICE, confdir);
}

/* The service has nothing but the module: what is timed is the module. */
static void confdir_make(void)
{
	char path[64];
	FILE *f;

	if (!mkdtemp(confdir))
		die(confdir);
	confdir_path(path, sizeof(path));
	f = fopen(path, "we");
	if (!f || fprintf(f, "session required %s\n", arg_module) < 0 || fclose(f) != 0)
		die(path);
}

static void confdir_remove(void)
{
	char path[64];

	confdir_path(path, sizeof(path));
	(void)unlink(path);
	(void)rmdir(confdir);
}

static pam_handle_t *session_start(const char *user)
{
	static const struct pam_conv conv = { .conv = converse };
	pam_handle_t *pamh = NULL;
	int ret;

	const struct passwd *pw = getpwnam(user);

	if (!pw || initgroups(pw->pw_name, pw->pw_gid) < 0)
		die(user);
	ret = pam_start_confdir(SERVICE, user, &conv, confdir, &pamh);
	if (ret == PAM_SUCCESS)
		ret = pam_set_item(pamh, PAM_TTY, "ssh");
	if (ret == PAM_SUCCESS)
		ret = pam_set_item(pamh, PAM_RHOST, "127.0.0.1");
	if (ret != PAM_SUCCESS) {
		fprintf(stderr, "pam_start: %s\n", pam_strerror(pamh, ret));
		_exit(1);
	}
	return pamh;
}

/*
 * The whole life of a caller: opens a session, says on @out how long that took
 * and keeps it until @in ends.
 */
static void __attribute__((noreturn)) caller(const char *user, int out, int in)
{
	pam_handle_t *pamh = session_start(user);
	double start, took;
	char c;
	int ret;

	start = now_us();
	ret = pam_open_session(pamh, 0);
	took = now_us() - start;
	if (ret != PAM_SUCCESS) {
		fprintf(stderr, "pam_open_session: %s\n", pam_strerror(pamh, ret));
		_exit(1);
	}
	if (write(out, &took, sizeof(took)) != sizeof(took))
		_exit(1);
	while (read(in, &c, 1) > 0)
		;
	(void)pam_close_session(pamh, PAM_SILENT);
	(void)pam_end(pamh, PAM_SUCCESS);
	_exit(0);
}

struct session {
	pid_t pid;
	int hold;	/* closing it ends the session */
	double took;
};

static struct session session_open(const char *user)
{
	struct session s;
	int result[2], hold[2];

	if (pipe(result) < 0 || pipe(hold) < 0)
		die("pipe");
	s.pid = fork();
	if (s.pid < 0)
		die("fork");
	if (s.pid == 0) {
		close(result[0]);
		close(hold[1]);
		caller(user, result[1], hold[0]);
	}
	close(result[1]);
	close(hold[0]);
	if (read(result[0], &s.took, sizeof(s.took)) != sizeof(s.took)) {
		confdir_remove();
		exit(1);
	}
	close(result[0]);
	s.hold = hold[1];
	return s;
}

static void session_close(const struct session *s)
{
	close(s->hold);
	waitpid(s->pid, NULL, 0);
}

/* A box is a directory with a "main" in it, below one of these. */
static bool box_exists(void)
{
	static const char *const patterns[] = { "/sys/fs/cgroup/pids/nsbox/*/main",
						"/sys/fs/cgroup/nsbox/*/main" };
	bool found = false;

	for (int i = 0; i < 2 && !found; i++) {
		glob_t list;

		found = glob(patterns[i], GLOB_NOSORT, NULL, &list) == 0;
		globfree(&list);
	}
	return found;
}

static void wait_no_box(void)
{
	int left = END_OF_BOX_MS;

	while (box_exists() && left-- > 0)
		usleep(1000);
	if (left < 0) {
		fprintf(stderr, "opentime: the box does not go away\n");
		confdir_remove();
		exit(1);
	}
}

/* Of our cgroup and those below it, by the controller of v1 or by v2, in microseconds. */
static double processor_us(void)
{
	FILE *f = fopen("/sys/fs/cgroup/cpuacct/cpuacct.usage", "re");
	bool v1 = f;
	double usage = 0;

	if (!f)
		f = fopen("/sys/fs/cgroup/cpu.stat", "re");
	if (!f || fscanf(f, v1 ? "%lf" : "usage_usec %lf", &usage) != 1)
		usage = 0;
	if (f)
		fclose(f);
	return v1 ? usage / 1000 : usage;
}

static int parse(int argc, char **argv)
{
	int opt;

	while ((opt = getopt(argc, argv, "n:g:kwsu:m:")) != -1) {
		switch (opt) {
		case 'n': arg_count = (unsigned int)atoi(optarg); break;
		case 'g': arg_gap_ms = (unsigned int)atoi(optarg); break;
		case 'k': arg_keep = true; break;
		case 'w': arg_wait = true; break;
		case 's': arg_stay = true; break;
		case 'u': arg_user = optarg; break;
		case 'm': arg_module = optarg; break;
		default: return -1;
		}
	}
	return argc == optind && arg_user && arg_module && arg_keep + arg_wait + arg_stay <= 1 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct session kept = { .hold = -1 }, *stay;

	if (parse(argc, argv) < 0) {
		fprintf(stderr, "usage: opentime [-n COUNT] [-g GAP_MS] [-k | -w | -s] -u USER -m MODULE\n");
		return 2;
	}
	stay = calloc(arg_count, sizeof(*stay));
	if (!stay)
		die("memory");
	confdir_make();
	if (arg_keep)
		kept = session_open(arg_user);
	for (unsigned int i = 0; i < arg_count; i++) {
		double used = processor_us();
		struct session s;
		char user[64];

		if (arg_wait)
			wait_no_box();
		usleep(arg_gap_ms * 1000);
		(void)snprintf(user, sizeof(user), "%s%u", arg_user, i);
		s = session_open(arg_stay ? user : arg_user);
		if (arg_stay) {		/* what runs on after the answer, too */
			usleep(arg_gap_ms * 1000);
			printf("%.1f %.1f\n", s.took, processor_us() - used);
		} else {
			printf("%.1f\n", s.took);
		}
		fflush(stdout);
		if (arg_stay)
			stay[i] = s;
		else
			session_close(&s);
	}
	/* Each has the earlier ones' descriptors too: all are closed before one is waited for. */
	for (unsigned int i = 0; arg_stay && i < arg_count; i++)
		close(stay[i].hold);
	while (arg_stay && wait(NULL) > 0)
		;
	if (arg_keep)
		session_close(&kept);
	confdir_remove();
	return 0;
}
