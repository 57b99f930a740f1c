/* SPDX-License-Identifier: MIT */
/*
 * The policy: what nsbox.conf says about one user and one service. Pure: reads
 * the files below the policy directory and nothing else; no name service, no
 * kernel state. Whoever asks brings the identity (struct nsbox_subject).
 */
#ifndef NSBOX_POLICY_H
#define NSBOX_POLICY_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The file, the directory of files that come after it, and that of files about one user each. */
#define NSBOX_POLICY_FILE "nsbox.conf"
#define NSBOX_POLICY_PARTS "nsbox.conf.d"
#define NSBOX_POLICY_USERS "users.d"

enum nsbox_action { NSBOX_ACTION_PASS, NSBOX_ACTION_BOX, NSBOX_ACTION_DENY };
enum nsbox_net {
	NSBOX_NET_NONE,
	NSBOX_NET_HOST,
	NSBOX_NET_BRIDGE,
	NSBOX_NET_JOIN_USER,		/* the network namespace of another user's box */
	NSBOX_NET_JOIN_PATH,		/* one that the administrator made: /run/netns/NAME */
};
enum nsbox_idmap { NSBOX_IDMAP_AUTO, NSBOX_IDMAP_SHIFT, NSBOX_IDMAP_KEEP };
enum nsbox_scope { NSBOX_SCOPE_USER, NSBOX_SCOPE_SESSION };
enum nsbox_rootfs_mode {
	NSBOX_ROOTFS_RO,
	NSBOX_ROOTFS_EPHEMERAL,
	NSBOX_ROOTFS_PERSISTENT,
};
enum nsbox_home { NSBOX_HOME_BIND, NSBOX_HOME_TMPFS, NSBOX_HOME_NONE, NSBOX_HOME_DIR };
enum nsbox_seccomp { NSBOX_SECCOMP_DEFAULT, NSBOX_SECCOMP_OFF };
enum nsbox_log { NSBOX_LOG_HOST, NSBOX_LOG_NONE };

#define NSBOX_LINGER_FOREVER UINT64_MAX
#define NSBOX_LIMIT_NONE UINT64_MAX
/* nofile and umask: as the caller has it. */
#define NSBOX_NOFILE_CALLER UINT64_MAX
#define NSBOX_UMASK_CALLER UINT32_MAX

/* One key of the table. The order is the order of explain's output. */
enum nsbox_key {
	NSBOX_KEY_ACTION,
	NSBOX_KEY_DENY_MESSAGE,
	NSBOX_KEY_SERVICES,
	NSBOX_KEY_DENY_SERVICES,
	NSBOX_KEY_LOG_ONLY,
	NSBOX_KEY_SCOPE,
	NSBOX_KEY_LINGER,
	NSBOX_KEY_HOSTNAME,
	NSBOX_KEY_ROOTFS,
	NSBOX_KEY_ROOTFS_MODE,
	NSBOX_KEY_SHELL_FALLBACK,
	NSBOX_KEY_DISK_MAX,
	NSBOX_KEY_HOME,
	NSBOX_KEY_HOME_MODE,
	NSBOX_KEY_HOME_SIZE,
	NSBOX_KEY_BIND,
	NSBOX_KEY_TMPFS,
	NSBOX_KEY_DEVICE,
	NSBOX_KEY_MASK,
	NSBOX_KEY_TMP_SIZE,
	NSBOX_KEY_RUN_SIZE,
	NSBOX_KEY_SHM_SIZE,
	NSBOX_KEY_PTY_MAX,
	NSBOX_KEY_IDMAP,
	NSBOX_KEY_ID_RANGE,
	NSBOX_KEY_NET,
	NSBOX_KEY_ADDRESS,
	NSBOX_KEY_PUBLISH,
	NSBOX_KEY_EGRESS,
	NSBOX_KEY_BANDWIDTH,
	NSBOX_KEY_DNS,
	NSBOX_KEY_PIDS_MAX,
	NSBOX_KEY_MEMORY_MAX,
	NSBOX_KEY_CPU_WEIGHT,
	NSBOX_KEY_NOFILE,
	NSBOX_KEY_UMASK,
	NSBOX_KEY_CAPS,
	NSBOX_KEY_NO_NEW_PRIVS,
	NSBOX_KEY_SECCOMP,
	NSBOX_KEY_NESTED,
	NSBOX_KEY_ENV,
	NSBOX_KEY_LOG,
	NSBOX_KEY_RECORD_LOGIN,
	NSBOX_KEY_COUNT
};

/* The user a question is about, as the name service gave him. All borrowed. */
struct nsbox_subject {
	const char *name;		/* canonical: pw_name */
	uid_t uid;
	gid_t gid;
	const char *home;
	const char *shell;
	size_t n_groups;		/* primary group included */
	const gid_t *gids;
	const char *const *group_names;	/* NULL entry: a gid without a name */
};

/* Where an effective value came from, and what it overrode. */
struct nsbox_origin {
	const char *file;		/* NULL: the built-in default */
	unsigned int line;		/* 0 with file "pam.d": a pam.d argument */
	/* "[defaults]", "[group staff]", "[profile lab] of [group staff]", "pam.d argument" */
	const char *section;
};

/* Takes slashes that say nothing, and parts that are ".", out of an absolute path: "/" becomes "". */
void nsbox_path_make_plain(char *path);

/* Is @path, a plain one, @top or something below it? */
bool nsbox_path_is_in(const char *path, const char *top);

/*
 * May something be put at @path, a plain one, in a box? Not where a box cannot be
 * a box without what is there. @mask: it is only to be hidden, which what the
 * kernel shows may be. Returns 0, or -EINVAL with the reason.
 */
int nsbox_path_check_place(const char *path, bool mask, struct nsbox_error *err);

/* May a box have a home at @home, as passwd(5) has it? Not where it would hide something. */
int nsbox_home_check(const char *home, struct nsbox_error *err);

/*
 * The lists. All paths are expanded, absolute and plain: no "..", no "." and no
 * second slash in them. Two entries for one place are an error before this.
 */
struct nsbox_bind {
	const char *dst;		/* in the box */
	const char *src;		/* on the host */
	bool ro, noexec;
	bool optional;			/* a src that is not there is left out */
};

struct nsbox_tmpfs {
	const char *dst;
	uint64_t size;			/* bytes; without a size in the policy: tmp_size */
};

/* An address as the kernel has it. */
struct nsbox_address {
	int family;			/* AF_INET, AF_INET6; AF_UNSPEC (0): there is none */
	unsigned char bytes[16];
};

struct nsbox_prefix {
	struct nsbox_address address;
	unsigned int length;
};

enum {
	NSBOX_LINK_MAX = 16,		/* IFNAMSIZ */
	NSBOX_NET_NAME_MAX = 65,
	NSBOX_PUBLISH_MAX = 16,
	NSBOX_EGRESS_MAX = 32,
	NSBOX_DNS_MAX = 3,		/* as resolv.conf(5) */
};

/* What [network NAME] says. */
struct nsbox_network {
	char name[33];
	char bridge[NSBOX_LINK_MAX];
	struct nsbox_prefix subnet, subnet6;	/* with AF_UNSPEC: none; one of them is there */
	bool isolate, nat;
	unsigned int mtu;		/* 0: the host's */
};

/* A port of the host that leads to one of the box. */
struct nsbox_publish {
	struct nsbox_address at;	/* of the host; AF_UNSPEC: all of them */
	unsigned short host, box;
	bool udp;
};

enum nsbox_egress_what {
	NSBOX_EGRESS_ANY,
	NSBOX_EGRESS_TCP,
	NSBOX_EGRESS_UDP,
	NSBOX_EGRESS_ICMP,
	NSBOX_EGRESS_DNS,		/* port 53 of the box's resolvers */
};

/* What a box with a list of them may reach. */
struct nsbox_egress {
	struct nsbox_prefix to;		/* AF_UNSPEC: everything but the host itself */
	enum nsbox_egress_what what;
	unsigned short first, last;	/* ports; 0: all */
};

enum nsbox_egress_mode { NSBOX_EGRESS_ALL, NSBOX_EGRESS_NONE, NSBOX_EGRESS_LIST };
enum nsbox_dns { NSBOX_DNS_HOST, NSBOX_DNS_NONE, NSBOX_DNS_LIST };

/*
 * The effective policy for a subject and a service. Strings are owned by the
 * struct (one arena); nsbox_decision_free() releases them.
 */
struct nsbox_decision {
	enum nsbox_action action;
	/*
	 * log_only: the action is PASS, this is what it would have been, and reason
	 * says so. Otherwise the same as action.
	 */
	enum nsbox_action would;
	bool log_only;
	bool unfit;			/* log_only: refused for what a box needs, which may be missing here */
	char *deny_message;		/* expanded, what a denied user reads; NULL: none */
	enum nsbox_scope scope;
	uint64_t linger_ms;		/* or NSBOX_LINGER_FOREVER */
	char hostname[65];		/* expanded; 64 is __NEW_UTS_LEN */
	char *rootfs;			/* "host" or an absolute path, expanded */
	enum nsbox_rootfs_mode rootfs_mode;	/* RO if rootfs is "host" */
	char *shell_fallback;		/* absolute path, or "none" */
	uint64_t disk_max;		/* bytes, or NSBOX_LIMIT_NONE */
	enum nsbox_home home;
	char *home_dir;			/* expanded, with NSBOX_HOME_DIR; else NULL */
	bool home_ro;
	uint64_t home_size;		/* bytes, for NSBOX_HOME_TMPFS */
	const struct nsbox_bind *bind;
	const struct nsbox_tmpfs *tmpfs;
	const char *const *device;	/* below /dev; may be patterns of glob(7) */
	const char *const *mask;
	const char *const *env;		/* "NAME=value" */
	size_t n_bind, n_tmpfs, n_device, n_mask, n_env;
	uint64_t tmp_size, run_size, shm_size;	/* bytes */
	unsigned int pty_max;
	enum nsbox_idmap idmap;
	uint32_t id_first, id_last;
	enum nsbox_net net;
	char net_name[NSBOX_NET_NAME_MAX];	/* the network, the user, or NAME of /run/netns */
	struct nsbox_network network;	/* with NSBOX_NET_BRIDGE, if action is BOX */
	struct nsbox_address address;	/* AF_UNSPEC: from the network */
	struct nsbox_publish publish[NSBOX_PUBLISH_MAX];
	struct nsbox_egress egress[NSBOX_EGRESS_MAX];
	struct nsbox_address dns[NSBOX_DNS_MAX];
	unsigned int n_publish, n_egress, n_dns;
	enum nsbox_egress_mode egress_mode;
	enum nsbox_dns dns_mode;
	uint64_t rate_up, rate_down;	/* bits in a second; 0: no limit */
	uint64_t pids_max;
	uint64_t memory_max;		/* bytes, NSBOX_LIMIT_NONE for "none" */
	unsigned int memory_percent;	/* not 0: percent of RAM, memory_max unused */
	uint64_t cpu_weight;		/* 1..10000, cgroup v2 scale, default 100 */
	uint64_t nofile;		/* or NSBOX_NOFILE_CALLER */
	uint32_t umask;			/* or NSBOX_UMASK_CALLER */
	uint64_t caps;			/* bounding set inside the box, bit per CAP_* */
	bool no_new_privs;
	enum nsbox_seccomp seccomp;
	bool nested;
	enum nsbox_log log;
	bool record_login;

	/* For explain: the value as text and its origin, per key. */
	/* action, services: as configured; hostname, paths, lists, caps: what comes of it. */
	char *text[NSBOX_KEY_COUNT];
	struct nsbox_origin origin[NSBOX_KEY_COUNT];
	struct nsbox_origin overrode[NSBOX_KEY_COUNT];	/* .section NULL: nothing */
	/* Why the decision is what it is, one phrase ("service cron is in deny_services"). */
	char reason[NSBOX_ERROR_MAX];
	void *arena;			/* private */
};

struct nsbox_policy;

/*
 * Reads DIR/nsbox.conf and DIR/nsbox.conf.d/NAME.conf in the order of the names'
 * bytes, and opens DIR/users.d; both directories may be missing. Names that
 * begin with a dot or do not end in ".conf" are no policy. Each file and each
 * directory: owner root (or the caller's own euid in unit tests), not writable
 * by group or others, no symlink; otherwise refused with a sentence. Errors
 * *inside* a file do not fail here: they are kept per section and refuse, in
 * nsbox_policy_decide(), the subjects they concern ([defaults], a bad section
 * header and text before the first section concern everyone). Only a file that
 * cannot be read, one that may not be trusted, or no memory fails.
 *
 * A file of nsbox.conf.d is as if it stood behind nsbox.conf, but for one thing:
 * in one file a second section of the same name is a mistake, in another file
 * it is laid over the first.
 *
 * users.d/NAME.conf, or users.d/UID.conf, is about that user only, read when he
 * is asked about, and the last word on him before the pam.d line. It holds his
 * keys, with or without [user NAME] above them, and nothing else. Whatever is
 * wrong with it concerns him alone.
 *
 * With a @subject, sections of users and groups that cannot concern him are left
 * out, which is most of the work of ten thousand: the policy then answers for
 * him only, and nsbox_policy_decide() refuses anybody else. NULL: all of it.
 *
 * On success *ret_policy is owned by the caller: nsbox_policy_free().
 */
int nsbox_policy_load(const char *dir, const struct nsbox_subject *subject,
		      struct nsbox_policy **ret_policy, struct nsbox_error *err);
void nsbox_policy_free(struct nsbox_policy *policy);

/*
 * Decides for @subject and @service. @args are the pam.d line's "key=value"
 * words (exempt_group= already taken out), @n_args of them.
 * Returns 0 and fills *ret; -EINVAL and the sentence with file:line when an
 * error in the policy concerns this subject; another negative errno if his file
 * in users.d cannot be read or trusted; -ENOMEM. On failure *ret is untouched.
 * On success free with nsbox_decision_free(); the decision does not need the
 * policy any more.
 *
 * What only a box needs (hostname, rootfs and shell_fallback for this user, and
 * that the values go together) is refused only if the action is NSBOX_ACTION_BOX:
 * a user who passes is not stopped by it. That goes for [network NAME] too. With
 * another action hostname may
 * therefore be empty, a list too, and a path still the template. With log_only
 * the reason says that he would have been refused, and why.
 *
 * A key of a later level replaces what an earlier one says, lists as well: what
 * a list holds is to be read in one line. Only caps, with + and -, changes what
 * the earlier level gives. "profile = NAME" lays [profile NAME] directly beneath
 * the keys of the section that says it, wherever in it that stands; a profile
 * cannot name another. As a pam.d argument it lies beneath the arguments and
 * above the user.
 */
int nsbox_policy_decide(const struct nsbox_policy *policy, const struct nsbox_subject *subject,
			const char *service, const char *const *args, size_t n_args,
			struct nsbox_decision *ret, struct nsbox_error *err);
void nsbox_decision_free(struct nsbox_decision *decision);

/* Would these arguments refuse everybody? Then negative, and the sentence that a login gets. */
int nsbox_policy_check_arguments(const struct nsbox_policy *policy, const char *const *args,
				 size_t n_args, struct nsbox_error *err);

/*
 * Writes the canonical text of everything that shapes a box (all keys but
 * action, deny_message, services, deny_services, log_only and linger; uid,
 * primary gid, user name, home, shell, every group's gid and name, sorted) as
 * NUL-terminated text that the caller frees. Two logins may share a box only if
 * their texts are equal.
 * NULL: no memory.
 */
char *nsbox_decision_shape(const struct nsbox_decision *decision,
			   const struct nsbox_subject *subject);

/* The name of a key as written in nsbox.conf. */
const char *nsbox_key_name(enum nsbox_key key);

/*
 * The errors of nsbox.conf and nsbox.conf.d, read without a subject: calls @each with one sentence
 * ("FILE:LINE: ...") per error, and where it is. Returns how many there were.
 */
size_t nsbox_policy_errors(const struct nsbox_policy *policy,
			   void (*each)(const struct nsbox_origin *where, const char *sentence,
					void *data), void *data);

/*
 * Reads one file as if it were nsbox.conf, without directories beside it: for
 * trying a policy before it counts. Otherwise as nsbox_policy_load().
 */
int nsbox_policy_load_file(const char *file, struct nsbox_policy **ret_policy,
			   struct nsbox_error *err);

/*
 * Does the policy say the same by two names of one uid? The same line, or the
 * same words in another; %u may read differently.
 */
bool nsbox_decision_same(const struct nsbox_decision *a, const struct nsbox_decision *b);
/* The key that it says something else of; NSBOX_KEY_COUNT: none. */
enum nsbox_key nsbox_decision_differs(const struct nsbox_decision *a,
				      const struct nsbox_decision *b);

enum nsbox_finding { NSBOX_FINDING_WARNING, NSBOX_FINDING_ERROR };

/* Whom `nsbox check` tells what. */
struct nsbox_lint {
	/* Something wrong, or probably not meant. @where has no section, and no file if none. */
	void (*finding)(enum nsbox_finding kind, const struct nsbox_origin *where,
			const char *text, void *data);
	/* A group or a user with a section, or a user with a file (line 0). */
	void (*named)(bool is_group, const char *name, const struct nsbox_origin *where,
		      void *data);
	/* Is the profile named elsewhere, on a line of pam.d? NULL: no. */
	bool (*names_profile)(const char *name, void *data);
	void *data;
};

/*
 * All errors of all files, users.d included, and what the files alone show to
 * be superfluous: a section of which another file sets every key again, and a
 * profile that nothing names. Then every group and user there is something
 * about. The policy was read without a subject. Negative: it could not be done.
 */
int nsbox_policy_lint(const struct nsbox_policy *policy, const struct nsbox_lint *to,
		      struct nsbox_error *err);

/*
 * Calls @each with every value that a section of any file gives @key, as it is
 * written, and where. Negative: it could not be done.
 */
int nsbox_policy_each_value(const struct nsbox_policy *policy, enum nsbox_key key,
			    void (*each)(const char *value, const struct nsbox_origin *where,
					 void *data),
			    void *data, struct nsbox_error *err);

#endif
