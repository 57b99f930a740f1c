/* SPDX-License-Identifier: MIT */
/*
 * The shape of a box as text: everything of the decision and of the user that
 * a running box cannot change any more. Two logins share a box only if their
 * shapes are equal byte for byte, so every value has one spelling here, and a
 * name from the name service cannot imitate a line of its own.
 */
#include "cleanup.h"
#include "internal.h"

#include <stdlib.h>
#include <string.h>

struct member {
	gid_t gid;
	const char *name;
};

static int by_gid_and_name(const void *a, const void *b)
{
	const struct member *x = a, *y = b;

	if (x->gid != y->gid)
		return x->gid > y->gid ? 1 : -1;
	if (!x->name || !y->name)
		return (x->name != NULL) - (y->name != NULL);
	return strcmp(x->name, y->name);
}

static void print_line(FILE *to, const char *key, const char *value)
{
	(void)fprintf(to, "%s=", key);
	for (; value && *value; value++) {
		if ((unsigned char)*value < 0x20 || *value == 0x7f || *value == '\\')
			(void)fprintf(to, "\\x%02x", (unsigned char)*value);
		else
			(void)putc_unlocked(*value, to);	/* nobody else has it */
	}
	(void)fputc('\n', to);
}

static int print_groups(FILE *to, const struct nsbox_subject *subject)
{
	cleanup_free struct member *members = calloc(subject->n_groups + 1, sizeof(*members));
	char key[32];
	size_t i;

	if (!members)
		return -ENOMEM;
	for (i = 0; i < subject->n_groups; i++) {
		members[i].gid = subject->gids[i];
		members[i].name = subject->group_names ? subject->group_names[i] : NULL;
	}
	qsort(members, subject->n_groups, sizeof(*members), by_gid_and_name);
	for (i = 0; i < subject->n_groups; i++) {
		if (i && !by_gid_and_name(&members[i], &members[i - 1]))
			continue;
		(void)snprintf(key, sizeof(key), "group %u%s", members[i].gid,
			       members[i].name ? " " : "");
		print_line(to, key, members[i].name);
	}
	return 0;
}

static int print_shape(FILE *to, const struct nsbox_decision *decision,
		       const struct nsbox_subject *subject)
{
	int key;

	(void)fprintf(to, "uid=%u\ngid=%u\n", subject->uid, subject->gid);
	print_line(to, "user", subject->name);
	print_line(to, "home", subject->home);
	print_line(to, "shell", subject->shell);
	if (print_groups(to, subject) < 0)
		return -ENOMEM;
	for (key = 0; key < NSBOX_KEY_COUNT; key++) {
		const struct nsbox_key_info *info = nsbox_key_info((enum nsbox_key)key);

		if (!info->shapes)
			continue;
		(void)fprintf(to, "%s=", info->name);
		info->print(info, decision, to);
		(void)fputc('\n', to);
	}
	if (decision->net == NSBOX_NET_BRIDGE)
		nsbox_network_print(&decision->network, to);
	return ferror(to) ? -ENOMEM : 0;
}

char *nsbox_decision_shape(const struct nsbox_decision *decision,
			   const struct nsbox_subject *subject)
{
	char *text = NULL;
	size_t size = 0;
	FILE *to = open_memstream(&text, &size);
	int r;

	if (!to)
		return NULL;
	r = print_shape(to, decision, subject);
	if (fclose(to) != 0 || r < 0) {
		free(text);
		return NULL;
	}
	return text;
}
