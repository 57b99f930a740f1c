/* SPDX-License-Identifier: MIT */
/*
 * Times nsbox-net and its floor, as a keeper starts them: from the fork to the
 * answer. In network, mount and pid namespaces of its own. Prints one line for each round.
 *
 *	nettime NSBOX-NET FLOOR pairs ROUNDS	one after the other, nothing else there
 *	nettime NSBOX-NET FLOOR many BOXES	boxes that stay: the first, ..., the last;
 *						each time and then processor time
 *	nettime NSBOX-NET FLOOR cycle BOXES	made and ended: what is left, as counts
 *	nettime NSBOX-NET FLOOR together BOXES	all at once: the addresses of each
 */
#include "bench.h"
#include "request.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static const char *program, *floor_program;
static int host_ns;
static double cpu_us;	/* processor time of the last that was run */

static int make_namespace(void)
{
	int fd;

	if (unshare(CLONE_NEWNET) < 0)
		die("unshare");
	fd = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(host_ns, CLONE_NEWNET) < 0)
		die("setns");
	return fd;
}

/* Starts @argv with descriptors 3 to 5 and waits for its answer; us. */
static double run(char *const argv[], int request, int ns, void *answer, size_t size)
{
	double before = now_us(), after;
	int pair[2], status;
	struct rusage used;
	pid_t pid;

	if (pipe2(pair, O_CLOEXEC) < 0)
		die("pipe");
	pid = fork();
	if (pid == 0) {
		int fds[3] = { request, pair[1], ns };

		for (int i = 0; i < 3; i++)
			fds[i] = fds[i] < 0 ? -1 : fcntl(fds[i], F_DUPFD_CLOEXEC, 16);
		for (int i = 0; i < 3; i++)
			if (fds[i] >= 0)
				dup2(fds[i], 3 + i);
		execve(argv[0], argv, (char *[]){ NULL });
		_exit(127);
	}
	close(pair[1]);
	if (read(pair[0], answer, size) != (ssize_t)size) {
		fprintf(stderr, "%s gave no answer\n", argv[0]);
		exit(1);
	}
	after = now_us();
	close(pair[0]);
	wait4(pid, &status, 0, &used);
	cpu_us = (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * 1e6 +
		 (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
	return after - before;
}

static void prefix(struct nsbox_prefix *p, int family, const char *text, unsigned int length)
{
	p->address.family = family;
	p->length = length;
	inet_pton(family, text, p->address.bytes);
}

static struct nsbox_net_reply reply;

static double ask(enum nsbox_net_op op, unsigned int number, int ns)
{
	struct nsbox_net_request r = {
		.version = NSBOX_NET_VERSION, .op = op, .keeper = (int)getpid(), .uid = 1000 + number,
		.network = { .name = "default", .bridge = "nsbox0", .isolate = true, .nat = true },
	};
	char *argv[] = { (char *)(uintptr_t)program, NULL };
	int memory = memfd_create("request", MFD_CLOEXEC);
	double us;

	prefix(&r.network.subnet, AF_INET, "10.88.0.0", 16);
	prefix(&r.network.subnet6, AF_INET6, "fd00:88::", 64);
	snprintf(r.box, sizeof(r.box), "%u-%08x", 1000 + number, number);
	snprintf(r.hostname, sizeof(r.hostname), "box");
	if (write(memory, &r, sizeof(r)) != sizeof(r))
		die("memfd");
	us = run(argv, memory, ns, &reply, sizeof(reply));
	close(memory);
	if (reply.err.code) {
		fprintf(stderr, "%s\n", reply.err.msg);
		exit(1);
	}
	return us;
}

static double bare(const char *what, unsigned int number, int ns)
{
	char text[16], byte;
	char *argv[] = { (char *)(uintptr_t)floor_program, (char *)(uintptr_t)what, text,
			 (char *)(uintptr_t)"nsbox0", NULL };

	snprintf(text, sizeof(text), "%u", number);
	return run(argv, -1, ns, &byte, 1);
}

/* Without what the last one's end still does in the kernel. */
static void settle(void)
{
	usleep(30000);
}

static void pairs(unsigned int rounds)
{
	int standing = make_namespace();

	ask(NSBOX_NET_ADD, 9999, standing);	/* the bridge and the frame are there */
	for (unsigned int i = 0; i < rounds; i++) {
		int a = make_namespace(), b = make_namespace();
		double us, floor_us;

		settle();
		floor_us = i % 2 ? bare("add", i, a) : 0;
		us = ask(NSBOX_NET_ADD, i, b);
		if (i % 2 == 0)
			floor_us = bare("add", i, a);
		printf("%.0f %.0f\n", us, floor_us);
		ask(NSBOX_NET_REMOVE, i, -1);
		bare("remove", i, -1);
		close(a);
		close(b);
	}
}

static void many(unsigned int boxes)
{
	for (unsigned int i = 0; i < boxes; i++) {
		int ns = make_namespace();
		double us;

		/* The namespace stays open. The floor tells what of it is the kernel's own. */
		us = ask(NSBOX_NET_ADD, i, ns);
		printf("%.0f %.0f", us, cpu_us);
		ns = make_namespace();
		us = bare("add", i, ns);
		printf(" %.0f %.0f\n", us, cpu_us);
		bare("remove", i, -1);
		close(ns);
	}
}

static unsigned int lines(const char *command)
{
	FILE *f = popen(command, "r");
	unsigned int n = 0;

	for (int c; (c = getc(f)) != EOF;)
		n += c == '\n';
	pclose(f);
	return n;
}

static void count(void)
{
	printf("%u links, %u lines of rules, %u routes, %u neighbours, %u card table, %u qdiscs\n",
	       lines("ip -o link"), lines("nft list ruleset"),
	       lines("ip route show table all; ip -6 route show table all"),
	       lines("ip neighbour show nud permanent"), lines("bridge fdb"), lines("tc qdisc"));
}

static void cycle(unsigned int boxes)
{
	for (unsigned int i = 0; i <= boxes; i++) {
		int ns = make_namespace();

		ask(NSBOX_NET_ADD, i, ns);
		ask(NSBOX_NET_REMOVE, i, -1);
		close(ns);
		if (i == 0)
			count();
	}
	count();
}

/* As many keepers as boxes, which all begin when the pipe is closed. */
static void together(unsigned int boxes)
{
	int gate[2], status;
	unsigned int failed = 0;

	if (pipe(gate) < 0)
		die("pipe");
	for (unsigned int i = 0; i < boxes; i++) {
		char byte;

		if (fork() != 0)
			continue;
		int ns = make_namespace();

		close(gate[1]);
		if (read(gate[0], &byte, 1) != 0)
			_exit(1);
		ask(NSBOX_NET_ADD, i, ns);
		printf("%s %s\n", reply.address, reply.address6);
		exit(0);
	}
	close(gate[1]);
	while (wait(&status) > 0)
		failed += status != 0;
	if (failed)
		exit(1);
}

int main(int argc, char **argv)
{
	unsigned int n;

	if (argc != 5)
		return 2;
	program = argv[1];
	floor_program = argv[2];
	n = (unsigned int)strtoul(argv[4], NULL, 10);
	if (unshare(CLONE_NEWNET | CLONE_NEWNS) < 0 ||
	    mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("nettime", "/run", "tmpfs", 0, NULL) < 0 || mkdir("/run/nsbox", 0700) < 0)
		die("a host of its own");
	host_ns = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (strcmp(argv[3], "pairs") == 0)
		pairs(n);
	else if (strcmp(argv[3], "many") == 0)
		many(n);
	else if (strcmp(argv[3], "together") == 0)
		together(n);
	else
		cycle(n);
	return 0;
}
