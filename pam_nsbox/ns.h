/* SPDX-License-Identifier: MIT */
/*
 * The table of the seven namespaces of a box (namespaces(7)); every loop over
 * namespaces, on either side, runs over it. Time is not one of them: a box has
 * the host's clock.
 */
#ifndef NSBOX_NS_H
#define NSBOX_NS_H

#include "error.h"

#include <stdbool.h>
#include <stdint.h>

#define NSBOX_NS_COUNT 7

/* PROC_USER_INIT_INO, include/linux/proc_ns.h: the initial user namespace. */
#define NSBOX_INITIAL_USER_NS 0xEFFFFFFDu

struct nsbox_ns {
	int flag;		/* CLONE_NEW* */
	const char *name;	/* below /proc/PID/ns */
};

extern const struct nsbox_ns nsbox_ns_table[NSBOX_NS_COUNT];

/* All seven CLONE_NEW* flags. */
int nsbox_ns_all_flags(void);

/*
 * Reads the inode number of every namespace through @ns_dir, an open
 * /proc/PID/ns directory. setns() changes the pid namespace of children only:
 * with @of_children that one is read. Returns 0 and fills ret_ino, or a
 * negative errno.
 */
int nsbox_ns_read_inodes(int ns_dir, bool of_children, uint64_t ret_ino[NSBOX_NS_COUNT],
			 struct nsbox_error *err);

/* Opens /proc/PID/ns, PID 0 meaning self. Returns the descriptor, the caller's, or a negative errno. */
int nsbox_ns_open_dir(int pid, struct nsbox_error *err);

#endif
