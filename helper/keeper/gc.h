/* SPDX-License-Identifier: MIT */
/*
 * nsbox gc: clears what keepers that were killed have left, for all users. The
 * next login of a user does the same for him; this is for those who do not come
 * back.
 */
#ifndef NSBOX_GC_H
#define NSBOX_GC_H

/*
 * Names on standard output each box of which something was cleared. Live boxes
 * are left alone. Runs on the host, as root. Returns 0, or 1 if something is
 * left, with a line on standard error.
 */
int nsbox_gc(void);

#endif
