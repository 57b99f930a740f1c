/* SPDX-License-Identifier: MIT */
/* Devices of the host in the box: see device.h. */
#include "device.h"
#include "cleanup.h"
#include "defence.h"
#include "tree.h"

#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

/* Majors of Linux's devices.txt, fixed for ever. */
enum { MEM = 1, PTY_MASTER = 2, PTY_SLAVE = 3, TTY = 4, TTY_AUX = 5, VCS = 7, MISC = 10, INPUT = 13,
       SCSI_GENERIC = 21, UNIX98_FIRST = 136, UNIX98_LAST = 143, MSR = 202 };

static const char of_terminals[] = "a terminal of the host shows and takes what others type there";
static const char of_input[] = "it reads every key that is pressed at the host";
static const char of_disks[] = "it reaches the host's disks past every file system";
static const char of_memory[] = "it reaches the host's memory";

/* The kernel's classes (/sys/dev/char/MAJOR:MINOR/subsystem) that no box may have. */
static const struct {
	const char *name, *why;
} refused_classes[] = {
	{ "input", of_input },
	{ "hidraw", of_input },
	{ "vc", of_terminals },
	{ "graphics", "it shows the host's screen" },
	{ "scsi_generic", of_disks },
	{ "scsi_tape", of_disks },
	{ "bsg", of_disks },
	{ "nvme", of_disks },
	{ "nvme-generic", of_disks },
	{ "mtd", "it rewrites the host's firmware" },
	{ "msr", "it rewrites the processor's registers" },
	{ "dax", of_memory },
	{ "nd", of_memory },
	{ "uio", "its hardware reaches the host's memory" },
	{ "vfio", "its hardware reaches the host's memory" },
	{ "vfio-dev", "its hardware reaches the host's memory" },
	{ "watchdog", "it restarts the host" },
	{ "ipmi", "it switches the host off" },
	{ "mei", "it talks to the host's management engine" },
	{ "tpm", "it holds the host's secrets" },
	{ "tpmrm", "it holds the host's secrets" },
	{ "i2c-dev", "it rewrites the host's firmware" },
	{ "virtio-ports", "it speaks to the hypervisor in the host's name" },
};

/* Of the class misc, which is mostly the kernel's own switches, these and no others. */
static const char *const misc_allowed[] = { "fuse", "kvm", "tun", "udmabuf", "sgx_enclave" };

/* What every box's /dev has: nodes, links, and directories for what is mounted there. */
static const struct {
	const char *name;
	unsigned int major, minor;
	const char *target;
} usual[] = {
	{ "null", MEM, 3, NULL },	{ "zero", MEM, 5, NULL },
	{ "full", MEM, 7, NULL },	{ "random", MEM, 8, NULL },
	{ "urandom", MEM, 9, NULL },	{ "tty", TTY_AUX, 0, NULL },
	{ "ptmx", 0, 0, "pts/ptmx" },	{ "fd", 0, 0, "/proc/self/fd" },
	{ "stdin", 0, 0, "/proc/self/fd/0" }, { "stdout", 0, 0, "/proc/self/fd/1" },
	{ "stderr", 0, 0, "/proc/self/fd/2" },
	{ "pts", 0, 0, NULL },		{ "shm", 0, 0, NULL },
	{ "mqueue", 0, 0, NULL },
};

static bool make_usual_node(int dev, const char *name, dev_t rdev, uint32_t owner)
{
	return mknodat(dev, name, S_IFCHR | 0666, rdev) == 0 &&
	       fchownat(dev, name, owner, owner, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fchmodat(dev, name, 0666, 0) == 0;
}

int nsbox_devices_begin(int dev, uint32_t owner, struct nsbox_error *err)
{
	bool made = true;

	for (size_t i = 0; made && i < sizeof(usual) / sizeof(usual[0]); i++) {
		const char *name = usual[i].name;

		if (usual[i].major)
			made = make_usual_node(dev, name, makedev(usual[i].major, usual[i].minor), owner);
		else if (usual[i].target)
			made = symlinkat(usual[i].target, dev, name) == 0;
		else
			made = mkdirat(dev, name, 0755) == 0;
	}
	return made ? 0 : nsbox_error_set(err, errno, "filling /dev");
}

/* The last name that the link /sys/dev/char/MAJOR:MINOR@suffix leads to; "" without sysfs. */
static void read_class(dev_t rdev, const char *suffix, char ret[NAME_MAX + 1])
{
	char path[64], target[PATH_MAX], *slash;
	ssize_t n;

	ret[0] = '\0';
	(void)snprintf(path, sizeof(path), "/sys/dev/char/%u:%u%s", major(rdev), minor(rdev),
		       suffix);
	n = readlink(path, target, sizeof(target) - 1);
	if (n <= 0)
		return;
	target[n] = '\0';
	slash = strrchr(target, '/');
	(void)snprintf(ret, NAME_MAX + 1, "%.255s", slash ? slash + 1 : target);
}

static const char *refuse_misc(dev_t rdev)
{
	/* devices.txt: fuse, kvm, tun. The others' minors are not fixed. */
	static const unsigned int minors[] = { 229, 232, 200 };
	char name[NAME_MAX + 1];

	for (size_t i = 0; i < sizeof(minors) / sizeof(minors[0]); i++)
		if (minor(rdev) == minors[i])
			return NULL;
	read_class(rdev, "", name);
	for (size_t i = 0; i < sizeof(misc_allowed) / sizeof(misc_allowed[0]); i++)
		if (strcmp(name, misc_allowed[i]) == 0)
			return NULL;
	return "it is a switch of the host's kernel";
}

/* Serial lines that somebody plugged in are no terminals of the host. */
static bool is_plugged_in(dev_t rdev)
{
	char name[NAME_MAX + 1];

	read_class(rdev, "", name);
	return strncmp(name, "ttyUSB", 6) == 0 || strncmp(name, "ttyACM", 6) == 0;
}

/* Why no box may have the character device @rdev; NULL if it may. */
static const char *refuse_device(dev_t rdev)
{
	char class[NAME_MAX + 1];

	switch (major(rdev)) {
	case MEM:
		return of_memory;
	case PTY_MASTER: case PTY_SLAVE: case TTY: case TTY_AUX: case VCS:
	case UNIX98_FIRST ... UNIX98_LAST:
		return of_terminals;
	case MISC:
		return refuse_misc(rdev);
	case INPUT:
		return of_input;
	case SCSI_GENERIC:
		return of_disks;
	case MSR:
		return "it rewrites the processor's registers";
	}
	read_class(rdev, "/subsystem", class);
	if (strcmp(class, "tty") == 0)
		return is_plugged_in(rdev) ? NULL : of_terminals;
	for (size_t i = 0; i < sizeof(refused_classes) / sizeof(refused_classes[0]); i++)
		if (strcmp(class, refused_classes[i].name) == 0)
			return refused_classes[i].why;
	return NULL;
}

struct devices {
	int dev;
	const struct nsbox_subject *subject;
	const struct nsbox_ids *ids;
	struct nsbox_notes *notes;
};

static bool is_group_of(const struct nsbox_subject *subject, gid_t gid)
{
	for (size_t i = 0; i < subject->n_groups; i++)
		if (subject->gids[i] == gid)
			return true;
	return gid == subject->gid;
}

static bool is_known_group(const struct nsbox_ids *ids, gid_t gid)
{
	for (uint32_t i = 0; i < ids->n_groups; i++)
		if (ids->groups[i] == gid)
			return true;
	return false;
}

/* As open(2) for reading or writing would see it, by mode alone. */
static bool may_open(const struct nsbox_subject *subject, const struct stat *st)
{
	if (!nsbox_defends(device))
		return true;
	if (st->st_uid == subject->uid)
		return st->st_mode & 0600;
	if (is_group_of(subject, st->st_gid))
		return st->st_mode & 0060;
	return st->st_mode & 0006;
}

/*
 * Whose the node is inside. What is another's or another group's is box root's,
 * whose capabilities would open any node here: hence may_open(). A group that
 * the user is in and the box does not know (idmap = keep leaves out the
 * system's) makes it the user's own.
 */
static void map_owner(const struct devices *d, const struct stat *st, uid_t *uid, gid_t *gid)
{
	bool own = st->st_uid == d->subject->uid;

	*gid = d->ids->base;
	if (is_known_group(d->ids, st->st_gid))
		*gid = nsbox_id_map_outside(&d->ids->box_gids, st->st_gid);
	else
		own |= is_group_of(d->subject, st->st_gid);
	*uid = own ? nsbox_id_map_outside(&d->ids->box_uids, d->subject->uid) : d->ids->base;
}

/* The directories of @name, "dri/by-path/x". They stay the host's root's, as /dev does. */
static int make_parents(int dev, const char *name)
{
	char path[PATH_MAX];

	if (strlen(name) >= sizeof(path))
		return -ENAMETOOLONG;
	strcpy(path, name);
	for (char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdirat(dev, path, 0755) < 0 && errno != EEXIST)
			return -errno;
		*slash = '/';
	}
	return 0;
}

static int make_node(const struct devices *d, const char *name, const struct stat *st)
{
	uid_t uid;
	gid_t gid;
	int r = make_parents(d->dev, name);

	map_owner(d, st, &uid, &gid);
	if (r == 0 && (mknodat(d->dev, name, S_IFCHR | 0600, st->st_rdev) < 0 ||
		       fchownat(d->dev, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 ||
		       fchmodat(d->dev, name, st->st_mode & 0777, 0) < 0))
		r = -errno;
	return r;
}

/* What @path is, if a box may have it: 1; 0 if it is a directory that a pattern has met. */
static int look_up(const char *path, bool literal, struct stat *st, struct nsbox_error *err)
{
	cleanup_close int fd = nsbox_open_trusted(path, err);
	const char *why;

	if (fd < 0 || fstat(fd, st) < 0)
		return nsbox_error_wrap(err, "device");
	if (S_ISDIR(st->st_mode) && !literal)
		return 0;
	if (S_ISDIR(st->st_mode))
		return nsbox_error_say(err, EISDIR, "device: %.80s is a directory: write %.80s/*",
				       path, path);
	if (!S_ISCHR(st->st_mode) && !S_ISBLK(st->st_mode))
		return nsbox_error_say(err, EINVAL, "device: %.80s is no device", path);
	why = S_ISBLK(st->st_mode) ? of_disks : refuse_device(st->st_rdev);
	if (why)
		return nsbox_error_say(err, EPERM, "device: %.80s is not lent to a box: %s", path,
				       why);
	return 1;
}

/* One device of the host, at the same name in the box. */
static int lend_device(const struct devices *d, const char *path, bool literal,
		       struct nsbox_error *err)
{
	const char *name = path + strlen("/dev/");
	struct stat st;
	int r;

	if (fstatat(d->dev, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return 0;	/* every box has it */
	r = look_up(path, literal, &st, err);
	if (r <= 0)
		return r;
	if (!may_open(d->subject, &st)) {
		nsbox_note(d->notes, "device: %.200s is left out, since the user may not open it on "
			   "the host either", path);
		return 0;
	}
	r = make_node(d, name, &st);
	return r < 0 ? nsbox_error_set(err, -r, "device: %.80s", path) : 0;
}

static int lend_matches(const struct devices *d, const char *pattern, struct nsbox_error *err)
{
	glob_t found;
	int r = glob(pattern, 0, NULL, &found);

	if (r == GLOB_NOMATCH) {
		nsbox_note(d->notes, "device: %.200s is not there and left out", pattern);
		return 0;
	}
	if (r != 0)
		return nsbox_error_say(err, ENOMEM, "device: %.80s cannot be looked up", pattern);
	for (size_t i = 0; r == 0 && i < found.gl_pathc; i++)
		r = lend_device(d, found.gl_pathv[i], strcmp(found.gl_pathv[i], pattern) == 0, err);
	globfree(&found);
	return r;
}

int nsbox_devices_make(int dev, const struct nsbox_decision *policy,
		       const struct nsbox_subject *subject, const struct nsbox_ids *ids,
		       struct nsbox_notes *notes, struct nsbox_error *err)
{
	const struct devices d = { .dev = dev, .subject = subject, .ids = ids, .notes = notes };
	int r = 0;

	for (size_t i = 0; r == 0 && i < policy->n_device; i++)
		r = lend_matches(&d, policy->device[i], err);
	return r;
}

static bool is_in_every_box(const char *path)
{
	for (size_t i = 0; i < sizeof(usual) / sizeof(usual[0]); i++)
		if (strcmp(path + strlen("/dev/"), usual[i].name) == 0)
			return true;
	return false;
}

int nsbox_device_check(const char *pattern, struct nsbox_error *err)
{
	struct stat st;
	glob_t found;
	int r = 0;

	if (glob(pattern, 0, NULL, &found) != 0)
		return 0;
	for (size_t i = 0; r >= 0 && i < found.gl_pathc; i++)
		if (!is_in_every_box(found.gl_pathv[i]))
			r = look_up(found.gl_pathv[i], strcmp(found.gl_pathv[i], pattern) == 0, &st,
				    err);
	globfree(&found);
	return r < 0 ? r : 0;
}
