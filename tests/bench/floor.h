/* SPDX-License-Identifier: MIT */
/* The floor program's cgroups (floor-cgroup.c), as floor.c uses them. */
#ifndef NSBOX_FLOOR_H
#define NSBOX_FLOOR_H

#include <stdbool.h>
#include <sys/types.h>

extern bool cg_v2;

/* Makes the parent of all boxes, which is part of the machine and not of a box. */
void cgroup_base(void);
/* One box: its directories with their limits, and their end. */
void cgroup_make(void);
void cgroup_remove(void);
void cgroup_move_init(pid_t pid);
void cgroup_move_caller(pid_t pid);
/* Moves @pid to and fro, once per interval, for ever. */
void cgroup_warm(pid_t pid, unsigned int interval_us) __attribute__((noreturn));
/* The directory that init is born in, an O_PATH descriptor; -1 on v1. */
int cgroup_init_fd(void);

void write_file(const char *path, const char *text);

#endif
