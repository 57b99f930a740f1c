/* SPDX-License-Identifier: MIT */
/* The filter: see filter.h. */
#include "filter.h"
#include "cleanup.h"

#include <asm/ioctls.h>
#include <errno.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <sys/mman.h>
#include <sys/socket.h>

/* The kernel takes these arguments as 32 bits: garbage above must not hide a value. */
#define LOW32 0xFFFFFFFFu

static int refuse_socket_families(scmp_filter_ctx ctx)
{
	/* EPROTONOSUPPORT: libaudit takes it for a kernel without audit; EPERM would end sshd. */
	int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPROTONOSUPPORT), SCMP_SYS(socket), 2,
				 SCMP_A0(SCMP_CMP_MASKED_EQ, LOW32, AF_NETLINK),
				 SCMP_A2(SCMP_CMP_MASKED_EQ, LOW32, NETLINK_AUDIT));

	/* By elimination: whatever is not exactly an allowed number has no rule to pass by. */
	for (int family = AF_INET + 1; r == 0 && family < AF_NETLINK; family++)
		if (family != AF_INET6)
			r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
					     SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)family, 0));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
				     SCMP_A0(SCMP_CMP_GT, AF_NETLINK, 0));
	return r;
}

static int refuse_terminal_input(scmp_filter_ctx ctx)
{
	static const unsigned int requests[] = { TIOCSTI, TIOCLINUX };
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(requests) / sizeof(requests[0]); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(ioctl), 1,
				     SCMP_A1(SCMP_CMP_MASKED_EQ, LOW32, requests[i]));
	return r;
}

static int refuse_user_namespaces(scmp_filter_ctx ctx)
{
	int r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);

	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(clone), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER));
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), SCMP_SYS(unshare), 1,
				     SCMP_A0(SCMP_CMP_MASKED_EQ, CLONE_NEWUSER, CLONE_NEWUSER));
	return r;
}

static int refuse_whole_calls(scmp_filter_ctx ctx)
{
	static const int calls[] = {
		SCMP_SYS(keyctl), SCMP_SYS(add_key), SCMP_SYS(request_key),
		/* It makes sockets that socket(2) refuses, in kernel threads without our filter. */
		SCMP_SYS(io_uring_setup), SCMP_SYS(io_uring_enter), SCMP_SYS(io_uring_register),
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(calls) / sizeof(calls[0]); i++)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), calls[i], 0);
	return r;
}

static int add_common_rules(scmp_filter_ctx ctx)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

	if (r == 0)
		r = refuse_terminal_input(ctx);
	if (r == 0)
		r = refuse_whole_calls(ctx);
	if (r == 0)
		r = refuse_user_namespaces(ctx);
	return r;
}

/*
 * The 32-bit calls of x86. socketcall(2) keeps its arguments in memory, where a
 * filter cannot look: 32-bit programs get no new sockets at all.
 */
static int merge_x86(scmp_filter_ctx native)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx ? seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE) : -ENOMEM;

	if (r == 0)
		r = seccomp_arch_add(ctx, SCMP_ARCH_X86);
	if (r == 0)
		r = add_common_rules(ctx);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 0);
	if (r == 0)
		r = seccomp_merge(native, ctx);	/* takes ctx */
	if (r < 0 && ctx)
		seccomp_release(ctx);
	return r;
}

static int build(scmp_filter_ctx ctx)
{
	int r = add_common_rules(ctx);

	if (r == 0)
		r = refuse_socket_families(ctx);
	if (r == 0 && seccomp_arch_native() == SCMP_ARCH_X86_64)
		r = merge_x86(ctx);
	return r;
}

int nsbox_filter_compile(struct sock_filter *ret, size_t max, size_t *ret_n,
			 struct nsbox_error *err)
{
	cleanup_close int fd = memfd_create("nsbox-filter", MFD_CLOEXEC);
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	ssize_t n;
	int r = ctx && fd >= 0 ? build(ctx) : -ENOMEM;

	if (r == 0)
		r = seccomp_export_bpf(ctx, fd);
	if (ctx)
		seccomp_release(ctx);
	if (r < 0)
		return nsbox_error_set(err, -r, "compiling the seccomp filter");
	n = pread(fd, ret, max * sizeof(*ret), 0);
	if (n <= 0 || (size_t)n == max * sizeof(*ret) || (size_t)n % sizeof(*ret) != 0)
		return nsbox_error_say(err, E2BIG, "the seccomp filter is longer than %zu "
				       "instructions", max);
	*ret_n = (size_t)n / sizeof(*ret);
	return 0;
}
