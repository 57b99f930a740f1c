/* SPDX-License-Identifier: MIT */
/* The mounted cgroup hierarchies: see hierarchy.h. */
#include "hierarchy.h"
#include "cleanup.h"
#include "file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

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

/* Is "id:controllers:path" the line of @h? Returns the path or NULL. */
static char *line_path(const struct nsbox_hierarchy *h, char *line)
{
	char *controllers = strchr(line, ':');
	char *path = controllers ? strchr(controllers + 1, ':') : NULL;
	char *comma;

	if (!path)
		return NULL;
	controllers++;
	*path++ = '\0';
	path[strcspn(path, "\n")] = '\0';
	if (h->v2)
		return strncmp(line, "0:", 2) == 0 ? path : NULL;
	comma = strchr(controllers, ',');
	if (comma)
		*comma = '\0';
	return *controllers && nsbox_hierarchy_has(h, controllers) ? path : NULL;
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

int nsbox_hierarchy_path_of(const struct nsbox_hierarchy *h, int pid, char *ret, size_t size,
			    struct nsbox_error *err)
{
	char file[32] = "/proc/self/cgroup";
	cleanup_fclose FILE *f = NULL;
	cleanup_free char *line = NULL;
	size_t line_size = 0;

	if (pid)
		(void)snprintf(file, sizeof(file), "/proc/%d/cgroup", pid);
	f = fopen(file, "re");
	if (!f)
		return nsbox_error_set(err, errno, "open %s", file);
	while (getline(&line, &line_size, f) > 0) {
		const char *path = line_path(h, line);

		if (!path)
			continue;
		path = below_root(path, h->root);
		if (!path)
			break;
		if ((size_t)snprintf(ret, size, "%s%s", h->mount, path) >= size)
			return nsbox_error_say(err, ENAMETOOLONG, "the cgroup path %s%s is too long",
					       h->mount, path);
		return 0;
	}
	return nsbox_error_say(err, ENOENT, "the cgroup of process %d in %s cannot be seen", pid,
			       h->mount);
}
