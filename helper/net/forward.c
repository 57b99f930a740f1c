/* SPDX-License-Identifier: MIT */
/* Forwarding: see forward.h. */
#include "forward.h"
#include "cleanup.h"
#include "file.h"

#include <string.h>

#define BEFORE NSBOX_NET_DIR "/forward"
#define FOUR "/proc/sys/net/ipv4/ip_forward"
#define SIX "/proc/sys/net/ipv6/conf/all/forwarding"
#define FOUR_DIR "/proc/sys/net/ipv4/conf"
#define SIX_DIR "/proc/sys/net/ipv6/conf"
#define REDIRECTS FOUR_DIR "/all/accept_redirects"

static int read_setting(const char *path, char now[16], struct nsbox_error *err)
{
	int r = nsbox_file_read(path, now, 16, err);

	if (r >= 0)
		now[strcspn(now, "\n")] = '\0';
	return r;
}

/* For nsbox_forward_restore(). */
static int write_down(const char *path, const char *value, struct nsbox_error *err)
{
	cleanup_fclose FILE *f = fopen(BEFORE, "ae");

	if (!f || fprintf(f, "%s %s\n", path, value) < 0 || fflush(f) != 0)
		return nsbox_error_set(err, errno, "write " BEFORE);
	return 0;
}

/* Sets @path to @value, if it is @was, and writes down what it was. */
static int change(const char *path, const char *was, const char *value, struct nsbox_error *err)
{
	char now[16];
	int r = read_setting(path, now, err);

	if (r < 0 || strcmp(now, was) != 0)
		return r < 0 ? r : 0;
	r = write_down(path, was, err);
	if (r == 0)
		r = nsbox_file_write(path, value, err);
	return r < 0 ? r : 1;
}

/* A link that forwarded alone: the switch for all takes it along, on and off. */
static int note_links(const char *conf, struct nsbox_error *err)
{
	cleanup_dir DIR *d = opendir(conf);
	char path[320], now[16];
	int r = 0;

	for (struct dirent *e; d && r == 0 && (e = readdir(d));) {
		if (e->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s/forwarding", conf, e->d_name);
		if (read_setting(path, now, NULL) > 0 && strcmp(now, "1") == 0)
			r = write_down(path, now, err);
	}
	return r;
}

/*
 * The kernel sets accept_redirects of all links too: to 0 when forwarding goes
 * on, and to 1 when it goes off, whatever it was (inet_forward_change).
 */
static int forward_four(struct nsbox_error *err)
{
	char now[16], redirects[16];
	int r = read_setting(FOUR, now, err);

	if (r < 0 || strcmp(now, "0") != 0)
		return r < 0 ? r : 0;
	r = note_links(FOUR_DIR, err);
	if (r == 0)
		r = read_setting(REDIRECTS, redirects, err);
	if (r >= 0)
		r = write_down(REDIRECTS, redirects, err);
	return r < 0 ? r : change(FOUR, "0", "1", err);
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

static int forward_six(struct nsbox_error *err)
{
	char now[16];
	int r;

	/* A kernel without IPv6 has no such file, and the box's address will say so. */
	if (read_setting(SIX, now, NULL) < 0 || strcmp(now, "0") != 0)
		return 0;
	keep_listening();
	r = note_links(SIX_DIR, err);
	return r < 0 ? r : change(SIX, "0", "1", err);
}

/* Asked by netlink first: below /proc/sys/net the kernel looks through the entries of all namespaces. */
static bool is_needed(struct nsbox_links *links, const struct nsbox_prefix *subnet)
{
	return subnet->address.family && nsbox_links_forwards(links, subnet->address.family) != 1;
}

int nsbox_forward_need(struct nsbox_links *links, const struct nsbox_network *network,
		       char note[NSBOX_ERROR_MAX], struct nsbox_error *err)
{
	int four = is_needed(links, &network->subnet) ? forward_four(err) : 0, six;

	if (four < 0)
		return four;
	six = is_needed(links, &network->subnet6) ? forward_six(err) : 0;
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
