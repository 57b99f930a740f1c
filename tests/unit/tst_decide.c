/* SPDX-License-Identifier: MIT */
/*
 * Tests of the decision: defaults, origins, hostile names, the shape of a box,
 * capabilities, the ends of every number, and the time that ten thousand users
 * cost. What a policy can say about whom is in the table: tst_policy_table.c.
 */
#include "policy_test.h"

#include <errno.h>
#include <linux/capability.h>
#include <time.h>

static void test_defaults(void)
{
	struct nsbox_decision d = { 0 };

	IS(answer("# nothing\n", &d), "", "a policy of comments");
	EQ(d.action, NSBOX_ACTION_PASS, "default action");
	EQ(d.scope, NSBOX_SCOPE_USER, "default scope");
	EQ(d.linger_ms, 10000, "default linger");
	IS(d.hostname, "alice", "default hostname");
	IS(d.rootfs, "host", "default rootfs");
	IS(d.shell_fallback, "/bin/sh", "default shell_fallback");
	EQ(d.idmap, NSBOX_IDMAP_AUTO, "default idmap");
	EQ(d.id_first, 524288, "default id_range, first");
	EQ(d.id_last, 1878982656, "default id_range, last");
	EQ(d.net, NSBOX_NET_NONE, "default net");
	EQ(d.pids_max, 512, "default pids_max");
	EQ(d.memory_percent, 50, "default memory_max");
	EQ(d.memory_max, 0, "no bytes beside a percentage");
	EQ(d.cpu_weight, 100, "default cpu_weight");
	EQ(d.pty_max, 64, "default pty_max");
	EQ(d.no_new_privs, false, "default no_new_privs");
	EQ(d.caps, 1U << CAP_CHOWN | 1U << CAP_DAC_OVERRIDE | 1U << CAP_DAC_READ_SEARCH |
	   1U << CAP_FOWNER | 1U << CAP_FSETID | 1U << CAP_KILL | 1U << CAP_SETGID |
	   1U << CAP_SETUID | 1U << CAP_SETPCAP | 1U << CAP_NET_BIND_SERVICE | 1U << CAP_NET_RAW |
	   1U << CAP_SYS_CHROOT | 1U << CAP_AUDIT_WRITE | 1U << CAP_SETFCAP, "default caps");
	IS(d.text[NSBOX_KEY_DENY_SERVICES], "systemd-user", "default deny_services");
	OK(!d.deny_message && !d.log_only && d.would == NSBOX_ACTION_PASS,
	   "default deny_message and log_only");
	EQ(d.rootfs_mode, NSBOX_ROOTFS_RO, "default rootfs_mode");
	OK(d.disk_max == NSBOX_LIMIT_NONE, "default disk_max");
	OK(d.home == NSBOX_HOME_BIND && !d.home_dir && !d.home_ro, "default home and home_mode");
	EQ(d.home_size, 1 << 30, "default home_size");
	EQ(d.n_bind + d.n_tmpfs + d.n_device + d.n_mask + d.n_env, 0, "default lists");
	EQ(d.tmp_size, 1 << 30, "default tmp_size");
	EQ(d.run_size, 64 << 20, "default run_size");
	EQ(d.shm_size, 256 << 20, "default shm_size");
	OK(d.nofile == NSBOX_NOFILE_CALLER && d.umask == NSBOX_UMASK_CALLER,
	   "default nofile and umask");
	OK(d.seccomp == NSBOX_SECCOMP_DEFAULT && !d.nested, "default seccomp and nested");
	OK(d.log == NSBOX_LOG_HOST && d.record_login, "default log and record_login");
	OK(!d.origin[NSBOX_KEY_NET].file, "a default has no file");
	IS(d.origin[NSBOX_KEY_NET].section, "built-in default", "but a name");
	IS(d.reason, "action = pass, built-in default", "the reason of a default");
	nsbox_decision_free(&d);
}

static void test_origins(void)
{
	static const char text[] = "[defaults]\npids_max = 100\n[group   staff ]\npids_max = 200\n"
				   "linger = 5m\n[user alice]\npids_max = 0300\n";
	static const char *const args[] = { "linger=0", "net=host" };
	struct nsbox_policy *policy = parse_bytes(text, sizeof(text) - 1);
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { .pids_max = 77 };
	struct nsbox_error err = { 0 };

	EQ(nsbox_policy_decide(policy, &subject, "su", args, 2, &d, &err), -EINVAL,
	   "0300 is not 300");
	EQ(d.pids_max, 77, "a failure leaves the result alone");
	nsbox_policy_free(policy);
	policy = parse_bytes(text, sizeof(text) - 7);
	EQ(nsbox_policy_decide(policy, &subject, "su", args, 2, &d, NULL), -EINVAL,
	   "no error wanted, none written");
	subject.uid = 1001;
	subject.name = "carol";
	EQ(nsbox_policy_decide(policy, &subject, "su", args, 2, &d, &err), 0, "carol is staff");
	nsbox_policy_free(policy);
	EQ(d.origin[NSBOX_KEY_PIDS_MAX].line, 4, "the line of the value in force");
	IS(d.origin[NSBOX_KEY_PIDS_MAX].section, "[group staff]", "its section, blanks put right");
	IS(d.overrode[NSBOX_KEY_PIDS_MAX].section, "[defaults]", "what it overrode");
	EQ(d.overrode[NSBOX_KEY_PIDS_MAX].line, 2, "and where that is");
	IS(d.origin[NSBOX_KEY_LINGER].file, "pam.d", "a pam.d argument");
	IS(d.overrode[NSBOX_KEY_LINGER].section, "[group staff]", "which overrode the group");
	OK(!d.overrode[NSBOX_KEY_NET].section, "a default is not called overridden");
	EQ(d.net, NSBOX_NET_HOST, "the second argument counts too");
	EQ(d.linger_ms, 0, "the first as well");
	nsbox_decision_free(&d);
}

/* The structs, which the table sees only as text. */
static void test_lists(void)
{
	struct nsbox_decision d = { 0 };

	IS(answer("[defaults]\naction = box\n"
		  "bind = //srv//x/./y/ /data:%h/d:ro,optional /b:noexec\n"
		  "tmpfs = /scratch /s2:64K\ntmp_size = 2M\ndevice = /dev/nvidia* /dev//fuse\n"
		  "mask = /opt/secret\nenv = A=b\\ c LANG=C\n", &d), "", "lists");
	EQ(d.n_bind, 3, "three binds");
	IS(d.bind[0].src, "/srv/x/y", "a plain source");
	IS(d.bind[0].dst, "/srv/x/y", "which is the place too");
	OK(!d.bind[0].ro && !d.bind[0].noexec && !d.bind[0].optional, "and rw");
	IS(d.bind[1].src, "/data", "a source");
	IS(d.bind[1].dst, "/home/alice/d", "and a place");
	OK(d.bind[1].ro && !d.bind[1].noexec && d.bind[1].optional, "with options");
	OK(!d.bind[2].ro && d.bind[2].noexec, "options without a place");
	EQ(d.n_tmpfs, 2, "two tmpfs");
	EQ(d.tmpfs[0].size, 2 << 20, "one as large as /tmp");
	EQ(d.tmpfs[1].size, 64 << 10, "one with a size");
	EQ(d.n_device, 2, "two devices");
	IS(d.device[0], "/dev/nvidia*", "a pattern");
	IS(d.device[1], "/dev/fuse", "a path");
	EQ(d.n_mask, 1, "one mask");
	IS(d.mask[0], "/opt/secret", "its path");
	EQ(d.n_env, 2, "two variables");
	IS(d.env[0], "A=b c", "a blank in one");
	IS(d.env[1], "LANG=C", "the other");
	IS(d.text[NSBOX_KEY_BIND], "/srv/x/y:/srv/x/y:rw /data:/home/alice/d:ro,optional "
	   "/b:/b:rw,noexec", "the text says what comes of it");
	IS(d.text[NSBOX_KEY_ENV], "A=b\\ c LANG=C", "and reads back as the same");
	nsbox_decision_free(&d);
}

/* A name with a blank, a colon or a comma in it stays inside its entry. */
static void test_list_names(void)
{
	static const char text[] = "[defaults]\naction=box\nhostname=x\nbind=/srv/%u:/mnt/%u:ro\n"
				   "env=WHO=%u\n";
	struct nsbox_policy *policy = parse_bytes(text, sizeof(text) - 1);
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { 0 };
	struct nsbox_error err = { 0 };

	subject.name = "a /etc:rw,b";
	EQ(nsbox_policy_decide(policy, &subject, "su", NULL, 0, &d, &err), -EINVAL, "a slash");
	subject.name = "a :b,c\\";
	EQ(nsbox_policy_decide(policy, &subject, "su", NULL, 0, &d, &err), 0, "an odd name");
	OK(d.n_bind == 1 && d.n_env == 1, "one entry each");
	IS(d.n_bind ? d.bind[0].src : NULL, "/srv/a :b,c\\", "the source");
	IS(d.n_bind ? d.bind[0].dst : NULL, "/mnt/a :b,c\\", "the place");
	OK(d.n_bind && d.bind[0].ro, "the option");
	IS(d.n_env ? d.env[0] : NULL, "WHO=a :b,c\\", "the variable");
	nsbox_decision_free(&d);
	nsbox_policy_free(policy);
}

static void test_log_only(void)
{
	struct nsbox_decision d = { 0 };

	IS(answer("[defaults]\naction = box\nlog_only = yes\n", &d), "", "log_only");
	EQ(d.action, NSBOX_ACTION_PASS, "does nothing");
	EQ(d.would, NSBOX_ACTION_BOX, "knows what it would");
	HAS(d.reason, "log_only, would box: action = box in [defaults]", "and says it");
	nsbox_decision_free(&d);
	IS(answer("[defaults]\naction = box\nlog_only = yes\nrootfs_mode = ephemeral\n", &d), "",
	   "log_only of a box that cannot be");
	EQ(d.action, NSBOX_ACTION_PASS, "passes");
	HAS(d.reason, "log_only, would refuse: ", "and says that it would be refused");
	HAS(d.reason, "nsbox.conf:4: rootfs_mode", "and why");
	nsbox_decision_free(&d);
	IS(answer("[defaults]\naction = deny\ndeny_message = %u: ask %% at %h\n", &d), "",
	   "deny_message");
	IS(d.deny_message, "alice: ask % at /home/alice", "is expanded");
	EQ(d.would, NSBOX_ACTION_DENY, "deny");
	nsbox_decision_free(&d);
}

static const char *argument_error(const char *arg)
{
	static struct nsbox_error err;
	struct nsbox_policy *policy = parse_bytes("[defaults]\n", 11);
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { 0 };
	int r;

	r = nsbox_policy_decide(policy, &subject, "su", &arg, 1, &d, &err);
	nsbox_decision_free(&d);
	nsbox_policy_free(policy);
	return r == -EINVAL ? err.msg : "accepted";
}

static void test_odd_arguments(void)
{
	static const char start[] = "rootfs=/";
	char text[NSBOX_LINE_MAX + 2];

	HAS(argument_error("rootfs=/a\nb"), "pam.d argument \"rootfs=/a?b\": ", "a newline");
	HAS(argument_error("rootfs=/\xff"), "pam.d argument \"rootfs=/?\": ", "not UTF-8");
	memset(text, 'x', sizeof(text) - 1);
	memcpy(text, start, sizeof(start) - 1);
	text[sizeof(text) - 1] = '\0';
	HAS(argument_error(text), "xxx...\": too long", "an argument of 4097 bytes");
	text[NSBOX_LINE_MAX] = '\0';
	IS(argument_error(text), "accepted", "an argument of 4096 bytes");
}

/* The name service may list a group twice, and a section may be found by name and number. */
static void test_group_twice(void)
{
	static const char text[] = "[group staff]\npids_max = 20\n";
	static const gid_t gids[] = { 2000, 1000, 2000 };
	static const char *const names[] = { "staff", "alice", "staff" };
	struct nsbox_policy *policy = parse_bytes(text, sizeof(text) - 1);
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { 0 };

	subject.gids = gids;
	subject.group_names = names;
	subject.n_groups = 3;
	EQ(nsbox_policy_decide(policy, &subject, "su", NULL, 0, &d, NULL), 0, "staff twice");
	EQ(d.pids_max, 20, "the section counts");
	OK(!d.overrode[NSBOX_KEY_PIDS_MAX].section, "once: it does not override itself");
	nsbox_decision_free(&d);
	nsbox_policy_free(policy);
}

static void test_host(void)
{
	char host[65] = "";
	struct nsbox_decision d = { 0 };

	if (gethostname(host, sizeof(host)) < 0 || strlen(host) > 60) {
		SKIP("%H is the host's name", "it is too long");
		return;
	}
	IS(answer("[defaults]\naction = box\nhostname = b-%H\nrootfs = /srv/%H\n", &d), "", "%H");
	IS(d.hostname + 2, host, "%H in the hostname is the host's name");
	IS(d.rootfs ? d.rootfs + 5 : NULL, host, "%H in a path is the host's name");
	nsbox_decision_free(&d);
}

/* Names that the name service may give, whether or not useradd would take them. */
static const char *rootfs_of(const char *name, const char *text)
{
	static struct nsbox_error err;
	struct nsbox_policy *policy = parse_bytes(text, strlen(text));
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { 0 };
	static char rootfs[256];
	int r;

	subject.name = name;
	r = nsbox_policy_decide(policy, &subject, "sshd", NULL, 0, &d, &err);
	(void)snprintf(rootfs, sizeof(rootfs), "%s", r < 0 ? err.msg : d.rootfs);
	nsbox_decision_free(&d);
	nsbox_policy_free(policy);
	return rootfs;
}

static void test_hostile_names(void)
{
	static const char box[] = "[defaults]\naction = box\nhostname = x\nrootfs = /srv/%u\n";
	static const char pass[] = "[defaults]\nrootfs = /srv/%u\n";

	IS(rootfs_of("bob", box), "/srv/bob", "a plain name in a path");
	HAS(rootfs_of("..", box), ":4: rootfs = \"/srv/%u\": %u is \"..\"", "a user called ..");
	HAS(rootfs_of(".", box), "which no path can contain", "a user called .");
	HAS(rootfs_of("a/../../etc", box), "which no path can contain", "a user with slashes");
	HAS(rootfs_of("", box), "which no path can contain", "a user without a name");
	HAS(rootfs_of("a\nb", box), "%u is \"a?b\"", "a user with a newline");
	IS(rootfs_of("a b@corp", box), "/srv/a b@corp", "a blank and an @ are names");
	IS(rootfs_of("..", pass), "/srv/%u", "a user who is passed is passed, whatever his name");
}

/* Two logins with these lines and subjects: is the box the same? */
static bool same_shape(const char *a, const struct nsbox_subject *sa, const char *b,
		       const struct nsbox_subject *sb)
{
	const char *texts[2] = { a, b };
	const struct nsbox_subject *subjects[2] = { sa, sb };
	char *shape[2] = { NULL, NULL }, text[200];
	bool same;
	int i;

	for (i = 0; i < 2; i++) {
		struct nsbox_decision d = { 0 };
		struct nsbox_policy *policy;

		(void)snprintf(text, sizeof(text), "[defaults]\naction=box\n%s\n", texts[i]);
		policy = parse_bytes(text, strlen(text));
		if (!nsbox_policy_decide(policy, subjects[i], "sshd", NULL, 0, &d, NULL))
			shape[i] = nsbox_decision_shape(&d, subjects[i]);
		nsbox_decision_free(&d);
		nsbox_policy_free(policy);
	}
	same = shape[0] && shape[1] && !strcmp(shape[0], shape[1]);
	if (!shape[0] || !shape[1])
		OK(false, "a shape of %s and of %s", a, b);
	free(shape[0]);
	free(shape[1]);
	return same;
}

static void test_shape_keys(void)
{
	static const char *const differ[] = {
		"scope=session", "hostname=x", "rootfs=/x", "shell_fallback=none", "idmap=keep",
		"id_range=600000-900000", "net=host", "pids_max=11", "memory_max=none",
		"memory_max=51%", "cpu_weight=1", "pty_max=1", "caps=-CHOWN", "no_new_privs=yes",
		"rootfs=/x\nrootfs_mode=ephemeral", "disk_max=1G", "home=tmpfs", "home=/x/%u",
		"home_mode=ro", "home_size=1M", "bind=/x", "tmpfs=/x", "device=/dev/fuse",
		"mask=/x",
		"tmp_size=1M", "run_size=1M", "shm_size=1M", "nofile=99", "umask=022",
		"seccomp=off", "nested=yes", "env=A=b", "log=none", "record_login=no",
		"net=bridge", "net=join:bob", "net=join:/run/netns/x", "address=10.88.0.2",
		"publish=1:1", "egress=none", "bandwidth=1mbit", "dns=none",
	};
	static const char *const equal[] = {
		"linger=0", "services=sshd,su", "deny_services=none", "hostname=%u",
		"memory_max=50%", "caps=+chown", "hostname=alice", "id_range=524288-1878982656",
		"deny_message=no", "log_only=no", "bind=none", "tmp_size=1024M", "umask=caller",
	};
	struct nsbox_subject s = alice();
	size_t i;

	for (i = 0; i < sizeof(differ) / sizeof(differ[0]); i++)
		OK(!same_shape("", &s, differ[i], &s), "%s makes another box", differ[i]);
	for (i = 0; i < sizeof(equal) / sizeof(equal[0]); i++)
		OK(same_shape("", &s, equal[i], &s), "%s makes the same box", equal[i]);
	OK(same_shape("memory_max=2G", &s, "memory_max=2048m", &s), "2G is 2048m");
	OK(same_shape("bind=/x", &s, "bind=//x/.:/x/:rw", &s), "a bind has one spelling");
	OK(!same_shape("bind=/x", &s, "bind=/x:ro", &s), "ro is not rw");
	OK(!same_shape("bind=/x:optional", &s, "bind=/x", &s), "optional shapes");
	OK(!same_shape("mask=/x\\ /y", &s, "mask=/x /y", &s), "a blank does not make two of one");
	OK(same_shape("tmpfs=/x", &s, "tmpfs=/x:1G", &s), "a tmpfs of the default size");
	OK(same_shape("net=bridge", &s, "net=bridge:default", &s), "bridge is bridge:default");
	OK(!same_shape("net=bridge", &s, "net=bridge\n[network default]\nmtu=1400", &s),
	   "the network shapes the box");
	OK(same_shape("bandwidth=1mbit", &s, "bandwidth=1000kbit/1mbit", &s), "1mbit is 1000kbit");
	OK(same_shape("umask=0022", &s, "umask=022", &s), "0022 is 022");
	OK(same_shape("caps=KILL,CHOWN", &s, "caps=cap_chown cap_kill", &s), "caps have an order");
}

static void test_shape_subject(void)
{
	static const gid_t turned[] = { 2000, 1000, 2000 }, more[] = { 1000, 2000, 3 };
	static const char *const turned_names[] = { "staff", "alice", "staff" };
	static const char *const renamed[] = { "alice", "admin" };
	static const char *const unnamed[] = { "alice", NULL };
	static const char *const forged[] = { "alice\ngroup 2000 =staff" };
	struct nsbox_subject s = alice(), t = alice();

	t.gids = turned;
	t.group_names = turned_names;
	t.n_groups = 3;
	OK(same_shape("", &s, "", &t), "groups in another order, and twice");
	t.gids = more;
	t.group_names = NULL;
	OK(!same_shape("", &s, "", &t), "another group");
	t = alice();
	t.group_names = renamed;
	OK(!same_shape("", &s, "", &t), "a group of another name");
	t.group_names = unnamed;
	OK(!same_shape("", &s, "", &t), "a group without a name");
	t.group_names = forged;
	t.n_groups = 1;
	OK(!same_shape("", &s, "", &t), "a group's name that imitates another line");
	t = alice();
	t.uid = 1001;
	OK(!same_shape("", &s, "", &t), "another uid");
	t = alice();
	t.gid = 2000;
	OK(!same_shape("", &s, "", &t), "another primary group");
	t = alice();
	t.home = "/home/alice2";
	OK(!same_shape("", &s, "", &t), "another home");
	t = alice();
	t.shell = "/bin/sh";
	OK(!same_shape("", &s, "", &t), "another shell");
	t = alice();
	t.name = "alias";
	OK(!same_shape("hostname=x", &s, "hostname=x", &t), "another name for the same uid");
}

static void test_caps(void)
{
	static const unsigned int never[] = {
		CAP_SYS_ADMIN, CAP_SYS_MODULE, CAP_SYS_RAWIO, CAP_SYS_RESOURCE, CAP_SYS_BOOT,
		CAP_MAC_ADMIN, CAP_MAC_OVERRIDE, CAP_PERFMON, CAP_BPF,
	};
	uint64_t caps, all = 0, refused = 0;
	unsigned int i, wrong = 0;
	struct nsbox_error err;
	char text[1024];

	for (i = 0; i < sizeof(never) / sizeof(never[0]); i++)
		refused |= UINT64_C(1) << never[i];
	for (i = 0; i <= CAP_LAST_CAP && i < 64; i++) {
		nsbox_caps_print(UINT64_C(1) << i, text, sizeof(text));
		if (nsbox_caps_parse(text, &caps, &err) < 0)
			caps = !strstr(err.msg, " is never given: ");
		else
			caps = caps != UINT64_C(1) << i || refused >> i & 1;
		wrong += caps != 0;
		all |= UINT64_C(1) << i;
	}
	EQ(wrong, 0, "every capability of the kernel's header can be given, or is refused");
	EQ(__builtin_popcountll(refused), 9, "nine are refused");
	nsbox_caps_print(all, text, sizeof(text));
	HAS(text, "CHOWN DAC_OVERRIDE", "all of them in one text, the first");
	HAS(text, " BPF CHECKPOINT_RESTORE", "and the last");
	for (i = 0; i < sizeof(never) / sizeof(never[0]); i++) {
		nsbox_caps_print(UINT64_C(1) << never[i], text + 1, sizeof(text) - 1);
		text[0] = '+';
		caps = 5;
		OK(nsbox_caps_parse(text, &caps, &err) == -EINVAL && caps == 5,
		   "%s is refused", text);
		text[0] = '-';
		OK(nsbox_caps_parse(text, &caps, &err) == 0 && caps == 5, "%s is idle", text);
	}
}

static void test_numbers(void)
{
	HAS(error_of("[defaults]\nlinger = 18446744073709551617s\n"), "write a time", "2^64 + 1 s");
	HAS(error_of("[defaults]\nlinger = 213503982334601d\n"), "at most 3650d",
	    "2^64 ms in days");
	HAS(error_of("[defaults]\nmemory_max = 16777216T\n"), "no machine has that much", "2^64");
	HAS(error_of("[defaults]\nmemory_max = 9223372036854775808\n"), "no machine", "2^63");
	IS(error_of("[defaults]\nmemory_max = 8388607T\n"), "", "just below 2^63");
	HAS(error_of("[defaults]\npids_max = 18446744073709551636\n"), "from 10", "2^64 + 20");
	HAS(error_of("[defaults]\nid_range = 65536-4295098368\n"), "write numbers", "2^32 + 2^17");
	IS(error_of("[defaults]\nid_range = 65536-132095\n"), "", "exactly one block");
	HAS(error_of("[defaults]\nid_range = 65536-132094\n"), "takes 66560 ids", "one id too few");
	HAS(error_of("[defaults]\nid_range = 65535-200000\n"), "write numbers",
	    "the host's own ids");
	HAS(error_of("[defaults]\nid_range = 65536-4294967295\n"), "write numbers", "(uid_t)-1");
	HAS(error_of("[defaults]\nid_range = 900000-600000\n"), "longer range", "backwards");
}

/* Every section is found again, whatever lies beside it in the hash, and only its own kind. */
static void test_many(void)
{
	char *text = NULL, name[16];
	const char *names[1] = { name };
	struct nsbox_subject subject = alice();
	unsigned int wrong = 0, i;
	struct nsbox_policy *policy;
	size_t size = 0;
	FILE *f = open_memstream(&text, &size);

	for (i = 0; f && i < 3000; i++)
		(void)fprintf(f, "[group n%u]\npids_max = %u\n[user n%u]\npty_max = %u\n", i,
			      10 + i, i, 1 + i);
	if (!f || fclose(f) != 0)
		exit(2);
	policy = parse_bytes(text, size);
	subject.group_names = names;
	subject.n_groups = 1;
	subject.name = name;
	for (i = 0; policy && i < 3000; i++) {
		struct nsbox_decision d = { 0 };

		(void)snprintf(name, sizeof(name), "n%u", i);
		wrong += nsbox_policy_decide(policy, &subject, "su", NULL, 0, &d, NULL) < 0 ||
			 d.pids_max != 10 + i || d.pty_max != 1 + i;
		nsbox_decision_free(&d);
	}
	EQ(wrong, 0, "3,000 users and 3,000 groups of the same names");
	nsbox_policy_free(policy);
	free(text);
}

static double milliseconds(void)
{
	struct timespec t;

	/* Our own time: a busy machine must not fail the test. */
	(void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static bool is_instrumented(void)
{
	const char *preload = getenv("LD_PRELOAD");

#ifdef __SANITIZE_ADDRESS__
	return true;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
	return true;
#endif
#endif
	return preload && strstr(preload, "vgpreload");
}

static void test_speed(void)
{
	struct nsbox_subject subject = alice();
	double best_load = 1e9, best_decide = 1e9, a, b, c;
	char dir[] = "/tmp/nsbox-tst-policy.XXXXXX", file[64];
	struct nsbox_policy *policy = NULL;
	struct nsbox_decision d = { 0 };
	FILE *f;
	int i;

	if (!mkdtemp(dir))
		exit(2);
	(void)snprintf(file, sizeof(file), "%s/%s", dir, NSBOX_POLICY_FILE);
	write_file(file, "");
	f = fopen(file, "we");
	for (i = 0; f && i < 10000; i++)
		(void)fprintf(f, "[user user%d]\naction = box\npids_max = %d\n\n", i, 100 + i);
	if (!f || fclose(f) != 0)
		exit(2);
	subject.name = "user9999";
	for (i = 0; i < 20; i++) {
		a = milliseconds();
		if (nsbox_policy_load(dir, &subject, &policy, NULL) < 0)
			break;
		b = milliseconds();
		if (nsbox_policy_decide(policy, &subject, "sshd", NULL, 0, &d, NULL) < 0)
			break;
		c = milliseconds();
		best_load = b - a < best_load ? b - a : best_load;
		best_decide = c - b < best_decide ? c - b : best_decide;
		EQ(d.pids_max, 10099, "the last of 10,000 users");
		nsbox_decision_free(&d);
		nsbox_policy_free(policy);
	}
	(void)printf("# 10,000 users: load %.3f ms, decide %.3f ms\n", best_load, best_decide);
	OK(best_load + best_decide < (is_instrumented() ? 100 : 5),
	   "10,000 users: load and decide under 5 ms (100 ms with a sanitizer)");
	(void)unlink(file);
	(void)rmdir(dir);
}

int main(void)
{
	test_defaults();
	test_origins();
	test_lists();
	test_list_names();
	test_log_only();
	test_odd_arguments();
	test_group_twice();
	test_host();
	test_hostile_names();
	test_shape_keys();
	test_shape_subject();
	test_caps();
	test_numbers();
	test_many();
	test_speed();
	return test_done();
}
