/* SPDX-License-Identifier: MIT */
/* sshd, and the session stack of every service: is our line there, last, and does it refuse? */
#include "doctor.h"
#include "cleanup.h"
#include "enabled.h"
#include "install.h"
#include "pamargs.h"
#include "pamd.h"

#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define SSHD "/usr/sbin/sshd"

/* Starts sshd -T, without a shell. Returns what it says, errors too, or NULL; @ret_pid is to be waited for. */
static FILE *ask_sshd(pid_t *ret_pid)
{
	char *const argv[] = { (char *)(uintptr_t)SSHD, (char *)(uintptr_t)"-T", NULL };
	cleanup_close int read_end = -EBADF, write_end = -EBADF;
	posix_spawn_file_actions_t actions;
	int ends[2], r;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return NULL;
	read_end = ends[0];
	write_end = ends[1];
	r = posix_spawn_file_actions_init(&actions);
	if (r != 0)
		return NULL;
	r = posix_spawn_file_actions_adddup2(&actions, write_end, STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, write_end, STDERR_FILENO);
	if (r == 0)
		r = posix_spawn(ret_pid, SSHD, &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return r == 0 ? fdopen(take_fd(&read_end), "r") : NULL;
}

static void check_sshd(struct nsbox_doctor *d)
{
	cleanup_fclose FILE *f = NULL;
	cleanup_free char *line = NULL;
	bool answered = false, use = false;
	size_t size = 0;
	pid_t pid;

	if (access(SSHD, X_OK) < 0) {
		nsbox_find(d, NSBOX_OK, "sshd.usepam", "there is no " SSHD);
		return;
	}
	f = ask_sshd(&pid);
	while (f && getline(&line, &size, f) >= 0) {
		line[strcspn(line, "\n")] = '\0';
		answered |= strncasecmp(line, "usepam ", 7) == 0;
		use |= strcasecmp(line, "usepam yes") == 0;
	}
	if (f)
		(void)waitpid(pid, NULL, 0);
	if (!answered) {
		nsbox_find(d, NSBOX_WARNING, "sshd.usepam", SSHD " -T does not answer: %.120s",
			   line && *line ? line : "it says nothing");
		nsbox_find_fix(d, "sshd -t");
	} else {
		nsbox_find(d, use ? NSBOX_OK : NSBOX_ERROR, "sshd.usepam", "UsePAM %s",
			   use ? "yes" : "no: sshd asks no PAM module, and boxes nobody");
		if (!use)
			nsbox_find_fix(d, "UsePAM yes, in /etc/ssh/sshd_config");
	}
}

/* Services through which users start programs of their own, and such as start none. */
static const char *const programs[] = { "sshd", "login", "su", "su-l", "sudo", "sudo-i", "cron",
					"crond", "atd" };
static const char *const harmless[] = { "passwd", "chpasswd", "newusers", "chfn", "chsh",
					"chage", "polkit-1", "useradd", "userdel", "usermod",
					"groupadd", "groupdel", "groupmod", "groupmems" };

static bool is_among(const char *name, const char *const *list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (strcmp(name, list[i]) == 0)
			return true;
	return false;
}

#define IS_AMONG(name, list) is_among(name, list, sizeof(list) / sizeof((list)[0]))

enum nsbox_coverage nsbox_service_coverage(const char *service)
{
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	struct nsbox_error err;

	if (nsbox_pam_stack_read(service, NULL, &stack, &err) < 0)
		return err.code == ENOENT ? NSBOX_NO_SERVICE : NSBOX_OUTSIDE;
	return nsbox_pam_stack_ours(&stack) ? NSBOX_COVERED : NSBOX_OUTSIDE;
}

/* Will libpam find what our line names? If not, nobody gets in. */
static bool check_named_module(struct nsbox_doctor *d, const char *service,
			       const struct nsbox_pam_rule *ours)
{
	char name[PATH_MAX], path[PATH_MAX];

	(void)snprintf(name, sizeof(name), "%.*s", (int)strcspn(ours->module, " \t"), ours->module);
	if (nsbox_module_path(name, path) == 0)
		return true;
	nsbox_find(d, NSBOX_ERROR, "pam.module", "%s:%u names %s, which is not there: nobody gets in "
		   "through %s, not even root", ours->file, ours->line, name, service);
	nsbox_find_fix(d, "nsbox disable %s", service);
	return false;
}

/* What every login through this line is refused for is said before one is. */
static void check_arguments(struct nsbox_doctor *d, const char *service,
			    const struct nsbox_pam_rule *ours)
{
	struct nsbox_error err;
	int r = nsbox_pam_arguments_check(nsbox_pam_arguments_of(ours), &err);

	if (r == 0)
		return;
	nsbox_find(d, r == -ENOENT ? NSBOX_WARNING : NSBOX_ERROR, "pam.arguments", "%s:%u: %s%s",
		   ours->file, ours->line, err.msg,
		   r == -ENOENT ? "" : ": until then nobody gets in but root and who is exempt");
	nsbox_find_fix(d, "nsbox enable %s ARGUMENT..., with those that are meant", service);
}

static void check_enabled(struct nsbox_doctor *d, const char *service,
			  const struct nsbox_pam_stack *stack)
{
	const struct nsbox_pam_rule *ours = nsbox_pam_stack_ours(stack);
	const struct nsbox_pam_rule *after = nsbox_pam_stack_after(stack);
	const struct nsbox_pam_rule *way = nsbox_pam_stack_bypass(stack);
	bool common = strncmp(ours->file, NSBOX_PAM_DIR "/common-", strlen(NSBOX_PAM_DIR) + 8) == 0;

	d->enabled = true;
	if (!check_named_module(d, service, ours))
		return;
	check_arguments(d, service, ours);
	if (ours->control.open || ours->quiet) {
		nsbox_find(d, NSBOX_ERROR, "pam.control", "%s:%u: with this control a session that has "
			   "no box goes on outside", ours->file, ours->line);
		nsbox_find_fix(d, "session required %s", ours->module);
	} else if (way) {
		nsbox_find(d, NSBOX_ERROR, "pam.order", "%s:%u: with this rule a session of %s can "
			   "begin without nsbox", way->file, way->line, service);
		nsbox_find_fix(d, "take that rule out, or write \"required\" or \"optional\" in it");
	} else if (after) {
		/* With pam-auth-update's profile it is so for sshd and cron. */
		nsbox_find(d, NSBOX_ERROR, "pam.order", "%s:%u comes after nsbox's line in %s: it runs "
			   "in the box, without the host's files and privileges, and may refuse",
			   after->file, after->line, service);
		nsbox_find_fix(d, "%snsbox enable %s",
			       common ? "pam-auth-update --disable nsbox && " : "", service);
	} else {
		nsbox_find(d, NSBOX_OK, "pam.order", "%s: nsbox is last (%s:%u)", service, ours->file,
			   ours->line);
	}
}

/* The line of the services' own; systemd-user is a way around the box, and said there. */
static void check_outside(struct nsbox_doctor *d, const char *service)
{
	enum nsbox_severity severity = !d->enabled || !IS_AMONG(service, programs) ? NSBOX_WARNING :
										    NSBOX_ERROR;

	if (strcmp(service, "systemd-user") == 0)
		return;
	if (IS_AMONG(service, harmless)) {
		nsbox_find(d, NSBOX_OK, "pam.outside", "%s is outside, and runs nothing of a user's",
			   service);
		return;
	}
	nsbox_find(d, severity, "pam.outside", "%s: its sessions stay outside the box", service);
	nsbox_find_fix(d, "nsbox enable %s", service);
}

struct pass {
	struct nsbox_doctor *doctor;
	bool outside;		/* the second pass */
};

/* A file of nothing but rules for others, such as common-session, is no service. */
static bool is_part(const char *service)
{
	return strncmp(service, "common-", 7) == 0 || strncmp(service, "system-", 7) == 0 ||
	       strcmp(service, "postlogin") == 0;
}

static int one_service(const char *service, void *data)
{
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	const struct pass *pass = data;
	struct nsbox_error err;

	if (is_part(service))
		return 0;
	if (nsbox_pam_stack_read(service, NULL, &stack, &err) < 0) {
		if (pass->outside)
			nsbox_find(pass->doctor, NSBOX_WARNING, "pam.unread", "%s", err.msg);
		return 0;
	}
	if (nsbox_pam_stack_ours(&stack) && !pass->outside)
		check_enabled(pass->doctor, service, &stack);
	else if (!nsbox_pam_stack_ours(&stack) && pass->outside && stack.n)
		check_outside(pass->doctor, service);
	return 0;
}

static int one_listed(const char *service, const char *args, struct timespec written, void *data)
{
	struct nsbox_doctor *d = data;

	(void)written;
	if (nsbox_service_coverage(service) == NSBOX_OUTSIDE) {
		nsbox_find(d, NSBOX_ERROR, "pam.gone", "%s was enabled, and its line has gone", service);
		nsbox_find_fix(d, "nsbox enable %s%s%s", service, *args ? " " : "", args);
	}
	return 0;
}

void nsbox_doctor_pam(struct nsbox_doctor *d)
{
	struct pass pass = { .doctor = d };
	struct nsbox_error err = { .code = 0 };
	bool good;

	check_sshd(d);
	good = nsbox_pam_each_service(one_service, &pass, &err) == 0;
	if (good && !d->enabled) {
		nsbox_find(d, NSBOX_WARNING, "pam.none", "no service is enabled: nobody is boxed");
		nsbox_find_fix(d, "nsbox enable sshd");
	}
	pass.outside = true;
	good = good && nsbox_enabled_each(one_listed, d, &err) == 0 &&
	       nsbox_pam_each_service(one_service, &pass, &err) == 0;
	if (!good)
		nsbox_find(d, NSBOX_ERROR, "pam.unread", "%s", err.msg);
}
