/* SPDX-License-Identifier: MIT */
/* The table of namespaces: see ns.h. */
#include "ns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/stat.h>

/* Older C libraries lack the constant; the value is the kernel's (4.6). */
#ifndef CLONE_NEWCGROUP
#define CLONE_NEWCGROUP 0x02000000
#endif

const struct nsbox_ns nsbox_ns_table[NSBOX_NS_COUNT] = {
	{ CLONE_NEWUSER, "user" },
	{ CLONE_NEWNS, "mnt" },
	{ CLONE_NEWPID, "pid" },
	{ CLONE_NEWUTS, "uts" },
	{ CLONE_NEWIPC, "ipc" },
	{ CLONE_NEWNET, "net" },
	{ CLONE_NEWCGROUP, "cgroup" },
};

int nsbox_ns_all_flags(void)
{
	int flags = 0;

	for (int i = 0; i < NSBOX_NS_COUNT; i++)
		flags |= nsbox_ns_table[i].flag;
	return flags;
}

int nsbox_ns_read_inodes(int ns_dir, bool of_children, uint64_t ret_ino[NSBOX_NS_COUNT],
			 struct nsbox_error *err)
{
	uint64_t ino[NSBOX_NS_COUNT];
	struct stat st;

	for (int i = 0; i < NSBOX_NS_COUNT; i++) {
		const char *name = nsbox_ns_table[i].name;

		if (of_children && nsbox_ns_table[i].flag == CLONE_NEWPID)
			name = "pid_for_children";
		if (fstatat(ns_dir, name, &st, 0) < 0)
			return nsbox_error_set(err, errno, "stat of the %s namespace", name);
		ino[i] = st.st_ino;
	}
	for (int i = 0; i < NSBOX_NS_COUNT; i++)
		ret_ino[i] = ino[i];
	return 0;
}

int nsbox_ns_open_dir(int pid, struct nsbox_error *err)
{
	char path[32] = "/proc/self/ns";
	int fd;

	if (pid)
		(void)snprintf(path, sizeof(path), "/proc/%d/ns", pid);
	fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return nsbox_error_set(err, errno, "open %s", path);
	return fd;
}
