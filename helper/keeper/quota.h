/* SPDX-License-Identifier: MIT */
/* disk_max: project quotas (quotactl(2), FS_IOC_FSSETXATTR) of ext4 and xfs. */
#ifndef NSBOX_QUOTA_H
#define NSBOX_QUOTA_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/*
 * Limits what is below @dir, together with all other roots of @uid on that file
 * system, to @bytes, and to one inode for each 4 KiB of them. @fresh: nothing
 * is in it yet; else it must have been limited from its beginning, since what
 * is there already would not count. NSBOX_LIMIT_NONE takes the limit off.
 */
int nsbox_quota_set(int dir, uid_t uid, uint64_t bytes, bool fresh, struct nsbox_error *err);

#endif
