/* SPDX-License-Identifier: MIT */
/* Giving up privilege inside a box: see deprivilege.h. Plain system calls, libc only. */
#include "deprivilege.h"
#include "defence.h"

#include <errno.h>
#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

int nsbox_drop_keyring(struct nsbox_error *err)
{
	if (!nsbox_defends(keyring))
		return 0;
	/* ENOSYS: a kernel without keyrings has none to leak. */
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return nsbox_error_set(err, errno, "keyctl(KEYCTL_JOIN_SESSION_KEYRING)");
	return 0;
}

int nsbox_drop_dumpable(struct nsbox_error *err)
{
	if (!nsbox_defends(dumpable))
		return prctl(PR_SET_DUMPABLE, 1, 0, 0, 0) < 0 ? -errno : 0;
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "prctl(PR_SET_DUMPABLE)");
	if (prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) != 0)
		return nsbox_error_say(err, EPERM, "the process is still dumpable");
	return 0;
}

int nsbox_install_filter(const struct sock_filter *insns, size_t n, struct nsbox_error *err)
{
	struct sock_fprog prog = { .len = (unsigned short)n,
				   .filter = (struct sock_filter *)(uintptr_t)insns };

	if (!nsbox_defends(seccomp))
		return 0;
	if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) < 0)
		return nsbox_error_set(err, errno, "seccomp(SECCOMP_SET_MODE_FILTER)");
	return 0;
}

int nsbox_drop_caps(uint64_t bounding, uint64_t keep, struct nsbox_error *err)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];
	int r = 0;

	for (int cap = 0; cap < 64; cap++) {
		if (bounding & (UINT64_C(1) << cap))
			continue;
		if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) == 0)
			continue;
		if (errno == EINVAL)
			break;	/* past the last capability this kernel knows */
		r = nsbox_error_set(err, errno, "prctl(PR_CAPBSET_DROP, %d)", cap);
	}
	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		r = nsbox_error_set(err, errno, "prctl(PR_CAP_AMBIENT_CLEAR_ALL)");
	for (int i = 0; i < 2; i++) {
		data[i].permitted = (uint32_t)(keep >> (32 * i));
		data[i].effective = data[i].permitted;
		data[i].inheritable = 0;
	}
	if (syscall(SYS_capset, &header, data) < 0)
		r = nsbox_error_set(err, errno, "capset");
	return r;
}
