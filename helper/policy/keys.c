/* SPDX-License-Identifier: MIT */
/*
 * The keys of nsbox.conf: one table with each key's name, its default, whether
 * it shapes the box, the parser of its value and its canonical form. A parser
 * says what to write instead; who calls puts file, line and value in front.
 */
#include "internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DAY_SECONDS 86400
#define LINGER_DAYS_MAX 3650
#define MEMORY_MIN (UINT64_C(4) << 20)
/* One box's block: 65536 ids, and 1024 for what the user has above 65535. */
#define BLOCK_IDS (65536 + 1024)

static const char *const action_words[] = { "pass", "box", "deny", NULL };
static const char *const net_words[] = { "none", "host", NULL };
static const char *const idmap_words[] = { "auto", "shift", "keep", NULL };
static const char *const scope_words[] = { "user", "session", NULL };
static const char *const yes_words[] = { "no", "yes", NULL };

/* The index of @value in @words, or -EINVAL with the words to choose from. */
static int parse_word(const char *value, const char *const *words, struct nsbox_error *err)
{
	char list[80] = "";
	int i;

	for (i = 0; words[i]; i++)
		if (!strcmp(value, words[i]))
			return i;
	for (i = 0; words[i]; i++) {
		size_t used = strlen(list);

		(void)snprintf(list + used, sizeof(list) - used, "%s%s",
			       !i ? "" : words[i + 1] ? ", " : " or ", words[i]);
	}
	return nsbox_error_say(err, 0, "write %s", list);
}

static int parse_action(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	int word = parse_word(value, action_words, err);

	if (word < 0)
		return word;
	d->action = (enum nsbox_action)word;
	return 0;
}

/* A service is a file below /etc/pam.d; a comma or a blank separates two. */
static int check_service(struct nsbox_slice word, struct nsbox_error *err)
{
	size_t i;

	for (i = 0; i < word.len; i++) {
		char c = nsbox_lower(word.s[i]);

		if (c && (strchr("_.+@", c) || (c == '-' && i) || (c >= 'a' && c <= 'z') ||
			  (c >= '0' && c <= '9')))
			continue;
		return nsbox_error_say(err, 0, "\"%s\" is not a service: write names like sshd, su",
				       nsbox_quote(word.s, word.len).s);
	}
	return 0;
}

/* A list of services without the words all and none, which stand alone. */
static int check_services(const char *value, struct nsbox_error *err)
{
	struct nsbox_slice word;
	const char *pos = value;
	bool any = false;
	int r;

	while (nsbox_next_word(&pos, &word)) {
		if (nsbox_same_word(word, "all") || nsbox_same_word(word, "none"))
			return nsbox_error_say(err, 0, "all and none stand alone");
		r = check_service(word, err);
		if (r < 0)
			return r;
		any = true;
	}
	return any ? 0 : nsbox_error_say(err, 0, "write names like sshd, su");
}

static int parse_services(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	(void)d;
	if (!strcmp(value, "all"))
		return 0;
	if (!strcmp(value, "none"))
		return nsbox_error_say(err, 0, "write all or a list, or action = pass");
	return check_services(value, err);
}

static int parse_deny_services(struct nsbox_decision *d, const char *value,
			       struct nsbox_error *err)
{
	(void)d;
	if (!strcmp(value, "none"))
		return 0;
	if (!strcmp(value, "all"))
		return nsbox_error_say(err, 0, "write none or a list, or action = deny");
	return check_services(value, err);
}

static int parse_scope(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	int word = parse_word(value, scope_words, err);

	if (word < 0)
		return word;
	d->scope = (enum nsbox_scope)word;
	return 0;
}

static int parse_linger(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	static const char units[] = "smhd";
	static const uint64_t seconds[] = { 1, 60, 3600, DAY_SECONDS };
	const uint64_t max = (uint64_t)LINGER_DAYS_MAX * DAY_SECONDS;
	size_t len = strlen(value);
	const char *unit;
	uint64_t n;

	if (!strcmp(value, "forever")) {
		d->linger_ms = NSBOX_LINGER_FOREVER;
		return 0;
	}
	if (!strcmp(value, "0")) {
		d->linger_ms = 0;
		return 0;
	}
	unit = len ? strchr(units, value[len - 1]) : NULL;
	if (!unit || !nsbox_number(value, len - 1, &n))
		return nsbox_error_say(err, 0, "write a time like 30s, 10m, 2h, 1d, 0 or forever");
	if (n > max / seconds[unit - units])
		return nsbox_error_say(err, 0, "write at most %ud, or forever", LINGER_DAYS_MAX);
	d->linger_ms = n * seconds[unit - units] * 1000;
	return 0;
}

static int parse_hostname(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	int r = nsbox_template_check(value, err);
	size_t i;

	(void)d;
	if (r < 0)
		return r;
	for (i = 0; value[i]; i++) {
		char c = nsbox_lower(value[i]);

		if (c == '%' && value[i + 1] == '%')
			return nsbox_error_say(err, 0, "a hostname has no %%");
		if (c == '%') {
			i++;
			continue;
		}
		if ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.')
			continue;
		return nsbox_error_say(err, 0, "write letters, digits, \"-\", \".\" and %%u, %%U, "
				       "%%g, %%h, %%H");
	}
	return 0;
}

/* An absolute path, or one that will be: a home directory begins with "/". */
static int check_path_template(const char *value, const char *word, struct nsbox_error *err)
{
	int r = nsbox_template_check(value, err);

	if (r < 0)
		return r;
	if (value[0] != '/' && strncmp(value, "%h", 2) != 0)
		return nsbox_error_say(err, 0, "write %s or a path that begins with \"/\"", word);
	return value[0] == '/' ? nsbox_path_check(value, err) : 0;
}

static int parse_rootfs(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	(void)d;
	return !strcmp(value, "host") ? 0 : check_path_template(value, "host", err);
}

static int parse_shell_fallback(struct nsbox_decision *d, const char *value,
				struct nsbox_error *err)
{
	(void)d;
	return !strcmp(value, "none") ? 0 : check_path_template(value, "none", err);
}

static int parse_idmap(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	int word = parse_word(value, idmap_words, err);

	if (word < 0)
		return word;
	d->idmap = (enum nsbox_idmap)word;
	return 0;
}

/*
 * Never below 65536, where the host's own accounts live, nor 4294967295,
 * which means "no id" to the kernel.
 */
static int parse_id_range(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	const char *dash = strchr(value, '-');
	uint64_t first, last;

	if (!dash || !nsbox_number(value, (size_t)(dash - value), &first) ||
	    !nsbox_number(dash + 1, strlen(dash + 1), &last))
		return nsbox_error_say(err, 0, "write two numbers like 524288-1878982656");
	if (first < 65536 || last > UINT32_MAX - 1)
		return nsbox_error_say(err, 0, "write numbers from 65536 to 4294967294");
	if (last < first || last - first + 1 < BLOCK_IDS)
		return nsbox_error_say(err, 0, "a box takes %d ids: write a longer range",
				       BLOCK_IDS);
	d->id_first = (uint32_t)first;
	d->id_last = (uint32_t)last;
	return 0;
}

static int parse_net(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	int word = parse_word(value, net_words, err);

	if (word < 0)
		return word;
	d->net = (enum nsbox_net)word;
	return 0;
}

static int parse_count(const char *value, uint64_t min, uint64_t max, uint64_t *ret,
		       struct nsbox_error *err)
{
	uint64_t n;

	if (!nsbox_number(value, strlen(value), &n) || n < min || n > max)
		return nsbox_error_say(err, 0, "write a number from %" PRIu64 " to %" PRIu64, min,
				       max);
	*ret = n;
	return 0;
}

/* Below ten not even a login gets as far as its shell. */
static int parse_pids_max(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	return parse_count(value, 10, 4194304, &d->pids_max, err);
}

static int parse_percent(struct nsbox_decision *d, const char *value, size_t len,
			 struct nsbox_error *err)
{
	uint64_t n;

	if (!nsbox_number(value, len, &n) || n < 1 || n > 100)
		return nsbox_error_say(err, 0, "write 1%% to 100%%");
	d->memory_percent = (unsigned int)n;
	d->memory_max = 0;
	return 0;
}

static int parse_memory_max(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	static const char units[] = "kmgt";
	size_t len = strlen(value);
	const char *unit;
	uint64_t n = 0;

	if (!strcmp(value, "none")) {
		d->memory_max = NSBOX_LIMIT_NONE;
		d->memory_percent = 0;
		return 0;
	}
	if (len && value[len - 1] == '%')
		return parse_percent(d, value, len - 1, err);
	unit = len ? strchr(units, nsbox_lower(value[len - 1])) : NULL;
	if (!nsbox_number(value, unit ? len - 1 : len, &n))
		return nsbox_error_say(err, 0, "write a size like 512M, 2G, 50%% or none");
	if (unit) {
		unsigned int shift = 10 * (unsigned int)(unit - units + 1);

		n = n > (uint64_t)INT64_MAX >> shift ? UINT64_MAX : n << shift;
	}
	if (n < MEMORY_MIN)
		return nsbox_error_say(err, 0, "no box fits into that: write at least 4M");
	if (n > INT64_MAX)
		return nsbox_error_say(err, 0, "no machine has that much: write none");
	d->memory_max = n;
	d->memory_percent = 0;
	return 0;
}

static int parse_cpu_weight(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	return parse_count(value, 1, 10000, &d->cpu_weight, err);
}

static int parse_pty_max(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	uint64_t n = 0;
	int r = parse_count(value, 1, 65536, &n, err);

	if (r < 0)
		return r;
	d->pty_max = (unsigned int)n;
	return 0;
}

static int parse_caps(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	return nsbox_caps_parse(value, &d->caps, err);
}

static int parse_no_new_privs(struct nsbox_decision *d, const char *value, struct nsbox_error *err)
{
	int word = parse_word(value, yes_words, err);

	if (word < 0)
		return word;
	d->no_new_privs = word;
	return 0;
}

/* The canonical forms: two ways to write the same give the same text. */
static void print_scope(const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(scope_words[d->scope], to);
}

static void print_hostname(const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(d->hostname, to);
}

static void print_rootfs(const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(d->rootfs, to);
}

static void print_shell_fallback(const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(d->shell_fallback, to);
}

static void print_idmap(const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(idmap_words[d->idmap], to);
}

static void print_id_range(const struct nsbox_decision *d, FILE *to)
{
	(void)fprintf(to, "%u-%u", d->id_first, d->id_last);
}

static void print_net(const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(net_words[d->net], to);
}

static void print_pids_max(const struct nsbox_decision *d, FILE *to)
{
	(void)fprintf(to, "%" PRIu64, d->pids_max);
}

static void print_memory_max(const struct nsbox_decision *d, FILE *to)
{
	if (d->memory_percent)
		(void)fprintf(to, "%u%%", d->memory_percent);
	else if (d->memory_max == NSBOX_LIMIT_NONE)
		(void)fputs("none", to);
	else
		(void)fprintf(to, "%" PRIu64, d->memory_max);
}

static void print_cpu_weight(const struct nsbox_decision *d, FILE *to)
{
	(void)fprintf(to, "%" PRIu64, d->cpu_weight);
}

static void print_pty_max(const struct nsbox_decision *d, FILE *to)
{
	(void)fprintf(to, "%u", d->pty_max);
}

static void print_caps(const struct nsbox_decision *d, FILE *to)
{
	char list[1024];

	nsbox_caps_print(d->caps, list, sizeof(list));
	(void)fputs(list, to);
}

static void print_no_new_privs(const struct nsbox_decision *d, FILE *to)
{
	(void)fputs(yes_words[d->no_new_privs], to);
}

/*
 * The default capabilities: what sudo, package tools and ping inside an image
 * need, and the twelve that sshd, login and su need to let a user in.
 */
#define DEFAULT_CAPS                                                                        \
	"CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "      \
	"NET_BIND_SERVICE NET_RAW SYS_CHROOT AUDIT_WRITE SETFCAP"

static const struct nsbox_key_info keys[NSBOX_KEY_COUNT] = {
	[NSBOX_KEY_ACTION] = { "action", "pass", false, parse_action, NULL },
	[NSBOX_KEY_SERVICES] = { "services", "all", false, parse_services, NULL },
	[NSBOX_KEY_DENY_SERVICES] = { "deny_services", "systemd-user", false, parse_deny_services,
				      NULL },
	[NSBOX_KEY_SCOPE] = { "scope", "user", true, parse_scope, print_scope },
	[NSBOX_KEY_LINGER] = { "linger", "10s", false, parse_linger, NULL },
	[NSBOX_KEY_HOSTNAME] = { "hostname", "%u", true, parse_hostname, print_hostname },
	[NSBOX_KEY_ROOTFS] = { "rootfs", "host", true, parse_rootfs, print_rootfs },
	[NSBOX_KEY_SHELL_FALLBACK] = { "shell_fallback", "/bin/sh", true, parse_shell_fallback,
				       print_shell_fallback },
	[NSBOX_KEY_IDMAP] = { "idmap", "auto", true, parse_idmap, print_idmap },
	[NSBOX_KEY_ID_RANGE] = { "id_range", "524288-1878982656", true, parse_id_range,
				 print_id_range },
	[NSBOX_KEY_NET] = { "net", "none", true, parse_net, print_net },
	[NSBOX_KEY_PIDS_MAX] = { "pids_max", "512", true, parse_pids_max, print_pids_max },
	[NSBOX_KEY_MEMORY_MAX] = { "memory_max", "50%", true, parse_memory_max, print_memory_max },
	[NSBOX_KEY_CPU_WEIGHT] = { "cpu_weight", "100", true, parse_cpu_weight, print_cpu_weight },
	[NSBOX_KEY_PTY_MAX] = { "pty_max", "64", true, parse_pty_max, print_pty_max },
	[NSBOX_KEY_CAPS] = { "caps", DEFAULT_CAPS, true, parse_caps, print_caps },
	[NSBOX_KEY_NO_NEW_PRIVS] = { "no_new_privs", "no", true, parse_no_new_privs,
				     print_no_new_privs },
};

const struct nsbox_key_info *nsbox_key_info(enum nsbox_key key)
{
	return &keys[key];
}

const char *nsbox_key_name(enum nsbox_key key)
{
	return keys[key].name;
}

const char *nsbox_key_nth(size_t i)
{
	return i < NSBOX_KEY_COUNT ? keys[i].name : NULL;
}

bool nsbox_key_find(struct nsbox_slice name, enum nsbox_key *ret)
{
	size_t i;

	for (i = 0; i < NSBOX_KEY_COUNT; i++) {
		if (nsbox_same_word(name, keys[i].name)) {
			*ret = (enum nsbox_key)i;
			return true;
		}
	}
	return false;
}

/* Habits from other formats that would otherwise make a value mean nothing. */
static int check_habits(const char *value, struct nsbox_error *err)
{
	size_t i;

	if (!value[0])
		return nsbox_error_say(err, 0, "a value is missing");
	if (value[0] == '"' || value[0] == '\'')
		return nsbox_error_say(err, 0, "write it without quotes");
	for (i = 1; value[i]; i++)
		if ((value[i] == '#' || value[i] == ';') && nsbox_is_blank(value[i - 1]))
			return nsbox_error_say(err, 0, "a comment needs a line of its own");
	return 0;
}

int nsbox_draft_set(struct nsbox_draft *draft, enum nsbox_key key, const char *value,
		    const struct nsbox_origin *origin, struct nsbox_error *err)
{
	struct nsbox_decision *d = &draft->d;
	int r;

	r = check_habits(value, err);
	if (r < 0)
		return r;
	r = keys[key].parse(d, value, err);
	if (r < 0)
		return r;
	if (d->origin[key].file)
		d->overrode[key] = d->origin[key];
	d->origin[key] = *origin;
	draft->text[key] = value;
	return 0;
}

/* libpam writes PAM_SERVICE in small letters, but a caller may set another. */
bool nsbox_services_has(const char *list, const char *service)
{
	size_t len = strlen(service), i;
	struct nsbox_slice word;

	while (nsbox_next_word(&list, &word)) {
		if (word.len != len)
			continue;
		for (i = 0; i < len; i++)
			if (nsbox_lower(word.s[i]) != nsbox_lower(service[i]))
				break;
		if (i == len)
			return true;
	}
	return false;
}
