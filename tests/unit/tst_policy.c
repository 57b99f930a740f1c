/* SPDX-License-Identifier: MIT */
/*
 * Tests of reading a policy: files that may not be trusted, odd bytes and
 * lengths, and that every sentence about an error is fit to be shown.
 */
#include "policy_test.h"

#include <errno.h>
#include <fcntl.h>

static void load_fails(const char *dir, int code, const char *part, const char *what)
{
	struct nsbox_policy *policy = NULL;
	struct nsbox_error err = { 0 };

	EQ(nsbox_policy_load(dir, NULL, &policy, &err), -code, what);
	HAS(err.msg, part, "  ... and says so");
	OK(!policy && strlen(err.msg) < NSBOX_ERROR_MAX - 1, "  ... within 255 bytes, no policy");
	nsbox_policy_free(policy);
}

static void test_owner(const char *dir, const char *file)
{
	if (geteuid() != 0) {
		SKIP("a file of another user", "needs root");
		return;
	}
	if (chown(file, 65534, 0) < 0)
		exit(2);
	load_fails(dir, EPERM, "belongs to uid 65534", "a file of another user");
	if (chown(file, 0, 0) < 0 || chown(dir, 65534, 0) < 0)
		exit(2);
	load_fails(dir, EPERM, "belongs to uid 65534", "a directory of another user");
	if (chown(dir, 0, 0) < 0)
		exit(2);
}

static void test_modes(const char *dir, const char *file)
{
	(void)chmod(file, 0664);
	load_fails(dir, EPERM, "writable by its group", "a file its group can write");
	(void)chmod(file, 0646);
	load_fails(dir, EPERM, "writable by everyone", "a file everyone can write");
	(void)chmod(file, 0644);
	(void)chmod(dir, 0775);
	load_fails(dir, EPERM, "writable by its group", "a directory its group can write");
	(void)chmod(dir, 01777);
	load_fails(dir, EPERM, "writable by everyone", "a directory like /tmp");
	(void)chmod(dir, 0755);
}

static void test_kinds(const char *dir, const char *file)
{
	char link[96], deep[600];

	(void)snprintf(link, sizeof(link), "%s/link", dir);
	if (rename(file, link) < 0 || symlink("link", file) < 0)
		exit(2);
	load_fails(dir, ELOOP, "symbolic link", "a symbolic link as policy");
	(void)unlink(file);
	(void)unlink(link);
	load_fails(dir, ENOENT, "create it", "no file");
	if (symlink(".", link) < 0)
		exit(2);
	load_fails(link, ELOOP, "symbolic link", "a symbolic link as directory");
	(void)unlink(link);
	if (mkfifo(file, 0644) < 0)
		exit(2);
	load_fails(dir, EPERM, "not a regular file", "a fifo: no waiting for a writer");
	(void)unlink(file);
	if (mkdir(file, 0755) < 0)
		exit(2);
	load_fails(dir, EPERM, "not a regular file", "a directory as policy");
	(void)rmdir(file);
	load_fails("/nonexistent", ENOENT, "create it", "no directory");
	load_fails("/dev/null", ENOTDIR, "not a directory", "a device as directory");
	memset(deep, 'x', sizeof(deep));
	memcpy(deep, "/tmp/\033[31m\n", 11);
	deep[sizeof(deep) - 1] = '\0';
	load_fails(deep, ENAMETOOLONG, "File name too long", "a name too long to show");
}

static void test_contents(const char *dir, const char *file)
{
	struct nsbox_policy *policy = NULL;
	struct nsbox_subject subject = alice();
	struct nsbox_decision d;
	struct nsbox_error err;
	char slashes[96];

	write_file(file, "");
	load_fails(dir, EINVAL, "is empty", "an empty file, as an editor leaves it for a moment");
	if (truncate(file, (off_t)NSBOX_POLICY_BYTES_MAX + 1) < 0)
		exit(2);
	load_fails(dir, EFBIG, "larger than 16 MiB", "a file that is no policy");
	write_file(file, "[user alice]\naction = box\n");
	(void)snprintf(slashes, sizeof(slashes), "%s//", dir);
	EQ(nsbox_policy_load(slashes, &subject, &policy, &err), 0, "a good file loads");
	if (!policy)
		return;
	EQ(nsbox_policy_decide(policy, &subject, "sshd", NULL, 0, &d, &err), 0, "and answers");
	nsbox_policy_free(policy);
	EQ(d.action, NSBOX_ACTION_BOX, "box, as it says");
	IS(d.origin[NSBOX_KEY_ACTION].file, file, "the file's name, after the policy is freed");
	nsbox_decision_free(&d);
	nsbox_decision_free(&d);
	nsbox_decision_free(NULL);
	nsbox_policy_free(NULL);
}

static void test_load(void)
{
	char dir[] = "/tmp/nsbox-tst-policy.XXXXXX", file[64];

	if (!mkdtemp(dir) || chmod(dir, 0755) < 0)
		exit(2);
	(void)snprintf(file, sizeof(file), "%s/%s", dir, NSBOX_POLICY_FILE);
	write_file(file, "[defaults]\n");
	test_owner(dir, file);
	test_modes(dir, file);
	test_kinds(dir, file);
	test_contents(dir, file);
	(void)unlink(file);
	(void)rmdir(dir);
}

/* --- bytes ----------------------------------------------------------------- */

static void test_bytes(void)
{
	static const char nul[] = "[user alice]\npids_max = 2\0000\n";
	static const char nul_header[] = "[user bob\0]\naction = box\n";
	struct nsbox_decision d = { 0 };

	HAS(answer_bytes(nul, sizeof(nul) - 1, &d), "nsbox.conf:2: a NUL byte", "a NUL in a value");
	HAS(answer_bytes(nul_header, sizeof(nul_header) - 1, &d), "nsbox.conf:1: a NUL byte",
	    "a NUL in a header concerns everyone");
	IS(answer("\xef\xbb\xbf[defaults]\r\naction = box\r\n\r\n# c\r\n[user alice]\r\n"
		  "hostname = lab\r", &d), "", "a BOM, CRLF, and a CR at the end");
	IS(d.hostname, "lab", "a value with CRLF is trimmed");
	nsbox_decision_free(&d);
	IS(answer("[defaults]\n\t action\t=\t box \t\n   # c = d\n\t;x\n \t\n", &d), "", "blanks");
	EQ(d.action, NSBOX_ACTION_BOX, "a value among blanks and tabs");
	nsbox_decision_free(&d);
	IS(answer("[user bob]\naction = deny\n \t [user alice] \n action = box\n"
		  "# [user bob]\n", &d), "",
	   "a header among blanks, and one that is a comment");
	EQ(d.action, NSBOX_ACTION_BOX, "begins a section like any other");
	nsbox_decision_free(&d);
	HAS(error_of("[defaults]\nhostname = a\rb\n"), ":2: a control character in \"hostname",
	    "a CR inside a line");
	HAS(error_of("[user alice]\n# \033[2K\n"), ":2: a control character in \"# ?[2K\"",
	    "an escape in a comment, shown as ?");
	HAS(error_of("[user alice]\n# a\xc2\x9b" "b\n"), "control character", "a C1 control");
	HAS(error_of("[user alice]\n# \x7f\n"), "control character", "a DEL");
	HAS(error_of("[user alice]\nrootfs = /\xe9t\xe9\n"), "is not UTF-8", "Latin-1");
	HAS(error_of("[user alice]\nrootfs = /\xc0\xaf\n"), "is not UTF-8", "an overlong slash");
	HAS(error_of("[user alice]\nrootfs = /\xed\xa0\x80\n"), "is not UTF-8", "a surrogate");
	HAS(error_of("[user alice]\nrootfs = /\xf4\x90\x80\x80\n"), "is not UTF-8", "U+110000");
	HAS(error_of("[user alice]\nrootfs = /\xe0\x80\xaf\n"), "is not UTF-8", "overlong, 3");
	HAS(error_of("[user alice]\nrootfs = /\xf0\x80\x80\xaf\n"), "is not UTF-8", "overlong, 4");
	HAS(error_of("[user alice]\nrootfs = /\xe2\x82x\n"), "is not UTF-8", "two of three bytes");
	HAS(error_of("[user alice]\nrootfs = /\xc3"), "is not UTF-8", "a character cut by the end");
	IS(error_of("[user alice]\nrootfs = /\xc3\xa9\xe2\x82\xac\xf0\x9f\x90\xa7\n"), "",
	   "characters of two, three and four bytes");
	IS(error_of("[user bob]\n\xff\n"), "", "bad bytes in another's section");
	HAS(error_of("[user bob\xff]\n"), ":1: ", "bad bytes in a header concern everyone");
}

static void test_line_length(void)
{
	char text[NSBOX_LINE_MAX + 64] = "[user alice]\n#";
	size_t head = strlen(text) - 1;

	memset(text + head, '#', NSBOX_LINE_MAX + 1);
	text[head + NSBOX_LINE_MAX] = '\n';
	IS(error_of(text), "", "a line of 4096 bytes");
	text[head + NSBOX_LINE_MAX] = '#';
	HAS(error_of(text), ":2: the line is longer than 4096 bytes", "a line of 4097 bytes");
	memcpy(text, "[user   bob]\n", 13);
	IS(error_of(text), "", "a line of 4097 bytes in another's section");
	memset(text, 'x', NSBOX_LINE_MAX + 1);
	memcpy(text, "[user ", 6);
	text[NSBOX_LINE_MAX] = ']';
	text[NSBOX_LINE_MAX + 1] = '\0';
	HAS(error_of(text), ":1: the line is longer", "a header that is too long: everyone");
}

/* --- sentences fit, whatever the input ------------------------------------- */

static void check_sentence(const struct nsbox_origin *where, const char *sentence, void *data)
{
	const unsigned char *s = (const unsigned char *)sentence;
	unsigned int *bad = data;
	size_t len = strlen(sentence);

	if (where && (!where->file || strcmp(where->file, "/etc/nsbox/nsbox.conf") != 0))
		++*bad;
	if (len >= NSBOX_ERROR_MAX - 1 || nsbox_text_check(sentence, len) != NSBOX_TEXT_GOOD)
		++*bad;
	for (; *s; s++)
		*bad += *s < 0x20;
	/* FILE:LINE: */
	if (strncmp(sentence, "/etc/nsbox/nsbox.conf:", 22) != 0 &&
	    strncmp(sentence, "...", 3) != 0)
		++*bad;
}

static const char everything[] =
	"[defaults]\naction = box\nservices = all\nlinger = 2h\nmemory_max = 2G\n"
	"[group staff]\ncaps = +NET_ADMIN -CAP_MKNOD\nid_range = 600000-900000\nnet = host\n"
	"[group 2000]\nscope = session\nidmap = shift\n"
	"[user alice]\nhostname = %u-%H\nrootfs = /srv/%u/%g\nshell_fallback = /bin/%U\n"
	"pids_max = 20\ncpu_weight = 7\npty_max = 8\nno_new_privs = yes\ndeny_services = a, b\n"
	"[user 1000]\naction = deny\n[user bob]\npids_max = 3\n";

/* One sentence per kind of mistake with text as long and as odd as it can be. */
static void test_sentences(void)
{
	unsigned int bad = 0, key, i;
	static const char *const odd[] = {
		"", "\033[2J", "\xc3\xa9\xc3\xa9", "\xff\xfe", "%u", "+",
	};
	char text[2 * NSBOX_LINE_MAX], filler[600];
	struct nsbox_policy *policy;

	for (i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		memset(filler, "x9-/ ="[i], sizeof(filler));
		filler[sizeof(filler) - 1] = '\0';
		for (key = 0; key <= NSBOX_KEY_COUNT; key++) {
			const char *name = key < NSBOX_KEY_COUNT ? nsbox_key_nth(key) : "x";

			(void)snprintf(text, sizeof(text),
				       "%s%s\n[%s%s\n[user %s%s]\n[user a]\n%s = %s%s\n%s%s = 5\n"
				       "%s\n[user a]\n", odd[i], filler, odd[i], filler, odd[i],
				       filler, name, odd[i], filler, name, filler, filler);
			policy = parse_bytes(text, strlen(text));
			if (!policy || !nsbox_policy_errors(policy, check_sentence, &bad))
				bad++;
			nsbox_policy_free(policy);
		}
	}
	EQ(bad, 0, "every sentence has file and line, fits and shows no control character");
}

static unsigned int next_random(unsigned int *state)
{
	*state = *state * 1103515245U + 12345U;
	return *state >> 16;
}

/* Bytes changed at random: no crash (under sanitizers), no sentence too long. */
static void test_mutations(void)
{
	static const char bytes[] = "[]=#;%\n\r\t \0" "09aZ/-+,.\"\x80\xc3\xff\033";
	unsigned int state = 2024, bad = 0, round, i;
	struct nsbox_subject subject = alice();
	char text[sizeof(everything)];

	for (round = 0; round < 20000; round++) {
		struct nsbox_decision d = { 0 };
		struct nsbox_policy *policy;
		struct nsbox_error err;

		memcpy(text, everything, sizeof(text));
		for (i = next_random(&state) % 4 + 1; i; i--)
			text[next_random(&state) % (sizeof(text) - 1)] =
				bytes[next_random(&state) % (sizeof(bytes) - 1)];
		policy = parse_bytes(text, sizeof(text) - 1);
		if (!policy)
			continue;
		(void)nsbox_policy_errors(policy, check_sentence, &bad);
		if (nsbox_policy_decide(policy, &subject, "sshd", NULL, 0, &d, &err) < 0)
			check_sentence(NULL, err.msg, &bad);
		nsbox_decision_free(&d);
		nsbox_policy_free(policy);
	}
	EQ(bad, 0, "20,000 damaged policies: every sentence is fit to be shown");
}

/* --- errors of the whole file ---------------------------------------------- */

struct sentences {
	char text[4096];
};

static void collect(const struct nsbox_origin *where, const char *sentence, void *data)
{
	struct sentences *all = data;
	size_t used = strlen(all->text);
	char place[64];

	/* "FILE:LINE: " in front, as where says it. */
	(void)snprintf(place, sizeof(place), "%s:%u: ", where->file, where->line);
	if (strncmp(sentence, place, strlen(place)) != 0)
		sentence = "another place";

	(void)snprintf(all->text + used, sizeof(all->text) - used, "%s\n", sentence);
}

static void test_errors(void)
{
	static const char text[] =
		"before = 1\n\n[user bob]\npids_max = 3\npids_max = 30\nbogus = 1\n[usr x]\n"
		"foo = 1\n[user bob]\nmemory_max = 1\n[defaults]\n[defaults]\nlinger = 1\n";
	struct nsbox_policy *policy = parse_bytes(text, sizeof(text) - 1);
	struct sentences all = { "" };
	size_t n;

	n = nsbox_policy_errors(policy, collect, &all);
	EQ(n, 10, "every error of a file is counted");
	IS(all.text,
	   "/etc/nsbox/nsbox.conf:1: \"before = 1\" stands before the first section: write "
	   "[defaults], [profile NAME], [group NAME], [user NAME] or [network NAME] above it\n"
	   "/etc/nsbox/nsbox.conf:4: pids_max = \"3\": write a number from 10 to 4194304\n"
	   "/etc/nsbox/nsbox.conf:5: pids_max is already at line 4 of this section: take one out\n"
	   "/etc/nsbox/nsbox.conf:6: unknown key \"bogus\" (see nsbox.conf(5))\n"
	   "/etc/nsbox/nsbox.conf:7: no section \"[usr x]\": write [defaults], [profile NAME], "
	   "[group NAME], [user NAME] or [network NAME]\n"
	   "/etc/nsbox/nsbox.conf:8: unknown key \"foo\" (see nsbox.conf(5))\n"
	   "/etc/nsbox/nsbox.conf:9: \"[user bob]\" is already at line 3: write both into one "
	   "section\n"
	   "/etc/nsbox/nsbox.conf:10: memory_max = \"1\": no box fits into that: write at least "
	   "4M\n"
	   "/etc/nsbox/nsbox.conf:12: \"[defaults]\" is already at line 11: write both into one "
	   "section\n"
	   "/etc/nsbox/nsbox.conf:13: linger = \"1\": write a time like 30s, 10m, 2h, 1d, 0 or "
	   "forever\n",
	   "and said in the order of the file");
	nsbox_policy_free(policy);
	policy = parse_bytes(everything, sizeof(everything) - 1);
	EQ(nsbox_policy_errors(policy, collect, &all), 1, "bob's pids_max is the only error");
	nsbox_policy_free(policy);
}

int main(void)
{
	test_load();
	test_bytes();
	test_line_length();
	test_sentences();
	test_mutations();
	test_errors();
	return test_done();
}
