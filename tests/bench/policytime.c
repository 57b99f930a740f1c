/* SPDX-License-Identifier: MIT */
/*
 * Times what the policy costs a login: reading it, deciding for one user, and
 * letting go of it, with nothing in it, with 10,000 [user] sections and with
 * 10,000 files in users.d.
 *
 *   policytime [ROUNDS]
 *
 * Prints the p50 of each in microseconds and what each adds to the first.
 */
#include "bench.h"
#include "policy.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>

enum { MANY = 10000 };

static char dir[] = "/tmp/policytime-XXXXXX";

static FILE *create(const char *name)
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (!f)
		die(path);
	return f;
}

static void put_keys(FILE *f, unsigned int i)
{
	fprintf(f, "action = box\npids_max = %u\n\n", 100 + i);
}

static void write_policy(unsigned int sections)
{
	FILE *f = create(NSBOX_POLICY_FILE);

	fputs("[defaults]\naction = pass\n[group nsbox]\naction = box\n", f);
	for (unsigned int i = 0; i < sections; i++) {
		fprintf(f, "[user user%u]\n", i);
		put_keys(f, i);
	}
	fclose(f);
}

static void write_users(bool there)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/" NSBOX_POLICY_USERS, dir);
	if (there && mkdir(path, 0755) < 0)
		die(path);
	for (unsigned int i = 0; i < MANY; i++) {
		snprintf(path, sizeof(path), NSBOX_POLICY_USERS "/user%u.conf", i);
		if (there) {
			FILE *f = create(path);

			put_keys(f, i);
			fclose(f);
			continue;
		}
		snprintf(path, sizeof(path), "%s/" NSBOX_POLICY_USERS "/user%u.conf", dir, i);
		unlink(path);
	}
	snprintf(path, sizeof(path), "%s/" NSBOX_POLICY_USERS, dir);
	if (!there && rmdir(path) < 0)
		die(path);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double ask(unsigned int n, bool expect_own)
{
	static const gid_t gids[] = { 1000, 2000 };
	static const char *const groups[] = { "user", "nsbox" };
	char name[32], home[64];
	struct nsbox_subject subject = {
		.name = name, .uid = 100000 + n, .gid = 1000, .home = home, .shell = "/bin/sh",
		.n_groups = 2, .gids = gids, .group_names = groups,
	};
	struct nsbox_policy *policy;
	struct nsbox_decision d;
	struct nsbox_error err;
	double start;

	snprintf(name, sizeof(name), "user%u", n);
	snprintf(home, sizeof(home), "/home/%s", name);
	start = now_us();
	if (nsbox_policy_load(dir, &subject, &policy, &err) < 0 ||
	    nsbox_policy_decide(policy, &subject, "sshd", NULL, 0, &d, &err) < 0) {
		fprintf(stderr, "policytime: %s\n", err.msg);
		exit(1);
	}
	if (d.action != NSBOX_ACTION_BOX || d.pids_max != (expect_own ? 100 + n : 512)) {
		fprintf(stderr, "policytime: a wrong answer for %s\n", name);
		exit(1);
	}
	nsbox_decision_free(&d);
	nsbox_policy_free(policy);
	return now_us() - start;
}

static double p50(unsigned int rounds, bool expect_own)
{
	double *times = calloc(rounds, sizeof(*times)), middle;

	if (!times)
		die("calloc");
	for (unsigned int i = 0; i < rounds; i++)
		times[i] = ask(i * 7919 % MANY, expect_own);
	qsort(times, rounds, sizeof(*times), by_value);
	middle = times[rounds / 2];
	free(times);
	return middle;
}

int main(int argc, char **argv)
{
	unsigned int rounds = argc > 1 ? (unsigned int)atoi(argv[1]) : 300;
	double none, sections, files;

	if (!rounds || !mkdtemp(dir))
		die(dir);
	write_policy(0);
	none = p50(rounds, false);
	write_policy(MANY);
	sections = p50(rounds, true);
	write_policy(0);
	write_users(true);
	files = p50(rounds, true);
	write_users(false);
	printf("no user of his own        %8.1f us\n", none);
	printf("10,000 [user] sections    %8.1f us, adds %.1f\n", sections, sections - none);
	printf("10,000 files in users.d   %8.1f us, adds %.1f\n", files, files - none);
	unlink(strcat(strcpy((char[128]){ 0 }, dir), "/" NSBOX_POLICY_FILE));
	return rmdir(dir) < 0;
}
