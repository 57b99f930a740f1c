/* SPDX-License-Identifier: MIT */
/* The name service's word on a user: see identity.h. */
#include "identity.h"
#include "cleanup.h"
#include "file.h"

#include <grp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { GROUPS_MAX = 65536, PACKED_MAX = 16 * 1024 * 1024 };

/* Would the text break out of its field in passwd(5) or group(5)? */
static int check_field(const char *what, const char *text, struct nsbox_error *err)
{
	for (const char *c = text; *c; c++)
		if (*c == ':' || *c == ',' || (unsigned char)*c < ' ' || *c == 127)
			return nsbox_error_say(err, EINVAL, "the user's %s has a character that "
					       "passwd(5) cannot hold", what);
	return 0;
}

/* What a look-up's strings lie in: small, for most are, and larger after ERANGE. */
struct room {
	char *buf;
	size_t size;
};

enum { ROOM_MIN = 4096, ROOM_MAX = 64 * 1024 * 1024 };

/* Is there more room now, for another attempt? @r is how the last one ended. */
static bool make_room(struct room *room, int r)
{
	size_t size = room->size ? room->size * 8 : ROOM_MIN;
	char *bigger;

	if (room->size && (r != ERANGE || size > ROOM_MAX))
		return false;
	bigger = realloc(room->buf, size);
	if (!bigger)
		return false;
	room->buf = bigger;
	room->size = size;
	return true;
}

static int get_passwd(const char *name, struct nsbox_identity *id, struct nsbox_error *err)
{
	struct room room = { .buf = NULL };
	struct passwd *found = NULL;
	int r = ENOMEM;

	while (make_room(&room, r))
		r = getpwnam_r(name, &id->pw, room.buf, room.size, &found);
	id->passwd_buf = room.buf;
	if (!found)
		return r ? nsbox_error_set(err, r, "looking up user %.60s", name) :
			   nsbox_error_say(err, ENOENT, "there is no user %.60s", name);
	r = check_field("name", id->pw.pw_name, err);
	if (r == 0)
		r = check_field("home", id->pw.pw_dir, err);
	if (r == 0)
		r = check_field("shell", id->pw.pw_shell, err);
	return r;
}

/*
 * Is this the errno of a look-up that could not be made, and not of one that
 * found nothing? getgrnam(3) lists what "not found" may look like.
 */
static bool is_failure(int code)
{
	switch (code) {
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EIO:
	case EINTR:
	case EAGAIN:
	case ETIMEDOUT:
	case EINVAL:
	case ERANGE:	/* more than we make room for */
		return true;
	default:
		return false;
	}
}

/* One look-up of the gids: at most GROUPS_MAX of them, in memory the caller frees. */
static int look_up_gids(const struct passwd *pw, gid_t **ret, size_t *ret_n,
			struct nsbox_error *err)
{
	cleanup_free gid_t *gids = NULL;
	int n = 64, r = -1;

	while (r < 0 && n <= GROUPS_MAX) {
		gid_t *bigger = realloc(gids, (size_t)n * sizeof(*bigger));

		if (!bigger)
			return nsbox_error_set(err, ENOMEM, "looking up groups");
		gids = bigger;
		errno = 0;
		r = getgrouplist(pw->pw_name, pw->pw_gid, gids, &n);
	}
	if (r < 0)
		return nsbox_error_say(err, E2BIG, "the user is in more than %d groups",
				       GROUPS_MAX);
	if (is_failure(errno))
		return nsbox_error_set(err, errno, "the name service cannot tell the groups of %.60s",
				       pw->pw_name);
	*ret = gids;
	gids = NULL;
	*ret_n = (size_t)n;
	return 0;
}

int nsbox_identity_confirm(const struct nsbox_identity *id, struct nsbox_error *err)
{
	cleanup_free gid_t *again = NULL;
	size_t n = 0;
	int r = look_up_gids(&id->pw, &again, &n, err);

	if (r < 0)
		return r;
	if (n != id->subject.n_groups || memcmp(again, id->gids, n * sizeof(*again)) != 0)
		return nsbox_error_say(err, EAGAIN, "the name service does not say twice the same "
				       "about the groups of %.60s", id->pw.pw_name);
	return 0;
}

/* The entry of @gid, in @room; *ret NULL if it has none. Also that is asked twice. */
static int find_group(gid_t gid, struct room *room, struct group *gr, struct group **ret,
		      struct nsbox_error *err)
{
	*ret = NULL;
	for (int i = 0; i < 2 && !*ret; i++) {
		int r = room->buf ? getgrgid_r(gid, gr, room->buf, room->size, ret) : ERANGE;

		while (!*ret && make_room(room, r))
			r = getgrgid_r(gid, gr, room->buf, room->size, ret);
		if (!*ret && is_failure(r))
			return nsbox_error_set(err, r, "the name service cannot tell the name of "
					       "group %u", gid);
	}
	return 0;
}

static int name_groups(struct nsbox_identity *id, struct room *room, struct nsbox_error *err)
{
	struct group gr, *found;
	int r;

	id->group_names = calloc(id->subject.n_groups, sizeof(char *));
	if (!id->group_names)
		return nsbox_error_set(err, ENOMEM, "looking up groups");
	/* Every system has it: a name service without it tells nothing. */
	r = find_group(0, room, &gr, &found, err);
	if (r == 0 && !found)
		r = nsbox_error_say(err, EIO, "the name service does not know group 0, so its word "
				    "on the user's groups does not count");
	for (size_t i = 0; r == 0 && i < id->subject.n_groups; i++) {
		r = find_group(id->gids[i], room, &gr, &found, err);
		if (r < 0 || !found)
			continue;	/* a gid without a name stays a number */
		id->group_names[i] = strdup(found->gr_name);
		if (!id->group_names[i])
			return nsbox_error_set(err, ENOMEM, "looking up groups");
		r = check_field("group name", found->gr_name, err);
	}
	return r;
}

static int get_group_names(struct nsbox_identity *id, struct nsbox_error *err)
{
	struct room room = { .buf = NULL };
	int r = name_groups(id, &room, err);

	free(room.buf);
	return r;
}

/* Two names of one uid are one box: the policy must not differ between them. */
static int get_alias(struct nsbox_identity *id, struct nsbox_error *err)
{
	struct room room = { .buf = NULL };
	struct passwd pw, *found = NULL;
	int r = ENOMEM;

	while (make_room(&room, r))
		r = getpwuid_r(id->pw.pw_uid, &pw, room.buf, room.size, &found);
	if (!found && is_failure(r))
		r = nsbox_error_set(err, r, "the name service cannot tell the name of uid %u",
				    id->pw.pw_uid);
	else
		r = 0;
	if (found && strcmp(found->pw_name, id->pw.pw_name) != 0) {
		id->alias = strdup(found->pw_name);
		r = id->alias ? 0 : nsbox_error_set(err, ENOMEM, "looking the uid up");
	}
	free(room.buf);
	return r;
}

int nsbox_identity_get(const char *name, struct nsbox_identity *ret, struct nsbox_error *err)
{
	int r;

	memset(ret, 0, sizeof(*ret));
	r = get_passwd(name, ret, err);
	if (r == 0)
		r = look_up_gids(&ret->pw, &ret->gids, &ret->subject.n_groups, err);
	if (r == 0)
		r = get_group_names(ret, err);
	if (r == 0)
		r = get_alias(ret, err);
	if (r < 0) {
		nsbox_identity_drop(ret);
		return r;
	}
	ret->subject.name = ret->pw.pw_name;
	ret->subject.uid = ret->pw.pw_uid;
	ret->subject.gid = ret->pw.pw_gid;
	ret->subject.home = ret->pw.pw_dir;
	/* passwd(5): an empty shell is /bin/sh. */
	ret->subject.shell = ret->pw.pw_shell[0] ? ret->pw.pw_shell : "/bin/sh";
	ret->subject.gids = ret->gids;
	ret->subject.group_names = (const char *const *)ret->group_names;
	return 0;
}

/* NUL ends each field: name, uid, gid, home, shell, then gid and name ("": none) of each group. */
int nsbox_identity_pack(const struct nsbox_subject *subject, struct nsbox_error *err)
{
	cleanup_close int fd = memfd_create("nsbox-identity", MFD_CLOEXEC);
	cleanup_free char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (fd < 0 || !out) {
		int code = errno;

		if (out)
			(void)fclose(out);
		return nsbox_error_set(err, code, "packing the user's identity");
	}
	(void)fprintf(out, "%s%c%u%c%u%c%s%c%s%c", subject->name, 0, subject->uid, 0, subject->gid,
		      0, subject->home, 0, subject->shell, 0);
	for (size_t i = 0; i < subject->n_groups; i++)
		(void)fprintf(out, "%u%c%s%c", subject->gids[i], 0,
			      subject->group_names[i] ? subject->group_names[i] : "", 0);
	if (fclose(out) != 0 || write(fd, text, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) < 0)
		return nsbox_error_set(err, errno ? errno : EIO, "packing the user's identity");
	return take_fd(&fd);
}

/* The field at *at, which moves behind it; NULL at the end. */
static const char *next_field(const char **at, const char *end)
{
	const char *field = *at;

	if (field >= end)
		return NULL;
	*at = field + strlen(field) + 1;
	return field;
}

static bool next_id(const char **at, const char *end, uint32_t *ret)
{
	const char *field = next_field(at, end);

	if (!field || !*field)
		return false;
	*ret = (uint32_t)strtoul(field, NULL, 10);
	return true;
}

static int unpack_groups(const char *at, const char *end, struct nsbox_identity *id)
{
	size_t n = 0, fields = 0;

	for (const char *c = at; c < end; c++)
		fields += *c == '\0';
	id->gids = calloc(fields / 2 + 1, sizeof(*id->gids));
	id->group_names = calloc(fields / 2 + 1, sizeof(*id->group_names));
	if (!id->gids || !id->group_names)
		return -ENOMEM;
	for (; at < end; n++) {
		const char *name;

		if (!next_id(&at, end, &id->gids[n]) || !(name = next_field(&at, end)))
			return -EPROTO;
		id->subject.n_groups = n + 1;
		id->group_names[n] = *name ? strdup(name) : NULL;
		if (*name && !id->group_names[n])
			return -ENOMEM;
	}
	return n > 0 ? 0 : -EPROTO;
}

static int unpack(const char *at, const char *end, struct nsbox_identity *id)
{
	struct nsbox_subject *s = &id->subject;

	s->name = next_field(&at, end);
	if (!s->name || !next_id(&at, end, &s->uid) || !next_id(&at, end, &s->gid))
		return -EPROTO;
	s->home = next_field(&at, end);
	s->shell = next_field(&at, end);
	return s->shell ? unpack_groups(at, end, id) : -EPROTO;
}

int nsbox_identity_unpack(int fd, struct nsbox_identity *ret, struct nsbox_error *err)
{
	size_t len;
	int r;

	memset(ret, 0, sizeof(*ret));
	if (lseek(fd, 0, SEEK_SET) < 0)
		return nsbox_error_set(err, errno, "reading the user's identity");
	r = nsbox_fd_read_all(fd, PACKED_MAX, &ret->passwd_buf, &len, err);
	if (r < 0)
		return r;
	/* read_all ends the text with a NUL, so that a cut field still ends. */
	r = unpack(ret->passwd_buf, ret->passwd_buf + len, ret);
	if (r < 0) {
		nsbox_identity_drop(ret);
		return nsbox_error_set(err, -r, "reading the user's identity");
	}
	ret->subject.gids = ret->gids;
	ret->subject.group_names = (const char *const *)ret->group_names;
	return 0;
}

void nsbox_identity_drop(struct nsbox_identity *id)
{
	for (size_t i = 0; id->group_names && i < id->subject.n_groups; i++)
		free(id->group_names[i]);
	free(id->group_names);
	free(id->gids);
	free(id->passwd_buf);
	free(id->alias);
	memset(id, 0, sizeof(*id));
}
