/* SPDX-License-Identifier: MIT */
/* The cgroups of a box: see cgroup.h. One code for v1, hybrid and v2: per hierarchy. */
#include "cgroup.h"
#include "cleanup.h"
#include "file.h"
#include "proto.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

/* Where no unit of systemd is delegated to us. */
#define OWN_BASE "nsbox"

static const char *const leaf_names[NSBOX_LEAF_COUNT] = { "main", "rescue" };

/* The BASE of cgroup.h on this hierarchy. */
static void find_base(const struct nsbox_hierarchy *h, char *ret, size_t size)
{
	cleanup_fclose FILE *f = fopen(NSBOX_BASE_FILE, "re");
	char mount[sizeof(h->mount)], path[384];
	struct stat st;

	(void)snprintf(ret, size, "%s/" OWN_BASE, h->mount);
	while (f && fscanf(f, "%127s %383s", mount, path) == 2)
		if (strcmp(mount, h->mount) == 0 && stat(path, &st) == 0)
			(void)snprintf(ret, size, "%s", path);
}

/* The hierarchies that carry a controller of ours, with the box's path on each. */
static int survey(const char *name, struct nsbox_cgroup *ret, struct nsbox_error *err)
{
	struct nsbox_hierarchy list[NSBOX_HIERARCHIES_MAX];
	size_t n;
	int r = nsbox_hierarchies_read(list, &n, err);

	if (r < 0)
		return r;
	ret->n = 0;
	ret->missing[0] = '\0';
	for (size_t i = 0; i < n; i++) {
		struct nsbox_cgroup_dir *d = &ret->dirs[ret->n];

		d->pids = nsbox_hierarchy_offers(&list[i], "pids");
		d->cpu = nsbox_hierarchy_offers(&list[i], "cpu");
		d->memory = nsbox_hierarchy_offers(&list[i], "memory");
		/* On v2 every cgroup can be frozen. */
		d->freezer = list[i].v2 ? d->pids : nsbox_hierarchy_has(&list[i], "freezer");
		if (!d->pids && !d->cpu && !d->memory && !d->freezer)
			continue;
		d->hierarchy = list[i];
		for (int file = 0; file < NSBOX_CGROUP_FILE_COUNT; file++)
			d->kept[file] = -EBADF;
		find_base(&list[i], d->base, sizeof(d->base));
		if (strlen(d->base) + strlen(name) + 2 > sizeof(d->path))
			return nsbox_error_say(err, ENAMETOOLONG, "the cgroup %.100s/%.40s has too "
					       "long a name", d->base, name);
		strcpy(d->path, d->base);
		strcat(strcat(d->path, "/"), name);
		ret->n++;
	}
	return 0;
}

static int put(const struct nsbox_cgroup_dir *d, const char *leaf, const char *file,
	       uint64_t value, struct nsbox_error *err)
{
	char path[640], text[32] = "max";

	(void)snprintf(path, sizeof(path), "%s%s%s/%s", d->path, *leaf ? "/" : "", leaf, file);
	if (value != NSBOX_LIMIT_NONE)
		(void)snprintf(text, sizeof(text), "%llu", (unsigned long long)value);
	return nsbox_file_write(path, text, err);
}

static int make_dir(const char *path, struct nsbox_error *err)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir %s", path);
	return 0;
}

/* v2: a controller reaches the children of a cgroup that names it in subtree_control. */
static int enable_for_children(const char *dir, const struct nsbox_cgroup_dir *d, bool pids_only,
			       struct nsbox_error *err)
{
	char path[640], text[64];

	(void)snprintf(path, sizeof(path), "%s/cgroup.subtree_control", dir);
	(void)snprintf(text, sizeof(text), "+pids%s%s", d->cpu && !pids_only ? " +cpu" : "",
		       d->memory && !pids_only ? " +memory" : "");
	return nsbox_file_write(path, text, err);
}

static bool is_own_base(const struct nsbox_cgroup_dir *d)
{
	size_t len = strlen(d->hierarchy.mount);

	return strncmp(d->base, d->hierarchy.mount, len) == 0 &&
	       strcmp(d->base + len, "/" OWN_BASE) == 0;
}

static int make_base(const struct nsbox_cgroup_dir *d, struct nsbox_error *err)
{
	int r = make_dir(d->base, err);

	/* A delegated one has its controllers from systemd; the top is not ours to write then. */
	if (r == 0 && d->hierarchy.v2 && is_own_base(d))
		r = enable_for_children(d->hierarchy.mount, d, false, err);
	if (r == 0 && d->hierarchy.v2)
		r = enable_for_children(d->base, d, false, err);
	return r;
}

static int make_leaves(const struct nsbox_cgroup_dir *d, const struct nsbox_decision *policy,
		       struct nsbox_error *err)
{
	const uint64_t limits[NSBOX_LEAF_COUNT] = { policy->pids_max, NSBOX_RESCUE_PIDS };
	char path[640];
	int r = put(d, "", "pids.max", policy->pids_max + NSBOX_RESCUE_PIDS, err);

	if (r == 0 && d->hierarchy.v2)
		r = enable_for_children(d->path, d, true, err);
	for (int leaf = 0; r == 0 && leaf < NSBOX_LEAF_COUNT; leaf++) {
		(void)snprintf(path, sizeof(path), "%s/%s", d->path, leaf_names[leaf]);
		r = make_dir(path, err);
		if (r == 0)
			r = put(d, leaf_names[leaf], "pids.max", limits[leaf], err);
	}
	return r;
}

/* memory_max in bytes: of the machine's RAM where the policy gives a percentage. */
static int memory_limit(const struct nsbox_decision *policy, uint64_t *ret, struct nsbox_error *err)
{
	struct sysinfo machine;

	*ret = policy->memory_max;
	if (!policy->memory_percent)
		return 0;
	/* Not sysconf(3), which makes a number of whatever is on its stack if this fails. */
	if (sysinfo(&machine) < 0)
		return nsbox_error_set(err, errno, "sysinfo");
	*ret = (uint64_t)machine.totalram * machine.mem_unit / 100 * policy->memory_percent;
	return 0;
}

static int limit_memory(const struct nsbox_cgroup_dir *d, const struct nsbox_decision *policy,
			struct nsbox_error *err)
{
	uint64_t limit;
	int r = memory_limit(policy, &limit, err);

	if (r < 0)
		return r;
	if (d->hierarchy.v2)
		return put(d, "", "memory.max", limit, err);
	if (limit == NSBOX_LIMIT_NONE)
		return 0;	/* v1: unlimited is how a cgroup begins */
	return put(d, "", "memory.limit_in_bytes", limit, err);
}

/* cpu.shares 1024 and cpu.weight 100 are the same share (systemd.resource-control(5)). */
static int weigh_cpu(const struct nsbox_cgroup_dir *d, const struct nsbox_decision *policy,
		     struct nsbox_error *err)
{
	uint64_t shares = policy->cpu_weight * 1024 / 100;

	if (d->hierarchy.v2)
		return put(d, "", "cpu.weight", policy->cpu_weight, err);
	return put(d, "", "cpu.shares", shares < 2 ? 2 : shares, err);
}

static int make_one(const struct nsbox_cgroup_dir *d, const struct nsbox_decision *policy,
		    struct nsbox_error *err)
{
	int r = make_base(d, err);

	if (r == 0 && mkdir(d->path, 0755) < 0)
		r = nsbox_error_set(err, errno, "mkdir %s", d->path);
	if (r == 0 && d->memory)
		r = limit_memory(d, policy, err);
	if (r == 0 && d->cpu)
		r = weigh_cpu(d, policy, err);
	if (r == 0 && d->pids)
		r = make_leaves(d, policy, err);
	return r;
}

/* What the machine lacks: an error if it was asked for, else a word for the log. */
static int check_missing(struct nsbox_cgroup *cg, const struct nsbox_decision *policy,
			 struct nsbox_error *err)
{
	bool pids = false, cpu = false, memory = false;

	for (size_t i = 0; i < cg->n; i++) {
		pids |= cg->dirs[i].pids;
		cpu |= cg->dirs[i].cpu;
		memory |= cg->dirs[i].memory;
	}
	if (!pids)
		return nsbox_error_say(err, ENOENT, "the pids cgroup controller is not mounted, so "
				       "pids_max cannot be enforced: mount cgroup2 on /sys/fs/cgroup");
	if (!cpu && policy->origin[NSBOX_KEY_CPU_WEIGHT].file)
		return nsbox_error_say(err, ENOENT, "the cpu cgroup controller is not mounted, so "
				       "cpu_weight cannot be enforced: take the key out or mount it");
	if (!memory && policy->origin[NSBOX_KEY_MEMORY_MAX].file &&
	    policy->memory_max != NSBOX_LIMIT_NONE)
		return nsbox_error_say(err, ENOENT, "the memory cgroup controller is not mounted, "
				       "so memory_max cannot be enforced: write memory_max = none or "
				       "mount it");
	(void)snprintf(cg->missing, sizeof(cg->missing), "%s%s", cpu ? "" : " cpu",
		       memory ? "" : " memory");
	return 0;
}

int nsbox_cgroup_create(struct nsbox_cgroup *cg, const struct nsbox_decision *policy,
			struct nsbox_error *err)
{
	int r = check_missing(cg, policy, err);

	for (size_t i = 0; r == 0 && i < cg->n; i++)
		r = make_one(&cg->dirs[i], policy, err);
	if (r < 0)
		(void)nsbox_cgroup_remove(cg, 0, NULL);
	return r;
}

int nsbox_cgroup_find(const char *name, struct nsbox_cgroup *ret, struct nsbox_error *err)
{
	return survey(name, ret, err);
}

/* The path of a file in the directory where a process of @leaf is. */
static void leaf_path(const struct nsbox_cgroup_dir *d, enum nsbox_cgroup_leaf leaf,
		      const char *file, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s%s%s%s%s", d->path, d->pids ? "/" : "",
		       d->pids ? leaf_names[leaf] : "", *file ? "/" : "", file);
}

static int keep_open(struct nsbox_cgroup_dir *d, enum nsbox_cgroup_file file, const char *name,
		     struct nsbox_error *err)
{
	char path[640];

	if (d->kept[file] >= 0)
		return d->kept[file];
	if (file == NSBOX_CGROUP_STATE)
		(void)snprintf(path, sizeof(path), "%s/%s", d->path, name);
	else
		leaf_path(d, NSBOX_LEAF_MAIN, name, path, sizeof(path));
	d->kept[file] = open(path, (file == NSBOX_CGROUP_PROCS ? O_WRONLY : O_RDONLY) | O_CLOEXEC);
	return d->kept[file] < 0 ? nsbox_error_set(err, errno, "open %s", path) : d->kept[file];
}

/* From its begin, which is what it says now. Returns whether it could be read. */
static bool read_kept(struct nsbox_cgroup_dir *d, enum nsbox_cgroup_file file, const char *name,
		      char text[32])
{
	int fd = keep_open(d, file, name, NULL);
	ssize_t n = fd < 0 ? -1 : pread(fd, text, 31, 0);

	text[n < 0 ? 0 : n] = '\0';
	return n >= 0;
}

void nsbox_cgroup_drop(struct nsbox_cgroup *cg)
{
	for (size_t i = 0; i < cg->n; i++)
		for (int file = 0; file < NSBOX_CGROUP_FILE_COUNT; file++)
			cg->dirs[i].kept[file] = nsbox_close(cg->dirs[i].kept[file]);
}

/* cgroup.procs of @leaf, for the caller to have. */
static int open_leaf(struct nsbox_cgroup_dir *d, enum nsbox_cgroup_leaf leaf,
		     struct nsbox_error *err)
{
	char path[640];
	int fd;

	if (leaf == NSBOX_LEAF_MAIN) {
		fd = keep_open(d, NSBOX_CGROUP_PROCS, "cgroup.procs", err);
		if (fd < 0)
			return fd;
		fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
		return fd < 0 ? nsbox_error_set(err, errno, "fcntl(F_DUPFD_CLOEXEC)") : fd;
	}
	leaf_path(d, leaf, "cgroup.procs", path, sizeof(path));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? nsbox_error_set(err, errno, "open %s", path) : fd;
}

/* Where @now, the text of a process's /proc/PID/cgroup, has it on the hierarchy of @d. */
static int open_way_back(const struct nsbox_cgroup_dir *d, const char *now,
			 struct nsbox_error *err)
{
	char path[640];
	int r = nsbox_hierarchy_path_in(&d->hierarchy, now, path, sizeof(path) - 16, err), fd;

	if (r < 0)
		return r;
	strcat(path, "/cgroup.procs");
	fd = open(path, O_WRONLY | O_CLOEXEC);
	return fd < 0 ? nsbox_error_set(err, errno, "open %s", path) : fd;
}

int nsbox_cgroup_open_procs(struct nsbox_cgroup *cg, enum nsbox_cgroup_leaf leaf, int pid,
			    int fds[2 * NSBOX_HIERARCHIES_MAX], unsigned int *ret_n,
			    struct nsbox_error *err)
{
	char now[NSBOX_CGROUPS_TEXT];
	int r = nsbox_hierarchy_cgroups_of(pid, now, err);

	for (*ret_n = 0; r >= 0 && *ret_n < 2 * cg->n; (*ret_n)++) {
		struct nsbox_cgroup_dir *d = &cg->dirs[*ret_n % cg->n];

		r = *ret_n < cg->n ? open_leaf(d, leaf, err) : open_way_back(d, now, err);
		if (r < 0)
			break;
		fds[*ret_n] = r;
	}
	if (r >= 0)
		return 0;
	while (*ret_n > 0)
		(void)nsbox_close(fds[--(*ret_n)]);
	return r;
}

int nsbox_cgroup_open_for_clone(const struct nsbox_cgroup *cg, struct nsbox_error *err)
{
	char path[640];
	int fd;

	if (cg->n != 1 || !cg->dirs[0].hierarchy.v2)
		return -ENOTSUP;
	leaf_path(&cg->dirs[0], NSBOX_LEAF_MAIN, "", path, sizeof(path));
	fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	return fd;
}

int nsbox_cgroup_move(const struct nsbox_cgroup *cg, enum nsbox_cgroup_leaf leaf, int pid,
		      struct nsbox_error *err)
{
	char path[640], text[16];
	int r = 0;

	(void)snprintf(text, sizeof(text), "%d", pid);
	for (size_t i = 0; r == 0 && i < cg->n; i++) {
		leaf_path(&cg->dirs[i], leaf, "cgroup.procs", path, sizeof(path));
		r = nsbox_file_write(path, text, err);
	}
	return r;
}

int nsbox_cgroup_verify(const struct nsbox_cgroup *cg, enum nsbox_cgroup_leaf leaf, int pid,
			struct nsbox_error *err)
{
	char is[640], want[640], now[NSBOX_CGROUPS_TEXT];
	int r = nsbox_hierarchy_cgroups_of(pid, now, err);

	for (size_t i = 0; r == 0 && i < cg->n; i++) {
		leaf_path(&cg->dirs[i], leaf, "", want, sizeof(want));
		r = nsbox_hierarchy_path_in(&cg->dirs[i].hierarchy, now, is, sizeof(is), err);
		if (r == 0 && strcmp(is, want) != 0)
			return nsbox_error_say(err, EIO, "process %d is in cgroup %s and not in %s",
					       pid, is, want);
	}
	return r;
}

static uint64_t read_number(struct nsbox_cgroup_dir *d, enum nsbox_cgroup_file file, const char *name)
{
	char text[32];

	/* "max" and whatever cannot be read count as no limit. */
	if (!read_kept(d, file, name, text) || text[0] < '0' || text[0] > '9')
		return UINT64_MAX;
	return strtoull(text, NULL, 10);
}

enum nsbox_cgroup_leaf nsbox_cgroup_choose(struct nsbox_cgroup *cg)
{
	for (size_t i = 0; i < cg->n; i++) {
		struct nsbox_cgroup_dir *d = &cg->dirs[i];

		if (d->pids && read_number(d, NSBOX_CGROUP_CURRENT, "pids.current") +
			       NSBOX_RESCUE_MARGIN >= read_number(d, NSBOX_CGROUP_MAX, "pids.max"))
			return NSBOX_LEAF_RESCUE;
	}
	return NSBOX_LEAF_MAIN;
}

static const char *state_file(const struct nsbox_cgroup_dir *d)
{
	return d->hierarchy.v2 ? "cgroup.freeze" : "freezer.state";
}

bool nsbox_cgroup_is_frozen(struct nsbox_cgroup *cg)
{
	char text[32];

	for (size_t i = 0; i < cg->n; i++)
		if (cg->dirs[i].freezer &&
		    read_kept(&cg->dirs[i], NSBOX_CGROUP_STATE, state_file(&cg->dirs[i]), text) &&
		    (text[0] == '1' || strncmp(text, "FR", 2) == 0))	/* FROZEN, FREEZING */
			return true;
	return false;
}

/* A frozen process does not die: thaw first. Best effort, the kill tells. */
static void thaw(const struct nsbox_cgroup *cg)
{
	for (size_t i = 0; i < cg->n; i++) {
		char path[640];

		if (!cg->dirs[i].freezer)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", cg->dirs[i].path,
			       state_file(&cg->dirs[i]));
		(void)nsbox_file_write(path, cg->dirs[i].hierarchy.v2 ? "0" : "THAWED", NULL);
	}
}

static bool is_inside(const struct nsbox_cgroup_dir *d, int pid)
{
	size_t len = strlen(d->path);
	char is[640];

	return nsbox_hierarchy_path_of(&d->hierarchy, pid, is, sizeof(is), NULL) == 0 &&
	       strncmp(is, d->path, len) == 0 && (is[len] == '/' || is[len] == '\0');
}

/*
 * SIGKILL to @pid and wait for its end. Since the number was read it may have
 * become another's: it is looked at once more through a pidfd, which stays with
 * the process. Returns whether it was there.
 */
static bool kill_and_wait(const struct nsbox_cgroup_dir *d, int pid, uint64_t deadline_ms)
{
	cleanup_close int fd = pidfd_open(pid, 0);
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	if (fd < 0 || !is_inside(d, pid))
		return false;
	if (pidfd_send_signal(fd, SIGKILL, NULL, 0) == 0)
		(void)poll(&pfd, 1, nsbox_until_ms(deadline_ms));
	return true;
}

/* Kills all in one cgroup.procs. Returns how many there were. */
static size_t kill_listed(const struct nsbox_cgroup_dir *d, const char *procs, uint64_t deadline_ms)
{
	cleanup_fclose FILE *f = fopen(procs, "re");
	size_t n = 0;
	int pid;

	while (f && fscanf(f, "%d", &pid) == 1)
		n += kill_and_wait(d, pid, deadline_ms);
	return n;
}

static size_t kill_dir(const struct nsbox_cgroup_dir *d, uint64_t deadline_ms)
{
	static const char *const leaves[] = { "/main", "/rescue", "" };
	char path[640];
	size_t n = 0;

	if (d->hierarchy.v2) {
		/* Linux 5.14: no race with forks; the loop below then only waits. */
		(void)snprintf(path, sizeof(path), "%s/cgroup.kill", d->path);
		(void)nsbox_file_write(path, "1", NULL);
	} else if (d->pids) {
		(void)put(d, "", "pids.max", 0, NULL);	/* v1: no more forks */
	}
	for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++) {
		(void)snprintf(path, sizeof(path), "%s%s/cgroup.procs", d->path, leaves[i]);
		n += kill_listed(d, path, deadline_ms);
	}
	return n;
}

int nsbox_cgroup_kill(const struct nsbox_cgroup *cg, uint64_t deadline_ms,
		      struct nsbox_error *err)
{
	size_t left;

	thaw(cg);
	do {
		left = 0;
		for (size_t i = 0; i < cg->n; i++)
			left += kill_dir(&cg->dirs[i], deadline_ms);
	} while (left > 0 && nsbox_until_ms(deadline_ms) > 0);
	if (left > 0)
		return nsbox_error_say(err, EBUSY, "%zu processes of the box do not die", left);
	return 0;
}

static int remove_dir(const char *path, uint64_t deadline_ms, struct nsbox_error *err)
{
	while (rmdir(path) < 0) {
		if (errno == ENOENT)
			return 0;
		if (errno != EBUSY || nsbox_until_ms(deadline_ms) == 0)
			return nsbox_error_set(err, errno, "rmdir %s", path);
		/* A process that is dead to waitid() may still be leaving its cgroup. */
		(void)poll(NULL, 0, 1);
	}
	return 0;
}

int nsbox_cgroup_remove(const struct nsbox_cgroup *cg, uint64_t deadline_ms,
			struct nsbox_error *err)
{
	char path[640];
	int r = 0;

	for (size_t i = 0; i < cg->n; i++) {
		for (int leaf = 0; cg->dirs[i].pids && leaf < NSBOX_LEAF_COUNT; leaf++) {
			leaf_path(&cg->dirs[i], (enum nsbox_cgroup_leaf)leaf, "", path,
				  sizeof(path));
			if (remove_dir(path, deadline_ms, err) < 0)
				r = -EBUSY;
		}
		if (remove_dir(cg->dirs[i].path, deadline_ms, err) < 0)
			r = -EBUSY;
	}
	return r;
}

static const struct nsbox_cgroup_dir *dir_on(const struct nsbox_cgroup *cg,
					     const struct nsbox_hierarchy *h)
{
	for (size_t i = 0; i < cg->n; i++)
		if (strcmp(cg->dirs[i].hierarchy.mount, h->mount) == 0)
			return &cg->dirs[i];
	return NULL;
}

int nsbox_cgroup_leave_caller(const struct nsbox_cgroup *cg, int pid, struct nsbox_error *err)
{
	struct nsbox_hierarchy list[NSBOX_HIERARCHIES_MAX];
	char dir[544], now[512], text[16];
	size_t n;
	int r = nsbox_hierarchies_read(list, &n, err);

	(void)snprintf(text, sizeof(text), "%d", pid);
	for (size_t i = 0; r == 0 && i < n; i++) {
		const struct nsbox_cgroup_dir *ours = dir_on(cg, &list[i]);

		(void)snprintf(dir, sizeof(dir), "%s/%s", ours ? ours->base : list[i].mount,
			       ours ? "keepers" : "");
		if (ours)
			r = make_dir(dir, err);
		else if (list[i].v2 ||
			 nsbox_hierarchy_path_of(&list[i], pid, now, sizeof(now), NULL) < 0 ||
			 strcmp(now, dir) == 0)
			continue;	/* v2 without controllers of ours, or at the top already */
		strcat(dir, "/cgroup.procs");
		if (r == 0)
			r = nsbox_file_write(dir, text, err);
	}
	return r;
}

/* One hierarchy of nsbox_cgroup_offer_base(). Nothing on one where we are at the root. */
static int offer_on(const struct nsbox_hierarchy *h, FILE *out, struct nsbox_error *err)
{
	struct nsbox_cgroup_dir d = { .hierarchy = *h };
	char hold[512];
	int r = nsbox_hierarchy_path_of(h, 0, d.base, sizeof(d.base), err);

	if (r < 0 || strcmp(d.base + strlen(h->mount), "/") == 0)
		return r;
	d.cpu = nsbox_hierarchy_offers(h, "cpu");
	d.memory = nsbox_hierarchy_offers(h, "memory");
	(void)snprintf(hold, sizeof(hold), "%s/hold", d.base);
	r = make_dir(hold, err);
	if (r == 0) {
		strcat(hold, "/cgroup.procs");
		r = nsbox_file_write(hold, "0", err);
	}
	if (r == 0 && h->v2 && nsbox_hierarchy_offers(h, "pids"))
		r = enable_for_children(d.base, &d, false, err);
	if (r == 0)
		(void)fprintf(out, "%s %s\n", h->mount, d.base);
	return r;
}

int nsbox_cgroup_offer_base(struct nsbox_error *err)
{
	struct nsbox_hierarchy list[NSBOX_HIERARCHIES_MAX];
	FILE *out = fopen(NSBOX_BASE_FILE ".new", "we");
	size_t n;
	int r = nsbox_hierarchies_read(list, &n, err);

	if (!out)
		return nsbox_error_set(err, errno, "create " NSBOX_BASE_FILE ".new");
	for (size_t i = 0; r == 0 && i < n; i++)
		r = offer_on(&list[i], out, err);
	if (fclose(out) != 0 && r == 0)
		r = nsbox_error_set(err, errno, "write " NSBOX_BASE_FILE ".new");
	if (r == 0 && rename(NSBOX_BASE_FILE ".new", NSBOX_BASE_FILE) < 0)
		r = nsbox_error_set(err, errno, "rename " NSBOX_BASE_FILE ".new");
	return r;
}
