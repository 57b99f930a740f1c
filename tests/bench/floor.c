/* SPDX-License-Identifier: MIT */
/*
 * The floor of the benchmark: makes the kernel objects of a box with the calls
 * that nsbox makes, in the order that nsbox makes them, and nothing else (no
 * policy, no protocol, no checks), and times that. What nsbox takes beyond it
 * is nsbox's own.
 *
 *   floor -c CONTENT new    a whole box, and a caller that moves into it
 *   floor move              only the move of one process into the cgroups of a box
 *   floor warm              times nothing: until it is killed, moves a process so
 *                           often that the lock on cgroup moves stays in the state
 *                           that the mount option favordynmods makes permanent
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
#include <sys/sysmacros.h>
#include <sys/wait.h>

#include <linux/sched.h>

#define ID_BASE 1800000000U
#define ID_COUNT 66560U
#define WARM_INTERVAL_US 2000U
#define BOX_NAMESPACES (CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | \
			CLONE_NEWIPC | CLONE_NEWNET)

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

/* What is in a real box, as tests/bench/run.py found it; see read_content(). */
struct item {
	char type, *path, *source;
	size_t size;
	int tree;
};

static struct item items[1024];
static size_t n_items;
static char filler[65536];

/*
 * One line for each thing of the box, in the order in which it can be made:
 *
 *	d PATH		a directory		f PATH SIZE	a file
 *	l PATH TARGET	a symlink		t PATH		a tmpfs
 *	H PATH		the host's PATH, with the data map (/usr: with the box's)
 *	p PATH SOURCE	a bind mount of the new proc or of /dev/null (a mask)
 */
static void read_content(const char *file)
{
	FILE *f = fopen(file, "re");
	char type, path[256], source[256];
	char line[600];

	if (!f)
		die(file);
	while (fgets(line, sizeof(line), f) && n_items < sizeof(items) / sizeof(items[0])) {
		struct item *item = &items[n_items++];

		source[0] = '\0';
		if (sscanf(line, "%c %255s %255s", &type, path, source) < 2) {
			fprintf(stderr, "%s: %s", file, line);
			exit(1);
		}
		*item = (struct item){ .type = type, .path = strdup(path), .source = strdup(source),
				       .size = strtoul(source, NULL, 10), .tree = -1 };
	}
	fclose(f);
}

static bool is_usr(const struct item *item)
{
	return strcmp(item->path, "/usr") == 0;
}

static int cloned_tree(const char *path)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
				   .propagation = MS_PRIVATE };
	int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		die(path);
	return fd;
}

static void map_tree(int fd, int userns)
{
	struct mount_attr attr = { .attr_set = MOUNT_ATTR_IDMAP, .userns_fd = (uint64_t)userns };

	if (mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
		die("mount_setattr");
}

/* The keeper's: before init is born, so that it has them. */
static void lend_trees(void)
{
	int userns = data_map();

	for (size_t i = 0; i < n_items; i++) {
		if (items[i].type != 'H')
			continue;
		items[i].tree = cloned_tree(items[i].path);
		if (!is_usr(&items[i]))
			map_tree(items[i].tree, userns);
	}
	close(userns);
}

static void close_trees(void)
{
	for (size_t i = 0; i < n_items; i++)
		if (items[i].tree >= 0)
			close(items[i].tree);
}

/* /dev, with nodes that only the keeper can make. */
static int lend_dev(void)
{
	static const struct { const char *name; unsigned int major, minor; } nodes[] = {
		{ "null", 1, 3 }, { "zero", 1, 5 }, { "full", 1, 7 }, { "random", 1, 8 },
		{ "urandom", 1, 9 }, { "tty", 5, 0 },
	};
	static const char *const links[][2] = {
		{ "ptmx", "pts/ptmx" }, { "fd", "/proc/self/fd" }, { "stdin", "/proc/self/fd/0" },
		{ "stdout", "/proc/self/fd/1" }, { "stderr", "/proc/self/fd/2" },
	};
	static const char *const dirs[] = { "pts", "shm", "mqueue" };
	int fs = fsopen("tmpfs", FSOPEN_CLOEXEC), dev;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "size", "1m", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", "256", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		die("fsconfig");
	dev = fsmount(fs, FSMOUNT_CLOEXEC, 0);
	for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++)
		if (mknodat(dev, nodes[i].name, S_IFCHR | 0666,
			    makedev(nodes[i].major, nodes[i].minor)) < 0 ||
		    fchownat(dev, nodes[i].name, ID_BASE, ID_BASE, 0) < 0)
			die(nodes[i].name);
	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		if (mkdirat(dev, dirs[i], 0755) < 0)
			die(dirs[i]);
	for (size_t i = 0; i < sizeof(links) / sizeof(links[0]); i++)
		if (symlinkat(links[i][1], dev, links[i][0]) < 0)
			die(links[i][0]);
	close(fs);
	return dev;
}

static void box_mount(const char *type, const char *at, unsigned long flags, const char *options)
{
	if (mount(type, at, type, flags | MS_NOSUID, options) < 0)
		die(at);
}

static void box_file(const char *path, size_t size)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (fd < 0)
		die(path);
	for (size_t n; size > 0; size -= n) {
		n = size < sizeof(filler) ? size : sizeof(filler);
		if (write(fd, filler, n) != (ssize_t)n)
			die(path);
	}
	close(fd);
}

static void box_bind(const char *from, const char *to)
{
	int fd = open_tree(AT_FDCWD, from, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);

	if (fd < 0 || move_mount(fd, "", AT_FDCWD, to, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die(to);
	close(fd);
}

static void box_item(const struct item *item)
{
	const char *at = item->path + 1;

	if (item->type == 'd' && mkdir(at, 0755) < 0 && errno != EEXIST)
		die(at);
	if (item->type == 'f')
		box_file(at, item->size);
	if (item->type == 'l' && symlink(item->source, at) < 0)
		die(at);
	if (item->type == 't')
		box_mount("tmpfs", at, MS_NODEV, "mode=1777,size=64m,nr_inodes=8192");
	if (item->type == 'H' && move_mount(item->tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die(at);
	if (item->type == 'p')
		box_bind(item->source + 1, at);
}

static void box_root(int dev)
{
	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		die("private");
	box_mount("tmpfs", "/tmp", MS_NODEV, "mode=755,size=16m,nr_inodes=8192");
	if (chdir("/tmp") < 0)
		die("/tmp");
	(void)mkdir("dev", 0755);
	if (move_mount(dev, "", AT_FDCWD, "dev", MOVE_MOUNT_F_EMPTY_PATH) < 0)
		die("dev");
	(void)mkdir("proc", 0755);
	(void)mkdir("sys", 0755);
	box_mount("proc", "proc", MS_NODEV | MS_NOEXEC, NULL);
	for (size_t i = 0; i < n_items; i++)
		box_item(&items[i]);
	box_mount("devpts", "dev/pts", MS_NOEXEC, "newinstance,ptmxmode=666,mode=620,gid=5,max=64");
	box_mount("mqueue", "dev/mqueue", MS_NODEV | MS_NOEXEC, NULL);
	box_mount("sysfs", "sys", MS_NODEV | MS_NOEXEC | MS_RDONLY, NULL);
	if (syscall(SYS_pivot_root, ".", ".") < 0 || umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		die("pivot_root");
}

/* Init of the box: waits for its maps, builds, says so and stays. */
static void box_init(int sock, int dev)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	char go;
	int fd;

	if (read(sock, &go, 1) != 1)
		die("go");
	if (setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
		die("become box root");
	if (!cg_v2 && unshare(CLONE_NEWCGROUP) < 0)
		die("unshare");
	box_root(dev);
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
	int cgroup_fd, userns, dev;
	char map[64], ready;
	pid_t pid;

	lend_trees();
	dev = lend_dev();
	cgroup_make();
	cgroup_fd = cgroup_init_fd();
	pid = clone_as_block(BOX_NAMESPACES, cgroup_fd);
	if (pid == 0)
		box_init(far_end, dev);
	snprintf(map, sizeof(map), "0 %u 65536\n", ID_BASE);
	write_maps(pid, map);
	if (!cg_v2)
		cgroup_move_init(pid);
	userns = open_userns(pid);
	for (size_t i = 0; i < n_items; i++)
		if (items[i].type == 'H' && is_usr(&items[i]))
			map_tree(items[i].tree, userns);
	close(userns);
	if (write(sock, "g", 1) != 1 || read(sock, &ready, 1) != 1)
		die("init did not get ready");
	close_trees();
	close(dev);
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

	while ((opt = getopt(argc, argv, "n:g:c:")) != -1) {
		switch (opt) {
		case 'n': arg_count = (unsigned int)atoi(optarg); break;
		case 'g': arg_gap_ms = (unsigned int)atoi(optarg); break;
		case 'c': read_content(optarg); break;
		default: argc = 0;
		}
	}
	if (argc == optind + 1 && strcmp(argv[optind], "new") == 0)
		measure = floor_new;
	if (argc == optind + 1 && strcmp(argv[optind], "move") == 0)
		measure = floor_move;
	warm = argc == optind + 1 && strcmp(argv[optind], "warm") == 0;
	if (!measure && !warm) {
		fprintf(stderr, "usage: floor [-n COUNT] [-g GAP_MS] [-c CONTENT] new|move|warm\n");
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
