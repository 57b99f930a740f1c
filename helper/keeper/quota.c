/* SPDX-License-Identifier: MIT */
/* Project quotas: see quota.h. */
#include "quota.h"
#include "cleanup.h"
#include "policy.h"

#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

enum { QUOTA_BLOCK = 1024, BYTES_PER_INODE = 4096 };

/* Half of all project ids are left to the administrator's own numbers, which are small. */
static uint32_t project_of(uid_t uid)
{
	return uid ^ 0x80000000U;
}

static int quota(int dir, unsigned int command, uint32_t id, void *data)
{
	return (int)syscall(SYS_quotactl_fd, dir, QCMD(command, PRJQUOTA), id, data);
}

static int refuse(struct nsbox_error *err)
{
	return nsbox_error_say(err, ENOTSUP, "disk_max needs project quotas where /var/lib/nsbox is: "
			       "an ext4 or xfs mounted with prjquota");
}

/* Accounted is not enough: without the mount option nothing is refused. */
static bool is_enforced(int dir)
{
	struct fs_quota_statv state = { .qs_version = FS_QSTATV_VERSION1 };

	return quota(dir, Q_XGETQSTATV, 0, &state) == 0 &&
	       (state.qs_flags & FS_QUOTA_PDQ_ENFD);
}

static int set_limit(int dir, uint32_t project, uint64_t bytes)
{
	struct if_dqblk limit = { .dqb_valid = QIF_LIMITS };

	if (bytes != NSBOX_LIMIT_NONE) {
		limit.dqb_bhardlimit = bytes / QUOTA_BLOCK;
		limit.dqb_ihardlimit = bytes / BYTES_PER_INODE;
	}
	return quota(dir, Q_SETQUOTA, project, &limit);
}

int nsbox_quota_set(int dir, uid_t uid, uint64_t bytes, bool fresh, struct nsbox_error *err)
{
	uint32_t project = project_of(uid);
	struct fsxattr attr = { .fsx_projid = 0 };
	bool ours = ioctl(dir, FS_IOC_FSGETXATTR, &attr) == 0 && attr.fsx_projid == project &&
		    (attr.fsx_xflags & FS_XFLAG_PROJINHERIT);

	if (uid >= 0x80000000U) {
		/* Of a number of the administrator's, or of none (0), which all other files have. */
		return bytes == NSBOX_LIMIT_NONE ? 0 :
		       nsbox_error_say(err, ERANGE, "disk_max is not for uid %u: uids from 2147483648 up "
				       "have no project id of their own", uid);
	}
	if (bytes == NSBOX_LIMIT_NONE) {
		if (ours)
			(void)set_limit(dir, project, bytes);
		return 0;
	}
	if (!is_enforced(dir))
		return refuse(err);
	if (!ours && !fresh)
		return nsbox_error_say(err, ENOTSUP, "the user's root was made without disk_max, so "
				       "that what is in it does not count: remove it, or give all of "
				       "it the project %u (chattr -R +P -p)", project);
	attr.fsx_projid = project;
	attr.fsx_xflags |= FS_XFLAG_PROJINHERIT;
	if (!ours && ioctl(dir, FS_IOC_FSSETXATTR, &attr) < 0)
		return refuse(err);
	if (set_limit(dir, project, bytes) < 0)
		return nsbox_error_set(err, errno, "set the limit of disk_max");
	return 0;
}
