/* SPDX-License-Identifier: MIT */
/* Records of boxes below /run/nsbox: see registry.h. */
#include "registry.h"
#include "cleanup.h"
#include "file.h"
#include "idmap.h"
#include "network.h"

#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>

#define IDS_DIR NSBOX_RUN_DIR "/ids"

enum { CLEAR_TIMEOUT_MS = 1000, SUBID_RANGES_MAX = 4096 };

static void dir_of(uid_t uid, char *ret, size_t size)
{
	(void)snprintf(ret, size, "%s/%u", NSBOX_RUN_DIR, uid);
}

static int make_dir(const char *path, struct nsbox_error *err)
{
	struct stat st;

	if (mkdir(path, 0700) < 0 && errno != EEXIST)
		return nsbox_error_set(err, errno, "mkdir %s", path);
	if (lstat(path, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != 0 ||
	    (st.st_mode & (S_IWGRP | S_IWOTH)))
		return nsbox_error_say(err, EPERM, "%s is not a directory that only root can "
				       "write", path);
	return 0;
}

/* The lock of all records. Released when the descriptor is closed. */
static int lock(struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	int r = make_dir(NSBOX_RUN_DIR, err);

	if (r == 0)
		r = make_dir(IDS_DIR, err);
	if (r < 0)
		return r;
	fd = open(NSBOX_RUN_DIR "/lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return nsbox_error_set(err, errno, "open " NSBOX_RUN_DIR "/lock");
	do
		r = flock(fd, LOCK_EX);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return nsbox_error_set(err, errno, "lock " NSBOX_RUN_DIR "/lock");
	return take_fd(&fd);
}

static int socket_address(uid_t uid, const char *name, struct sockaddr_un *ret)
{
	*ret = (struct sockaddr_un){ .sun_family = AF_UNIX };
	return (size_t)snprintf(ret->sun_path, sizeof(ret->sun_path), "%s/%u/%s", NSBOX_RUN_DIR,
				uid, name) < sizeof(ret->sun_path) ? 0 : -ENAMETOOLONG;
}

/* Does a living keeper listen there? */
static bool is_live(uid_t uid, const char *name)
{
	cleanup_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;

	if (sock < 0 || socket_address(uid, name, &sa) < 0)
		return false;
	/* EAGAIN: alive, with a full queue (connect(2)). */
	return connect(sock, (struct sockaddr *)&sa, sizeof(sa)) == 0 || errno == EAGAIN;
}

int nsbox_registry_connect(uid_t uid, const char *name)
{
	cleanup_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un sa;

	if (sock < 0 || socket_address(uid, name, &sa) < 0 ||
	    connect(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return -errno;
	return take_fd(&sock);
}

static int listen_on(struct nsbox_record *record, struct nsbox_error *err)
{
	cleanup_close int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un sa;

	if (sock < 0 || socket_address(record->uid, record->socket, &sa) < 0)
		return nsbox_error_set(err, errno, "make the keeper's socket");
	(void)unlink(sa.sun_path);
	if (bind(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0)
		return nsbox_error_set(err, errno, "bind %s", sa.sun_path);
	if (listen(sock, SOMAXCONN) < 0) {
		int code = errno;

		(void)unlink(sa.sun_path);
		return nsbox_error_set(err, code, "listen on %s", sa.sun_path);
	}
	record->listener = take_fd(&sock);
	return 0;
}

static int write_record(struct nsbox_record *record, struct nsbox_error *err)
{
	char path[192];

	(void)snprintf(path, sizeof(path), "%s/%u/%s.box", NSBOX_RUN_DIR, record->uid,
		       record->box);
	record->record_fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (record->record_fd < 0)
		return nsbox_error_set(err, errno, "create %s", path);
	/* Blocking: clear_dead() may hold it for a moment, and lets go of an empty one. */
	if (flock(record->record_fd, LOCK_EX) < 0 ||
	    dprintf(record->record_fd, "socket %s\n", record->socket) < 0)
		return nsbox_error_set(err, errno, "write %s", path);
	return 0;
}

/* Gives back a terminal that still belongs to an id of the dead box's block. */
static void restore_terminal(const char *path, uint32_t base, uid_t uid, gid_t gid)
{
	cleanup_close int fd = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;

	if (fd >= 0 && base && fstat(fd, &st) == 0 && st.st_uid >= base &&
	    st.st_uid - base < NSBOX_BLOCK_SIZE &&
	    fchownat(fd, "", uid, gid, AT_EMPTY_PATH) < 0)
		syslog(LOG_WARNING, "terminal %s cannot be given back: %m", path);
}

/*
 * Forgets a dead keeper's socket and block, under the lock of all records: a
 * successor may have taken the name, or the block, since it died.
 */
static void forget_socket(uid_t uid, const char *name)
{
	struct sockaddr_un sa;
	cleanup_close int held = lock(NULL);

	if (held >= 0 && !is_live(uid, name) && socket_address(uid, name, &sa) == 0)
		(void)unlink(sa.sun_path);
}

static void forget_block(uint32_t base)
{
	cleanup_close int held = lock(NULL), fd = -EBADF;
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/%u", IDS_DIR, base);
	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (held >= 0 && fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
		(void)unlink(path);
}

/* Ends a login that a dead keeper has recorded. Returns false if @line is not about one. */
static bool end_login(const char *line)
{
	struct nsbox_accounting login = { .line = "" };
	char name[34], tty[34], user[NSBOX_USER_MAX];

	if (sscanf(line, "login %32s %4c %d", login.line, login.id, &login.pid) == 3) {
		nsbox_accounting_logout(&login, "");
		return true;
	}
	if (sscanf(line, "wtmpdb %" SCNd64 " %33s %33s %255[^\n]", &login.wtmpdb.since, name, tty,
		   user) != 4)
		return false;
	/* Each has a "=" before it, since it may be empty. */
	(void)snprintf(login.wtmpdb.line, sizeof(login.wtmpdb.line), "%s", name + 1);
	(void)snprintf(login.wtmpdb.tty, sizeof(login.wtmpdb.tty), "%s", tty + 1);
	nsbox_wtmpdb_logout(&login.wtmpdb, user);
	return true;
}

/* Ends what a dead keeper's record names. Returns 0 when nothing of it is left. */
static int clear_box(uid_t uid, const char *box, int record_fd, struct nsbox_error *err)
{
	uint64_t deadline = nsbox_now_ms() + CLEAR_TIMEOUT_MS;
	cleanup_close int fd = fcntl(record_fd, F_DUPFD_CLOEXEC, 3);
	cleanup_fclose FILE *record = fd < 0 ? NULL : fdopen(fd, "r");
	struct nsbox_cgroup cg;
	char line[128 + NSBOX_USER_MAX];
	bool has_network = false;
	uint32_t base = 0;
	unsigned int u, g;

	if (!record)
		return nsbox_error_set(err, errno, "read the record of the box");
	(void)take_fd(&fd);
	if (nsbox_cgroup_find(box, &cg, err) < 0 || nsbox_cgroup_kill(&cg, deadline, err) < 0 ||
	    nsbox_cgroup_remove(&cg, deadline, err) < 0)
		return -EBUSY;
	while (fgets(line, sizeof(line), record)) {
		char name[128];

		if (sscanf(line, "socket %127s", name) == 1)
			forget_socket(uid, name);
		else if (sscanf(line, "terminal %127s %u %u", name, &u, &g) == 3)
			restore_terminal(name, base, u, g);
		else if (end_login(line))
			continue;
		else if (strcmp(line, "network\n") == 0)
			has_network = true;
		else
			(void)sscanf(line, "block %u", &base);
	}
	if (has_network && nsbox_network_clear(box, deadline, err) < 0)
		return -EBUSY;
	/* Last: until here nobody else's terminal can have an id of it. */
	if (base)
		forget_block(base);
	return 0;
}

/*
 * An empty record is one that write_record() is about to fill, or whose keeper
 * was killed there; that is done under the lock of all records.
 */
static void forget_empty(int dir, const char *name)
{
	cleanup_close int held = lock(NULL), fd = -EBADF;

	fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (held >= 0 && fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 &&
	    lseek(fd, 0, SEEK_END) == 0)
		(void)unlinkat(dir, name, 0);
}

/*
 * Clears up after keepers of @uid that were killed: their record is unlocked.
 * Not under the lock of all records, since processes may have to die first.
 */
static void clear_dead(uid_t uid, nsbox_registry_told *each, void *data)
{
	struct nsbox_error err;
	struct stat st;
	char path[64];
	cleanup_dir DIR *d = NULL;

	dir_of(uid, path, sizeof(path));
	d = opendir(path);
	for (struct dirent *e; d && (e = readdir(d));) {
		char *suffix = strrchr(e->d_name, '.');
		cleanup_close int fd = -EBADF;
		char box[NSBOX_CGROUP_NAME_MAX];
		int r;

		if (!suffix || strcmp(suffix, ".box") != 0 ||
		    (size_t)(suffix - e->d_name) >= sizeof(box))
			continue;
		fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
		/* Without a link: another has just cleared it, and what it names may be a new box's. */
		if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &st) < 0 || !st.st_nlink)
			continue;
		if (lseek(fd, 0, SEEK_END) == 0) {
			fd = nsbox_close(fd);	/* who fills it waits for this lock */
			forget_empty(dirfd(d), e->d_name);
			continue;
		}
		(void)lseek(fd, 0, SEEK_SET);
		memcpy(box, e->d_name, (size_t)(suffix - e->d_name));
		box[suffix - e->d_name] = '\0';
		r = clear_box(uid, box, fd, &err);
		if (r == 0)
			(void)unlinkat(dirfd(d), e->d_name, 0);
		if (each)
			each(box, r < 0 ? err.msg : NULL, data);
	}
}

void nsbox_registry_clear(uid_t uid, nsbox_registry_told *each, void *data)
{
	cleanup_close int held = -EBADF;
	char path[64];

	clear_dead(uid, each, data);
	held = lock(NULL);
	dir_of(uid, path, sizeof(path));
	if (held >= 0)
		(void)rmdir(path);	/* not empty: a live box */
}

static int fill_names(uid_t uid, const char *name, enum nsbox_scope scope, struct nsbox_record *ret,
		      struct nsbox_error *err)
{
	uint32_t random;

	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return nsbox_error_set(err, errno, "getrandom");
	ret->uid = uid;
	(void)snprintf(ret->box, sizeof(ret->box), "%u-%08x", uid, random);
	if (scope == NSBOX_SCOPE_USER)
		(void)snprintf(ret->socket, sizeof(ret->socket), "%s", name);
	else
		(void)snprintf(ret->socket, sizeof(ret->socket), "%.40s-%08x", name, random);
	return 0;
}

int nsbox_registry_enter(uid_t uid, const char *name, enum nsbox_scope scope,
			 struct nsbox_record *ret, struct nsbox_error *err)
{
	cleanup_close int held = -EBADF;
	char dir[64];
	int r = fill_names(uid, name, scope, ret, err);

	if (r < 0)
		return r;
	clear_dead(uid, NULL, NULL);
	held = lock(err);
	if (held < 0)
		return held;
	dir_of(uid, dir, sizeof(dir));
	r = make_dir(dir, err);
	if (r == 0 && is_live(uid, ret->socket))
		return 1;
	if (r == 0)
		r = write_record(ret, err);
	if (r == 0)
		r = listen_on(ret, err);
	if (r < 0) {
		held = nsbox_close(held);
		nsbox_registry_leave(ret);
	}
	return r;
}

struct range {
	uint64_t first, count;
};

/* Adds the ranges of a subuid(5) file. A missing file has none. */
static size_t read_subids(const char *path, struct range *ret, size_t n, size_t max)
{
	cleanup_fclose FILE *f = fopen(path, "re");
	unsigned long long first, count;
	char line[512];

	while (f && n < max && fgets(line, sizeof(line), f)) {
		char *colon = strchr(line, ':');

		if (line[0] == '#' || !colon ||
		    sscanf(colon + 1, "%llu:%llu", &first, &count) != 2)
			continue;
		ret[n++] = (struct range){ first, count };
	}
	return n;
}

static bool overlaps(const struct range *ranges, size_t n, uint32_t base)
{
	for (size_t i = 0; i < n; i++)
		if (ranges[i].first < (uint64_t)base + NSBOX_BLOCK_SIZE &&
		    base < ranges[i].first + ranges[i].count)
			return true;
	return false;
}

/* What an unlocked block file names is over only if no cgroup of that box is left. */
static bool is_abandoned(int fd)
{
	char text[128] = "", box[NSBOX_CGROUP_NAME_MAX];
	struct nsbox_cgroup cg;
	struct stat st;
	unsigned int uid;

	if (pread(fd, text, sizeof(text) - 1, 0) <= 0 ||
	    sscanf(text, "%u %47s", &uid, box) != 2)
		return true;
	if (nsbox_cgroup_find(box, &cg, NULL) < 0)
		return false;
	for (size_t i = 0; i < cg.n; i++)
		if (stat(cg.dirs[i].path, &st) == 0)
			return false;
	return true;
}

void nsbox_registry_clear_blocks(void)
{
	cleanup_close int held = lock(NULL);
	cleanup_dir DIR *d = held < 0 ? NULL : opendir(IDS_DIR);

	for (struct dirent *e; d && (e = readdir(d));) {
		cleanup_close int fd = openat(dirfd(d), e->d_name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);

		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0 && is_abandoned(fd))
			(void)unlinkat(dirfd(d), e->d_name, 0);
	}
}

static int try_block(struct nsbox_record *record, uint32_t base, uint32_t unknown)
{
	cleanup_close int fd = -EBADF;
	struct stat held, named;
	char path[64];

	(void)snprintf(path, sizeof(path), "%s/%u", IDS_DIR, base);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	/* The second check: its owner may have unlinked it between open and lock. */
	if (flock(fd, LOCK_EX | LOCK_NB) < 0 || fstat(fd, &held) < 0 || stat(path, &named) < 0 ||
	    held.st_ino != named.st_ino || !is_abandoned(fd))
		return -EAGAIN;
	if (base != unknown && nsbox_block_is_known(base)) {
		(void)unlink(path);
		return -EAGAIN;
	}
	if (ftruncate(fd, 0) < 0 || dprintf(fd, "%u %s\n", record->uid, record->box) < 0 ||
	    dprintf(record->record_fd, "block %u\n", base) < 0)
		return -errno;
	record->base = base;
	record->block_fd = take_fd(&fd);
	return 0;
}

int nsbox_registry_take_block(struct nsbox_record *record, const struct nsbox_decision *policy,
			      uint32_t unknown, struct nsbox_error *err)
{
	cleanup_free struct range *taken = malloc(SUBID_RANGES_MAX * sizeof(*taken));
	uint64_t blocks = nsbox_block_count(policy->id_first, policy->id_last);
	size_t n;

	if (!taken)
		return nsbox_error_set(err, ENOMEM, "looking for a block of ids");
	n = read_subids("/etc/subuid", taken, 0, SUBID_RANGES_MAX);
	n = read_subids("/etc/subgid", taken, n, SUBID_RANGES_MAX);
	for (uint64_t i = 0; i < blocks; i++) {
		uint32_t base = nsbox_block_base(record->uid, policy->id_first, policy->id_last, i);
		int r = overlaps(taken, n, base) ? -EAGAIN : try_block(record, base, unknown);

		if (r == 0)
			return 0;
		if (r != -EAGAIN)
			return nsbox_error_set(err, -r, "take the block of ids at %u", base);
	}
	return nsbox_error_say(err, EAGAIN, "all %llu blocks of %d ids in id_range %u-%u are taken: "
			       "widen id_range", (unsigned long long)blocks, NSBOX_BLOCK_SIZE,
			       policy->id_first, policy->id_last);
}

void nsbox_registry_note_terminal(struct nsbox_record *record, const char *path, uid_t uid,
				  gid_t gid)
{
	if (record->record_fd >= 0)
		(void)dprintf(record->record_fd, "terminal %s %u %u\n", path, uid, gid);
}

void nsbox_registry_note_network(struct nsbox_record *record)
{
	if (record->record_fd >= 0)
		(void)dprintf(record->record_fd, "network\n");
}

void nsbox_registry_note_login(struct nsbox_record *record, const struct nsbox_accounting *login,
			       const char *user)
{
	const struct nsbox_wtmpdb *w = &login->wtmpdb;

	if (record->record_fd >= 0 && w->since)
		(void)dprintf(record->record_fd, "wtmpdb %" PRId64 " =%s =%s %s\n", w->since,
			      w->line, w->tty, user);
	if (record->record_fd >= 0 && login->line[0])
		(void)dprintf(record->record_fd, "login %s %.4s %d\n", login->line, login->id,
			      login->pid);
}

void nsbox_registry_close(struct nsbox_record *record)
{
	cleanup_close int held = -EBADF;
	struct sockaddr_un sa;
	int queued;

	if (record->listener < 0)
		return;
	held = lock(NULL);
	if (socket_address(record->uid, record->socket, &sa) == 0)
		(void)unlink(sa.sun_path);
	held = nsbox_close(held);
	/* They see the end of the connection and ask again, elsewhere. */
	while ((queued = accept4(record->listener, NULL, NULL, SOCK_CLOEXEC)) >= 0)
		(void)nsbox_close(queued);
	record->listener = nsbox_close(record->listener);
}

void nsbox_registry_leave(struct nsbox_record *record)
{
	cleanup_close int held = -EBADF;
	char path[192];

	nsbox_registry_close(record);
	held = lock(NULL);
	if (record->block_fd >= 0) {
		(void)snprintf(path, sizeof(path), "%s/%u", IDS_DIR, record->base);
		(void)unlink(path);
	}
	if (record->record_fd >= 0) {
		(void)snprintf(path, sizeof(path), "%s/%u/%s.box", NSBOX_RUN_DIR, record->uid,
			       record->box);
		(void)unlink(path);
	}
	dir_of(record->uid, path, sizeof(path));
	(void)rmdir(path);	/* not empty: another box of this user */
	record->block_fd = nsbox_close(record->block_fd);
	record->record_fd = nsbox_close(record->record_fd);
}
