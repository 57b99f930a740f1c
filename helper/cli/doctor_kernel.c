/* SPDX-License-Identifier: MIT */
/*
 * What this kernel can do. Version numbers are named; what counts is tried, in
 * a child with a mount namespace of its own, so that nothing is left.
 */
#include "doctor.h"
#include "cleanup.h"
#include "file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

int nsbox_doctor_try(int (*probe)(const char *), const char *arg)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		_exit(probe(arg));
	if (pid < 0)
		return errno;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
}

static int probe_namespace(const char *flag)
{
	return unshare(atoi(flag)) < 0 ? errno : 0;
}

static int private_mounts(void)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return errno;
	return 0;
}

static int probe_overlay(const char *where)
{
	struct nsbox_error err;
	int r = private_mounts();

	if (r)
		return r;
	/* What makes files in it has to have an id there. */
	if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 ||
	    nsbox_file_write("/proc/self/setgroups", "deny", &err) < 0 ||
	    nsbox_file_write("/proc/self/uid_map", "0 0 1", &err) < 0 ||
	    nsbox_file_write("/proc/self/gid_map", "0 0 1", &err) < 0 ||
	    mount("nsbox", where, "tmpfs", 0, NULL) < 0 ||
	    chdir(where) < 0 || mkdir("upper", 0700) < 0 || mkdir("work", 0700) < 0 ||
	    mkdir("lower", 0700) < 0 || mkdir("merged", 0700) < 0)
		return errno;
	return mount("nsbox", "merged", "overlay", 0,
		     "userxattr,lowerdir=lower,upperdir=upper,workdir=work") < 0 ? errno : 0;
}

static int probe_pidfd(const char *unused)
{
	(void)unused;
	return syscall(SYS_pidfd_open, getpid(), 0) < 0 ? errno : 0;
}

static int probe_clone3(const char *unused)
{
	struct {
		uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;
	} args = { .flags = 0 };
	long pid = syscall(SYS_clone3, &args, sizeof(args));

	(void)unused;
	if (pid == 0)
		_exit(0);
	if (pid < 0)
		return errno;
	return waitid(P_PID, (id_t)pid, &(siginfo_t){ .si_pid = 0 }, WEXITED | __WALL) < 0 ? errno : 0;
}

static int probe_seccomp(const char *unused)
{
	uint32_t action = SECCOMP_RET_ERRNO;

	(void)unused;
	return syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &action) < 0 ? errno : 0;
}

static void check_version(struct nsbox_doctor *d)
{
	struct utsname u;
	int major = 0, minor = 0;

	if (uname(&u) < 0 || sscanf(u.release, "%d.%d", &major, &minor) != 2)
		return;
	if (major < 5 || (major == 5 && minor < 14)) {
		nsbox_find(d, NSBOX_ERROR, "kernel.version", "Linux %s is too old", u.release);
		nsbox_find_fix(d, "boot Linux 5.14 or newer");
	} else if (major < 6 || (major == 6 && minor < 6)) {
		nsbox_find(d, NSBOX_OK, "kernel.version", "Linux %s; no idmapped mounts of %stmpfs "
			   "before %s: homes and images are on disk, images directories or erofs",
			   u.release, major < 6 || minor < 2 ? "squashfs before 6.2 and of " : "",
			   minor < 3 || major < 6 ? "6.3" : "6.6 (with user xattrs)");
	} else {
		nsbox_find(d, NSBOX_OK, "kernel.version", "Linux %s", u.release);
	}
}

static void check_namespaces(struct nsbox_doctor *d)
{
	static const struct {
		const char *name;
		int flag;
	} all[] = {
		{ "user", CLONE_NEWUSER }, { "mount", CLONE_NEWNS }, { "pid", CLONE_NEWPID },
		{ "uts", CLONE_NEWUTS }, { "ipc", CLONE_NEWIPC }, { "network", CLONE_NEWNET },
		{ "cgroup", CLONE_NEWCGROUP },
	};
	bool good = true;

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		char flag[16];
		int r;

		(void)snprintf(flag, sizeof(flag), "%d", all[i].flag);
		r = nsbox_doctor_try(probe_namespace, flag);
		if (r == 0)
			continue;
		good = false;
		nsbox_find(d, NSBOX_ERROR, "kernel.namespaces", "no %s namespace can be made: %s",
			   all[i].name, strerror(r));
		if (r == ENOSPC)
			nsbox_find_fix(d, "sysctl -w user.max_%s_namespaces=10000",
				       strcmp(all[i].name, "mount") == 0 ? "mnt" :
				       strcmp(all[i].name, "network") == 0 ? "net" : all[i].name);
	}
	if (good)
		nsbox_find(d, NSBOX_OK, "kernel.namespaces", "all seven kinds can be made");
}

static void check_calls(struct nsbox_doctor *d)
{
	static const struct {
		const char *check, *what;
		int (*probe)(const char *);
	} all[] = {
		{ "kernel.pidfd", "pidfd_open", probe_pidfd },
		{ "kernel.clone3", "clone3", probe_clone3 },
		{ "kernel.seccomp", "seccomp filters", probe_seccomp },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		int r = nsbox_doctor_try(all[i].probe, "");

		nsbox_find(d, r ? NSBOX_ERROR : NSBOX_OK, all[i].check, "%s: %s", all[i].what,
			   r ? strerror(r) : "there");
		if (r)
			nsbox_find_fix(d, "a kernel, or a container around this machine, that has it");
	}
}

static void check_overlay(struct nsbox_doctor *d)
{
	int r = nsbox_doctor_try(probe_overlay, "/mnt");

	nsbox_find(d, r ? NSBOX_WARNING : NSBOX_OK, "kernel.overlay", "overlay with userxattr%s%s",
		   r ? ": " : ": there", r ? strerror(r) : "");
	if (r)
		nsbox_find_fix(d, "modprobe overlay; only images that are to be written to need it");
}

/* Returns false if there is no such sysctl. */
static bool read_sysctl(const char *path, long *ret)
{
	char text[32];

	if (nsbox_file_read(path, text, sizeof(text), NULL) < 0)
		return false;
	*ret = strtol(text, NULL, 10);
	return true;
}

static void check_sysctls(struct nsbox_doctor *d)
{
	long value;

	if (read_sysctl("/proc/sys/user/max_user_namespaces", &value)) {
		nsbox_find(d, value ? NSBOX_OK : NSBOX_ERROR, "sysctl.userns",
			   "user.max_user_namespaces = %ld", value);
		if (!value)
			nsbox_find_fix(d, "sysctl -w user.max_user_namespaces=10000");
	}
	if (read_sysctl("/proc/sys/kernel/unprivileged_userns_clone", &value))
		nsbox_find(d, NSBOX_OK, "sysctl.clone", "kernel.unprivileged_userns_clone = %ld: boxes "
			   "do not depend on it", value);
	if (read_sysctl("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", &value))
		nsbox_find(d, NSBOX_OK, "sysctl.apparmor", "kernel.apparmor_restrict_unprivileged_"
			   "userns = %ld: the keeper is privileged, boxes do not depend on it", value);
	if (read_sysctl("/proc/sys/fs/suid_dumpable", &value)) {
		nsbox_find(d, value == 1 ? NSBOX_ERROR : NSBOX_OK, "sysctl.dumpable",
			   "fs.suid_dumpable = %ld%s", value, value == 1 ? ": every login of a boxed "
			   "user is refused, for box root could read sshd's memory" : "");
		if (value == 1)
			nsbox_find_fix(d, "sysctl -w fs.suid_dumpable=0");
	}
}

void nsbox_doctor_kernel(struct nsbox_doctor *d)
{
	check_version(d);
	check_namespaces(d);
	check_calls(d);
	check_overlay(d);
	check_sysctls(d);
}
