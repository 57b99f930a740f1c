/* SPDX-License-Identifier: MIT */
/*
 * Capability lists: the names the kernel uses, the list syntax of the key
 * caps, and the few that no policy can give to a box, with the reason.
 */
#include "internal.h"

#include <string.h>

/*
 * Indexed by number (capability.h of Linux 5.9 and later); @never says why a
 * box cannot have it. Inside a user namespace a capability reaches only what
 * that namespace owns, so those refused are the ones that are of no use there
 * and would only matter if something else had gone wrong, and SYS_ADMIN and
 * SYS_RESOURCE, which do work there.
 */
static const struct cap {
	const char *name;
	const char *never;
} caps_known[] = {
	{ "CHOWN", NULL },
	{ "DAC_OVERRIDE", NULL },
	{ "DAC_READ_SEARCH", NULL },
	{ "FOWNER", NULL },
	{ "FSETID", NULL },
	{ "KILL", NULL },
	{ "SETGID", NULL },
	{ "SETUID", NULL },
	{ "SETPCAP", NULL },
	{ "LINUX_IMMUTABLE", NULL },
	{ "NET_BIND_SERVICE", NULL },
	{ "NET_BROADCAST", NULL },
	{ "NET_ADMIN", NULL },
	{ "NET_RAW", NULL },
	{ "IPC_LOCK", NULL },
	{ "IPC_OWNER", NULL },
	{ "SYS_MODULE", "it loads code into the host's kernel" },
	{ "SYS_RAWIO", "it reaches the host's hardware" },
	{ "SYS_CHROOT", NULL },
	{ "SYS_PTRACE", NULL },
	{ "SYS_PACCT", NULL },
	{ "SYS_ADMIN", "with it box root mounts, and undoes what shuts the box" },
	{ "SYS_BOOT", "it restarts the host" },
	{ "SYS_NICE", NULL },
	{ "SYS_RESOURCE", "it lifts the box's own limits" },
	{ "SYS_TIME", NULL },
	{ "SYS_TTY_CONFIG", NULL },
	{ "MKNOD", NULL },
	{ "LEASE", NULL },
	{ "AUDIT_WRITE", NULL },
	{ "AUDIT_CONTROL", NULL },
	{ "SETFCAP", NULL },
	{ "MAC_OVERRIDE", "it sets the host's SELinux, Smack or AppArmor rules aside" },
	{ "MAC_ADMIN", "it changes the host's SELinux, Smack or AppArmor rules" },
	{ "SYSLOG", NULL },
	{ "WAKE_ALARM", NULL },
	{ "BLOCK_SUSPEND", NULL },
	{ "AUDIT_READ", NULL },
	{ "PERFMON", "it observes the host's kernel and every process" },
	{ "BPF", "it loads programs into the host's kernel" },
	{ "CHECKPOINT_RESTORE", NULL },
};

#define N_CAPS (sizeof(caps_known) / sizeof(caps_known[0]))

static const char *cap_nth(size_t i)
{
	return i < N_CAPS ? caps_known[i].name : NULL;
}

static bool same_letters(struct nsbox_slice word, const char *name)
{
	size_t i;

	if (word.len != strlen(name))
		return false;
	for (i = 0; i < word.len; i++)
		if (nsbox_lower(word.s[i]) != nsbox_lower(name[i]))
			return false;
	return true;
}

/* One name, with or without CAP_, in any case. */
static int parse_cap(struct nsbox_slice word, size_t *ret, struct nsbox_error *err)
{
	struct nsbox_slice prefix = { word.s, 4 };
	struct nsbox_quote shown;
	const char *near;
	size_t i;

	if (word.len > 4 && same_letters(prefix, "CAP_")) {
		word.s += 4;
		word.len -= 4;
	}
	for (i = 0; i < N_CAPS; i++) {
		if (same_letters(word, caps_known[i].name)) {
			*ret = i;
			return 0;
		}
	}
	shown = nsbox_quote(word.s, word.len);
	near = nsbox_nearest(word, cap_nth);
	if (near)
		return nsbox_error_say(err, 0, "no capability \"%s\" (did you mean %s?)", shown.s,
				       near);
	return nsbox_error_say(err, 0, "no capability \"%s\" (see capabilities(7))", shown.s);
}

static int parse_entry(struct nsbox_slice word, char *sign, uint64_t *bit, struct nsbox_error *err)
{
	size_t cap = 0;
	int r;

	*sign = '=';
	if (word.s[0] == '+' || word.s[0] == '-') {
		*sign = word.s[0];
		word.s++;
		word.len--;
	}
	r = parse_cap(word, &cap, err);
	if (r < 0)
		return r;
	/* To take away what nobody has is idle, not wrong. */
	if (caps_known[cap].never && *sign != '-')
		return nsbox_error_say(err, 0, "%s is never given: %s; take it out",
				       caps_known[cap].name, caps_known[cap].never);
	*bit = UINT64_C(1) << cap;
	return 0;
}

/*
 * "none"; or the whole list; or changes, each with + or -, to what *caps holds
 * from a less special section. *caps is untouched on failure.
 */
int nsbox_caps_parse(const char *value, uint64_t *caps, struct nsbox_error *err)
{
	bool changes = value[0] == '+' || value[0] == '-';
	uint64_t result = changes ? *caps : 0, bit = 0;
	struct nsbox_slice word;
	const char *pos = value;
	bool any = false;
	char sign;
	int r;

	if (!strcmp(value, "none")) {
		*caps = 0;
		return 0;
	}
	while (nsbox_next_word(&pos, &word)) {
		r = parse_entry(word, &sign, &bit, err);
		if (r < 0)
			return r;
		if ((sign != '=') != changes)
			return nsbox_error_say(err, 0,
					       "write + or - before every name, or before none");
		result = sign == '-' ? result & ~bit : result | bit;
		any = true;
	}
	if (!any)
		return nsbox_error_say(err, 0, "write none, or names like NET_RAW, or +NET_ADMIN");
	*caps = result;
	return 0;
}

void nsbox_caps_print(uint64_t caps, char *buf, size_t size)
{
	size_t used = 0, i;

	(void)snprintf(buf, size, "none");
	for (i = 0; i < N_CAPS && used < size; i++) {
		if (caps & (UINT64_C(1) << i))
			used += (size_t)snprintf(buf + used, size - used, "%s%s", used ? " " : "",
						 caps_known[i].name);
	}
}
