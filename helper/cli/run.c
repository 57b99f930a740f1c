/* SPDX-License-Identifier: MIT */
/* nsbox run: a session in a user's box without PAM. The same way in as the module's. */
#include "cli.h"
#include "caller.h"
#include "cleanup.h"
#include "client.h"

#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* Copied before the join: the box's name service is not asked. */
struct target {
	char name[NSBOX_USER_MAX];
	char home[512], shell[512];
	uid_t uid;
};

static int find_target(const char *user, struct target *ret, struct nsbox_error *err)
{
	const struct passwd *pw = getpwnam(user);

	if (!pw)
		return nsbox_error_say(err, ENOENT, "there is no user %.60s", user);
	if (pw->pw_uid == 0)
		return nsbox_error_say(err, EINVAL, "root has no box");
	if ((size_t)snprintf(ret->name, sizeof(ret->name), "%s", pw->pw_name) >= sizeof(ret->name) ||
	    (size_t)snprintf(ret->home, sizeof(ret->home), "%s", pw->pw_dir) >= sizeof(ret->home) ||
	    (size_t)snprintf(ret->shell, sizeof(ret->shell), "%s",
			     pw->pw_shell[0] ? pw->pw_shell : "/bin/sh") >= sizeof(ret->shell))
		return nsbox_error_set(err, ENAMETOOLONG, "the passwd entry of %.60s", user);
	ret->uid = pw->pw_uid;
	return 0;
}

static void set_environment(const struct target *t, const char *env)
{
	const char *term = getenv("TERM"), *lang = getenv("LANG");
	char keep_term[64], keep_lang[64];

	(void)snprintf(keep_term, sizeof(keep_term), "%s", term ? term : "");
	(void)snprintf(keep_lang, sizeof(keep_lang), "%s", lang ? lang : "");
	(void)clearenv();
	(void)setenv("HOME", t->home, 1);
	(void)setenv("SHELL", t->shell, 1);
	(void)setenv("USER", t->name, 1);
	(void)setenv("LOGNAME", t->name, 1);
	(void)setenv("PATH", "/usr/local/bin:/usr/bin:/bin", 1);
	if (*keep_term)
		(void)setenv("TERM", keep_term, 1);
	if (*keep_lang)
		(void)setenv("LANG", keep_lang, 1);
	for (const char *e = env; *e; e += strlen(e) + 1)
		(void)putenv(strdup(e));
}

/*
 * In the box, as the first process of its pid namespace that is ours: becomes
 * the user. His groups it has since the join.
 */
static void become_user(const struct target *t, const struct nsbox_opened *box, char **command)
{
	char *shell[] = { (char *)(uintptr_t)t->shell, (char *)(uintptr_t)"-l", NULL };

	if (setresgid(box->gid, box->gid, box->gid) < 0 ||
	    setresuid(box->uid, box->uid, box->uid) < 0) {
		perror("nsbox: becoming the user");
		_exit(NSBOX_EXIT_REFUSED);
	}
	set_environment(t, box->env);
	if (chdir(t->home) < 0 && chdir("/") < 0)
		_exit(NSBOX_EXIT_REFUSED);
	if (command[0])
		(void)execvp(command[0], command);
	else
		(void)execv(t->shell, shell);
	(void)fprintf(stderr, "nsbox: %s: %s\n", command[0] ? command[0] : t->shell,
		      strerror(errno));
	_exit(errno == ENOENT ? 127 : 126);
}

/* The exit status as a shell reports it. */
static int wait_for(pid_t child)
{
	int status;

	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return NSBOX_EXIT_FAILED;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int nsbox_cli_run(int argc, char **argv)
{
	struct nsbox_msg_open open = { .flags = NSBOX_OPEN_RUN, .service = "nsbox-run" };
	struct nsbox_opened opened;
	struct nsbox_error err;
	struct target t;
	char **command = argv + 2;
	pid_t child;

	if (argc < 2 || (argc > 2 && strcmp(argv[2], "--") != 0))
		return nsbox_cli_usage("run USER [-- COMMAND...]");
	command += argc > 2;
	if (find_target(argv[1], &t, &err) < 0)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	strcpy(open.user, t.name);
	if (nsbox_caller_place(&err) != NSBOX_PLACE_HOST ||
	    nsbox_open(&open, t.uid, &opened, &err) != NSBOX_ENTERED)
		return nsbox_cli_fail(NSBOX_EXIT_REFUSED, &err);
	if (opened.said[0])
		(void)fprintf(stderr, "nsbox: %s.\n", opened.said);
	child = fork();
	if (child < 0) {
		(void)nsbox_error_set(&err, errno, "fork in the box");
		return nsbox_cli_fail(NSBOX_EXIT_REFUSED, &err);
	}
	if (child == 0)
		become_user(&t, &opened, command);
	return wait_for(child);
}
