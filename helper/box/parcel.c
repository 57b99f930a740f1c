/* SPDX-License-Identifier: MIT */
/*
 * Handing over the plans: see parcel.h. The memfd holds a head, the steps of
 * both plans as they are in memory but with offsets for pointers, and then the
 * bytes that those point to. Both ends are one program, so there is no layout
 * to agree on.
 */
#include "parcel.h"
#include "cleanup.h"
#include "proto.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

struct head {
	size_t n_content, n_mounts;
	bool image, layers;	/* are these among the trees? */
};

/* Stands for a tree that comes beside the memfd; no descriptor, and not "none" (-EBADF). */
enum { TREE_COMES = -1 };

/* ------------------------------------------------------------------ the keeper's half */

static size_t bytes_of(const struct nsbox_plan *p)
{
	size_t sum = 0;

	for (size_t i = 0; i < p->n; i++)
		sum += sizeof(p->steps[i]) + strlen(p->steps[i].path) + 1 +
		       (p->steps[i].data ? p->steps[i].len + 1 : 0);
	return sum;
}

/* Copies @len bytes to *at and returns their offset as what shall become a pointer. */
static char *put(char *start, size_t *at, const void *bytes, size_t len)
{
	size_t offset = *at;

	memcpy(start + offset, bytes, len);
	*at += len;
	return (char *)offset;
}

static void put_steps(char *start, struct nsbox_step *to, size_t *at, const struct nsbox_plan *p)
{
	for (size_t i = 0; i < p->n; i++) {
		const struct nsbox_step *s = &p->steps[i];

		to[i] = *s;
		to[i].tree = s->tree < 0 ? -EBADF : TREE_COMES;
		to[i].path = put(start, at, s->path, strlen(s->path) + 1);
		if (s->data)
			to[i].data = put(start, at, s->data, s->len + 1);
	}
}

/* A memfd with everything but the trees; the caller's. */
static int pack(const struct nsbox_plan *content, const struct nsbox_plan *mounts,
		struct nsbox_error *err)
{
	size_t size = sizeof(struct head) + bytes_of(content) + bytes_of(mounts);
	size_t at = sizeof(struct head) + (content->n + mounts->n) * sizeof(struct nsbox_step);
	cleanup_close int fd = memfd_create("nsbox-plan", MFD_CLOEXEC);
	cleanup_free char *start = malloc(size);
	struct nsbox_step *steps;

	if (fd < 0 || !start)
		return nsbox_error_set(err, fd < 0 ? errno : ENOMEM, "packing the plan of the box");
	*(struct head *)start = (struct head){
		.n_content = content->n, .n_mounts = mounts->n,
		.image = content->image >= 0, .layers = content->layers >= 0,
	};
	steps = (struct nsbox_step *)(start + sizeof(struct head));
	put_steps(start, steps, &at, content);
	put_steps(start, steps + content->n, &at, mounts);
	if (write(fd, start, size) != (ssize_t)size)
		return nsbox_error_set(err, errno ? errno : EIO, "packing the plan of the box");
	return take_fd(&fd);
}

struct sender {
	int sock, r;
	int fds[NSBOX_FDS_MAX];
	unsigned int n;
	struct nsbox_error *err;
};

static void send_gathered(struct sender *s)
{
	struct nsbox_msg msg = { .type = NSBOX_MSG_LENT };

	if (s->r == 0 && s->n > 0)
		s->r = nsbox_msg_send(s->sock, &msg, s->fds, s->n, s->err);
	s->n = 0;
}

/* Sent when there is a message full of them. */
static void gather(struct sender *s, int fd)
{
	if (fd < 0)
		return;
	s->fds[s->n++] = fd;
	if (s->n == NSBOX_FDS_MAX)
		send_gathered(s);
}

int nsbox_parcel_send(int sock, const struct nsbox_plan *content, const struct nsbox_plan *mounts,
		      struct nsbox_error *err)
{
	cleanup_close int packed = pack(content, mounts, err);
	struct sender s = { .sock = sock, .err = err };

	if (packed < 0)
		return packed;
	gather(&s, packed);
	gather(&s, content->image);
	gather(&s, content->layers);
	for (size_t i = 0; i < content->n; i++)
		gather(&s, content->steps[i].tree);
	for (size_t i = 0; i < mounts->n; i++)
		gather(&s, mounts->steps[i].tree);
	send_gathered(&s);
	return s.r;
}

/* ------------------------------------------------------------------ init's half */

struct receiver {
	int sock;
	struct nsbox_packet in;
	unsigned int next;
};

static int receive(struct receiver *from, struct nsbox_error *err)
{
	int r = nsbox_msg_recv(from->sock, UINT64_MAX, &from->in, err);

	from->next = 0;
	if (r == 0 && (from->in.msg.type != NSBOX_MSG_LENT || from->in.n_fds == 0))
		r = nsbox_error_say(err, EPROTO, "the keeper said %u where LENT was due",
				    from->in.msg.type);
	return r;
}

/* The next descriptor that the keeper sent; the caller's. */
static int take_next(struct receiver *from, struct nsbox_error *err)
{
	int r = from->next == from->in.n_fds ? receive(from, err) : 0;

	return r < 0 ? r : take_fd(&from->in.fds[from->next++]);
}

static int unpack(int fd, struct nsbox_parcel *ret, struct nsbox_error *err)
{
	struct head *head;
	struct stat st;

	if (fstat(fd, &st) < 0)
		return nsbox_error_set(err, errno, "unpacking the plan of the box");
	ret->size = (size_t)st.st_size;
	ret->map = mmap(NULL, ret->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (ret->map == MAP_FAILED) {
		ret->map = NULL;
		return nsbox_error_set(err, errno, "unpacking the plan of the box");
	}
	head = ret->map;
	ret->content.steps = (struct nsbox_step *)(head + 1);
	ret->content.n = head->n_content;
	ret->mounts.steps = ret->content.steps + head->n_content;
	ret->mounts.n = head->n_mounts;
	return 0;
}

/* Offsets become pointers; a step that had a tree gets it. */
static int complete(struct nsbox_plan *p, char *start, struct receiver *from,
		    struct nsbox_error *err)
{
	int r = 0;

	for (size_t i = 0; i < p->n; i++) {
		struct nsbox_step *s = &p->steps[i];

		s->path = start + (size_t)s->path;
		if (s->data)
			s->data = start + (size_t)s->data;
		if (s->tree != TREE_COMES)
			continue;
		s->tree = r < 0 ? -EBADF : take_next(from, err);
		r = s->tree < 0 && r == 0 ? s->tree : r;
	}
	return r;
}

int nsbox_parcel_receive(int sock, struct nsbox_parcel *ret, struct nsbox_error *err)
{
	struct receiver from = { .sock = sock, .in = { .n_fds = 0 } };
	cleanup_close int packed = take_next(&from, err);
	const struct head *head;
	int r = packed < 0 ? packed : unpack(packed, ret, err);

	if (r < 0)
		return r;
	head = ret->map;
	if (head->image)
		r = ret->content.image = take_next(&from, err);
	if (r >= 0 && head->layers)
		r = ret->content.layers = take_next(&from, err);
	if (r >= 0)
		r = complete(&ret->content, ret->map, &from, err);
	if (r >= 0)
		r = complete(&ret->mounts, ret->map, &from, err);
	nsbox_packet_drop(&from.in);
	return r < 0 ? r : 0;
}

static void close_trees(struct nsbox_plan *p)
{
	for (size_t i = 0; i < p->n; i++)
		p->steps[i].tree = nsbox_close(p->steps[i].tree);
	p->image = nsbox_close(p->image);
	p->layers = nsbox_close(p->layers);
	p->steps = NULL;
	p->n = 0;
}

void nsbox_parcel_drop(struct nsbox_parcel *parcel)
{
	close_trees(&parcel->content);
	close_trees(&parcel->mounts);
	if (parcel->map)
		(void)munmap(parcel->map, parcel->size);
	parcel->map = NULL;
}
