/* SPDX-License-Identifier: MIT */
/*
 * The keys of nsbox.conf: one table with each key's name, its default, whether
 * it shapes the box, and what reads, prints and expands its value.
 */
#include "internal.h"

#include <stddef.h>

static const char *const action_words[] = { "pass", "box", "deny", NULL };
static const char *const idmap_words[] = { "auto", "shift", "keep", NULL };
static const char *const scope_words[] = { "user", "session", NULL };
static const char *const rootfs_mode_words[] = { "ro", "ephemeral", "persistent", NULL };
static const char *const home_words[] = { "bind", "tmpfs", "none", NULL };
static const char *const home_mode_words[] = { "rw", "ro", NULL };
static const char *const seccomp_words[] = { "default", "off", NULL };
static const char *const log_words[] = { "host", "none", NULL };
static const char *const yes_words[] = { "no", "yes", NULL };
static const char *const host_words[] = { "host", NULL };
static const char *const none_words[] = { "none", NULL };
static const char *const caller_words[] = { "caller", NULL };

/*
 * The default capabilities: what sudo, package tools and ping inside an image
 * need, and the twelve that sshd, login and su need to let a user in.
 */
#define DEFAULT_CAPS                                                                        \
	"CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP "      \
	"NET_BIND_SERVICE NET_RAW SYS_CHROOT AUDIT_WRITE SETFCAP"

#define AT(member) .at = offsetof(struct nsbox_decision, member)
#define WORD(member, list)                                                                  \
	.parse = nsbox_parse_word, .print = nsbox_print_word, AT(member), .words = list
#define FLAG(member, list)                                                                  \
	.parse = nsbox_parse_flag, .print = nsbox_print_flag, AT(member), .words = list
#define COUNT(member, least, most)                                                          \
	.parse = nsbox_parse_count, .print = nsbox_print_count, AT(member), .min = least,   \
	.max = most
#define SIZE(member, least)                                                                 \
	.parse = nsbox_parse_size, .print = nsbox_print_count, AT(member), .min = least
#define PATH(member, list)                                                                  \
	.parse = nsbox_parse_path, .print = nsbox_print_path, .expand = nsbox_put_path,     \
	AT(member), .words = list
#define LIST(member, which)                                                                 \
	.parse = nsbox_parse_list, .print = nsbox_print_list, .expand = nsbox_put_list,     \
	AT(member), .max = which

/* Shapes a box, or says only who gets one, when, and for how long. */
#define SHAPES true
#define ONLY_SAYS false

static const struct nsbox_key_info keys[NSBOX_KEY_COUNT] = {
	[NSBOX_KEY_ACTION] = { "action", "pass", ONLY_SAYS, .parse = nsbox_parse_word, AT(action),
			       .words = action_words },
	[NSBOX_KEY_DENY_MESSAGE] = { "deny_message", "none", ONLY_SAYS, .parse = nsbox_parse_text,
				     .expand = nsbox_put_text, AT(deny_message),
				     .words = none_words },
	[NSBOX_KEY_SERVICES] = { "services", "all", ONLY_SAYS, .parse = nsbox_parse_services },
	[NSBOX_KEY_DENY_SERVICES] = { "deny_services", "systemd-user", ONLY_SAYS,
				      .parse = nsbox_parse_deny_services },
	[NSBOX_KEY_LOG_ONLY] = { "log_only", "no", ONLY_SAYS, FLAG(log_only, yes_words) },
	[NSBOX_KEY_SCOPE] = { "scope", "user", SHAPES, WORD(scope, scope_words) },
	[NSBOX_KEY_LINGER] = { "linger", "10s", ONLY_SAYS, .parse = nsbox_parse_linger },
	[NSBOX_KEY_HOSTNAME] = { "hostname", "%u", SHAPES, .parse = nsbox_parse_hostname,
				 .print = nsbox_print_hostname, .expand = nsbox_put_hostname },
	[NSBOX_KEY_ROOTFS] = { "rootfs", "host", SHAPES, PATH(rootfs, host_words) },
	[NSBOX_KEY_ROOTFS_MODE] = { "rootfs_mode", "ro", SHAPES,
				    WORD(rootfs_mode, rootfs_mode_words) },
	[NSBOX_KEY_SHELL_FALLBACK] = { "shell_fallback", "/bin/sh", SHAPES,
				       PATH(shell_fallback, none_words) },
	[NSBOX_KEY_DISK_MAX] = { "disk_max", "none", SHAPES, SIZE(disk_max, 1 << 20),
				 .words = none_words },
	[NSBOX_KEY_HOME] = { "home", "bind", SHAPES, .parse = nsbox_parse_home,
			     .print = nsbox_print_home, .expand = nsbox_put_home, AT(home_dir),
			     .words = home_words },
	[NSBOX_KEY_HOME_MODE] = { "home_mode", "rw", SHAPES, FLAG(home_ro, home_mode_words) },
	[NSBOX_KEY_HOME_SIZE] = { "home_size", "1G", SHAPES, SIZE(home_size, NSBOX_TMPFS_MIN) },
	[NSBOX_KEY_BIND] = { "bind", "none", SHAPES, LIST(bind, NSBOX_LIST_BIND) },
	[NSBOX_KEY_TMPFS] = { "tmpfs", "none", SHAPES, LIST(tmpfs, NSBOX_LIST_TMPFS) },
	[NSBOX_KEY_DEVICE] = { "device", "none", SHAPES, LIST(device, NSBOX_LIST_DEVICE) },
	[NSBOX_KEY_MASK] = { "mask", "none", SHAPES, LIST(mask, NSBOX_LIST_MASK) },
	[NSBOX_KEY_TMP_SIZE] = { "tmp_size", "1G", SHAPES, SIZE(tmp_size, NSBOX_TMPFS_MIN) },
	[NSBOX_KEY_RUN_SIZE] = { "run_size", "64M", SHAPES, SIZE(run_size, NSBOX_TMPFS_MIN) },
	[NSBOX_KEY_SHM_SIZE] = { "shm_size", "256M", SHAPES, SIZE(shm_size, NSBOX_TMPFS_MIN) },
	[NSBOX_KEY_PTY_MAX] = { "pty_max", "64", SHAPES, .parse = nsbox_parse_pty_max,
				.print = nsbox_print_pty_max, .min = 1, .max = 65536 },
	[NSBOX_KEY_IDMAP] = { "idmap", "auto", SHAPES, WORD(idmap, idmap_words) },
	[NSBOX_KEY_ID_RANGE] = { "id_range", "524288-1878982656", SHAPES,
				 .parse = nsbox_parse_id_range, .print = nsbox_print_id_range },
	[NSBOX_KEY_NET] = { "net", "none", SHAPES, .parse = nsbox_parse_net,
			    .print = nsbox_print_net },
	[NSBOX_KEY_ADDRESS] = { "address", "none", SHAPES, .parse = nsbox_parse_address,
				.print = nsbox_print_address },
	[NSBOX_KEY_PUBLISH] = { "publish", "none", SHAPES, .parse = nsbox_parse_publish,
				.print = nsbox_print_publish },
	[NSBOX_KEY_EGRESS] = { "egress", "all", SHAPES, .parse = nsbox_parse_egress,
			       .print = nsbox_print_egress },
	[NSBOX_KEY_BANDWIDTH] = { "bandwidth", "none", SHAPES, .parse = nsbox_parse_bandwidth,
				  .print = nsbox_print_bandwidth },
	[NSBOX_KEY_DNS] = { "dns", "host", SHAPES, .parse = nsbox_parse_dns,
			    .print = nsbox_print_dns },
	/* Below ten not even a login gets as far as its shell. */
	[NSBOX_KEY_PIDS_MAX] = { "pids_max", "512", SHAPES, COUNT(pids_max, 10, 4194304) },
	[NSBOX_KEY_MEMORY_MAX] = { "memory_max", "50%", SHAPES, .parse = nsbox_parse_memory_max,
				   .print = nsbox_print_memory_max },
	[NSBOX_KEY_CPU_WEIGHT] = { "cpu_weight", "100", SHAPES, COUNT(cpu_weight, 1, 10000) },
	/* Below sixteen a shell cannot read its own files; the top is the kernel's fs.nr_open. */
	[NSBOX_KEY_NOFILE] = { "nofile", "caller", SHAPES, COUNT(nofile, 16, 1073741816),
			       .words = caller_words },
	[NSBOX_KEY_UMASK] = { "umask", "caller", SHAPES, .parse = nsbox_parse_umask,
			      .print = nsbox_print_umask, .words = caller_words },
	[NSBOX_KEY_CAPS] = { "caps", DEFAULT_CAPS, SHAPES, .parse = nsbox_parse_caps,
			     .print = nsbox_print_caps },
	[NSBOX_KEY_NO_NEW_PRIVS] = { "no_new_privs", "no", SHAPES, FLAG(no_new_privs, yes_words) },
	[NSBOX_KEY_SECCOMP] = { "seccomp", "default", SHAPES, WORD(seccomp, seccomp_words) },
	[NSBOX_KEY_NESTED] = { "nested", "no", SHAPES, FLAG(nested, yes_words) },
	[NSBOX_KEY_ENV] = { "env", "none", SHAPES, LIST(env, NSBOX_LIST_ENV) },
	[NSBOX_KEY_LOG] = { "log", "host", SHAPES, WORD(log, log_words) },
	[NSBOX_KEY_RECORD_LOGIN] = { "record_login", "yes", SHAPES,
				     FLAG(record_login, yes_words) },
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
	return i < NSBOX_KEY_COUNT ? keys[i].name : i == NSBOX_KEY_COUNT ? "profile" : NULL;
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

void nsbox_key_print(const struct nsbox_decision *d, enum nsbox_key key, FILE *to)
{
	if (keys[key].print)
		keys[key].print(&keys[key], d, to);
	else
		(void)fputs(d->text[key], to);
}

int nsbox_draft_expand(struct nsbox_draft *draft, const struct nsbox_subject *subject,
		       enum nsbox_key *ret_key, struct nsbox_error *err)
{
	struct nsbox_error later;
	int first = 0, r, i;

	/* All of them: whom it denies is to read deny_message, whatever his hostname. */
	for (i = 0; i < NSBOX_KEY_COUNT; i++) {
		if (!keys[i].expand)
			continue;
		r = keys[i].expand(&keys[i], draft, draft->text[i], subject, first ? &later : err);
		if (r < 0 && !first) {
			first = r;
			*ret_key = (enum nsbox_key)i;
		}
	}
	return first;
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
	r = keys[key].parse(&keys[key], d, value, err);
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
