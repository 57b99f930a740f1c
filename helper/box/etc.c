/* SPDX-License-Identifier: MIT */
/* The box's /etc: see etc.h. */
#include "etc.h"
#include "resolv.h"
#include "cleanup.h"
#include "file.h"
#include "nested.h"
#include "tree.h"
#include "userns.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>

/* UID and GID ranges of Debian's system accounts, and nobody (Debian Policy 9.2.2). */
#define SYSTEM_ID_LAST 999u
#define NOBODY_ID 65534u

enum { FILE_SIZE_MAX = 4 * 1024 * 1024 };

/*
 * What a box sees of the host's /etc. Copied files belong to box root, which
 * ssh wants of its configuration, and are read with no right but everybody's;
 * bound is what is too large to copy at each open: by the data map, so that
 * what only root may read there stays unreadable.
 */
enum treatment { COPY, COPY_DIR, BIND_FILE, BIND_DIR };

static const struct {
	const char *pattern;
	enum treatment how;
} from_host[] = {
	{ "alternatives", BIND_DIR },	{ "bash.bashrc", COPY },
	{ "bash_completion.d", COPY_DIR }, { "debian_version", COPY },
	{ "containers", BIND_DIR },
	{ "environment", COPY },	{ "ethertypes", COPY },
	{ "emacs", BIND_DIR },		{ "fonts", BIND_DIR },
	{ "gai.conf", COPY },		{ "gitconfig", COPY },
	{ "groff", BIND_DIR },		{ "host.conf", COPY },
	{ "inputrc", COPY },		{ "issue", COPY },
	{ "issue.net", COPY },		{ "java*", BIND_DIR },
	{ "krb5.conf", COPY },		{ "ld.so.cache", BIND_FILE },
	{ "ld.so.conf", COPY },		{ "ld.so.conf.d", COPY_DIR },
	{ "locale.alias", COPY },	{ "locale.conf", COPY },
	{ "localtime", COPY },		{ "login.defs", COPY },
	{ "lsb-release", COPY },	{ "magic", COPY },
	{ "magic.mime", COPY },		{ "mailcap", COPY },
	{ "manpath.config", COPY },	{ "mime.types", BIND_FILE },
	{ "nanorc", COPY },		{ "networks", COPY },
	{ "os-release", COPY },		{ "papersize", COPY },
	{ "perl", BIND_DIR },		{ "profile", COPY },
	{ "profile.d", COPY_DIR },	{ "protocols", COPY },
	{ "python*", BIND_DIR },	{ "rpc", COPY },
	{ "R", BIND_DIR },		{ "screenrc", COPY },
	{ "services", COPY },		{ "shells", COPY },
	{ "skel", BIND_DIR },		{ "terminfo", BIND_DIR },
	{ "timezone", COPY },		{ "tmux.conf", COPY },
	{ "vim", BIND_DIR },		{ "wgetrc", COPY },
	{ "xdg", BIND_DIR },		{ "zsh", BIND_DIR },
};

/* Below a directory of /etc: only these, for what lies beside them is secret or not ours. */
static const struct {
	const char *dir, *name;
	enum treatment how;
} from_subdir[] = {
	{ "ssh", "ssh_config", COPY },
	{ "ssh", "ssh_config.d", COPY_DIR },
	{ "ssh", "ssh_known_hosts", COPY },
	{ "ssl", "openssl.cnf", COPY },
	{ "ssl", "certs", BIND_DIR },
};

/*
 * Opens @name of @dir if it is a file that everybody may read; else *ret is -1. A
 * symlink becomes one in the box, too.
 */
static int open_public(const struct nsbox_etc *e, int dir, const char *name, const char *to,
		       int flags, struct stat *ret_st, int *ret, struct nsbox_error *err)
{
	cleanup_close int fd = openat(dir, name, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	char target[512];
	ssize_t n;

	*ret = -1;
	/* With O_PATH a symlink is opened, else it is ELOOP. */
	if (fd < 0 ? errno != ELOOP : fstat(fd, ret_st) < 0)
		return 0;
	if (fd >= 0 && S_ISREG(ret_st->st_mode) && (ret_st->st_mode & S_IROTH) &&
	    ret_st->st_size <= FILE_SIZE_MAX) {
		*ret = take_fd(&fd);
		return 0;
	}
	n = readlinkat(dir, name, target, sizeof(target) - 1);
	if (n <= 0)
		return 0;
	target[n] = '\0';
	return symlinkat(target, e->made, to) < 0 ?
	       nsbox_error_set(err, errno, "symlink the box's /etc/%s", to) : 0;
}

static int make_file(const struct nsbox_etc *e, const char *to, mode_t mode, struct nsbox_error *err)
{
	int fd = openat(e->made, to, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);

	return fd < 0 ? nsbox_error_set(err, errno, "create the box's /etc/%s", to) : fd;
}

static int make_dir(const struct nsbox_etc *e, const char *to, struct nsbox_error *err)
{
	if (mkdirat(e->made, to, 0755) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir the box's /etc/%s", to);
	return 0;
}

static int copy_file(const struct nsbox_etc *e, int dir, const char *name, const char *to,
		     struct nsbox_error *err)
{
	struct stat st;
	cleanup_close int from = -EBADF, fd = -EBADF;
	int r = open_public(e, dir, name, to, O_RDONLY, &st, &from, err);
	char buffer[16384];
	ssize_t n;

	if (r < 0 || from < 0)
		return r;
	fd = make_file(e, to, st.st_mode & 0755, err);
	if (fd < 0)
		return fd;
	while ((n = read(from, buffer, sizeof(buffer))) > 0)
		if (write(fd, buffer, (size_t)n) != n)
			return nsbox_error_set(err, errno, "write the box's /etc/%s", to);
	return n < 0 ? nsbox_error_set(err, errno, "read /etc/%s", to) : 0;
}

/* Mounts what @fd is, read-only, over what is at @to. */
static int bind_fd(const struct nsbox_etc *e, int fd, const char *to, bool is_file,
		   struct nsbox_plan *p, struct nsbox_error *err)
{
	int tree = nsbox_tree_clone(fd, false, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
				    MOUNT_ATTR_NODEV, err);
	char path[320];

	if (tree < 0)
		return nsbox_error_wrap(err, "/etc/%s", to);
	/* Without idmapped mounts the owner is nobody in the box; it is only read. */
	if (e->data_userns >= 0)
		(void)nsbox_tree_idmap(tree, false, e->data_userns, NULL);
	(void)snprintf(path, sizeof(path), "/etc/%s", to);
	nsbox_plan_mount(p, path, tree, is_file);
	return 0;
}

static int bind_file(const struct nsbox_etc *e, int dir, const char *name, const char *to,
		     struct nsbox_plan *p, struct nsbox_error *err)
{
	struct stat st;
	cleanup_close int fd = -EBADF, place = -EBADF;
	int r = open_public(e, dir, name, to, O_PATH, &st, &fd, err);

	if (r < 0 || fd < 0)
		return r;
	place = make_file(e, to, 0444, err);
	return place < 0 ? place : bind_fd(e, fd, to, true, p, err);
}

/* The plain files of a directory, not what lies deeper. */
static int copy_dir(const struct nsbox_etc *e, int dir, const char *name, const char *to,
		    struct nsbox_error *err)
{
	int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	char path[512];
	int r = d ? make_dir(e, to, err) : 0;

	for (struct dirent *entry; d && r == 0 && (entry = readdir(d));) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", to, entry->d_name);
		r = copy_file(e, dirfd(d), entry->d_name, path, err);
	}
	return r;
}

static int bind_dir(const struct nsbox_etc *e, int dir, const char *name, const char *to,
		    struct nsbox_plan *p, struct nsbox_error *err)
{
	cleanup_close int fd = openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int r;

	if (fd < 0)
		return 0;
	r = make_dir(e, to, err);
	return r < 0 ? r : bind_fd(e, fd, to, false, p, err);
}

/* @to is below /etc. */
static int take_one(const struct nsbox_etc *e, int dir, const char *name, const char *to,
		    enum treatment how, struct nsbox_plan *p, struct nsbox_error *err)
{
	switch (how) {
	case COPY:
		return copy_file(e, dir, name, to, err);
	case COPY_DIR:
		return copy_dir(e, dir, name, to, err);
	case BIND_FILE:
		return bind_file(e, dir, name, to, p, err);
	case BIND_DIR:
		return bind_dir(e, dir, name, to, p, err);
	}
	return -EINVAL;
}

static int take_listed(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err)
{
	int fd = openat(e->etc, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cleanup_dir DIR *d = fd < 0 ? NULL : fdopendir(fd);
	int r = 0;

	if (!d)
		return nsbox_error_set(err, errno, "open /etc");
	for (struct dirent *entry; r == 0 && (entry = readdir(d));) {
		for (size_t i = 0; i < sizeof(from_host) / sizeof(from_host[0]); i++) {
			/* Most differ in the first letter, which no pattern leaves open. */
			if (from_host[i].pattern[0] != entry->d_name[0] ||
			    fnmatch(from_host[i].pattern, entry->d_name, FNM_PERIOD) != 0)
				continue;
			r = take_one(e, e->etc, entry->d_name, entry->d_name, from_host[i].how, p,
				     err);
			break;
		}
	}
	return r;
}

static int take_subdirs(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err)
{
	char to[64];
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(from_subdir) / sizeof(from_subdir[0]); i++) {
		cleanup_close int dir = openat(e->etc, from_subdir[i].dir,
					       O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (dir < 0)
			continue;
		(void)snprintf(to, sizeof(to), "%s/%s", from_subdir[i].dir, from_subdir[i].name);
		r = make_dir(e, from_subdir[i].dir, err);
		if (r == 0)
			r = take_one(e, dir, from_subdir[i].name, to, from_subdir[i].how, p, err);
	}
	return r;
}

static bool is_writable(const struct nsbox_etc *e)
{
	return e->policy->rootfs_mode != NSBOX_ROOTFS_RO;
}

/* Reads passwd or group of the /etc to start from; "" where it has none. */
static int read_database(const struct nsbox_etc *e, const char *name, char **ret,
			 struct nsbox_error *err)
{
	const struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	cleanup_close int fd = e->etc < 0 ? -1 : (int)syscall(SYS_openat2, e->etc, name, &how,
							      sizeof(how));
	struct stat st;
	size_t len;
	bool regular = fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode);

	/* What box root put in its place is replaced. */
	if (fd >= 0 && !regular && !is_writable(e))
		return nsbox_error_say(err, EINVAL, "not a regular file");
	if (regular)
		return nsbox_fd_read_all(fd, FILE_SIZE_MAX, ret, &len, err);
	*ret = strdup("");
	return *ret ? 0 : nsbox_error_set(err, ENOMEM, "reading %s", name);
}

/* Splits "a:b:c" into at most @n fields, in place. Returns how many. */
static size_t split(char *line, char **fields, size_t n)
{
	size_t i = 0;

	while (i < n && line)
		fields[i++] = strsep(&line, ":");
	return i;
}

static bool is_system_id(const char *text)
{
	unsigned long id = strtoul(text, NULL, 10);

	return *text >= '0' && *text <= '9' && (id <= SYSTEM_ID_LAST || id == NOBODY_ID);
}

/*
 * The entries of the database that the box keeps (@all: an image's, all of
 * them; else the host's system accounts), without those that are the user's
 * name or uid: his own line follows.
 */
static void write_passwd(const struct nsbox_etc *e, char *text, bool all, FILE *out)
{
	const struct nsbox_subject *s = e->subject;
	const char *password = is_writable(e) ? "*" : "x";
	bool root = false;

	for (char *line; (line = strsep(&text, "\n"));) {
		char *f[7] = { NULL };

		if (split(line, f, 7) != 7)
			continue;
		/* One that the user has given himself inside, for the box's own sudo. */
		if (is_writable(e) && strcmp(f[0], s->name) == 0)
			password = f[1];
		if (strcmp(f[0], s->name) == 0 ||
		    strtoul(f[2], NULL, 10) == s->uid || (!all && !is_system_id(f[2])))
			continue;
		root |= strcmp(f[2], "0") == 0;
		fprintf(out, "%s:%s:%s:%s:%s:%s:%s\n", f[0], is_writable(e) ? f[1] : "x", f[2], f[3],
			f[4], f[5], f[6]);
	}
	if (!root)
		fputs("root:x:0:0:root:/root:/bin/sh\n", out);
	/* Not "x" without need: sudo's PAM stack then wants an entry of shadow. */
	fprintf(out, "%s:%s:%u:%u::%s:%s\n", s->name, password, s->uid, s->gid, s->home, s->shell);
}


static const char *own_group_name(const struct nsbox_subject *s, gid_t gid)
{
	for (size_t i = 0; i < s->n_groups; i++)
		if (s->gids[i] == gid)
			return s->group_names[i];
	return NULL;
}

/* The members in @list, but not the user: ",a,b" after @first, or "a,b". */
static void write_members(const struct nsbox_etc *e, char *list, bool first, FILE *out)
{
	for (char *name; list && (name = strsep(&list, ","));) {
		if (!*name || strcmp(name, e->subject->name) == 0)
			continue;
		fprintf(out, "%s%s", first ? "" : ",", name);
		first = false;
	}
}

/*
 * The user's own groups, each with him as its member; one without a name is
 * called gNUMBER. @members: who else is in them, in the box.
 */
static void write_own_groups(const struct nsbox_etc *e, char **members, FILE *out)
{
	for (uint32_t i = 0; i < e->ids->n_groups; i++) {
		gid_t gid = e->ids->groups[i];
		const char *name = own_group_name(e->subject, gid);

		if (name)
			fprintf(out, "%s:x:%u:%s", name, gid, e->subject->name);
		else
			fprintf(out, "g%u:x:%u:%s", gid, gid, e->subject->name);
		write_members(e, members[i], false, out);
		fputc('\n', out);
	}
}

/*
 * Which of the user's groups has this number, or this name whatever number the
 * image gives it? -1: none.
 */
static int find_own(const struct nsbox_etc *e, const char *name, const char *number)
{
	for (uint32_t i = 0; i < e->ids->n_groups; i++) {
		const char *own = own_group_name(e->subject, e->ids->groups[i]);

		if (e->ids->groups[i] == (gid_t)strtoul(number, NULL, 10) ||
		    (own && strcmp(own, name) == 0))
			return (int)i;
	}
	return -1;
}

/*
 * As passwd. The user is left out of the members: sshd and su set the groups
 * that this file gives him, and these shall be his groups of the host and no
 * others. An image's other members stay where they can have been made inside.
 */
static void write_group(const struct nsbox_etc *e, char *text, bool all, FILE *out)
{
	char *members[NSBOX_IDS_GROUPS_MAX] = { NULL };
	bool root = false;

	for (char *line; (line = strsep(&text, "\n"));) {
		char *f[4] = { NULL };

		int own;

		if (split(line, f, 4) < 3 || (!all && !is_system_id(f[2])))
			continue;
		own = find_own(e, f[0], f[2]);
		if (own >= 0 && is_writable(e))
			members[own] = f[3];
		if (own >= 0)
			continue;
		root |= strcmp(f[2], "0") == 0;
		fprintf(out, "%s:x:%s:", f[0], f[2]);
		write_members(e, is_writable(e) ? f[3] : NULL, true, out);
		fputc('\n', out);
	}
	if (!root && find_own(e, "root", "0") < 0)
		fputs("root:x:0:\n", out);
	write_own_groups(e, members, out);
}

/* The new text of passwd or group. @text is taken apart. *ret is the caller's also on failure. */
static int make_database(const struct nsbox_etc *e, const char *name, bool all, char *text,
			 char **ret, size_t *ret_len, struct nsbox_error *err)
{
	FILE *out = open_memstream(ret, ret_len);

	if (!out)
		return nsbox_error_set(err, ENOMEM, "making /etc/%s", name);
	if (strcmp(name, "passwd") == 0)
		write_passwd(e, text, all, out);
	else
		write_group(e, text, all, out);
	return fclose(out) != 0 ? nsbox_error_set(err, ENOMEM, "making /etc/%s", name) : 0;
}

static int plan_database(const struct nsbox_etc *e, const char *name, bool all,
			 struct nsbox_plan *p, struct nsbox_error *err)
{
	cleanup_free char *text = NULL, *made = NULL;
	char path[32];
	size_t len;
	int r = read_database(e, name, &text, err);

	if (r < 0)
		return nsbox_error_wrap(err, "/etc/%s", name);
	r = make_database(e, name, all, text, &made, &len, err);
	if (r < 0)
		return r;
	(void)snprintf(path, sizeof(path), "/etc/%s", name);
	nsbox_plan_file(p, path, 0644, made, len);
	return 0;
}

static void plan_text(struct nsbox_plan *p, const char *path, const char *text)
{
	nsbox_plan_file(p, path, 0644, text, strlen(text));
}

static void plan_resolvers(const struct nsbox_etc *e, struct nsbox_plan *p)
{
	struct nsbox_address resolvers[NSBOX_DNS_MAX];
	unsigned int n = nsbox_resolvers(e->policy, resolvers);
	char text[NSBOX_DNS_MAX * 64] = "", address[INET6_ADDRSTRLEN];
	size_t used = 0;

	for (unsigned int i = 0; i < n; i++) {
		(void)inet_ntop(resolvers[i].family, resolvers[i].bytes, address, sizeof(address));
		used += (size_t)snprintf(text + used, sizeof(text) - used, "nameserver %s\n",
					 address);
	}
	plan_text(p, "/etc/resolv.conf", n ? text : "# No resolver: see dns in nsbox.conf.\n");
}

/* hosts, hostname, resolv.conf: what the box's name and network make of them. */
static int plan_names(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err)
{
	const char *host = e->policy->hostname;
	char text[512];

	(void)snprintf(text, sizeof(text), "%s\n", host);
	plan_text(p, "/etc/hostname", text);
	(void)snprintf(text, sizeof(text), "127.0.0.1\tlocalhost\n127.0.1.1\t%s\n"
		       "::1\tlocalhost ip6-localhost ip6-loopback\n", host);
	plan_text(p, "/etc/hosts", text);
	if (e->policy->net == NSBOX_NET_HOST && e->policy->dns_mode == NSBOX_DNS_HOST) {
		/* Often a symlink into /run, which the box does not have: take the text. */
		cleanup_close int fd = open("/etc/resolv.conf", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		cleanup_free char *data = NULL;
		size_t len;

		if (fd >= 0 && nsbox_fd_read_all(fd, FILE_SIZE_MAX, &data, &len, err) < 0)
			return nsbox_error_wrap(err, "/etc/resolv.conf");
		if (data)
			nsbox_plan_file(p, "/etc/resolv.conf", 0644, data, len);
		return 0;
	}
	if (e->policy->net == NSBOX_NET_NONE)
		plan_text(p, "/etc/resolv.conf", "# This box has no network.\n");
	else
		plan_resolvers(e, p);
	return 0;
}

/* Ids that the user's own containers may use, below those that every image needs as its own. */
enum { SUBID_FIRST = 10000, SUBID_LAST = 65533 };

/* The longest run of ids without one of @own: subuid(5), of the box's numbers. */
static void plan_subids(const struct nsbox_etc *e, const char *path, const uint32_t *own, size_t n,
			struct nsbox_plan *p)
{
	uint32_t from = SUBID_FIRST, best = 0, length = 0;
	char text[128];

	while (from <= SUBID_LAST) {
		uint32_t end = SUBID_LAST + 1;

		for (size_t i = 0; i < n; i++)
			if (own[i] >= from && own[i] < end)
				end = own[i];
		if (end - from > length) {
			best = from;
			length = end - from;
		}
		from = end + 1;
	}
	(void)snprintf(text, sizeof(text), "%u:%u:%u\n", e->subject->uid, best, length);
	plan_text(p, path, text);
}

/* nested = yes: newuidmap looks here. */
static void plan_nested(const struct nsbox_etc *e, struct nsbox_plan *p)
{
	if (!nsbox_nested_ids(e->policy))
		return;
	plan_subids(e, "/etc/subuid", &e->subject->uid, 1, p);
	plan_subids(e, "/etc/subgid", e->ids->groups, e->ids->n_groups, p);
}

static int plan_databases(const struct nsbox_etc *e, bool all, struct nsbox_plan *p,
			  struct nsbox_error *err)
{
	int r = plan_database(e, "passwd", all, p, err);

	plan_nested(e, p);
	return r < 0 ? r : plan_database(e, "group", all, p, err);
}

int nsbox_etc_plan_host(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err)
{
	int r = plan_databases(e, false, p, err);

	if (r == 0)
		r = plan_names(e, p, err);
	if (r < 0)
		return r;
	nsbox_plan_link(p, "/etc/mtab", "../proc/self/mounts");
	plan_text(p, "/etc/nsswitch.conf",
		  "passwd: files\ngroup: files\nshadow: files\ngshadow: files\n"
		  "hosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n"
		  "ethers: files\nrpc: files\nnetgroup: files\n");
	return 0;
}

int nsbox_etc_make_public(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err)
{
	int r = take_listed(e, p, err);

	return r < 0 ? r : take_subdirs(e, p, err);
}

int nsbox_etc_plan_image(const struct nsbox_etc *e, struct nsbox_plan *p, struct nsbox_error *err)
{
	int r = 0;

	nsbox_plan_dir(p, "/etc", 0755, 0, 0);
	/* Where it can be written, the box's own are the ones to start from: init merges. */
	if (!is_writable(e))
		r = plan_databases(e, true, p, err);
	return r < 0 ? r : plan_names(e, p, err);
}

int nsbox_etc_merge(const struct nsbox_etc *e, const char *name, char **ret, size_t *ret_len,
		    bool *ret_same, struct nsbox_error *err)
{
	cleanup_free char *text = NULL, *before = NULL;
	int r = read_database(e, name, &text, err);

	if (r < 0)
		return nsbox_error_wrap(err, "/etc/%s", name);
	before = strdup(text);
	if (!before)
		return nsbox_error_set(err, ENOMEM, "making /etc/%s", name);
	r = make_database(e, name, true, text, ret, ret_len, err);
	*ret_same = r == 0 && strcmp(before, *ret) == 0;
	return r;
}
