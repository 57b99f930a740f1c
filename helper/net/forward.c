/* SPDX-License-Identifier: MIT */
/* Forwarding: see forward.h. */
#include "forward.h"
#include "cleanup.h"
#include "file.h"

#include <string.h>

#define BEFORE NSBOX_NET_DIR "/forward"
#define FOUR "/proc/sys/net/ipv4/ip_forward"
#define SIX "/proc/sys/net/ipv6/conf/all/forwarding"
#define SIX_DIR "/proc/sys/net/ipv6/conf"

/* Sets @path to @value, if it is @was, and writes down what it was. */
static int change(const char *path, const char *was, const char *value, struct nsbox_error *err)
{
	cleanup_fclose FILE *f = NULL;
	char now[16];
	int r = nsbox_file_read(path, now, sizeof(now), err);

	if (r < 0)
		return r;
	now[strcspn(now, "\n")] = '\0';
	if (strcmp(now, was) != 0)
		return 0;
	f = fopen(BEFORE, "ae");
	if (!f || fprintf(f, "%s %s\n", path, was) < 0 || fflush(f) != 0)
		return nsbox_error_set(err, errno, "write " BEFORE);
	r = nsbox_file_write(path, value, err);
	return r < 0 ? r : 1;
}

/*
 * A kernel that forwards IPv6 listens to no router any more, and the host may
 * have its own address and route from one: 2 makes it listen all the same
 * (ip-sysctl of the kernel, accept_ra).
 */
static void keep_listening(void)
{
	cleanup_dir DIR *d = opendir(SIX_DIR);
	char path[320];

	for (struct dirent *e; d && (e = readdir(d));) {
		if (e->d_name[0] == '.' || strncmp(e->d_name, "nsb-", 4) == 0)
			continue;
		(void)snprintf(path, sizeof(path), SIX_DIR "/%s/accept_ra", e->d_name);
		(void)change(path, "1", "2", NULL);
	}
}

int nsbox_forward_need(const struct nsbox_network *network, char note[NSBOX_ERROR_MAX],
		       struct nsbox_error *err)
{
	char now[16] = "";
	int four = 0, six = 0;

	if (network->subnet.address.family)
		four = change(FOUR, "0", "1", err);
	if (four < 0)
		return four;
	if (network->subnet6.address.family && nsbox_file_read(SIX, now, sizeof(now), NULL) > 0 &&
	    now[0] == '0') {
		keep_listening();
		six = change(SIX, "0", "1", err);
	}
	if (six < 0)
		return six;
	if (four || six)
		(void)snprintf(note, NSBOX_ERROR_MAX, "forwarding of%s%s%s is on now, for a box, and "
			       "off again after the last", four ? " IPv4" : "",
			       four && six ? " and" : "", six ? " IPv6" : "");
	return 0;
}

/* The last change first: forwarding goes off before accept_ra is as it was. */
static void restore(FILE *f)
{
	char line[400], path[320], value[16];

	if (!fgets(line, sizeof(line), f))
		return;
	restore(f);
	if (sscanf(line, "%319s %15s", path, value) == 2)
		(void)nsbox_file_write(path, value, NULL);
}

void nsbox_forward_restore(void)
{
	cleanup_fclose FILE *f = fopen(BEFORE, "re");

	if (f)
		restore(f);
	(void)unlink(BEFORE);
}
