/* SPDX-License-Identifier: MIT */
/* The join: see join.h. The order of nsbox_join() is the security of nsbox. */
#include "join.h"
#include "caller.h"
#include "cleanup.h"
#include "defence.h"
#include "deprivilege.h"
#include "pidfd.h"

#include <grp.h>
#include <nss.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static int check_alive(int init, struct nsbox_error *err)
{
	int r = nsbox_pidfd_alive(init, err);

	if (r == 0)
		return nsbox_error_say(err, ESRCH, "the box ended while the session was opened");
	return r < 0 ? r : 0;
}

static int compare_inodes(const uint64_t is[NSBOX_NS_COUNT], const uint64_t want[NSBOX_NS_COUNT],
			  struct nsbox_error *err)
{
	for (int i = 0; i < NSBOX_NS_COUNT; i++)
		if (is[i] != want[i])
			return nsbox_error_say(err, EPERM, "the %s namespace is %llu and not the "
					       "box's %llu", nsbox_ns_table[i].name,
					       (unsigned long long)is[i],
					       (unsigned long long)want[i]);
	return 0;
}

/*
 * The namespaces of init are those that the keeper said, and it was alive when
 * we looked, so that its number was still its own.
 */
static int check_init(const struct nsbox_msg_join *to, int init, struct nsbox_error *err)
{
	cleanup_close int dir = -EBADF;
	uint64_t ino[NSBOX_NS_COUNT];
	int r;

	dir = nsbox_ns_open_dir(to->init, err);
	if (dir < 0)
		return dir;
	r = nsbox_ns_read_inodes(dir, false, ino, err);
	if (r == 0)
		r = check_alive(init, err);
	return r < 0 ? r : compare_inodes(ino, to->ns_ino, err);
}

/*
 * sshd's monitor calls getgrnam() and initgroups() as box root after the join.
 * glibc would read the box's nsswitch.conf and load the box's libnss_*.so into
 * a process that holds the host's private keys. __nss_configure_lookup() fixes
 * each database for the life of the process, and turns nscd off; "files" and
 * "dns" are part of libc since glibc 2.34, so nothing is left to load.
 */
#if !__GLIBC_PREREQ(2, 34)
#error "libnss_files and libnss_dns would be loaded after the join, from the box"
#endif
static int nail_name_service(struct nsbox_error *err)
{
	static const char *const databases[] = {
		"aliases", "ethers", "group", "gshadow", "initgroups", "netgroup", "networks",
		"passwd", "protocols", "publickey", "rpc", "services", "shadow",
	};

	if (!nsbox_defends(nss))
		return 0;
	for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++)
		if (__nss_configure_lookup(databases[i], "files") < 0)
			return nsbox_error_set(err, errno, "__nss_configure_lookup(%s)",
					       databases[i]);
	if (__nss_configure_lookup("hosts", "files dns") < 0)
		return nsbox_error_set(err, errno, "__nss_configure_lookup(hosts)");
	return 0;
}

/*
 * A session in the rescue cgroup must be able to fork although its user's
 * processes fill pids_max, which a limits.conf nproc would forbid. Best effort:
 * pids_max holds without it.
 */
static void raise_nproc(struct nsbox_join_plan *plan, uint32_t min_nproc)
{
	struct rlimit rl;

	if (min_nproc == 0 || getrlimit(RLIMIT_NPROC, &rl) < 0)
		return;
	plan->nproc = rl;
	if (rl.rlim_max != RLIM_INFINITY && rl.rlim_max < min_nproc)
		rl.rlim_max = min_nproc;
	if (rl.rlim_cur != RLIM_INFINITY && rl.rlim_cur < min_nproc)
		rl.rlim_cur = min_nproc;
	plan->nproc_raised = setrlimit(RLIMIT_NPROC, &rl) == 0;
}

/*
 * The policy's nofile. A hard limit can be raised on the host alone, and might
 * not come back up once it was lowered: so up before the join, down after it.
 */
static int make_room_for_nofile(struct nsbox_join_plan *plan, uint64_t nofile,
				struct nsbox_error *err)
{
	struct rlimit rl;

	if (nofile == UINT64_MAX)
		return 0;
	if (getrlimit(RLIMIT_NOFILE, &rl) < 0)
		return nsbox_error_set(err, errno, "getrlimit(RLIMIT_NOFILE)");
	if (rl.rlim_max >= nofile)
		return 0;
	plan->nofile = rl;
	rl.rlim_max = nofile;
	if (setrlimit(RLIMIT_NOFILE, &rl) < 0)
		return nsbox_error_set(err, errno, "nofile = %llu is more than the caller may have",
				       (unsigned long long)nofile);
	plan->nofile_raised = true;
	return 0;
}

static int set_nofile(uint64_t nofile, struct nsbox_error *err)
{
	const struct rlimit rl = { .rlim_cur = nofile, .rlim_max = nofile };

	if (nofile != UINT64_MAX && setrlimit(RLIMIT_NOFILE, &rl) < 0)
		return nsbox_error_set(err, errno, "setrlimit(RLIMIT_NOFILE)");
	return 0;
}

void nsbox_join_abandon(struct nsbox_join_plan *plan)
{
	if (plan->nofile_raised)
		(void)setrlimit(RLIMIT_NOFILE, &plan->nofile);
	plan->nofile_raised = false;
	if (plan->nproc_raised)
		(void)setrlimit(RLIMIT_NPROC, &plan->nproc);
	plan->nproc_raised = false;
	plan->ns_dir = nsbox_close(plan->ns_dir);
}

int nsbox_join_prepare(const struct nsbox_msg_join *to, int init, struct nsbox_join_plan *plan,
		       struct nsbox_error *err)
{
	int r;

	if (to->n_groups > NSBOX_GROUPS_MAX || to->n_insns > NSBOX_INSNS_MAX)
		return nsbox_error_say(err, EPROTO, "the keeper's message is not sound");
	r = check_init(to, init, err);
	if (r < 0)
		return r;
	plan->to = to;
	plan->init = init;
	plan->ns_dir = nsbox_ns_open_dir(0, err);
	if (plan->ns_dir < 0)
		return plan->ns_dir;
	raise_nproc(plan, to->min_nproc);
	r = make_room_for_nofile(plan, to->nofile, err);
	/* Last, for it alone cannot be taken back. */
	return r < 0 ? r : nail_name_service(err);
}

/*
 * setns() into a user namespace leaves the kernel uid 0 of the host, which
 * still opens /proc/sys/kernel/core_pattern for writing. Groups first: they
 * cannot be set any more once CAP_SETGID is gone.
 */
static int become_box_root(const struct nsbox_msg_join *to, struct nsbox_error *err)
{
	if (nsbox_defends(groups) && setgroups(to->n_groups, to->groups) < 0)
		return nsbox_error_set(err, errno, "setgroups");
	if (!nsbox_defends(deprivilege))
		return 0;
	if (setresgid(0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "setresgid");
	if (setresuid(0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "setresuid");
	return 0;
}

/* What su and runuser inherited (exec 7</etc) must not reach the user's shell. */
static int close_descriptors_at_exec(struct nsbox_error *err)
{
	if (nsbox_defends(cloexec) && close_range(3, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
		return nsbox_error_set(err, errno, "close_range (Linux 5.11 is needed)");
	if (chdir("/") < 0)
		return nsbox_error_set(err, errno, "chdir to the box's root");
	return 0;
}

/*
 * setns() gives the root of the mount namespace: is that the box's? The host
 * has no such file, and none there would be owned by what is uid 0 here.
 */
static int check_root(struct nsbox_error *err)
{
	if (!nsbox_sees_marker())
		return nsbox_error_say(err, EPERM, "the root after the join is not the box's");
	return 0;
}

/* The steps after setns(), in this order. */
static int settle(const struct nsbox_join_plan *plan, struct nsbox_error *err)
{
	const struct nsbox_msg_join *to = plan->to;
	uint64_t ino[NSBOX_NS_COUNT];
	int r;

	r = become_box_root(to, err);
	if (r == 0)
		r = nsbox_drop_keyring(err);
	if (r == 0)
		r = nsbox_drop_dumpable(err);
	if (r == 0 && to->no_new_privs && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = nsbox_error_set(err, errno, "prctl(PR_SET_NO_NEW_PRIVS)");
	if (r == 0)
		r = nsbox_install_filter(to->insns, to->n_insns, err);
	if (r == 0)
		r = nsbox_drop_caps(to->bounding_caps, to->caller_caps, err);
	if (r == 0 && to->umask != UINT32_MAX)
		(void)umask(to->umask);
	if (r == 0)
		r = set_nofile(to->nofile, err);
	if (r == 0)
		r = close_descriptors_at_exec(err);
	if (r == 0)
		r = check_root(err);
	if (r == 0)
		r = nsbox_ns_read_inodes(plan->ns_dir, true, ino, err);
	if (r == 0)
		r = compare_inodes(ino, to->ns_ino, err);
	if (r == 0)
		r = check_alive(plan->init, err);
	return r;
}

/*
 * Whoever ignores our error shall have nothing left to misuse: above all not
 * the host's uid 0, if it was that which could not be given up.
 */
static void give_up(void)
{
	(void)setgroups(0, NULL);
	(void)!setresgid(0, 0, 0);
	(void)!setresuid(0, 0, 0);
	(void)nsbox_drop_caps(0, 0, NULL);
}

int nsbox_join(const struct nsbox_join_plan *plan, bool *ret_entered, struct nsbox_error *err)
{
	int r;

	*ret_entered = false;
	/* One call, all namespaces or none (setns(2), Linux 5.8). */
	if (setns(plan->init, nsbox_ns_all_flags()) < 0)
		return nsbox_error_set(err, errno, "setns into the box");
	*ret_entered = true;
	r = settle(plan, err);
	if (r < 0)
		give_up();
	return r;
}
