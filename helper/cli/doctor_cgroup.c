/* SPDX-License-Identifier: MIT */
/* The cgroup layout: which controllers there are, and what a login pays for a move. */
#include "doctor.h"
#include "cleanup.h"
#include "file.h"
#include "hierarchy.h"

#include <stdio.h>
#include <string.h>

/* Does a mount of cgroup2 have the option? */
static bool has_favordynmods(void)
{
	cleanup_fclose FILE *f = fopen("/proc/self/mounts", "re");
	char line[1024];
	bool found = false;

	while (f && fgets(line, sizeof(line), f))
		found |= strstr(line, " cgroup2 ") && strstr(line, "favordynmods");
	return found;
}

static void check_controllers(struct nsbox_doctor *d, const struct nsbox_hierarchy *list, size_t n)
{
	static const struct {
		const char *name, *key;
	} all[] = {
		{ "pids", "pids_max" }, { "cpu", "cpu_weight" }, { "memory", "memory_max" },
	};

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		bool there = false;

		for (size_t j = 0; j < n; j++)
			there |= nsbox_hierarchy_offers(&list[j], all[i].name);
		if (there) {
			nsbox_find(d, NSBOX_OK, "cgroup.controller", "%s: there", all[i].name);
			continue;
		}
		nsbox_find(d, i == 0 ? NSBOX_ERROR : NSBOX_WARNING, "cgroup.controller",
			   "%s: not there, so %s cannot be enforced%s", all[i].name, all[i].key,
			   i == 0 ? " and no box is made" : "");
		nsbox_find_fix(d, i == 2 ? "boot without cgroup_disable=memory" :
					   "mount -t cgroup2 none /sys/fs/cgroup");
	}
}

void nsbox_doctor_cgroup(struct nsbox_doctor *d)
{
	struct nsbox_hierarchy list[NSBOX_HIERARCHIES_MAX];
	bool v1 = false, v2 = false;
	struct nsbox_error err;
	size_t n = 0;

	if (nsbox_hierarchies_read(list, &n, &err) < 0) {
		nsbox_find(d, NSBOX_ERROR, "cgroup.layout", "%s", err.msg);
		return;
	}
	for (size_t i = 0; i < n; i++) {
		v1 |= !list[i].v2;
		v2 |= list[i].v2;
	}
	nsbox_find(d, n ? NSBOX_OK : NSBOX_ERROR, "cgroup.layout", "%s",
		   v1 && v2 ? "hybrid: v1, and v2 beside it" : v1 ? "v1" : v2 ? "unified: v2" :
		   "no cgroup hierarchy is mounted");
	if (!n)
		nsbox_find_fix(d, "mount -t cgroup2 none /sys/fs/cgroup");
	check_controllers(d, list, n);
	/* Named and never set: from 6.18 on it cannot be taken back before the next boot. */
	if (v2 && has_favordynmods())
		nsbox_find(d, NSBOX_OK, "cgroup.dynmods", "favordynmods is on: a move takes a fraction "
			   "of a millisecond");
	else if (v2)
		nsbox_find(d, NSBOX_OK, "cgroup.dynmods", "favordynmods is off: a login waits about "
			   "10 ms for its move; forks of the whole machine are a little faster");
}
