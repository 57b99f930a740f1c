/* SPDX-License-Identifier: MIT */
/* The mounted cgroup hierarchies: see hierarchy.h. */
#include "hierarchy.h"
#include "cleanup.h"
#include "file.h"

#include <errno.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/vfs.h>

static bool is_listed(const struct nsbox_hierarchy *list, size_t n, const struct nsbox_hierarchy *h)
{
	for (size_t i = 0; i < n; i++)
		if (list[i].v2 == h->v2 && (h->v2 || strcmp(list[i].options, h->options) == 0))
			return true;
	return false;
}

/*
 * One line of mountinfo (proc(5)):
 * "31 23 0:28 /root /mountpoint rw,relatime shared:1 - fstype source options".
 * Returns whether it is a cgroup mount that fits our fields.
 */
static bool parse_mount(char *line, struct nsbox_hierarchy *ret)
{
	char *dash = strstr(line, " - ");
	char fstype[16], options[sizeof(ret->options) - 2];

	if (!dash || sscanf(dash, " - %15s %*s %189s", fstype, options) != 2 ||
	    strncmp(fstype, "cgroup", 6) != 0)
		return false;
	*dash = '\0';
	if (sscanf(line, "%*s %*s %*s %255s %127s", ret->root, ret->mount) != 2)
		return false;
	ret->v2 = strcmp(fstype, "cgroup2") == 0;
	(void)snprintf(ret->options, sizeof(ret->options), ",%s,", options);
	return true;
}

int nsbox_hierarchies_read(struct nsbox_hierarchy ret[NSBOX_HIERARCHIES_MAX], size_t *ret_n,
			   struct nsbox_error *err)
{
	cleanup_fclose FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t size = 0, n = 0;

	if (!f)
		return nsbox_error_set(err, errno, "open /proc/self/mountinfo");
	while (n < NSBOX_HIERARCHIES_MAX && getline(&line, &size, f) > 0)
		if (parse_mount(line, &ret[n]) && !is_listed(ret, n, &ret[n]))
			n++;
	if (ferror(f))
		return nsbox_error_set(err, EIO, "read /proc/self/mountinfo");
	*ret_n = n;
	return 0;
}

bool nsbox_hierarchy_is_unified(void)
{
	struct statfs st;

	return statfs("/sys/fs/cgroup", &st) == 0 && st.f_type == CGROUP2_SUPER_MAGIC;
}

bool nsbox_hierarchy_has(const struct nsbox_hierarchy *h, const char *controller)
{
	char word[64];

	if (h->v2)
		return false;
	(void)snprintf(word, sizeof(word), ",%s,", controller);
	return strstr(h->options, word) != NULL;
}

bool nsbox_hierarchy_offers(const struct nsbox_hierarchy *h, const char *controller)
{
	char path[512], text[256], word[32];

	if (!h->v2)
		return nsbox_hierarchy_has(h, controller);
	(void)snprintf(path, sizeof(path), "%s/cgroup.controllers", h->mount);
	text[0] = ' ';
	if (nsbox_file_read(path, text + 1, sizeof(text) - 2, NULL) < 0)
		return false;
	text[strcspn(text, "\n")] = '\0';
	strcat(text, " ");
	(void)snprintf(word, sizeof(word), " %s ", controller);
	return strstr(text, word) != NULL;
}

/*
 * Is "id:controllers:path", which ends at @end, the line of @h? Then *ret_path is
 * where the path begins.
 */
static bool is_line_of(const struct nsbox_hierarchy *h, const char *line, const char *end,
		       const char **ret_path)
{
	const char *controllers = memchr(line, ':', (size_t)(end - line));
	const char *path = controllers ? memchr(controllers + 1, ':',
						(size_t)(end - controllers - 1)) : NULL;
	char first[48];
	size_t len;

	if (!path)
		return false;
	*ret_path = path + 1;
	if (h->v2)
		return strncmp(line, "0:", 2) == 0;
	len = strcspn(++controllers, ",:");
	if (len == 0 || len >= sizeof(first))
		return false;
	memcpy(first, controllers, len);
	first[len] = '\0';
	return nsbox_hierarchy_has(h, first);
}

/* "/a/b" seen from a mount whose root is "/a": "/b". NULL: outside. */
static const char *below_root(const char *path, const char *root)
{
	size_t len = strlen(root);

	if (strncmp(path, "/..", 3) == 0)
		return NULL;
	if (strcmp(root, "/") == 0)
		return path;
	if (strncmp(path, root, len) != 0 || (path[len] != '/' && path[len] != '\0'))
		return NULL;
	return path + len;
}

int nsbox_hierarchy_cgroups_of(int pid, char text[NSBOX_CGROUPS_TEXT], struct nsbox_error *err)
{
	char file[32] = "/proc/self/cgroup";
	int r;

	if (pid)
		(void)snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
	r = nsbox_file_read(file, text, NSBOX_CGROUPS_TEXT, err);
	return r < 0 ? r : 0;
}

int nsbox_hierarchy_path_in(const struct nsbox_hierarchy *h, const char *text, char *ret,
			    size_t size, struct nsbox_error *err)
{
	char whole[sizeof(h->root) + 512];
	const char *path, *end;

	for (const char *line = text; *line; line = *end ? end + 1 : end) {
		end = line + strcspn(line, "\n");
		if (!is_line_of(h, line, end, &path))
			continue;
		(void)snprintf(whole, sizeof(whole), "%.*s", (int)(end - path), path);
		path = (size_t)(end - path) < sizeof(whole) ? below_root(whole, h->root) : NULL;
		if (!path)
			break;
		if ((size_t)snprintf(ret, size, "%s%s", h->mount, path) >= size)
			return nsbox_error_say(err, ENAMETOOLONG, "the cgroup path %s%s is too long",
					       h->mount, path);
		return 0;
	}
	return nsbox_error_say(err, ENOENT, "a process's cgroup in %s cannot be seen", h->mount);
}

int nsbox_hierarchy_path_of(const struct nsbox_hierarchy *h, int pid, char *ret, size_t size,
			    struct nsbox_error *err)
{
	char text[NSBOX_CGROUPS_TEXT];
	int r = nsbox_hierarchy_cgroups_of(pid, text, err);

	return r < 0 ? r : nsbox_hierarchy_path_in(h, text, ret, size, err);
}
