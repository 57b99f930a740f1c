/* SPDX-License-Identifier: MIT */
/*
 * Makes one call that a box refuses, and prints "=> NAME: ok" or "=> NAME: ERRNO".
 *
 *     calls NAME...       names in the table below; a -m32 build has 32-bit entry only
 *
 * Every call is made by number: nothing of libc stands between.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { NR_TIOCSTI = 0x5412, NR_TIOCLINUX = 0x541C, NR_TIOCGWINSZ = 0x5413 };
enum { FAMILY_VSOCK = 40, FAMILY_NETLINK = 16, FAMILY_PACKET = 17, FAMILY_ALG = 38, FAMILY_INET = 2,
       PROTOCOL_AUDIT = 9, FAMILY_BLUETOOTH = 31, FAMILY_UNIX = 1 };
#define X32 0x40000000L

/* In low memory, since 32-bit entries take pointers of 32 bits. */
static char *low;

static long int80(long nr, long a, long b, long c)
{
#if defined(__x86_64__) || defined(__i386__)
	int r;

	__asm__ volatile("int $0x80" : "=a"(r)
			 : "a"((int)nr), "b"((int)a), "c"((int)b), "d"((int)c)
#ifdef __x86_64__
			 : "memory", "r8", "r9", "r10", "r11");
#else
			 : "memory");
#endif
	if (r < 0 && r > -4096) {
		errno = -r;
		return -1;
	}
	return r;
#else
	(void)nr, (void)a, (void)b, (void)c;
	errno = ENOSYS;
	return -1;
#endif
}

/* Numbers of arch/x86/entry/syscalls/syscall_32.tbl. */
enum { I_IOCTL = 54, I_CLONE = 120, I_UNSHARE = 310, I_SOCKET = 359, I_SOCKETCALL = 102,
       I_KEYCTL = 288, I_ADD_KEY = 286, I_CLONE3 = 435 };

static long sti(void) { low[0] = 'x'; return syscall(SYS_ioctl, 0, NR_TIOCSTI, low); }
static long linux_console(void) { low[0] = 6; return syscall(SYS_ioctl, 0, NR_TIOCLINUX, low); }
static long winsize(void) { return syscall(SYS_ioctl, 0, NR_TIOCGWINSZ, low); }
static long sti80(void) { low[0] = 'x'; return int80(I_IOCTL, 0, NR_TIOCSTI, (long)(uintptr_t)low); }
static long winsize80(void) { return int80(I_IOCTL, 0, NR_TIOCGWINSZ, (long)(uintptr_t)low); }
static long vsock(void) { return syscall(SYS_socket, FAMILY_VSOCK, 1, 0); }
static long packet(void) { return syscall(SYS_socket, FAMILY_PACKET, 3, 0); }
static long alg(void) { return syscall(SYS_socket, FAMILY_ALG, 5, 0); }
static long bluetooth(void) { return syscall(SYS_socket, FAMILY_BLUETOOTH, 3, 0); }
static long inet(void) { return syscall(SYS_socket, FAMILY_INET, 1, 0); }
static long local(void) { return syscall(SYS_socket, FAMILY_UNIX, 1, 0); }
static long route(void) { return syscall(SYS_socket, FAMILY_NETLINK, 3, 0); }
static long audit(void) { return syscall(SYS_socket, FAMILY_NETLINK, 3, PROTOCOL_AUDIT); }
static long vsock80(void) { return int80(I_SOCKET, FAMILY_VSOCK, 1, 0); }

static long vsock_socketcall80(void)
{
	const int32_t args[3] = { FAMILY_VSOCK, 1, 0 };

	memcpy(low, args, sizeof(args));
	return int80(I_SOCKETCALL, 1, (long)(uintptr_t)low, 0);
}

static long keyctl(void) { return syscall(SYS_keyctl, 0, -3, 0); }	/* id of @s */
static long add_key(void) { return syscall(SYS_add_key, "user", "nsbox-probe", "x", 1, -2); }
static long request_key(void)
{
	long r = syscall(SYS_request_key, "user", "nsbox-none", NULL, 0);

	return r < 0 && errno == ENOKEY ? 0 : r;	/* the call is there, the key is not */
}
static long keyctl80(void) { return int80(I_KEYCTL, 0, -3, 0); }
static long unshare_user(void) { return syscall(SYS_unshare, CLONE_NEWUSER); }
static long unshare_user80(void) { return int80(I_UNSHARE, CLONE_NEWUSER, 0, 0); }

static long child_of(long pid)
{
	if (pid == 0)
		_exit(0);
	if (pid > 0)
		(void)waitpid((pid_t)pid, NULL, 0);
	return pid;
}

static long clone_user(void) { return child_of(syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0)); }
static long clone_user80(void) { return child_of(int80(I_CLONE, CLONE_NEWUSER | SIGCHLD, 0, 0)); }
static long clone3_user(void)
{
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };

	return child_of(syscall(SYS_clone3, &args, sizeof(args)));
}
static long clone3_user80(void)
{
	struct clone_args args = { .flags = CLONE_NEWUSER, .exit_signal = SIGCHLD };

	memcpy(low, &args, sizeof(args));
	return child_of(int80(I_CLONE3, (long)(uintptr_t)low, sizeof(args), 0));
}

#ifdef __x86_64__
static long sti_high(void)
{
	low[0] = 'x';
	return syscall(SYS_ioctl, 0L, NR_TIOCSTI | 1UL << 32, low);
}
static long sti_x32(void) { low[0] = 'x'; return syscall(X32 | 514, 0L, NR_TIOCSTI, low); }
static long getpid_x32(void) { return syscall(X32 | SYS_getpid); }
static long vsock_high(void) { return syscall(SYS_socket, FAMILY_VSOCK | 1UL << 32, 1, 0); }
static long audit_high(void)
{
	return syscall(SYS_socket, FAMILY_NETLINK | 1UL << 32, 3, PROTOCOL_AUDIT | 1UL << 32);
}
#endif

/* IORING_OP_SOCKET makes a socket without socket(2). */
static long uring_socket(int family, int type, int protocol)
{
	struct io_uring_params p = { .flags = 0 };
	int fd = (int)syscall(SYS_io_uring_setup, 4, &p);
	char *sq, *cq;
	struct io_uring_sqe *sqe;
	const struct io_uring_cqe *cqe;

	if (fd < 0)
		return -1;
	sq = mmap(NULL, p.sq_off.array + p.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQ_RING);
	cq = mmap(NULL, p.cq_off.cqes + p.cq_entries * sizeof(*cqe), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_CQ_RING);
	sqe = mmap(NULL, p.sq_entries * sizeof(*sqe), PROT_READ | PROT_WRITE,
		   MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (sq == MAP_FAILED || cq == MAP_FAILED || sqe == MAP_FAILED)
		return -1;
	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = 45;	/* IORING_OP_SOCKET, Linux 5.19 */
	sqe->fd = family;
	sqe->off = (unsigned)type;
	sqe->len = (unsigned)protocol;
	*(unsigned *)(void *)(sq + p.sq_off.array) = 0;
	__atomic_store_n((unsigned *)(void *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, fd, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) < 0)
		return -1;
	cqe = (const void *)(cq + p.cq_off.cqes);
	if (cqe->res < 0) {
		errno = -cqe->res;
		return -1;
	}
	return cqe->res;
}

static long uring_vsock(void) { return uring_socket(FAMILY_VSOCK, 1, 0); }
static long uring_audit(void) { return uring_socket(FAMILY_NETLINK, 3, PROTOCOL_AUDIT); }
static long uring_inet(void) { return uring_socket(FAMILY_INET, 1, 0); }

static const struct {
	const char *name;
	long (*call)(void);
} calls[] = {
	{ "tiocsti", sti }, { "tioclinux", linux_console }, { "winsize", winsize },
	{ "vsock", vsock }, { "packet", packet }, { "alg", alg }, { "bluetooth", bluetooth },
	{ "inet", inet }, { "unix", local }, { "route", route }, { "audit", audit },
	{ "keyctl", keyctl }, { "add_key", add_key }, { "request_key", request_key },
	{ "unshare", unshare_user }, { "clone", clone_user }, { "clone3", clone3_user },
	{ "tiocsti-80", sti80 }, { "winsize-80", winsize80 }, { "vsock-80", vsock80 },
	{ "vsock-socketcall-80", vsock_socketcall80 }, { "keyctl-80", keyctl80 },
	{ "unshare-80", unshare_user80 }, { "clone-80", clone_user80 }, { "clone3-80", clone3_user80 },
	{ "uring-vsock", uring_vsock }, { "uring-audit", uring_audit }, { "uring-inet", uring_inet },
#ifdef __x86_64__
	{ "tiocsti-high", sti_high }, { "tiocsti-x32", sti_x32 }, { "getpid-x32", getpid_x32 },
	{ "vsock-high", vsock_high }, { "audit-high", audit_high },
#endif
};

static void make(const char *name)
{
	long r;

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (strcmp(calls[i].name, name) != 0)
			continue;
		r = calls[i].call();
		(void)printf("=> %s: %s\n", name, r < 0 ? strerrorname_np(errno) : "ok");
		return;
	}
	(void)printf("%s: unknown\n", name);
}

int main(int argc, char **argv)
{
	low = mmap((void *)(uintptr_t)0x10000000, 4096, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	if (low == MAP_FAILED)
		return 2;
	/* A child for each: what one of them changes is no other's business. */
	for (int i = 1; i < argc; i++) {
		pid_t pid;

		(void)fflush(stdout);
		pid = fork();
		if (pid == 0) {
			make(argv[i]);
			(void)fflush(stdout);
			_exit(0);
		}
		(void)waitpid(pid, NULL, 0);
	}
	return 0;
}
