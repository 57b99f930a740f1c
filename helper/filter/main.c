/* SPDX-License-Identifier: MIT */
/*
 * Compiles the seccomp filter of every process in a box, when nsbox is built:
 * writes it to standard output as the initializers of a struct sock_filter[].
 * So no login waits for libseccomp, and no keeper carries it.
 *
 * Everything is allowed but
 *  - ioctl TIOCSTI and TIOCLINUX (typing into a terminal of the host),
 *  - keyctl, add_key, request_key (keyrings are not namespaced), io_uring (it
 *    makes any socket, past the filter),
 *  - sockets of other families than UNIX, INET, INET6, NETLINK (AF_VSOCK passes
 *    any network namespace), and NETLINK_AUDIT,
 *  - new user namespaces (clone3 is ENOSYS, its flags cannot be filtered), unless
 *    the argument is "nested",
 * for the native and, on x86, the 32-bit calls (which get no new sockets at
 * all); x32 and every other convention is ENOSYS.
 */
#include <asm/ioctls.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <sched.h>
#include <seccomp.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
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

static int add_common_rules(scmp_filter_ctx ctx, bool nested)
{
	int r = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

	if (r == 0)
		r = refuse_terminal_input(ctx);
	if (r == 0)
		r = refuse_whole_calls(ctx);
	if (r == 0 && !nested)
		r = refuse_user_namespaces(ctx);
	return r;
}

/*
 * The 32-bit calls of x86. socketcall(2) keeps its arguments in memory, where a
 * filter cannot look: 32-bit programs get no new sockets at all.
 */
static int merge_x86(scmp_filter_ctx native, bool nested)
{
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx ? seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE) : -ENOMEM;

	if (r == 0)
		r = seccomp_arch_add(ctx, SCMP_ARCH_X86);
	if (r == 0)
		r = add_common_rules(ctx, nested);
	if (r == 0)
		r = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 0);
	if (r == 0)
		r = seccomp_merge(native, ctx);	/* takes ctx */
	if (r < 0 && ctx)
		seccomp_release(ctx);
	return r;
}

static int build(scmp_filter_ctx ctx, bool nested)
{
	int r = add_common_rules(ctx, nested);

	if (r == 0)
		r = refuse_socket_families(ctx);
	if (r == 0 && seccomp_arch_native() == SCMP_ARCH_X86_64)
		r = merge_x86(ctx, nested);
	return r;
}

/* seccomp_export_bpf(3) writes to a descriptor, and only from Debian 13 on to memory. */
static int export(scmp_filter_ctx ctx)
{
	struct sock_filter insn;
	FILE *f = tmpfile();
	int r = f ? seccomp_export_bpf(ctx, fileno(f)) : -errno;

	if (f)
		rewind(f);
	while (r == 0 && fread(&insn, sizeof(insn), 1, f) == 1)
		(void)printf("{ 0x%04x, %u, %u, 0x%08x },\n", insn.code, insn.jt, insn.jf, insn.k);
	if (f && fclose(f) != 0 && r == 0)
		r = -errno;
	return r;
}

int main(int argc, char **argv)
{
	bool nested = argc > 1 && strcmp(argv[1], "nested") == 0;
	scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
	int r = ctx ? build(ctx, nested) : -ENOMEM;

	if (r == 0)
		r = export(ctx);
	if (ctx)
		seccomp_release(ctx);
	if (r == 0 && fflush(stdout) != 0)
		r = -errno;
	if (r < 0)
		(void)fprintf(stderr, "compiling the seccomp filter: %s\n", strerror(-r));
	return r < 0;
}
