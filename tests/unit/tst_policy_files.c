/* SPDX-License-Identifier: MIT */
/*
 * Tests of the policy's files: nsbox.conf, nsbox.conf.d in name order, users.d
 * for one user each. What may be trusted, what beats what, whom a mistake
 * concerns.
 */
#include "policy_test.h"

#include <errno.h>
#include <sys/stat.h>

static char dir[] = "/tmp/nsbox-tst-files.XXXXXX";

static const char *in_dir(const char *name)
{
	static char path[512];

	(void)snprintf(path, sizeof(path), "%s/%s", dir, name);
	return path;
}

static void put(const char *name, const char *text)
{
	write_file(in_dir(name), text);
}

static void take(const char *name)
{
	(void)remove(in_dir(name));
}

/* What the files answer to @subject and sshd: an error's sentence or "". */
static const char *ask_for(struct nsbox_subject subject, struct nsbox_decision *ret)
{
	static struct nsbox_error err;
	struct nsbox_policy *policy = NULL;
	int r = nsbox_policy_load(dir, &subject, &policy, &err);

	if (!r)
		r = nsbox_policy_decide(policy, &subject, "sshd", NULL, 0, ret, &err);
	nsbox_policy_free(policy);
	return r < 0 ? err.msg : "";
}

static const char *ask(struct nsbox_decision *ret)
{
	return ask_for(alice(), ret);
}

static const char *refusal_of(const char *name)
{
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { 0 };
	const char *msg;

	subject.name = name;
	subject.uid = !strcmp(name, "alice") ? 1000 : 1001;
	msg = ask_for(subject, &d);
	nsbox_decision_free(&d);
	return msg;
}

static uint64_t pids(const char *name)
{
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { 0 };
	uint64_t n;

	subject.name = name;
	subject.uid = !strcmp(name, "alice") ? 1000 : 1001;
	if (ask_for(subject, &d)[0])
		return 0;
	n = d.pids_max;
	nsbox_decision_free(&d);
	return n;
}

static void test_parts(void)
{
	struct nsbox_decision d = { 0 };

	put("nsbox.conf", "[defaults]\naction = box\npids_max = 11\npty_max = 11\n"
	    "[user alice]\ncpu_weight = 11\n[group staff]\npty_max = 12\n");
	EQ(pids("alice"), 11, "nsbox.conf alone");
	if (mkdir(in_dir("nsbox.conf.d"), 0755) < 0)
		exit(2);
	EQ(pids("alice"), 11, "an empty directory beside it");
	put("nsbox.conf.d/20-b.conf",
	    "[defaults]\npids_max = 20\n[user alice]\nno_new_privs = yes\n");
	put("nsbox.conf.d/10-a.conf", "[defaults]\npids_max = 10\nlinger = 5m\n");
	put("nsbox.conf.d/9.conf", "[defaults]\npids_max = 90\n[profile lab]\nshm_size = 1M\n");
	put("nsbox.conf.d/.30.conf", "nonsense");
	put("nsbox.conf.d/30.conf~", "nonsense");
	put("nsbox.conf.d/30.conf.dpkg-new", "nonsense");
	put("nsbox.conf.d/README", "nonsense");
	IS(ask(&d), "", "files of which the last is named 9.conf");
	EQ(d.pids_max, 90, "in the order of the bytes: the last one wins");
	HAS(d.origin[NSBOX_KEY_PIDS_MAX].file, "/nsbox.conf.d/9.conf", "and is named");
	HAS(d.overrode[NSBOX_KEY_PIDS_MAX].file, "/nsbox.conf.d/20-b.conf", "with what it beat");
	EQ(d.linger_ms, 300000, "a key of another file");
	EQ(d.pty_max, 12, "a group beats the defaults of every file");
	OK(d.cpu_weight == 11 && d.no_new_privs, "two sections of one user in two files");
	nsbox_decision_free(&d);
	put("nsbox.conf", "[defaults]\naction = box\n[user alice]\nprofile = lab\n");
	IS(ask(&d), "", "a profile of another file");
	EQ(d.shm_size, 1 << 20, "is found");
	HAS(d.origin[NSBOX_KEY_SHM_SIZE].section, "[profile lab] of [user alice]", "and named");
	nsbox_decision_free(&d);
	put("nsbox.conf.d/95.conf", "[profile lab]\nshm_size = 2M\n");
	IS(ask(&d), "", "a profile in two files");
	EQ(d.shm_size, 2 << 20, "the later one over the earlier");
	nsbox_decision_free(&d);
}

static void test_part_errors(void)
{
	put("nsbox.conf.d/99.conf", "[user bob]\nbogus = 1\n");
	IS(refusal_of("alice"), "", "another's mistake");
	HAS(refusal_of("bob"), "nsbox.conf.d/99.conf:2: unknown key \"bogus\"", "his mistake");
	put("nsbox.conf.d/99.conf", "[usr bob]\n");
	HAS(refusal_of("alice"), "nsbox.conf.d/99.conf:1: no section", "a bad header: everyone");
	put("nsbox.conf.d/99.conf", "pids_max = 20\n");
	HAS(refusal_of("alice"), "99.conf:1: \"pids_max = 20\" stands before the first section",
	    "keys above the first section: everyone");
	put("nsbox.conf.d/99.conf", "[defaults]\npids_max = 1\n");
	HAS(refusal_of("alice"), "99.conf:2: pids_max", "[defaults]: everyone");
	put("nsbox.conf.d/99.conf", "[user bob]\n[user bob]\n");
	IS(refusal_of("alice"), "", "another's section twice in one file");
	HAS(refusal_of("bob"), "99.conf:2: \"[user bob]\" is already at line 1", "his");
	put("nsbox.conf.d/99.conf", "");
	HAS(refusal_of("alice"), "99.conf is empty", "an empty file");
	take("nsbox.conf.d/99.conf");
}

static void test_part_trust(void)
{
	char real[256];

	put("nsbox.conf.d/99.conf", "[defaults]\n");
	(void)chmod(in_dir("nsbox.conf.d/99.conf"), 0666);
	HAS(refusal_of("alice"), "99.conf is writable by everyone", "a file everyone can write");
	take("nsbox.conf.d/99.conf");
	if (symlink("9.conf", in_dir("nsbox.conf.d/99.conf")) < 0)
		exit(2);
	HAS(refusal_of("alice"), "99.conf is a symbolic link", "a symbolic link");
	take("nsbox.conf.d/99.conf");
	if (mkfifo(in_dir("nsbox.conf.d/99.conf"), 0644) < 0)
		exit(2);
	HAS(refusal_of("alice"), "99.conf is not a regular file", "a fifo");
	take("nsbox.conf.d/99.conf");
	(void)chmod(in_dir("nsbox.conf.d"), 0775);
	HAS(refusal_of("alice"), "nsbox.conf.d is writable by its group",
	    "a directory its group can write");
	(void)chmod(in_dir("nsbox.conf.d"), 0755);
	if (geteuid() == 0 && chown(in_dir("nsbox.conf.d/9.conf"), 65534, 0) == 0)
		HAS(refusal_of("alice"), "9.conf belongs to uid 65534", "a file of another user");
	else
		SKIP("a file of another user", "needs root");
	take("nsbox.conf.d/9.conf");
	take("nsbox.conf.d/95.conf");
	(void)snprintf(real, sizeof(real), "%s/real", dir);
	if (rename(in_dir("nsbox.conf.d"), real) < 0 || symlink("real", in_dir("nsbox.conf.d")) < 0)
		exit(2);
	HAS(refusal_of("alice"), "nsbox.conf.d is a symbolic link", "a link as directory");
	take("nsbox.conf.d");
	put("nsbox.conf.d", "[defaults]\n");
	HAS(refusal_of("alice"), "nsbox.conf.d is not a directory", "a file as directory");
	take("nsbox.conf.d");
}

static void test_users(void)
{
	struct nsbox_decision d = { 0 };

	put("nsbox.conf", "[defaults]\naction = box\npids_max = 11\n[user alice]\npids_max = 12\n"
	    "[profile lab]\nshm_size = 1M\n");
	if (mkdir(in_dir("users.d"), 0755) < 0)
		exit(2);
	EQ(pids("alice"), 12, "without a file of hers");
	put("users.d/alice.conf", "# hers\npids_max = 33\nprofile = lab\n");
	IS(ask(&d), "", "keys without a section");
	EQ(d.pids_max, 33, "beat those of nsbox.conf");
	EQ(d.shm_size, 1 << 20, "with a profile of nsbox.conf beneath");
	EQ(d.origin[NSBOX_KEY_PIDS_MAX].line, 2, "the line");
	HAS(d.origin[NSBOX_KEY_PIDS_MAX].file, "/users.d/alice.conf", "the file");
	IS(d.origin[NSBOX_KEY_PIDS_MAX].section, "[user alice]", "the section it is as good as");
	nsbox_decision_free(&d);
	EQ(pids("bob"), 11, "bob does not care");
	put("users.d/alice.conf", "# hers\n\n[user  alice ]\npids_max = 34\n");
	EQ(pids("alice"), 34, "keys below her own section");
	put("users.d/alice.conf", "action = pass\n");
	put("users.d/.alice.conf", "nonsense\n");
	put("users.d/bob", "nonsense\n");
	EQ(pids("bob"), 11, "a file without .conf is nobody's");
	put("users.d/1000.conf", "pids_max = 35\n");
	IS(ask(&d), "", "a file of her number beside it");
	OK(d.pids_max == 35 && d.action == NSBOX_ACTION_PASS, "both count");
	nsbox_decision_free(&d);
	take("users.d/1000.conf");
	put("users.d/1001.conf", "pids_max = 36\n");
	EQ(pids("1000"), 36, "a user named 1000 has the file of his number");
	take("users.d/1001.conf");
}

static void user_error(const char *text, const char *want, const char *what)
{
	put("users.d/alice.conf", text);
	HAS(refusal_of("alice"), want, what);
	IS(refusal_of("bob"), "", "  ... bob does not care");
}

static void test_user_errors(void)
{
	user_error("bogus = 1\n", "users.d/alice.conf:1: unknown key \"bogus\"", "an unknown key");
	user_error("[user bob]\npids_max = 20\n", "alice.conf:1: this file is about alice: write "
		   "only his keys, and what concerns others into nsbox.conf",
		   "another user's section");
	user_error("[user alice]\n[defaults]\n", "alice.conf:2: this file is about",
		   "[defaults]");
	user_error("pids_max=20\n[group staff]\n", "alice.conf:2: this file", "a group");
	user_error("[profile x]\n", "alice.conf:1: this file", "a profile");
	user_error("[user 1000]\n", "alice.conf:1: this file",
		   "her number in the file of her name");
	user_error("pids_max=20\n\n[user alice]\n", "alice.conf:3: keys of the same user stand "
		   "above, at line 1", "keys above and below");
	user_error("[user alice]\n[user alice]\n", "alice.conf:2: \"[user alice]\" is already at",
		   "her section twice");
	user_error("[usr alice]\n", "alice.conf:1: no section", "a bad header");
	user_error("pids_max=20\npids_max=20\n", "alice.conf:2: pids_max is already at line 1",
		   "a key twice");
	user_error("", "alice.conf is empty", "an empty file");
	put("users.d/alice.conf", "pids_max = 20\n");
	(void)chmod(in_dir("users.d/alice.conf"), 0664);
	HAS(refusal_of("alice"), "alice.conf is writable by its group",
	    "a file its group can write");
	IS(refusal_of("bob"), "", "  ... bob does not care");
	take("users.d/alice.conf");
	if (symlink("/dev/null", in_dir("users.d/alice.conf")) < 0)
		exit(2);
	HAS(refusal_of("alice"), "alice.conf is a symbolic link", "a symbolic link");
	take("users.d/alice.conf");
	if (mkdir(in_dir("users.d/alice.conf"), 0755) < 0)
		exit(2);
	HAS(refusal_of("alice"), "alice.conf is not a regular file", "a directory");
	take("users.d/alice.conf");
	(void)chmod(in_dir("users.d"), 0777);
	HAS(refusal_of("bob"), "users.d is writable by everyone",
	    "a directory where everyone can write a file, or remove his: everyone");
	(void)chmod(in_dir("users.d"), 0755);
}

/* No name leads out of users.d, or to a file that is no policy. */
static void test_names(void)
{
	static const char *const names[] = {
		"../evil", "..", ".", "", "/evil", "sub/evil", ".evil", "users.d/../../evil",
	};
	struct nsbox_subject subject = alice();
	struct nsbox_decision d = { 0 };
	char longest[300];
	size_t i;

	put("evil.conf", "action = deny\n");
	put("users.d/.evil.conf", "action = deny\n");
	put("users.d/.conf", "action = deny\n");
	(void)mkdir(in_dir("users.d/sub"), 0755);
	put("users.d/sub/evil.conf", "action = deny\n");
	put("nsbox.conf", "[defaults]\naction = pass\n");
	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		subject.name = names[i];
		IS(ask_for(subject, &d), "", names[i]);
		EQ(d.action, NSBOX_ACTION_PASS, "  ... is no path");
		nsbox_decision_free(&d);
	}
	put("users.d/e\033[2J.conf", "nonsense\n");
	subject.name = "e\033[2J";
	HAS(ask_for(subject, &d), "users.d/e?[2J.conf:1: no \"=\"",
	    "a name that clears the screen");
	memset(longest, 'x', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	subject.name = longest;
	IS(ask_for(subject, &d), "", "a name longer than a file's has no file");
	nsbox_decision_free(&d);
}

/* What was left out for one must not be missing for another. */
static void test_subject(void)
{
	static const gid_t more[] = { 1000, 2000, 3000 };
	struct nsbox_subject subject = alice(), other = alice();
	struct nsbox_policy *policy = NULL;
	struct nsbox_decision d = { 0 };
	struct nsbox_error err = { 0 };

	put("nsbox.conf", "[user bob]\nhostnam = x\n\n[user alice]\naction = box\n[group 3000]\n"
	    "action = deny\n[user carol]\naction = deny\n");
	EQ(nsbox_policy_load(dir, &subject, &policy, &err), 0, "a policy read for alice");
	EQ(nsbox_policy_decide(policy, &subject, "su", NULL, 0, &d, &err), 0, "answers for her");
	OK(d.action == NSBOX_ACTION_BOX && d.origin[NSBOX_KEY_ACTION].line == 5,
	   "from her section, between two that were left out");
	nsbox_decision_free(&d);
	other.name = "carol";
	EQ(nsbox_policy_decide(policy, &other, "su", NULL, 0, &d, &err), -EINVAL, "not for carol");
	HAS(err.msg, "read for another user", "and says so");
	other = alice();
	other.uid = 1001;
	EQ(nsbox_policy_decide(policy, &other, "su", NULL, 0, &d, &err), -EINVAL, "another uid");
	other = alice();
	other.gids = more;
	other.group_names = NULL;
	other.n_groups = 3;
	EQ(nsbox_policy_decide(policy, &other, "su", NULL, 0, &d, &err), -EINVAL,
	   "nor for her with another group");
	nsbox_policy_free(policy);
}

/* A decision does not ask for any file but the user's own. */
static void test_many(void)
{
	char name[64];
	int i;

	for (i = 0; i < 1000; i++) {
		(void)snprintf(name, sizeof(name), "users.d/many%d.conf", i);
		put(name, i == 500 ? "pids_max = 500\n" : "nonsense\n");
	}
	EQ(pids("many500"), 500, "one of a thousand files, the others wrong");
	HAS(refusal_of("many501"), "many501.conf:1: no \"=\"", "its neighbour's owner is refused");
}

int main(void)
{
	char command[64];

	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		return 2;
	test_parts();
	test_part_errors();
	test_part_trust();
	test_users();
	test_user_errors();
	test_names();
	test_subject();
	test_many();
	(void)snprintf(command, sizeof(command), "rm -rf %s", dir);
	if (system(command) != 0)
		return 2;
	return test_done();
}
