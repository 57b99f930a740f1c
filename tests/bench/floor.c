/* SPDX-License-Identifier: MIT */
/*
 * The floor of the benchmark: makes the kernel objects of a box with the calls
 * that nsbox makes, in the order that nsbox makes them, and nothing else (no
 * policy, no protocol, no checks), and times that. What nsbox takes beyond it
 * is nsbox's own.
 *
 *   floor new    a whole box, and a caller that moves into it
 *   floor move   only the move of one process into the cgroups of a box
 *   floor warm   times nothing: until it is killed, moves a process so often
 *                that the lock on cgroup moves stays in the state that the
 *                mount option favordynmods makes permanent
 *
 * Prints microseconds, one line per iteration. Taking a box down and the pause
 * between two iterations are not in the time.
 */
#define _GNU_SOURCE
#include "bench.h"
#include "floor.h"

#include <fcntl.h>
#include <linux/securebits.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include <linux/sched.h>

#define ID_BASE 1800000000U
#define ID_COUNT 66560U
#define WARM_INTERVAL_US 2000U
#define BOX_NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | \
			CLONE_NEWIPC | CLONE_NEWNET)

static const char *arg_home = "/root";
static unsigned int arg_count = 50, arg_gap_ms = 100;

static void write_maps(pid_t pid, const char *map)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/uid_map", pid);
	write_file(path, map);
	snprintf(path, sizeof(path), "/proc/%d/gid_map", pid);
	write_file(path, map);
}

static int open_userns(pid_t pid)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/ns/user", pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

/* Like fork(), with namespaces, owned by the block and not by root. */
static pid_t clone_as_block(uint64_t flags, int cgroup_fd)
{
	struct clone_args args = { .flags = flags, .exit_signal = SIGCHLD };
	pid_t pid;

	if (cgroup_fd >= 0) {
		args.flags |= CLONE_INTO_CGROUP | CLONE_NEWCGROUP;
		args.cgroup = (uint64_t)cgroup_fd;
	}
	if (setresuid(-1, ID_BASE, -1) < 0)
		die("setresuid");
	pid = (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	if (pid < 0)
		die("clone3");
	if (pid > 0 && setresuid(-1, 0, -1) < 0)
		die("setresuid");
	return pid;
}

/* The data map: uid 1000 goes to the block, everybody else stays what he is. */
static int data_map(void)
{
	const unsigned int end = ID_BASE + ID_COUNT;
	char map[256];
	pid_t pid = clone_as_block(CLONE_NEWUSER, -1);
	int fd;

	if (pid == 0) {
		pause();
		_exit(0);
	}
	snprintf(map, sizeof(map), "0 0 1000\n1000 %u 1\n1001 1001 %u\n%u %u %u\n",
		 ID_BASE + 1000, ID_BASE - 1001, end, end, UINT32_MAX - end);
	write_maps(pid, map);
	fd = open_userns(pid);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	return fd;
}

static int idmapped_tree(const char *path, uint64_t attributes, int userns)
{
	struct mount_attr attr = {
		.attr_set = attributes | MOUNT_ATTR_NOSUID | MOUNT_ATTR_IDMAP,
		.propagation = MS_PRIVATE,
		.userns_fd = (uint64_t)userns,
	};
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		die(path);
	return fd;
}

static void box_mount(const char *type, const char *at, unsigned long flags, const char *options)
{
	if ((mkdir(at, 0755) < 0 && errno != EEXIST) ||
	    mount(type, at, type, flags | MS_NOSUID, options) < 0)
		die(at);
}

static void box_move(int tree, const char *at)
{
	if (mkdir(at, 0755) < 0 || move_mount(tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die(at);
}

static void box_dev(void)
{
	static const char *const nodes[] = { "/dev/null", "/dev/zero", "/dev/full", "/dev/random",
					     "/dev/urandom", "/dev/tty", NULL };

	box_mount("tmpfs", "dev", MS_NOEXEC, "mode=755,size=64k,nr_inodes=256");
	for (int i = 0; nodes[i]; i++) {
		int fd = open(nodes[i] + 1, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);

		if (fd < 0 || mount(nodes[i], nodes[i] + 1, NULL, MS_BIND, NULL) < 0)
			die(nodes[i]);
		close(fd);
	}
	box_mount("devpts", "dev/pts", MS_NOEXEC, "newinstance,ptmxmode=666,mode=620,gid=5,max=64");
	box_mount("mqueue", "dev/mqueue", MS_NODEV | MS_NOEXEC, NULL);
	box_mount("tmpfs", "dev/shm", MS_NODEV, "mode=1777,size=256m,nr_inodes=65536");
	if (symlink("pts/ptmx", "dev/ptmx") < 0 || symlink("/proc/self/fd", "dev/fd") < 0)
		die("dev");
}

static void box_root(const int trees[2])
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("private");
	box_mount("tmpfs", "/tmp", MS_NODEV, "mode=755,size=1m,nr_inodes=1024");
	if (chdir("/tmp") < 0)
		die("/tmp");
	box_move(trees[0], "usr");
	box_move(trees[1], "home");
	box_mount("proc", "proc", MS_NODEV | MS_NOEXEC, NULL);
	box_mount("sysfs", "sys", MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	box_dev();
	box_mount("tmpfs", "run", MS_NODEV, "mode=755,size=64m,nr_inodes=16384");
	box_mount("tmpfs", "tmp", MS_NODEV, "mode=1777,size=1g,nr_inodes=262144");
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die("pivot_root");
}

/* Init of the box: waits for the trees, builds, says so and stays. */
static void box_init(int sock)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int trees[2], fd;

	recv_fds(sock, trees, 2);
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		die("become box root");
	if (!cg_v2 && unshare(CLONE_NEWCGROUP) < 0)
		die("unshare");
	box_root(trees);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &lo) < 0 || sethostname("floor", 5) < 0)
		die("lo, hostname");
	close(fd);
	if (write(sock, "r", 1) != 1)
		die("ready");
	pause();
	_exit(0);
}

/* The caller's part: it exists before the clock starts, like sshd's monitor. */
static void caller(int sock)
{
	pid_t init;
	int pidfd;

	if (read(sock, &init, sizeof(init)) != sizeof(init))
		_exit(1);
	pidfd = pidfd_open(init, 0);
	if (pidfd < 0 || setns(pidfd, BOX_NAMESPACES | CLONE_NEWCGROUP) < 0)
		die("setns");
	if (write(sock, "j", 1) != 1)
		die("joined");
	pause();
	_exit(0);
}

static pid_t box_build(int sock, int far_end)
{
	char map[64], ready;
	int cgroup_fd, userns, trees[2];
	pid_t pid;

	cgroup_make();
	cgroup_fd = cgroup_init_fd();
	pid = clone_as_block(BOX_NAMESPACES, cgroup_fd);
	if (pid == 0)
		box_init(far_end);
	snprintf(map, sizeof(map), "0 %u 65536\n", ID_BASE);
	write_maps(pid, map);
	if (!cg_v2)
		cgroup_move_init(pid);
	userns = open_userns(pid);
	trees[0] = idmapped_tree("/usr", MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, userns);
	close(userns);
	userns = data_map();
	trees[1] = idmapped_tree(arg_home, MOUNT_ATTR_NODEV, userns);
	close(userns);
	send_fds(sock, trees, 2);
	if (read(sock, &ready, 1) != 1)
		die("init did not get ready");
	close(trees[0]);
	close(trees[1]);
	if (cgroup_fd >= 0)
		close(cgroup_fd);
	return pid;
}

static double floor_new(void)
{
	int init_sock[2], caller_sock[2];
	pid_t caller_pid, init_pid;
	double start, end;
	char joined;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, init_sock) < 0 ||
	    socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, caller_sock) < 0)
		die("socketpair");
	caller_pid = fork();
	if (caller_pid == 0)
		caller(caller_sock[1]);
	start = now_us();
	init_pid = box_build(init_sock[0], init_sock[1]);
	cgroup_move_caller(caller_pid);
	if (write(caller_sock[0], &init_pid, sizeof(init_pid)) < 0 ||
	    read(caller_sock[0], &joined, 1) != 1)
		die("caller did not join");
	end = now_us();
	kill(caller_pid, SIGKILL);
	waitpid(caller_pid, NULL, 0);
	kill(init_pid, SIGKILL);
	waitpid(init_pid, NULL, 0);
	for (int i = 0; i < 2; i++) {
		close(init_sock[i]);
		close(caller_sock[i]);
	}
	cgroup_remove();
	return end - start;
}

static double floor_move(void)
{
	double start, end;
	pid_t pid;

	cgroup_make();
	usleep(arg_gap_ms * 1000);
	pid = fork();
	if (pid == 0) {
		pause();
		_exit(0);
	}
	start = now_us();
	cgroup_move_caller(pid);
	end = now_us();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	cgroup_remove();
	return end - start;
}

static void __attribute__((noreturn)) floor_warm(void)
{
	pid_t pid = fork();

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	cgroup_warm(pid, WARM_INTERVAL_US);
}

int main(int argc, char **argv)
{
	double (*measure)(void) = NULL;
	bool warm;
	int opt;

	while ((opt = getopt(argc, argv, "n:g:d:")) != -1) {
		switch (opt) {
		case 'n': arg_count = (unsigned int)atoi(optarg); break;
		case 'g': arg_gap_ms = (unsigned int)atoi(optarg); break;
		case 'd': arg_home = optarg; break;
		default: argc = 0;
		}
	}
	if (argc == optind + 1 && strcmp(argv[optind], "new") == 0)
		measure = floor_new;
	if (argc == optind + 1 && strcmp(argv[optind], "move") == 0)
		measure = floor_move;
	warm = argc == optind + 1 && strcmp(argv[optind], "warm") == 0;
	if (!measure && !warm) {
		fprintf(stderr, "usage: floor [-n COUNT] [-g GAP_MS] [-d HOME] new|move|warm\n");
		return 2;
	}
	cgroup_base();
	if (warm)
		floor_warm();
	if (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0)
		die("securebits");
	for (unsigned int i = 0; i < arg_count; i++) {
		usleep(arg_gap_ms * 1000);
		printf("%.1f\n", measure());
		fflush(stdout);
	}
	return 0;
}
