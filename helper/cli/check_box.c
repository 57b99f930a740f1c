/* SPDX-License-Identifier: MIT */
/* nsbox check: images, roots that can be written, ids. See check.h. */
#include "check.h"
#include "cleanup.h"
#include "device.h"
#include "env.h"
#include "identity.h"
#include "image.h"
#include "internal.h"
#include "places.h"
#include "tree.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* --- images ---------------------------------------------------------------- */

/* Resolved as the box will: a link that leads to /usr/bin means the image's. */
static bool image_has(int image, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
	};
	cleanup_close int fd = (int)syscall(SYS_openat2, image, path, &how, sizeof(how));
	struct stat st;

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 0111);
}

/* As a login opens it, who is root: that also says whether it may be trusted. Else as well as it goes. */
static int open_image(const char *path, struct nsbox_error *err)
{
	cleanup_close int fd = open(path, O_PATH | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return nsbox_error_say(err, errno, "rootfs = \"%.80s\": %s: write the directory of "
				       "an image, or host", path, strerror(errno));
	if (geteuid() == 0)
		return nsbox_image_open(path, NULL, err);
	/* Into an image that is a file only root can look. */
	if (fstat(fd, &st) < 0 || !S_ISDIR(st.st_mode))
		return -EISDIR;
	return take_fd(&fd);
}

static void check_image(struct nsbox_check *c, const struct nsbox_subject *subject,
			const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_ROOTFS];

	/* Everybody of a group has the same, and a file has to be mounted. */
	if (!c->image_path || strcmp(c->image_path, d->rootfs) != 0) {
		(void)nsbox_close(c->image);
		free(c->image_path);
		c->image_path = nsbox_check_copy(d->rootfs);
		c->image = open_image(d->rootfs, &c->image_err);
	}
	if (c->image < 0 && c->image != -EISDIR)
		ERROR(c, where, "%s", c->image_err.msg);
	if (c->image < 0 || image_has(c->image, subject->shell) ||
	    (strcmp(d->shell_fallback, "none") != 0 && image_has(c->image, d->shell_fallback)))
		return;
	ERROR(c, where, "rootfs = \"%.60s\" has no %.40s, the shell of %.32s, and no "
	      "shell_fallback (%.40s): install it there, or write a shell that is",
	      d->rootfs, subject->shell, subject->name, d->shell_fallback);
}

static void check_writable(struct nsbox_check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *memory = &d->origin[NSBOX_KEY_MEMORY_MAX];

	if (d->rootfs_mode == NSBOX_ROOTFS_RO ||
	    (memory->file && (d->memory_percent || d->memory_max != NSBOX_LIMIT_NONE)))
		return;
	ERROR(c, &d->origin[NSBOX_KEY_ROOTFS_MODE], "rootfs_mode = %s without a memory_max: box "
	      "root has 65536 ids there, and limits for one user do not hold: write memory_max",
	      d->text[NSBOX_KEY_ROOTFS_MODE]);
}

static void note_limit(struct nsbox_check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_DISK_MAX];
	bool acts = d->rootfs_mode != NSBOX_ROOTFS_RO;
	struct nsbox_check_limit *l;

	if (!where->file || d->disk_max == NSBOX_LIMIT_NONE)
		return;
	for (size_t i = 0; i < c->n_limits; i++) {
		l = &c->limits[i];
		if (l->line == where->line && !strcmp(l->file, where->file)) {
			l->acts |= acts;
			return;
		}
	}
	l = reallocarray(c->limits, c->n_limits + 1, sizeof(*l));
	if (!l)
		nsbox_check_no_memory();
	c->limits = l;
	c->limits[c->n_limits++] = (struct nsbox_check_limit){
		.file = nsbox_check_copy(where->file), .line = where->line, .acts = acts,
	};
}

void nsbox_check_limits(struct nsbox_check *c)
{
	for (size_t i = 0; i < c->n_limits; i++) {
		const struct nsbox_check_limit *l = &c->limits[i];
		const struct nsbox_origin where = { .file = l->file, .line = l->line };

		if (!l->acts)
			WARN(c, &where, "disk_max limits nothing, since nobody who has it has a root "
			     "that can be written: write rootfs_mode = ephemeral or persistent, or "
			     "take it out");
	}
}

/* --- what is put into the box ---------------------------------------------- */

/* A check, and the decision that it is about. */
struct about {
	struct nsbox_check *c;
	const struct nsbox_decision *d;
};

static void place_is_wrong(enum nsbox_key key, const char *why, void *data)
{
	const struct about *about = data;

	ERROR(about->c, &about->d->origin[key], "%s", why);
}

/* What the keeper would say of the machine's part in it. Only root can look everywhere. */
static void check_machine(struct nsbox_check *c, const struct nsbox_subject *subject,
			  const struct nsbox_decision *d)
{
	struct about about = { .c = c, .d = d };
	struct nsbox_error err;

	(void)nsbox_places_check(d, subject, place_is_wrong, &about);
	for (size_t i = 0; i < d->n_device; i++)
		if (nsbox_device_check(d->device[i], &err) < 0)
			ERROR(c, &d->origin[NSBOX_KEY_DEVICE], "%s", err.msg);
}

/* Does the root of the box have what is at @path from the host, or from the image? */
static bool is_known_place(const struct nsbox_decision *d, const char *path)
{
	static const char *const of_host[] = {
		"/usr", "/opt", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/var/run",
		"/var/lock",
	};
	bool known = strcmp(d->rootfs, "host") != 0;

	for (size_t i = 0; !known && i < sizeof(of_host) / sizeof(of_host[0]); i++)
		known = nsbox_path_is_in(path, of_host[i]);
	/* Something else that the policy puts there is on the way to it. */
	for (size_t i = 0; known && i < d->n_bind; i++)
		known = path == d->bind[i].dst || !nsbox_path_is_in(path, d->bind[i].dst);
	for (size_t i = 0; known && i < d->n_tmpfs; i++)
		known = path == d->tmpfs[i].dst || !nsbox_path_is_in(path, d->tmpfs[i].dst);
	return known;
}

/* As init will look for it (place.c). @type: S_IFDIR or S_IFREG, 0: as it comes (a mask). */
static void check_place(struct nsbox_check *c, const struct nsbox_decision *d, int root,
			enum nsbox_key key, const char *path, mode_t type)
{
	const struct open_how how = {
		.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS,
	};
	const struct nsbox_origin *where = &d->origin[key];
	cleanup_close int fd = -EBADF;
	struct stat st;

	if (!is_known_place(d, path))
		return;
	fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
	if (fd < 0 && errno == ELOOP)
		ERROR(c, where, "%.100s is not a place in the box: on the way there is a symlink, which "
		      "is not followed: write where it leads to", path);
	else if (fd < 0 && errno == ENOENT && type && strcmp(d->rootfs, "host") == 0)
		ERROR(c, where, "%.100s is not there and cannot be made in the box, which has that of "
		      "the host: make it there, or write another place", path);
	else if (fd >= 0 && type && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode) != (type == S_IFDIR))
		ERROR(c, where, "%.100s: a file cannot be bound over a directory, nor a directory over "
		      "a file", path);
}

/* bind, tmpfs and mask: can they be put where they are to be? */
static void check_places(struct nsbox_check *c, const struct nsbox_decision *d)
{
	cleanup_close int host = open("/", O_PATH | O_CLOEXEC);
	int root = strcmp(d->rootfs, "host") == 0 ? host : c->image;
	struct stat st;

	if (root < 0)
		return;
	for (size_t i = 0; i < d->n_bind; i++)
		if (stat(d->bind[i].src, &st) == 0)
			check_place(c, d, root, NSBOX_KEY_BIND, d->bind[i].dst,
				    S_ISDIR(st.st_mode) ? S_IFDIR : S_IFREG);
	for (size_t i = 0; i < d->n_tmpfs; i++)
		check_place(c, d, root, NSBOX_KEY_TMPFS, d->tmpfs[i].dst, S_IFDIR);
	for (size_t i = 0; i < d->n_mask; i++)
		check_place(c, d, root, NSBOX_KEY_MASK, d->mask[i], 0);
}

static void check_env(struct nsbox_check *c, const struct nsbox_subject *subject,
		      const struct nsbox_decision *d)
{
	char env[NSBOX_ENV_MAX] = "";
	struct nsbox_error err;

	if (nsbox_env_fill(d, subject->uid, env, &err) < 0)
		ERROR(c, &d->origin[NSBOX_KEY_ENV], "%s", err.msg);
}

/* net = join: the other's box, which has to be one, or what ip netns made. */
static void check_joined(struct nsbox_check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_NET];
	struct nsbox_identity id cleanup_identity = { .alias = NULL };
	struct nsbox_decision theirs = { .arena = NULL };
	struct nsbox_error err;
	char path[128];

	(void)snprintf(path, sizeof(path), "/run/netns/%s", d->net_name);
	if (d->net == NSBOX_NET_JOIN_PATH && access(path, F_OK) < 0)
		ERROR(c, where, "there is no network namespace %s: make it with ip netns add %s", path,
		      d->net_name);
	if (d->net != NSBOX_NET_JOIN_USER)
		return;
	if (nsbox_identity_get(d->net_name, &id, &err) < 0 || id.subject.uid == 0) {
		ERROR(c, where, "net = join:%.60s: there is no such user", d->net_name);
		return;
	}
	/* What is wrong with the other's own policy is said where that is. */
	if (nsbox_policy_decide(c->policy, &id.subject, "nsbox-run", NULL, 0, &theirs, &err) < 0)
		return;
	if (theirs.net == NSBOX_NET_HOST)
		ERROR(c, where, "net = join:%.60s: that user's box has the host's network; write "
		      "net = host if that is meant", d->net_name);
	nsbox_decision_free(&theirs);
}

/* --- the box --------------------------------------------------------------- */

void nsbox_check_box(struct nsbox_check *c, const struct nsbox_subject *subject,
		     const struct nsbox_decision *d, bool is_real)
{
	/* Also of somebody who is in this group alone: another one may say action = box. */
	if (d->would == NSBOX_ACTION_BOX || d->rootfs_mode != NSBOX_ROOTFS_RO)
		note_limit(c, d);
	if (d->would != NSBOX_ACTION_BOX || d->unfit)
		return;
	check_writable(c, d);
	if (strcmp(d->rootfs, "host") != 0 && (is_real || !strstr(d->rootfs, subject->name)))
		check_image(c, subject, d);
	check_joined(c, d);
	if (!is_real)
		return;
	check_env(c, subject, d);
	if (d->disk_max != NSBOX_LIMIT_NONE && d->rootfs_mode != NSBOX_ROOTFS_RO &&
	    subject->uid >= 0x80000000U)
		ERROR(c, &d->origin[NSBOX_KEY_DISK_MAX], "disk_max is not for uid %u: uids from "
		      "2147483648 up have no project id of their own", subject->uid);
	if (geteuid() != 0)
		return;
	check_machine(c, subject, d);
	check_places(c, d);
}

/* --- ids ------------------------------------------------------------------- */

/* "NAME:FIRST:COUNT" (subuid(5)) that begins or ends in the range. */
static void check_subids(struct nsbox_check *c, const char *path, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_ID_RANGE];
	cleanup_fclose FILE *f = fopen(path, "re");
	unsigned long long first, count;
	char line[512], name[64];

	while (f && fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%63[^:]:%llu:%llu", name, &first, &count) != 3 || !count)
			continue;
		if (first > d->id_last || first + count - 1 < d->id_first)
			continue;
		WARN(c, where, "id_range = %u-%u: %s gives %llu-%llu of it to %s, and no box gets "
		     "these: write a range without them", d->id_first, d->id_last, path, first,
		     first + count - 1, nsbox_quote_string(name).s);
		return;
	}
}

static bool is_in_range(const struct nsbox_decision *d, uint32_t id)
{
	return id >= d->id_first && id <= d->id_last;
}

static void check_names(struct nsbox_check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_ID_RANGE];

	for (size_t i = 0; i < c->n_passwd; i++) {
		if (!is_in_range(d, c->passwd[i].uid))
			continue;
		WARN(c, where, "id_range = %u-%u: uid %u of %s is in it, and a box could have the "
		     "same: write a range without users", d->id_first, d->id_last, c->passwd[i].uid,
		     nsbox_quote_string(c->passwd[i].name).s);
		break;
	}
	for (size_t i = 0; i < c->n_groups; i++) {
		if (!is_in_range(d, c->groups[i].gid))
			continue;
		WARN(c, where, "id_range = %u-%u: gid %u of group %s is in it, and a box could have "
		     "the same: write a range without groups", d->id_first, d->id_last,
		     c->groups[i].gid, nsbox_quote_string(c->groups[i].name).s);
		break;
	}
}

void nsbox_check_ids(struct nsbox_check *c, const struct nsbox_decision *d)
{
	const struct nsbox_origin *where = &d->origin[NSBOX_KEY_ID_RANGE];

	if (c->id_last == d->id_last && c->id_first == d->id_first && c->id_line == where->line)
		return;
	c->id_first = d->id_first;
	c->id_last = d->id_last;
	c->id_line = where->line;
	check_names(c, d);
	/* The default is large, and what is taken of it is left out. */
	if (!where->file)
		return;
	check_subids(c, "/etc/subuid", d);
	check_subids(c, "/etc/subgid", d);
}
