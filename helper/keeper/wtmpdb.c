/* SPDX-License-Identifier: MIT */
/* The database of logins: see wtmpdb.h. */
#include "wtmpdb.h"
#include "cleanup.h"

#include <dlfcn.h>
#include <poll.h>
#include <string.h>
#include <sys/syscall.h>
#include <syslog.h>
#include <time.h>

#define LIBRARY "libwtmpdb.so.0"
#define USEC INT64_C(1000000)

enum {
	/* Between pam_wtmpdb.so and us in one stack there may be slow modules. */
	STACK_SECONDS = 60,
	/* For the child before, and for all that a child does. */
	TURN_MS = 20000,
	LIFE_SECONDS = 60,
	/* Its type of a session (wtmpdb.h), which is not utmp's. */
	SESSION = 3,
	/* The columns of a row. */
	ROW_ID = 0,
	ROW_USER = 2,
	ROW_LOGIN = 3,
	ROW_LOGOUT = 4,
	ROW_TTY = 5,
	ROW_COLUMNS = 8,
};

/* Loaded by name where it is, so that none is needed to build or to install. */
struct library {
	int64_t (*login)(const char *db, int type, const char *user, uint64_t usec,
			 const char *tty, const char *rhost, const char *service, char **error);
	int (*logout)(const char *db, int64_t id, uint64_t usec, char **error);
	int (*read_all)(const char *db, int (*each)(void *, int, char **, char **), char **error);
};

/* The library's own place for it, and where Debian has it. It is not made. */
static const char *database(void)
{
	static const char *const places[] = { "/var/lib/wtmpdb/wtmp.db", "/var/log/wtmp.db" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++)
		if (access(places[i], W_OK) == 0)
			return places[i];
	return NULL;
}

/* --- the child ------------------------------------------------------------- */

/* Whom the rows are compared with: the library's callback has no room for more. */
static struct {
	const struct nsbox_wtmpdb *record;
	const char *user;
	int64_t id;
} wanted;

static bool is_on(const char *tty, const struct nsbox_wtmpdb *record)
{
	return strcmp(tty, record->tty) == 0 || (record->line[0] && strcmp(tty, record->line) == 0);
}

/* The newest come first. Other than 0 ends it. */
static int compare(void *unused, int n, char **row, char **names)
{
	int64_t begin = wanted.record->since - STACK_SECONDS, login;

	(void)unused;
	(void)names;
	if (n != ROW_COLUMNS || !row[ROW_ID] || !row[ROW_USER] || !row[ROW_LOGIN])
		return -1;
	login = strtoll(row[ROW_LOGIN], NULL, 10) / USEC;
	if (login < begin)
		return 1;
	if (login > wanted.record->since || (row[ROW_LOGOUT] && strtoll(row[ROW_LOGOUT], NULL, 10)) ||
	    strcmp(row[ROW_USER], wanted.user) != 0 ||
	    !is_on(row[ROW_TTY] ? row[ROW_TTY] : "", wanted.record))
		return 0;
	wanted.id = strtoll(row[ROW_ID], NULL, 10);
	return 1;
}

/* The session's row, which has no end yet; -1 if there is none. */
static int64_t find(const struct library *lib, const char *db, const struct nsbox_wtmpdb *record,
		    const char *user)
{
	char *error = NULL;

	wanted.record = record;
	wanted.user = user;
	wanted.id = -1;
	(void)lib->read_all(db, compare, &error);
	return wanted.id;
}

static bool load(struct library *ret)
{
	void *lib = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	void *login = lib ? dlsym(lib, "wtmpdb_login") : NULL;
	void *logout = lib ? dlsym(lib, "wtmpdb_logout") : NULL;
	void *read_all = lib ? dlsym(lib, "wtmpdb_read_all") : NULL;

	memcpy(&ret->login, &login, sizeof(login));
	memcpy(&ret->logout, &logout, sizeof(logout));
	memcpy(&ret->read_all, &read_all, sizeof(read_all));
	return login && logout && read_all;
}

/*
 * Of the keeper's descriptors it has none but that of the child before: it would
 * hold the keeper's locks. Without the library nobody keeps the database.
 */
static void begin_child(int before, struct library *lib)
{
	struct pollfd ended = { .fd = 0, .events = POLLIN };

	(void)alarm(LIFE_SECONDS);
	closelog();
	if (before >= 0 && dup2(before, 0) < 0)
		_exit(1);
	if (close_range(before >= 0 ? 1 : 0, ~0U, 0) < 0 || !load(lib))
		_exit(1);
	openlog("nsbox-keeper", LOG_PID, LOG_AUTHPRIV);
	if (before >= 0)
		(void)poll(&ended, 1, TURN_MS);
}

static void __attribute__((noreturn)) end_child(bool done, const char *user, const char *db,
						const char *error)
{
	if (!done)
		syslog(LOG_WARNING, "%s: a login or its end is not recorded in %s: %s", user, db,
		       error ? error : "libwtmpdb does not say why");
	_exit(!done);
}

/* --- the keeper ------------------------------------------------------------ */

/*
 * One child after another, so that an end never comes before its begin: each has
 * a descriptor of the one before. The kernel reaps them. Returns 0 in the child.
 */
static pid_t start_child(int *ret_before)
{
	static int last = -EBADF;
	pid_t pid = fork();

	*ret_before = last;
	if (pid < 0)
		syslog(LOG_WARNING, "a login or its end is not recorded: fork: %s", strerror(errno));
	if (pid > 0) {
		(void)nsbox_close(last);
		last = (int)syscall(SYS_pidfd_open, pid, 0);	/* fails if it has ended */
	}
	return pid;
}

static void copy_tty(const struct nsbox_msg_open *open, char *ret, size_t size)
{
	const char *tty = open->tty + (strncmp(open->tty, "/dev/", 5) == 0 ? 5 : 0);

	(void)snprintf(ret, size, "%.*s", (int)strcspn(tty, " \n"), tty);
}

void nsbox_wtmpdb_login(struct nsbox_wtmpdb *ret, const struct nsbox_msg_open *open,
			const char *line)
{
	const char *db = database();
	struct library lib;
	char *error = NULL;
	int before;

	*ret = (struct nsbox_wtmpdb){ .since = db ? time(NULL) : 0 };
	copy_tty(open, ret->tty, sizeof(ret->tty));
	(void)snprintf(ret->line, sizeof(ret->line), "%s", line);
	if (!db || !line[0] || start_child(&before) != 0)
		return;
	begin_child(before, &lib);
	if (find(&lib, db, ret, open->user) >= 0)
		_exit(0);
	end_child(lib.login(db, SESSION, open->user, (uint64_t)(ret->since * USEC), line,
			    open->rhost, open->service, &error) >= 0, open->user, db, error);
}

void nsbox_wtmpdb_logout(struct nsbox_wtmpdb *record, const char *user)
{
	const char *db = record->since ? database() : NULL;
	int64_t now = time(NULL), id;
	struct library lib;
	char *error = NULL;
	int before;

	if (db && start_child(&before) == 0) {
		begin_child(before, &lib);
		id = find(&lib, db, record, user);
		/* A session that was no login need not be there. */
		end_child(id < 0 || lib.logout(db, id, (uint64_t)(now * USEC), &error) >= 0, user,
			  db, error);
	}
	record->since = 0;
}
