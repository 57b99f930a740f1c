/* SPDX-License-Identifier: MIT */
/*
 * The cgroups of the floor program's box, laid out as nsbox lays them out:
 * pids, cpu, memory and freezer on cgroup v1, one tree on v2.
 */
#define _GNU_SOURCE
#include "floor.h"

#include "bench.h"

#include <fcntl.h>
#include <sys/stat.h>

#define CG "/sys/fs/cgroup"
#define NAME "nsbox-floor"

/* Every directory of a box, in the order of mkdir; "%s" is the hierarchy on v1. */
struct cgroup_dir {
	const char *path;
	bool init;		/* init is moved here (on v2 it is born here) */
	bool caller;		/* a caller is moved here */
};

struct cgroup_limit {
	const char *path, *value;
};

static const struct cgroup_dir v1_dirs[] = {
	{ CG "/pids/" NAME "/box", true, false },
	{ CG "/pids/" NAME "/box/main", false, true },
	{ CG "/pids/" NAME "/box/rescue", false, false },
	{ CG "/cpu/" NAME "/box", true, true },
	{ CG "/memory/" NAME "/box", true, true },
	{ CG "/freezer/" NAME "/box", true, true },
	{ NULL, false, false }
};

static const struct cgroup_limit v1_limits[] = {
	{ CG "/pids/" NAME "/box/pids.max", "544" },
	{ CG "/pids/" NAME "/box/main/pids.max", "512" },
	{ CG "/pids/" NAME "/box/rescue/pids.max", "32" },
	{ CG "/cpu/" NAME "/box/cpu.shares", "1024" },
	{ CG "/memory/" NAME "/box/memory.limit_in_bytes", "1073741824" },
	{ NULL, NULL }
};

static const struct cgroup_dir v2_dirs[] = {
	{ CG "/" NAME "/box", false, false },
	{ CG "/" NAME "/box/init", true, false },
	{ CG "/" NAME "/box/main", false, true },
	{ CG "/" NAME "/box/rescue", false, false },
	{ NULL, false, false }
};

static const struct cgroup_limit v2_limits[] = {
	{ CG "/" NAME "/box/pids.max", "544" },
	{ CG "/" NAME "/box/memory.max", "1073741824" },
	{ CG "/" NAME "/box/cpu.weight", "100" },
	{ CG "/" NAME "/box/cgroup.subtree_control", "+pids" },
	{ CG "/" NAME "/box/main/pids.max", "512" },
	{ CG "/" NAME "/box/rescue/pids.max", "32" },
	{ NULL, NULL }
};

static const struct cgroup_dir *cg_dirs = v1_dirs;
static const struct cgroup_limit *cg_limits = v1_limits;
bool cg_v2;

void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

static void cgroup_join(const char *dir, pid_t pid)
{
	char path[128], text[16];

	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	snprintf(text, sizeof(text), "%d", pid);
	write_file(path, text);
}

/* Makes the parent of all boxes: part of the machine, not of a box. */
void cgroup_base(void)
{
	static const char *const hierarchies[] = { "pids", "cpu", "memory", "freezer", NULL };
	char path[64];

	cg_v2 = access(CG "/cgroup.controllers", F_OK) == 0;
	if (cg_v2) {
		cg_dirs = v2_dirs;
		cg_limits = v2_limits;
		(void)mkdir(CG "/" NAME, 0755);
		write_file(CG "/cgroup.subtree_control", "+pids +memory +cpu");
		write_file(CG "/" NAME "/cgroup.subtree_control", "+pids +memory +cpu");
		return;
	}
	for (int i = 0; hierarchies[i]; i++) {
		snprintf(path, sizeof(path), CG "/%s/" NAME, hierarchies[i]);
		(void)mkdir(path, 0755);
	}
}

void cgroup_make(void)
{
	for (const struct cgroup_dir *d = cg_dirs; d->path; d++)
		if (mkdir(d->path, 0755) < 0 && errno != EEXIST)
			die(d->path);
	for (const struct cgroup_limit *l = cg_limits; l->path; l++)
		write_file(l->path, l->value);
}

void cgroup_remove(void)
{
	const struct cgroup_dir *d = cg_dirs;

	while (d->path)
		d++;
	while (d-- != cg_dirs)
		while (rmdir(d->path) < 0 && errno == EBUSY)
			usleep(1000);
}

void cgroup_move_caller(pid_t pid)
{
	for (const struct cgroup_dir *d = cg_dirs; d->path; d++)
		if (d->caller)
			cgroup_join(d->path, pid);
}

void cgroup_move_init(pid_t pid)
{
	for (const struct cgroup_dir *d = cg_dirs; d->path; d++)
		if (d->init)
			cgroup_join(d->path, pid);
}

void cgroup_warm(pid_t pid, unsigned int interval_us)
{
	static const char *const dirs[2][2] = {
		{ CG "/pids/" NAME "/warm", CG "/pids/" NAME },
		{ CG "/" NAME "/warm", CG "/" NAME "/warm2" },
	};

	for (int i = 0; i < 2; i++)
		if (mkdir(dirs[cg_v2][i], 0755) < 0 && errno != EEXIST)
			die(dirs[cg_v2][i]);
	for (unsigned int i = 0;; i++) {
		cgroup_join(dirs[cg_v2][i % 2], pid);
		usleep(interval_us);
	}
}

int cgroup_init_fd(void)
{
	int fd;

	if (!cg_v2)
		return -1;
	fd = open(CG "/" NAME "/box/init", O_PATH | O_CLOEXEC);
	if (fd < 0)
		die("box/init");
	return fd;
}
