/* SPDX-License-Identifier: MIT */
/* Killing what is in a cgroup: only that. */
#include "cgroup.h"
#include "proto.h"
#include "test.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_list(const char *dir, const char *leaf, pid_t pid)
{
	char path[128];
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s%s", dir, leaf);
	(void)mkdir(path, 0700);
	(void)strcat(path, "/cgroup.procs");
	f = fopen(path, "we");
	if (!f)
		return;
	if (pid)
		(void)fprintf(f, "%d\n", (int)pid);
	(void)fclose(f);
}

static void remove_list(const char *dir, const char *leaf)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s%s/cgroup.procs", dir, leaf);
	(void)unlink(path);
	*strrchr(path, '/') = '\0';
	(void)rmdir(path);
}

/*
 * A plain file stands for a list that was read a moment ago: the number in it
 * is by now that of a process which has nothing to do with the box.
 */
static void test_a_stale_number_is_not_killed(void)
{
	struct nsbox_hierarchy list[NSBOX_HIERARCHIES_MAX];
	struct nsbox_cgroup cg = { .n = 1 };
	char dir[] = "/tmp/tst_cgroup.XXXXXX";
	struct nsbox_error err;
	int status = 0;
	size_t n = 0;
	pid_t pid;

	if (nsbox_hierarchies_read(list, &n, &err) == 0 && n > 0)
		cg.dirs[0].hierarchy = list[0];
	OK(mkdtemp(dir), "a directory");
	(void)snprintf(cg.dirs[0].path, sizeof(cg.dirs[0].path), "%s", dir);
	pid = fork();
	if (!OK(pid >= 0, "a process"))
		return;
	if (pid == 0)
		for (;;)
			(void)pause();
	write_list(dir, "", pid);
	write_list(dir, "/main", pid);
	write_list(dir, "/rescue", 0);
	EQ(nsbox_cgroup_kill(&cg, nsbox_now_ms() + 1000, &err), 0, "nobody of the box is left");
	EQ(waitpid(pid, &status, WNOHANG), 0, "somebody else's process lives");
	(void)kill(pid, SIGKILL);
	(void)waitpid(pid, &status, 0);
	remove_list(dir, "/main");
	remove_list(dir, "/rescue");
	remove_list(dir, "");
}

int main(void)
{
	test_a_stale_number_is_not_killed();
	return test_done();
}
