/* SPDX-License-Identifier: MIT */
/* Making a box and taking it down: see box.h. */
#include "box.h"
#include "cleanup.h"
#include "env.h"
#include "defence.h"
#include "filter.h"
#include "init.h"
#include "lend.h"
#include "tree.h"
#include "userns.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <syslog.h>

enum { END_TIMEOUT_MS = 3000 };

#define CAP(name) (UINT64_C(1) << CAP_##name)

/* What sshd's monitor, login and su still do inside, as box root (measured with sshd 9.2). */
#define CALLER_CAPS (CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(FOWNER) | CAP(FSETID) | CAP(KILL) | \
		     CAP(SETGID) | CAP(SETUID) | CAP(SETPCAP) | CAP(NET_BIND_SERVICE) | \
		     CAP(SYS_CHROOT) | CAP(AUDIT_WRITE) | CAP(SETFCAP))

/*
 * A user namespace is charged to its creator's effective uid: made by uid 0,
 * one box could take all inotify instances, pending signals and message queue
 * bytes of the host's root. So the euid is the block's base for the clone;
 * SECBIT_NO_SETUID_FIXUP keeps the capabilities (capabilities(7)).
 */
static int become_owner(uint32_t base, struct nsbox_error *err)
{
	if (!nsbox_defends(owner))
		return 0;
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "prctl(PR_SET_SECUREBITS)");
	if (setresuid((uid_t)-1, base, (uid_t)-1) < 0)
		return nsbox_error_set(err, errno, "seteuid to the block's base");
	return 0;
}

static int become_root_again(struct nsbox_error *err)
{
	if (!nsbox_defends(owner))
		return 0;
	if (setresuid((uid_t)-1, 0, (uid_t)-1) < 0 || prctl(PR_SET_SECUREBITS, 0, 0, 0, 0) < 0)
		return nsbox_error_set(err, errno, "seteuid back to root");
	/* A changed euid makes a process undumpable or dumpable again: see prctl(2). */
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ?
	       nsbox_error_set(err, errno, "prctl(PR_SET_DUMPABLE)") : 0;
}

static int explain_clone(int code, struct nsbox_error *err)
{
	if (code == ENOSPC || code == EUSERS)
		return nsbox_error_say(err, code, "no user namespace can be made: raise "
				       "user.max_user_namespaces with sysctl");
	return nsbox_error_set(err, code, "clone3 of the box's init");
}

/* Returns in the keeper only; the child becomes init. @cgroup: see nsbox_cgroup_open_for_clone(). */
static int clone_init(struct nsbox_box *box, struct nsbox_init *init, int cgroup,
		      struct nsbox_error *err)
{
	struct clone_args args = {
		.flags = CLONE_PIDFD | CLONE_NEWUSER | CLONE_NEWPID,
		.pidfd = (uint64_t)(uintptr_t)&box->pidfd,
	};
	int r, back, code;
	long pid;

	/* The slow ones init makes itself, but the one that is furnished by nsbox-net meanwhile. */
	init->unshare = CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC;
	if (box->policy.net == NSBOX_NET_BRIDGE)
		args.flags |= CLONE_NEWNET;
	else if (box->policy.net == NSBOX_NET_NONE)
		init->unshare |= CLONE_NEWNET;
	if (cgroup >= 0) {
		/* v2: the target becomes the root of the new cgroup namespace. */
		args.flags |= CLONE_INTO_CGROUP | CLONE_NEWCGROUP;
		args.cgroup = (uint64_t)cgroup;
	}
	init->unshare_cgroup = box->must_move_init = cgroup < 0;
	r = become_owner(box->ids.base, err);
	if (r < 0)
		return r;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	code = errno;
	if (pid == 0)
		nsbox_init_run(init);
	back = become_root_again(err);
	if (pid < 0)
		return explain_clone(code, err);
	box->init = (pid_t)pid;
	return back;
}

/* A namespace of others is not the box's to enter: init is born in it. */
static int clone_there(struct nsbox_box *box, struct nsbox_init *init, int cgroup,
		       struct nsbox_error *err)
{
	cleanup_close int host = -EBADF;
	int r;

	if (box->netns < 0)
		return clone_init(box, init, cgroup, err);
	host = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (host < 0 || setns(box->netns, CLONE_NEWNET) < 0)
		return nsbox_error_set(err, errno, "enter the network namespace to join");
	r = clone_init(box, init, cgroup, err);
	if (setns(host, CLONE_NEWNET) < 0)
		return nsbox_error_set(err, errno, "leave the network namespace to join");
	return r;
}

static int start_init(struct nsbox_box *box, const struct nsbox_subject *subject, int cgroup,
		      struct nsbox_error *err)
{
	struct nsbox_init init = {
		.policy = &box->policy, .shell = subject->shell, .subject = subject, .ids = &box->ids,
	};
	cleanup_close int theirs = -EBADF;
	int pair[2], r;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return nsbox_error_set(err, errno, "socketpair");
	box->sock = pair[0];
	theirs = pair[1];
	init.sock = theirs;
	r = clone_there(box, &init, cgroup, err);
	if (r == 0)
		r = nsbox_userns_write_maps(box->init, &box->ids.box_uids, &box->ids.box_gids, err);
	return r < 0 ? r : nsbox_msg_send_type(box->sock, NSBOX_MSG_BUILD, err);
}

static int read_namespaces(struct nsbox_box *box, struct nsbox_error *err)
{
	cleanup_close int dir = nsbox_ns_open_dir((int)box->init, err);

	return dir < 0 ? dir : nsbox_ns_read_inodes(dir, false, box->ns_ino, err);
}

/* The trees that belong to box root as the image map says. */
static int shift_trees(struct nsbox_box *box, struct nsbox_error *err)
{
	cleanup_close int userns = nsbox_userns_open(box->init, err);

	if (userns < 0)
		return userns;
	return nsbox_lend_shift(&box->lent, userns, err);
}

static int make_cgroup(struct nsbox_box *box, struct nsbox_error *err)
{
	int r = nsbox_cgroup_find(box->record.box, &box->cgroup, err);

	if (r == 0)
		r = nsbox_cgroup_create(&box->cgroup, &box->policy, err);
	if (r < 0)
		return nsbox_error_wrap(err, "cgroup");
	box->has_cgroup = true;
	return 0;
}

/* v2: init is born in its cgroup. v1: see nsbox_box_limit(). */
static int start_in_cgroup(struct nsbox_box *box, const struct nsbox_subject *subject,
			   struct nsbox_error *err)
{
	cleanup_close int cgroup = -EBADF;
	int r;

	if (!nsbox_hierarchy_is_unified())
		return start_init(box, subject, -EBADF, err);
	r = make_cgroup(box, err);
	if (r < 0)
		return r;
	cgroup = nsbox_cgroup_open_for_clone(&box->cgroup, err);
	return cgroup < 0 && cgroup != -ENOTSUP ? cgroup : start_init(box, subject, cgroup, err);
}

/* rootfs_mode = ephemeral or persistent: the layers that take what is written. */
static int take_upper(struct nsbox_box *box, struct nsbox_error *err)
{
	int r;

	if (box->policy.rootfs_mode == NSBOX_ROOTFS_RO)
		return 0;
	r = nsbox_upper_take(box->uid, box->record.box, box->record.socket, &box->policy,
			     &box->upper, box->notice, err);
	if (r < 0)
		return r;
	box->lent.content.layers = nsbox_upper_clone(&box->upper, err);
	return box->lent.content.layers < 0 ? box->lent.content.layers : 0;
}

/* The network namespace that is not the box's own, before anything is made that needs it. */
static int find_netns(struct nsbox_box *box, struct nsbox_error *err)
{
	const struct nsbox_decision *policy = &box->policy;

	if (policy->net == NSBOX_NET_JOIN_USER)
		box->netns = nsbox_guest_enter(&box->guest, policy->net_name, err);
	else if (policy->net == NSBOX_NET_JOIN_PATH)
		box->netns = nsbox_network_open(policy, err);
	else
		return 0;
	return box->netns < 0 ? -err->code : 0;
}

int nsbox_box_begin(struct nsbox_box *box, const struct nsbox_subject *subject,
		    uint32_t unknown_block, struct nsbox_error *err)
{
	int r;

	box->uid = subject->uid;
	box->gid = subject->gid;
	r = find_netns(box, err);
	if (r == 0)
		r = nsbox_registry_take_block(&box->record, &box->policy, unknown_block, err);
	if (r == 0)
		r = take_upper(box, err);
	if (r == 0)
		r = nsbox_lend_home(subject, &box->policy, box->record.base, &box->ids, &box->lent,
				    err);
	if (r == 0)
		r = start_in_cgroup(box, subject, err);
	/* Beside the rest: it is waited for in nsbox_box_finish(). */
	if (r == 0 && box->policy.net == NSBOX_NET_BRIDGE)
		r = nsbox_network_begin(&box->network, &box->record, &box->policy, box->init, err);
	return r;
}

/* If init has given up meanwhile, its reason is the one to tell, and not the @r that came of it. */
static int blame_init(struct nsbox_box *box, int r, struct nsbox_error *err)
{
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };

	if (r == 0 || nsbox_msg_recv(box->sock, nsbox_now_ms(), &in, NULL) < 0 ||
	    in.msg.type != NSBOX_MSG_REFUSE)
		return r;
	*err = in.msg.u.error;
	return err->code > 0 ? -err->code : -EIO;
}

int nsbox_box_lend(struct nsbox_box *box, const struct nsbox_subject *subject,
		   struct nsbox_error *err)
{
	struct nsbox_lent *lent = &box->lent;
	int r = nsbox_lend(subject, &box->policy, box->netns, &box->ids, lent, err);

	if (r == 0)
		r = shift_trees(box, err);
	if (r == 0)
		r = nsbox_parcel_send(box->sock, &lent->content, &lent->mounts, err);
	box->dev = take_fd(&lent->dev);
	box->notes = lent->notes;
	lent->notes = (struct nsbox_notes){ .n_lines = 0 };
	nsbox_lent_drop(lent);
	if (r == 0 && box->policy.log == NSBOX_LOG_HOST)
		r = nsbox_boxlog_open(&box->log, box->dev, box->ids.base, err);
	return blame_init(box, r, err);
}

int nsbox_box_limit(struct nsbox_box *box, struct nsbox_error *err)
{
	return box->has_cgroup ? 0 : make_cgroup(box, err);
}

/*
 * What init cannot be given at its birth, done while it assembles its root: on
 * v1 a move waits for an RCU grace period.
 */
static int settle_init(struct nsbox_box *box, struct nsbox_error *err)
{
	int r = 0;

	if (box->must_move_init)
		r = nsbox_cgroup_move(&box->cgroup, NSBOX_LEAF_MAIN, (int)box->init, err);
	return r < 0 ? r : nsbox_msg_send_type(box->sock, NSBOX_MSG_SETTLE, err);
}

int nsbox_box_finish(struct nsbox_box *box, uint64_t deadline_ms, struct nsbox_error *err)
{
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };
	int r = blame_init(box, settle_init(box, err), err);

	if (r < 0)
		return r;
	if (nsbox_msg_recv(box->sock, deadline_ms, &in, err) < 0)
		return nsbox_error_wrap(err, "the box's init");
	if (in.msg.type == NSBOX_MSG_REFUSE) {
		*err = in.msg.u.error;
		return err->code > 0 ? -err->code : -EIO;
	}
	if (in.msg.type != NSBOX_MSG_READY)
		return nsbox_error_say(err, EPROTO, "init said %u where READY was due",
				       in.msg.type);
	r = nsbox_network_wait(&box->network, deadline_ms, err);
	if (r == 0)
		r = nsbox_upper_limit(&box->upper, box->uid, box->policy.disk_max, err);
	return r < 0 ? r : read_namespaces(box, err);
}

int nsbox_box_fill_join(const struct nsbox_box *box, enum nsbox_cgroup_leaf leaf,
			struct nsbox_msg_join *ret, struct nsbox_error *err)
{
	const struct nsbox_filter *filter = nsbox_filter_for(&box->policy);

	memset(ret, 0, sizeof(*ret));
	ret->init = box->init;
	memcpy(ret->ns_ino, box->ns_ino, sizeof(ret->ns_ino));
	ret->caller_caps = CALLER_CAPS;
	ret->bounding_caps = box->policy.caps;
	ret->no_new_privs = box->policy.no_new_privs;
	ret->umask = box->policy.umask;
	ret->nofile = box->policy.nofile;
	ret->tty_uid = nsbox_id_map_outside(&box->ids.box_uids, box->uid);
	ret->tty_gid = nsbox_id_map_outside(&box->ids.box_gids, NSBOX_TTY_GID);
	ret->uid = box->uid;
	ret->gid = box->gid;
	if (leaf == NSBOX_LEAF_RESCUE)
		ret->min_nproc = (uint32_t)box->policy.pids_max + NSBOX_RESCUE_PIDS;
	ret->n_groups = box->ids.n_groups;
	memcpy(ret->groups, box->ids.groups, box->ids.n_groups * sizeof(ret->groups[0]));
	ret->n_insns = (uint32_t)filter->len;
	memcpy(ret->insns, filter->insns, filter->len * sizeof(ret->insns[0]));
	(void)snprintf(ret->notice, sizeof(ret->notice), "%s", box->notice);
	return nsbox_env_fill(&box->policy, box->uid, ret->env, err);
}

/*
 * Asks init to show a tree and waits for its DONE. Init answers in order: what
 * comes first may be the answer to a question that was not waited for so long.
 */
static int ask_init(struct nsbox_box *box, struct nsbox_msg *msg, int tree, struct nsbox_error *err)
{
	uint64_t deadline = nsbox_now_ms() + END_TIMEOUT_MS;
	struct nsbox_packet in cleanup_packet = { .n_fds = 0 };
	int r = nsbox_msg_send(box->sock, msg, &tree, 1, err);

	box->unanswered += r == 0;
	while (r == 0 && box->unanswered > 0) {
		nsbox_packet_drop(&in);
		r = nsbox_msg_recv(box->sock, deadline, &in, err);
		box->unanswered -= r == 0;
	}
	if (r < 0)
		return nsbox_error_wrap(err, "the box's init");
	if (in.msg.type == NSBOX_MSG_REFUSE) {
		*err = in.msg.u.error;
		r = -EIO;
	}
	return r;
}

/* "/dev/pts/3" -> "pts-3": flat, since ttyname(3) looks into /dev and no deeper. */
static int name_tty(int fd, char path[NSBOX_TTY_MAX], char name[NSBOX_TTY_MAX],
		    struct nsbox_error *err)
{
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, NSBOX_TTY_MAX - 1);
	if (n < 0)
		return nsbox_error_set(err, errno, "the name of the caller's terminal");
	path[n] = '\0';
	(void)snprintf(name, NSBOX_TTY_MAX, "%s",
		       strncmp(path, "/dev/", 5) == 0 ? path + 5 : path + strspn(path, "/"));
	for (char *c = name; *c; c++)
		if (*c == '/' || *c == ' ')
			*c = '-';
	return 0;
}

static int mount_tty(struct nsbox_box *box, struct nsbox_tty *tty, struct nsbox_error *err)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_TTY_BIND };
	cleanup_close int tree = nsbox_tree_clone(tty->fd, false, 0, err), at = -EBADF;
	int r;

	if (tree < 0)
		return nsbox_error_wrap(err, "the caller's terminal");
	at = openat(box->dev, tty->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (at < 0)
		return nsbox_error_set(err, errno, "create /dev/%s in the box", tty->name);
	strcpy(msg.u.name, tty->name);
	r = ask_init(box, &msg, tree, err);
	if (r < 0)
		(void)unlinkat(box->dev, tty->name, 0);
	return r;
}

static struct nsbox_tty *find_tty(struct nsbox_box *box, const struct stat *st)
{
	struct nsbox_tty *free = NULL;

	for (int i = 0; i < NSBOX_BOX_TTYS_MAX; i++) {
		if (box->ttys[i].sessions && box->ttys[i].dev == st->st_dev &&
		    box->ttys[i].rdev == st->st_rdev)
			return &box->ttys[i];
		if (!box->ttys[i].sessions && !free)
			free = &box->ttys[i];
	}
	return free;
}

int nsbox_box_show_tty(struct nsbox_box *box, int fd, struct nsbox_error *err)
{
	cleanup_close int taken = fd;
	char path[NSBOX_TTY_MAX];
	struct nsbox_tty *tty;
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0 || !S_ISCHR(st.st_mode))
		return nsbox_error_say(err, EINVAL, "the caller's terminal is not a terminal");
	tty = find_tty(box, &st);
	if (!tty)
		return nsbox_error_say(err, EMFILE, "%d terminals of the host are in the box",
				       NSBOX_BOX_TTYS_MAX);
	if (tty->sessions++)
		return (int)(tty - box->ttys);
	*tty = (struct nsbox_tty){ .dev = st.st_dev, .rdev = st.st_rdev, .fd = taken, .uid = st.st_uid,
				   .gid = st.st_gid, .sessions = 1 };
	r = name_tty(fd, path, tty->name, err);
	if (r == 0)
		r = mount_tty(box, tty, err);
	if (r < 0) {
		tty->sessions = 0;
		return r;
	}
	(void)take_fd(&taken);
	nsbox_registry_note_terminal(&box->record, path, st.st_uid, st.st_gid);
	return (int)(tty - box->ttys);
}

/* Is the terminal still what the box was lent: owned by an id of its block, or by the user? */
static bool is_lent(const struct nsbox_box *box, const struct stat *st)
{
	if (box->ids.keep && st->st_uid == box->uid)
		return true;
	return st->st_uid >= box->ids.base && st->st_uid - box->ids.base < NSBOX_BLOCK_SIZE;
}

/* By descriptor, never by path: the number of a pts is soon another user's. */
static void give_back(const struct nsbox_box *box, const struct nsbox_tty *tty)
{
	struct stat st;

	if (fstat(tty->fd, &st) == 0 && is_lent(box, &st) &&
	    fchownat(tty->fd, "", tty->uid, tty->gid, AT_EMPTY_PATH) < 0)
		syslog(LOG_WARNING, "terminal %s cannot be given back: %m", tty->name);
}

void nsbox_box_forget_tty(struct nsbox_box *box, int index)
{
	struct nsbox_tty *tty = &box->ttys[index];

	if (--tty->sessions > 0)
		return;
	give_back(box, tty);
	/* Takes away what another mount namespace has mounted there as well (unlink(2), since 3.18). */
	(void)unlinkat(box->dev, tty->name, 0);
	tty->fd = nsbox_close(tty->fd);
}

static void reap_init(struct nsbox_box *box, uint64_t deadline_ms)
{
	struct pollfd pfd = { .fd = box->pidfd, .events = POLLIN };
	siginfo_t info;

	if (box->pidfd < 0)
		return;
	(void)pidfd_send_signal(box->pidfd, SIGKILL, NULL, 0);
	if (poll(&pfd, 1, nsbox_until_ms(deadline_ms)) <= 0)
		return;
	(void)waitid(P_PIDFD, (id_t)box->pidfd, &info, WEXITED | __WALL);
	box->pidfd = nsbox_close(box->pidfd);
}

int nsbox_box_kill(struct nsbox_box *box, struct nsbox_error *err)
{
	uint64_t deadline = nsbox_now_ms() + END_TIMEOUT_MS;
	int r = 0;

	/* The callers first go with their cgroup: they are not in the pid namespace. */
	box->sock = nsbox_close(box->sock);
	if (box->has_cgroup)
		r = nsbox_cgroup_kill(&box->cgroup, deadline, err);
	nsbox_cgroup_drop(&box->cgroup);
	reap_init(box, deadline);
	return r;
}

int nsbox_box_end(struct nsbox_box *box, struct nsbox_error *err)
{
	uint64_t deadline;
	int r;

	nsbox_registry_close(&box->record);
	r = nsbox_box_kill(box, err);
	deadline = nsbox_now_ms() + END_TIMEOUT_MS;
	for (int i = 0; i < NSBOX_BOX_TTYS_MAX; i++) {
		if (!box->ttys[i].sessions)
			continue;
		give_back(box, &box->ttys[i]);
		box->ttys[i].fd = nsbox_close(box->ttys[i].fd);
		box->ttys[i].sessions = 0;
	}
	if (r == 0)
		r = nsbox_network_end(&box->network, box->record.box, deadline, err);
	if (r == 0 && box->has_cgroup)
		r = nsbox_cgroup_remove(&box->cgroup, deadline, err);
	box->dev = nsbox_close(box->dev);
	box->netns = nsbox_close(box->netns);
	nsbox_guest_leave(&box->guest);
	nsbox_boxlog_close(&box->log);
	if (r == 0)
		r = nsbox_upper_leave(&box->upper, err);
	nsbox_upper_abandon(&box->upper);
	/* With something left, the record and the block stay for nsbox gc to see. */
	if (r == 0)
		nsbox_registry_leave(&box->record);
	nsbox_decision_free(&box->policy);
	nsbox_lent_drop(&box->lent);
	nsbox_notes_drop(&box->notes);
	box->has_cgroup = false;
	return r;
}
