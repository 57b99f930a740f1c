/* SPDX-License-Identifier: MIT */
/* The table of namespaces: see ns.h. */
#include "ns.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

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

/* From the link, "net:[4026531840]": following it would make the kernel make an inode. */
static int read_inode(int ns_dir, const char *name, uint64_t *ret, struct nsbox_error *err)
{
	char link[64];
	ssize_t n = readlinkat(ns_dir, name, link, sizeof(link) - 1);
	unsigned long long ino;

	if (n < 0)
		return nsbox_error_set(err, errno, "readlink of the %s namespace", name);
	link[n] = '\0';
	if (sscanf(link, "%*[a-z]:[%llu]", &ino) != 1)
		return nsbox_error_say(err, EPROTO, "the %s namespace is called %.40s", name, link);
	*ret = ino;
	return 0;
}

int nsbox_ns_read_inodes(int ns_dir, bool of_children, uint64_t ret_ino[NSBOX_NS_COUNT],
			 struct nsbox_error *err)
{
	uint64_t ino[NSBOX_NS_COUNT];

	for (int i = 0; i < NSBOX_NS_COUNT; i++) {
		const char *name = nsbox_ns_table[i].name;
		int r;

		if (of_children && nsbox_ns_table[i].flag == CLONE_NEWPID)
			name = "pid_for_children";
		r = read_inode(ns_dir, name, &ino[i], err);
		if (r < 0)
			return r;
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
