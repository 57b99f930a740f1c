/* SPDX-License-Identifier: MIT */
/* The plan of a box's root: see plan.h. */
#include "plan.h"
#include "cleanup.h"

#include <string.h>

/* A new step at the end, or NULL after noting that memory ran out. */
static struct nsbox_step *append(struct nsbox_plan *p, enum nsbox_step_type type, const char *path)
{
	struct nsbox_step *s;

	if (p->n == p->room) {
		size_t room = p->room ? 2 * p->room : 64;

		s = realloc(p->steps, room * sizeof(*s));
		if (!s) {
			p->failed = true;
			return NULL;
		}
		p->steps = s;
		p->room = room;
	}
	s = &p->steps[p->n];
	*s = (struct nsbox_step){ .type = type, .tree = -EBADF };
	s->path = strdup(path + strspn(path, "/"));
	if (!s->path) {
		p->failed = true;
		return NULL;
	}
	p->n++;
	return s;
}

static void set_data(struct nsbox_plan *p, struct nsbox_step *s, const char *data, size_t len)
{
	s->data = malloc(len + 1);
	if (!s->data) {
		p->failed = true;
		return;
	}
	memcpy(s->data, data, len);
	s->data[len] = '\0';
	s->len = len;
}

void nsbox_plan_dir(struct nsbox_plan *p, const char *path, uint32_t mode, uint32_t uid,
		    uint32_t gid)
{
	struct nsbox_step *s = append(p, NSBOX_STEP_DIR, path);

	if (!s)
		return;
	s->mode = mode;
	s->uid = uid;
	s->gid = gid;
}

void nsbox_plan_file(struct nsbox_plan *p, const char *path, uint32_t mode, const char *data,
		     size_t len)
{
	struct nsbox_step *s = append(p, NSBOX_STEP_FILE, path);

	if (!s)
		return;
	s->mode = mode;
	set_data(p, s, data, len);
}

void nsbox_plan_link(struct nsbox_plan *p, const char *path, const char *target)
{
	struct nsbox_step *s = append(p, NSBOX_STEP_LINK, path);

	if (s)
		set_data(p, s, target, strlen(target));
}

void nsbox_plan_mount(struct nsbox_plan *p, const char *path, int tree, bool is_file)
{
	struct nsbox_step *s = append(p, NSBOX_STEP_MOUNT, path);

	if (!s) {
		(void)nsbox_close(tree);
		return;
	}
	s->tree = tree;
	s->is_file = is_file;
}

void nsbox_plan_tmpfs(struct nsbox_plan *p, const char *path, uint32_t mode, uint64_t size,
		      unsigned int inodes)
{
	struct nsbox_step *s = append(p, NSBOX_STEP_TMPFS, path);

	if (!s)
		return;
	s->mode = mode;
	s->size = size;
	s->inodes = inodes;
}

void nsbox_plan_mask(struct nsbox_plan *p, const char *path)
{
	(void)append(p, NSBOX_STEP_MASK, path);
}

static bool has_dir(const struct nsbox_plan *p, const char *path, size_t len)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->steps[i].type != NSBOX_STEP_FILE &&
		    strncmp(p->steps[i].path, path, len) == 0 && p->steps[i].path[len] == '\0')
			return true;
	return false;
}

void nsbox_plan_parents(struct nsbox_plan *p, const char *path)
{
	cleanup_free char *copy = strdup(path + strspn(path, "/"));

	if (!copy) {
		p->failed = true;
		return;
	}
	for (char *slash = strchr(copy, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (!has_dir(p, copy, strlen(copy)))
			nsbox_plan_dir(p, copy, 0755, 0, 0);
		*slash = '/';
	}
}

static int by_path(const void *a, const void *b)
{
	const struct nsbox_step *x = a, *y = b;

	return strcmp(x->path, y->path);
}

void nsbox_plan_sort(struct nsbox_plan *p)
{
	if (p->n > 1)
		qsort(p->steps, p->n, sizeof(*p->steps), by_path);
}

void nsbox_plan_move(struct nsbox_plan *to, struct nsbox_plan *from)
{
	for (size_t i = 0; i < from->n; i++) {
		struct nsbox_step *s = append(to, from->steps[i].type, from->steps[i].path);

		if (!s)
			break;
		free(from->steps[i].path);
		from->steps[i].path = s->path;
		*s = from->steps[i];
		from->steps[i] = (struct nsbox_step){ .tree = -EBADF };
	}
	to->failed |= from->failed;
	nsbox_plan_drop(from);
}

int nsbox_plan_check(const struct nsbox_plan *p, struct nsbox_error *err)
{
	return p->failed ? nsbox_error_set(err, ENOMEM, "planning the box") : 0;
}

void nsbox_plan_drop(struct nsbox_plan *p)
{
	for (size_t i = 0; i < p->n; i++) {
		free(p->steps[i].path);
		free(p->steps[i].data);
		(void)nsbox_close(p->steps[i].tree);
	}
	free(p->steps);
	p->image = nsbox_close(p->image);
	p->layers = nsbox_close(p->layers);
	p->steps = NULL;
	p->n = p->room = 0;
}
