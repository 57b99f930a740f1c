/* SPDX-License-Identifier: MIT */
/*
 * nsbox enable, nsbox disable: our line at the end of a service in /etc/pam.d.
 * What the file would be is read as libpam would read it, and written only if
 * every session of the service comes to our line, and to nothing after it.
 */
#include "cli.h"
#include "cleanup.h"
#include "enabled.h"
#include "install.h"
#include "pamargs.h"
#include "pamd.h"
#include "pamedit.h"
#include "policy.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ENABLE "enable [--deny] [--module PATH] SERVICE [ARGUMENT...] | enable --again"
#define DISABLE "disable SERVICE | disable --all"

struct request {
	const char *service, *module;
	const char *args;	/* NULL: those that are there, or none */
	bool deny;		/* for a service that the policy denies */
	bool again;		/* a line that was there and was taken */
	struct nsbox_error *err;
};

/* Is the file below pam.d that a service of this name means ours to edit? */
static bool is_file_of(const struct nsbox_pam_rule *rule, const char *service)
{
	char path[NSBOX_PAM_NAME_MAX * 2];

	(void)snprintf(path, sizeof(path), NSBOX_PAM_DIR "/%s", service);
	return strcmp(rule->file, path) == 0;
}

/* Is @service a word of the list? */
static bool is_listed(const char *list, const char *service)
{
	size_t len = strlen(service);

	for (const char *s = strstr(list, service); s; s = strstr(s + 1, service))
		if ((s == list || strchr(" ,\t", s[-1])) && (s[len] == '\0' || strchr(" ,\t", s[len])))
			return true;
	return false;
}

/* For nobody's name and no group: what [defaults] say. */
static int check_policy(const struct request *q)
{
	static const struct nsbox_subject nobody = {
		.name = "", .uid = (uid_t)-2, .gid = (gid_t)-2, .home = "/nonexistent", .shell = "/bin/sh",
	};
	struct nsbox_policy *policy;
	struct nsbox_decision d;
	bool denied = false;
	int r = nsbox_policy_load(NSBOX_POLICY_DIR, NULL, &policy, q->err);

	if (r < 0)
		return r;
	r = nsbox_policy_decide(policy, &nobody, q->service, NULL, 0, &d, q->err);
	if (r == 0) {
		denied = is_listed(d.text[NSBOX_KEY_DENY_SERVICES], q->service);
		nsbox_decision_free(&d);
	}
	nsbox_policy_free(policy);
	if (r == 0 && denied && !q->deny)
		return nsbox_error_say(q->err, EPERM, "%.60s is in deny_services: with the line every "
				       "session of a boxed user through it is refused, and none is "
				       "boxed. If that is wanted: nsbox enable --deny %.60s",
				       q->service, q->service);
	return r;
}

/* A line that names a file which is not there locks everybody out. */
static int check_installed(struct request *q, char module[static PATH_MAX])
{
	struct stat st;

	if (!q->module) {
		int r = nsbox_find_module(module, q->err);

		if (r < 0)
			return r;
		q->module = module;
	} else if (q->module[0] != '/' || stat(q->module, &st) < 0 || !S_ISREG(st.st_mode)) {
		return nsbox_error_say(q->err, ENOENT, "there is no module %.100s: with a line that "
				       "names it nobody could log in", q->module);
	}
	if (access(NSBOX_KEEPER_PATH, X_OK) < 0)
		return nsbox_error_set(q->err, errno, "the keeper " NSBOX_KEEPER_PATH);
	return 0;
}

struct included {
	const struct request *q;
	const struct nsbox_pam_instead *instead;
};

/* Another service that includes this one: our line has to be last there too. */
static int check_other(const char *service, void *data)
{
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	const struct included *in = data;
	const struct nsbox_pam_rule *ours, *after;
	struct nsbox_error ignored;

	if (strcmp(service, in->q->service) == 0 ||
	    nsbox_pam_stack_read(service, in->instead, &stack, &ignored) < 0)
		return 0;
	ours = nsbox_pam_stack_ours(&stack);
	after = nsbox_pam_stack_after(&stack);
	if (!ours || !is_file_of(ours, in->q->service) || !after)
		return 0;
	return nsbox_error_say(in->q->err, EINVAL, "%.80s:%u: in %.40s, which includes %.40s, this "
			       "rule would come after nsbox's: enable %.40s instead", after->file,
			       after->line, service, in->q->service, service);
}

/* Would libpam, with this text, bring every session of the service to us, last? */
static int check_stack(const struct request *q, const char *text, size_t len)
{
	struct nsbox_pam_instead instead = { .name = q->service, .text = text, .len = len };
	struct included included = { .q = q, .instead = &instead };
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	const struct nsbox_pam_rule *way;
	int r = nsbox_pam_stack_read(q->service, &instead, &stack, q->err);

	if (r < 0)
		return r;
	if (stack.n == 1)
		return nsbox_error_say(q->err, EINVAL, NSBOX_PAM_DIR "/%.60s has no session rules: "
				       "libpam takes those of \"other\", and would not with ours. "
				       "Write the rules there first", q->service);
	way = nsbox_pam_stack_bypass(&stack);
	if (way)
		return nsbox_error_say(q->err, EINVAL, "%.80s:%u: with this rule (%.60s) a session can "
				       "begin without coming to the end, where nsbox's has to be",
				       way->file, way->line, way->module);
	way = nsbox_pam_stack_after(&stack);
	if (way)
		return nsbox_error_say(q->err, EINVAL, "%.80s:%u: this rule would come after nsbox's",
				       way->file, way->line);
	return nsbox_pam_each_service(check_other, &included, q->err);
}

/* Is the module in the service by a file that it includes? Then there is nothing to write. */
static bool is_included(const char *service, const char *bare, size_t len, struct nsbox_error *err)
{
	struct nsbox_pam_instead instead = { .name = service, .text = bare, .len = len };
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	const struct nsbox_pam_rule *ours;

	if (nsbox_pam_stack_read(service, &instead, &stack, err) < 0)
		return false;
	ours = nsbox_pam_stack_ours(&stack);
	if (!ours || nsbox_pam_stack_after(&stack) || nsbox_pam_stack_bypass(&stack))
		return false;
	(void)nsbox_error_say(err, EEXIST, "%.100s:%u", ours->file, ours->line);
	return true;
}

static int write_enabled(const struct request *q, const struct nsbox_pam_edit *edit,
			 const char *args)
{
	cleanup_free char *text = NULL;
	size_t len;
	/* What comes back after an upgrade was there before, and without it nobody is boxed. */
	int r = q->again ? 0 : nsbox_pam_arguments_check(args, q->err);

	if (r == 0)
		r = nsbox_pam_edit_with(edit, q->module, args, &text, &len, q->err);
	if (r == 0)
		r = check_stack(q, text, len);
	if (r == 0)
		r = nsbox_enabled_set(q->service, args, q->err);
	if (r < 0)
		return r;
	if (len == edit->len && memcmp(text, edit->text, len) == 0) {
		(void)printf("%s is enabled already\n", q->service);
		return 0;
	}
	r = nsbox_pam_edit_write(edit, text, len, q->err);
	if (r == 0)
		(void)printf("%s is enabled: " NSBOX_PAM_DIR "/%s\n", q->service, q->service);
	return r;
}

static int enable(struct request *q)
{
	struct nsbox_pam_edit cleanup_pam_edit edit = { .dir = -EBADF, .file = -EBADF };
	cleanup_free char *bare = NULL, *old_args = NULL;
	char module[PATH_MAX];
	size_t len;
	int r = check_policy(q);

	if (r == 0)
		r = check_installed(q, module);
	if (r == 0)
		r = nsbox_pam_edit_open(q->service, &edit, q->err);
	if (r == 0)
		r = nsbox_pam_edit_without(&edit, &bare, &len, &old_args, q->err);
	if (r < 0)
		return r;
	if (!old_args && is_included(q->service, bare, len, q->err)) {
		(void)printf("%s is enabled already, by %s\n", q->service, q->err->msg);
		return 0;
	}
	return write_enabled(q, &edit, q->args ? q->args : old_args ? old_args : "");
}

/* Words that libpam takes as they are; "" for none. */
static int join_arguments(int n, char **words, char *ret, size_t size, struct nsbox_error *err)
{
	size_t used = 0;

	ret[0] = '\0';
	for (int i = 0; i < n; i++) {
		if (!*words[i] || strpbrk(words[i], " \t\r\n\\#[]"))
			return nsbox_error_say(err, EINVAL, "\"%.60s\" is not an argument that fits on "
					       "a line of pam.d", words[i]);
		used += (size_t)snprintf(ret + used, size - used, "%s%s", used ? " " : "", words[i]);
		if (used >= size)
			return nsbox_error_say(err, E2BIG, "the arguments are too long for a line of "
					       "pam.d");
	}
	return 0;
}

static int print_name(const char *service, void *data)
{
	(void)data;
	(void)fprintf(stderr, " %s", service);
	return 0;
}

static int check_name(const char *service, struct nsbox_error *err)
{
	char path[NSBOX_PAM_NAME_MAX * 2];
	struct nsbox_error ignored;
	struct stat st;

	if (!nsbox_pam_is_service(service) || strpbrk(service, " \t\n"))
		return nsbox_error_say(err, EINVAL, "\"%.60s\" is not the name of a service", service);
	(void)snprintf(path, sizeof(path), NSBOX_PAM_DIR "/%s", service);
	if (lstat(path, &st) == 0)
		return 0;
	(void)snprintf(path, sizeof(path), NSBOX_PAM_DIST_DIR "/%s", service);
	if (lstat(path, &st) == 0)
		return nsbox_error_say(err, ENOENT, "%.60s is only in " NSBOX_PAM_DIST_DIR ": copy it "
				       "to " NSBOX_PAM_DIR ", which beats it, and enable it there",
				       service);
	(void)fprintf(stderr, "nsbox: the services are:");
	(void)nsbox_pam_each_service(print_name, NULL, &ignored);
	(void)fputc('\n', stderr);
	return nsbox_error_say(err, ENOENT, "there is no service %.60s in " NSBOX_PAM_DIR, service);
}

/* Did dpkg put a new file in the place of the one that had our line, after we wrote it? */
static bool replaced_by_dpkg(const char *service, struct timespec written)
{
	char name[NSBOX_PAM_NAME_MAX * 2];
	struct nsbox_pam_edit cleanup_pam_edit old = { .dir = -EBADF, .file = -EBADF };
	cleanup_free char *bare = NULL, *args = NULL;
	struct nsbox_error ignored;
	size_t len;

	(void)snprintf(name, sizeof(name), "%s.dpkg-old", service);
	if (nsbox_pam_edit_open(name, &old, &ignored) < 0 ||
	    nsbox_pam_edit_without(&old, &bare, &len, &args, &ignored) < 0 || !args)
		return false;
	return old.st.st_ctim.tv_sec > written.tv_sec ||
	       (old.st.st_ctim.tv_sec == written.tv_sec &&
		old.st.st_ctim.tv_nsec > written.tv_nsec);
}

/* After packages changed pam.d: a line that dpkg took away comes back, another is missed. */
static int again(const char *service, const char *args, struct timespec written, void *data)
{
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	struct nsbox_error err;
	struct request q = { .service = service, .args = args, .deny = true, .again = true,
			     .err = &err };
	int *status = data;

	if (nsbox_pam_stack_read(service, NULL, &stack, &err) == 0 && nsbox_pam_stack_ours(&stack))
		return 0;
	if (stack.n && replaced_by_dpkg(service, written)) {
		if (enable(&q) < 0)
			*status = nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
		return 0;
	}
	(void)nsbox_error_say(&err, ENOENT, "%.60s was enabled, and its line in " NSBOX_PAM_DIR " has "
			      "gone: nsbox enable %.60s, or nsbox disable %.60s to forget it",
			      service, service, service);
	*status = nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	return 0;
}

static int enable_again(void)
{
	struct nsbox_error err;
	int status = 0;

	if (nsbox_enabled_each(again, &status, &err) < 0)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	return status;
}

int nsbox_cli_enable(int argc, char **argv)
{
	struct nsbox_error err;
	struct request q = { .err = &err };
	char args[NSBOX_PAM_LINE_MAX / 2];
	int i = 1;

	if (argc == 2 && strcmp(argv[1], "--again") == 0)
		return enable_again();
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (strcmp(argv[i], "--deny") == 0)
			q.deny = true;
		else if (strcmp(argv[i], "--module") == 0 && i + 1 < argc)
			q.module = argv[++i];
		else
			return nsbox_cli_usage(ENABLE);
	}
	if (i >= argc)
		return nsbox_cli_usage(ENABLE);
	q.service = argv[i++];
	if (i < argc)
		q.args = args;
	if (join_arguments(argc - i, argv + i, args, sizeof(args), &err) < 0 ||
	    check_name(q.service, &err) < 0 || enable(&q) < 0)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	return 0;
}

/* Returns 1 if something was taken out, 0 if there was nothing, a negative errno. */
static int take_out(const char *service, struct nsbox_error *err)
{
	struct nsbox_pam_edit cleanup_pam_edit edit = { .dir = -EBADF, .file = -EBADF };
	cleanup_free char *bare = NULL;
	size_t len;
	int r = nsbox_pam_edit_open(service, &edit, err);

	if (r == 0)
		r = nsbox_pam_edit_without(&edit, &bare, &len, NULL, err);
	if (r < 0)
		return r;
	if (len == edit.len)
		return 0;
	r = nsbox_pam_edit_write(&edit, bare, len, err);
	return r < 0 ? r : 1;
}

static int disable(const char *service, struct nsbox_error *err)
{
	struct nsbox_pam_stack cleanup_pam_stack stack = { .n = 0 };
	struct nsbox_error ignored;
	const struct nsbox_pam_rule *ours;
	int r = take_out(service, err);

	if (r == -ENOENT)
		r = 0;		/* its package has gone: there is only the list */
	if (r >= 0 && nsbox_pam_stack_read(service, NULL, &stack, &ignored) == 0 &&
	    (ours = nsbox_pam_stack_ours(&stack)) != NULL)
		return nsbox_error_say(err, EBUSY, "%.60s has nsbox's line from %.80s:%u: it has to go "
				       "there", service, ours->file, ours->line);
	if (r >= 0 && nsbox_enabled_set(service, NULL, err) < 0)
		return -err->code;
	if (r >= 0)
		(void)printf(r ? "%s is disabled\n" : "%s was not enabled\n", service);
	return r < 0 ? r : 0;
}

/* Is the module named outside a comment, in a file that was not understood? */
static bool names_module(const char *service)
{
	char path[NSBOX_PAM_NAME_MAX * 2];
	cleanup_fclose FILE *f = NULL;
	cleanup_free char *line = NULL;
	size_t size = 0;
	bool found = false;

	(void)snprintf(path, sizeof(path), NSBOX_PAM_DIR "/%s", service);
	f = fopen(path, "re");
	while (f && !found && getline(&line, &size, f) >= 0) {
		line[strcspn(line, "#")] = '\0';
		found = strstr(line, NSBOX_MODULE_NAME) != NULL;
	}
	return found;
}

/* Before the module goes: wherever it is named, by whomever. */
static int disable_one(const char *service, void *data)
{
	struct nsbox_error err;
	int *status = data;
	int r = take_out(service, &err);

	if (r > 0)
		(void)printf("%s is disabled\n", service);
	else if (r < 0 && names_module(service))
		*status = nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	return 0;
}

static int forget(const char *service, const char *args, struct timespec written, void *data)
{
	(void)args;
	(void)written;
	return nsbox_enabled_set(service, NULL, data);
}

static int disable_all(void)
{
	struct nsbox_error err;
	int status = 0;

	if (nsbox_pam_each_service(disable_one, &status, &err) < 0 ||
	    nsbox_enabled_each(forget, &err, &err) < 0)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	return status;
}

int nsbox_cli_disable(int argc, char **argv)
{
	struct nsbox_error err;

	if (argc != 2 || (argv[1][0] == '-' && strcmp(argv[1], "--all") != 0))
		return nsbox_cli_usage(DISABLE);
	if (strcmp(argv[1], "--all") == 0)
		return disable_all();
	if (!nsbox_pam_is_service(argv[1])) {
		(void)nsbox_error_say(&err, EINVAL, "\"%.60s\" is not the name of a service", argv[1]);
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	}
	if (disable(argv[1], &err) < 0)
		return nsbox_cli_fail(NSBOX_EXIT_FAILED, &err);
	return 0;
}
