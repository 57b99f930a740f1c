/* SPDX-License-Identifier: MIT */
/* What the tests of helper/policy/ share: a subject, and policies from a string. */
#ifndef NSBOX_POLICY_TEST_H
#define NSBOX_POLICY_TEST_H

#include "internal.h"
#include "test.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static const gid_t alice_gids[] = { 1000, 2000 };
static const char *const alice_groups[] = { "alice", "staff" };

static struct nsbox_subject TEST_UNUSED alice(void)
{
	return (struct nsbox_subject){
		.name = "alice", .uid = 1000, .gid = 1000, .home = "/home/alice",
		.shell = "/bin/bash", .n_groups = 2, .gids = alice_gids,
		.group_names = alice_groups,
	};
}

static struct nsbox_policy TEST_UNUSED *parse_bytes(const char *text, size_t size)
{
	struct nsbox_policy *policy = nsbox_policy_new();
	struct nsbox_source *source = NULL;
	char *copy = malloc(size + 1);

	if (!policy || !copy)
		return NULL;
	memcpy(copy, text, size);
	if (nsbox_source_parse("/etc/nsbox/nsbox.conf", copy, size, NULL, &source, NULL) < 0 ||
	    nsbox_policy_add(policy, source, NULL) < 0) {
		nsbox_policy_free(policy);
		return NULL;
	}
	return policy;
}

/* What @text answers to alice and sshd: an error's sentence or "". */
static const char TEST_UNUSED *answer_bytes(const char *text, size_t size,
					    struct nsbox_decision *ret)
{
	static struct nsbox_error err;
	struct nsbox_policy *policy = parse_bytes(text, size);
	struct nsbox_subject subject = alice();
	int r;

	err.msg[0] = '\0';
	if (!policy)
		return "no memory";
	r = nsbox_policy_decide(policy, &subject, "sshd", NULL, 0, ret, &err);
	nsbox_policy_free(policy);
	return r < 0 ? err.msg : "";
}

static const char TEST_UNUSED *answer(const char *text, struct nsbox_decision *ret)
{
	return answer_bytes(text, strlen(text), ret);
}

static const char TEST_UNUSED *error_of(const char *text)
{
	struct nsbox_decision d = { 0 };
	const char *msg = answer(text, &d);

	nsbox_decision_free(&d);
	return msg;
}

static void TEST_UNUSED write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	if (!f || fputs(text, f) < 0 || fclose(f) != 0 || chmod(path, 0644) < 0) {
		perror(path);
		exit(2);
	}
}

#endif
