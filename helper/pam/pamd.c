/* SPDX-License-Identifier: MIT */
/* The session stack of a service, with all that it includes: see pamd.h. */
#include "pamd.h"
#include "cleanup.h"
#include "file.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

struct reading {
	const struct nsbox_pam_instead *instead;
	struct nsbox_pam_stack *stack;
	struct nsbox_error *err;
	unsigned int depth, failed_depth;	/* of includes; where a file could not be opened */
	unsigned int level;	/* of the substack */
};

static int read_file(struct reading *r, const char *name);

/* The file of a service or of an include, where libpam looks for it. */
static int open_file(const char *name, char path[static NSBOX_PAM_NAME_MAX * 2])
{
	static const char *const dirs[] = { NSBOX_PAM_DIR, NSBOX_PAM_DIST_DIR };
	int fd = -ENOENT;

	if (name[0] == '/') {
		(void)snprintf(path, NSBOX_PAM_NAME_MAX * 2, "%s", name);
		return open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	}
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]) && fd < 0; i++) {
		(void)snprintf(path, NSBOX_PAM_NAME_MAX * 2, "%s/%s", dirs[i], name);
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0 && errno != ENOENT)
			break;
	}
	return fd;
}

/* "ok", "done", "3": what one result does to the stack. Returns false for other words. */
static bool apply_action(struct nsbox_pam_control *c, const char *value, const char *action)
{
	bool ours = strcmp(value, "default") == 0 || strcmp(value, "system_err") == 0 ||
		    strcmp(value, "perm_denied") == 0 || strcmp(value, "abort") == 0;
	char *end;
	unsigned long jump = strtoul(action, &end, 10);

	if (strcmp(action, "bad") == 0) {
		c->next = true;
	} else if (strcmp(action, "ok") == 0 || strcmp(action, "ignore") == 0 ||
		   strcmp(action, "reset") == 0) {
		c->next = true;
		c->open |= ours;
	} else if (strcmp(action, "done") == 0) {
		c->done = true;
		c->open |= ours;
	} else if (*action >= '0' && *action <= '9' && *end == '\0' &&
		   jump <= NSBOX_PAM_JUMP_MAX) {
		c->jumps |= (uint64_t)1 << jump;
		c->next |= jump == 0;
		c->open |= ours;
	} else {
		return strcmp(action, "die") == 0;
	}
	return true;
}

/* "[success=ok default=bad]", without the brackets. */
static bool parse_results(char *text, struct nsbox_pam_control *ret)
{
	struct nsbox_pam_control c = { .next = false };
	bool has_default = false;
	char *save = NULL;

	for (char *w = strtok_r(text, " \t", &save); w; w = strtok_r(NULL, " \t", &save)) {
		char *action = strchr(w, '=');

		if (!action)
			return false;
		*action++ = '\0';
		if (!apply_action(&c, w, action))
			return false;
		has_default |= strcmp(w, "default") == 0;
	}
	c.next |= !has_default;		/* what is not named is "bad" */
	*ret = c;
	return true;
}

static bool parse_control(char *word, bool bracketed, struct nsbox_pam_control *ret)
{
	static const struct {
		const char *word;
		struct nsbox_pam_control control;
	} words[] = {
		{ "required", { .next = true } },
		{ "requisite", { .next = true } },
		{ "optional", { .next = true, .open = true } },
		{ "sufficient", { .next = true, .done = true, .open = true } },
	};

	if (bracketed)
		return parse_results(word, ret);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcasecmp(word, words[i].word) == 0) {
			*ret = words[i].control;
			return true;
		}
	}
	return false;
}

static int add_rule(struct reading *r, const char *path, const struct nsbox_pam_line *line,
		    const struct nsbox_pam_control *control, const char *module)
{
	struct nsbox_pam_stack *s = r->stack;
	struct nsbox_pam_rule *rules = realloc(s->rules, (s->n + 1) * sizeof(*rules));
	struct nsbox_pam_rule *rule;

	if (!rules)
		return nsbox_error_set(r->err, ENOMEM, "reading %.80s", path);
	s->rules = rules;
	rule = &rules[s->n++];
	*rule = (struct nsbox_pam_rule){
		.file = strdup(path), .line = line->number, .level = r->level,
		.control = *control, .ours = nsbox_pam_line_is_ours(line),
		.quiet = line->text[0] == '-', .module = strdup(module),
	};
	if (!rule->file || !rule->module)
		return nsbox_error_set(r->err, ENOMEM, "reading %.80s", path);
	return 0;
}

/* A file that another includes, on @line; that is said if it cannot be opened. */
static int read_include(struct reading *r, const char *path, const struct nsbox_pam_line *line,
			const char *name)
{
	unsigned int depth = r->depth;
	int ret = read_file(r, name);

	/* It failed itself, and not in something that it includes or says. */
	if (ret < 0 && r->failed_depth == depth)
		(void)nsbox_error_wrap(r->err, "%.100s:%u", path, line->number);
	return ret;
}

/* "session substack NAME": what ends it does not end what it is in. libpam marks it too. */
static int read_substack(struct reading *r, const char *path, const struct nsbox_pam_line *line,
			 const char *name)
{
	static const struct nsbox_pam_control on = { .next = true };
	int ret = add_rule(r, path, line, &on, name);

	if (ret < 0)
		return ret;
	r->level++;
	ret = read_include(r, path, line, name);
	r->level--;
	return ret;
}

static int wrong(const struct reading *r, const char *path, const struct nsbox_pam_line *line,
		 const char *what, const char *word)
{
	return nsbox_error_say(r->err, EINVAL, "%.100s:%u: %s%s%.40s", path, line->number, what,
			       word ? " " : "", word ? word : "");
}

/* What comes after "session" on a line. */
static int read_rule(struct reading *r, const char *path, const struct nsbox_pam_line *line,
		     char *rest)
{
	struct nsbox_pam_control control;
	bool bracketed;
	char *word;

	rest += strspn(rest, " \t");
	bracketed = *rest == '[';
	word = nsbox_pam_word(&rest);
	if (!word)
		return wrong(r, path, line, "this rule has no control", NULL);
	rest += strspn(rest, " \t");
	if (*rest == '\0')
		return wrong(r, path, line, "this rule names no module", NULL);
	if (!bracketed && strcasecmp(word, "include") == 0)
		return read_include(r, path, line, nsbox_pam_word(&rest));
	if (!bracketed && strcasecmp(word, "substack") == 0)
		return read_substack(r, path, line, nsbox_pam_word(&rest));
	if (!parse_control(word, bracketed, &control))
		return wrong(r, path, line, "there is no control", word);
	return add_rule(r, path, line, &control, rest);
}

static int read_line(struct reading *r, const char *path, const struct nsbox_pam_line *line)
{
	static const char *const others[] = { "auth", "account", "password" };
	char copy[NSBOX_PAM_LINE_MAX], *rest = copy, *type;

	strcpy(copy, line->text);
	type = nsbox_pam_word(&rest);
	if (!type)
		return 0;
	if (strcmp(type, "@include") == 0) {
		const char *name = nsbox_pam_word(&rest);

		return name ? read_include(r, path, line, name) :
			      wrong(r, path, line, "@include names no file", NULL);
	}
	type += *type == '-';
	if (strcasecmp(type, "session") == 0)
		return read_rule(r, path, line, rest);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		if (strcasecmp(type, others[i]) == 0)
			return 0;
	return wrong(r, path, line, "there is no type of rule", type);
}

static int read_text(struct reading *r, const char *path, const char *text, size_t len)
{
	struct nsbox_pam_line line;
	unsigned int number = 0;
	size_t at = 0;
	int n;

	while ((n = nsbox_pam_next_line(path, text, len, &at, &number, &line, r->err)) > 0) {
		n = read_line(r, path, &line);
		if (n < 0)
			return n;
	}
	return n;
}

static int read_file(struct reading *r, const char *name)
{
	char path[NSBOX_PAM_NAME_MAX * 2];
	cleanup_free char *text = NULL;
	cleanup_close int fd = -EBADF;
	size_t len;
	int ret;

	if (strlen(name) >= NSBOX_PAM_NAME_MAX)
		return nsbox_error_set(r->err, ENAMETOOLONG, "open %.120s", name);
	if (r->depth >= NSBOX_PAM_DEPTH_MAX)
		return nsbox_error_say(r->err, ELOOP, "the files in " NSBOX_PAM_DIR " include each "
				       "other too deep at %.60s", name);
	if (r->instead && strcmp(name, r->instead->name) == 0) {
		(void)snprintf(path, sizeof(path), NSBOX_PAM_DIR "/%s", name);
		r->depth++;
		ret = read_text(r, path, r->instead->text, r->instead->len);
		r->depth--;
		return ret;
	}
	fd = open_file(name, path);
	if (fd < 0) {
		r->failed_depth = r->depth;
		return nsbox_error_set(r->err, errno, "open %.120s", path);
	}
	ret = nsbox_fd_read_all(fd, NSBOX_PAM_FILE_MAX, &text, &len, r->err);
	if (ret < 0) {
		(void)nsbox_error_wrap(r->err, "%.120s", path);
		return ret;
	}
	r->depth++;
	ret = read_text(r, path, text, len);
	r->depth--;
	return ret;
}

int nsbox_pam_stack_read(const char *service, const struct nsbox_pam_instead *instead,
			 struct nsbox_pam_stack *ret, struct nsbox_error *err)
{
	struct nsbox_pam_stack stack = { .n = 0 };
	struct reading reading = {
		.instead = instead, .stack = &stack, .err = err, .failed_depth = (unsigned int)-1,
	};
	int r = read_file(&reading, service);

	if (r < 0)
		nsbox_pam_stack_drop(&stack);
	else
		*ret = stack;
	return r;
}

void nsbox_pam_stack_drop(struct nsbox_pam_stack *stack)
{
	for (size_t i = 0; i < stack->n; i++) {
		free(stack->rules[i].file);
		free(stack->rules[i].module);
	}
	free(stack->rules);
	*stack = (struct nsbox_pam_stack){ .n = 0 };
}

bool nsbox_pam_is_service(const char *name)
{
	static const char *const left_by_others[] = { ".dpkg-", ".ucf-", ".rpm", ".bak", ".orig",
						      ".pam-", "~" };
	size_t len = strlen(name);

	if (len == 0 || len >= NSBOX_PAM_NAME_MAX || name[0] == '.' || strchr(name, '/'))
		return false;
	for (size_t i = 0; i < sizeof(left_by_others) / sizeof(left_by_others[0]); i++)
		if (strstr(name, left_by_others[i]))
			return false;
	return true;
}

struct names {
	char **names;
	size_t n;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int add_names(struct names *to, const char *path, struct nsbox_error *err)
{
	cleanup_dir DIR *d = opendir(path);

	if (!d)
		return errno == ENOENT ? 0 : nsbox_error_set(err, errno, "open %s", path);
	for (struct dirent *e; (e = readdir(d));) {
		char **names;

		if (!nsbox_pam_is_service(e->d_name) || e->d_type == DT_DIR)
			continue;
		names = realloc(to->names, (to->n + 1) * sizeof(*names));
		if (!names)
			return nsbox_error_set(err, ENOMEM, "reading %s", path);
		to->names = names;
		names[to->n] = strdup(e->d_name);
		if (!names[to->n++])
			return nsbox_error_set(err, ENOMEM, "reading %s", path);
	}
	return 0;
}

int nsbox_pam_each_service(int (*each)(const char *service, void *data), void *data,
			   struct nsbox_error *err)
{
	struct names all = { .n = 0 };
	int r = add_names(&all, NSBOX_PAM_DIR, err);

	if (r == 0)
		r = add_names(&all, NSBOX_PAM_DIST_DIR, err);
	if (r == 0 && all.n)
		qsort(all.names, all.n, sizeof(*all.names), by_name);
	for (size_t i = 0; i < all.n; i++) {
		if (r == 0 && (i == 0 || strcmp(all.names[i], all.names[i - 1]) != 0))
			r = each(all.names[i], data);
	}
	for (size_t i = 0; i < all.n; i++)
		free(all.names[i]);
	free(all.names);
	return r;
}
