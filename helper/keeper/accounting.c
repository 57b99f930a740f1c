/* SPDX-License-Identifier: MIT */
/* Records of logins: see accounting.h. */
#include "accounting.h"
#include "cleanup.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <lastlog.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>
#include <utmp.h>

static bool is_login(const struct nsbox_msg_open *open, int pid)
{
	return open->rhost[0] || (open->tty[0] && getsid(pid) == pid);
}

/* "pts/3"; for a session whose terminal is in the box, or that has none, "sshd:1234". */
static void name_line(const struct nsbox_msg_open *open, int pid, char *ret, size_t size)
{
	const char *tty = open->tty;

	if (strncmp(tty, "/dev/", 5) == 0)
		tty += 5;
	if (strncmp(tty, "pts/", 4) == 0 || strncmp(tty, "tty", 3) == 0)
		(void)snprintf(ret, size, "%.32s", tty);
	else
		(void)snprintf(ret, size, "%.16s:%d", open->service, pid);
}

/* init and getty go by ut_id, so two live sessions must not share one: base 64 of the pid. */
static void make_id(int pid, char id[4])
{
	static const char digits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz+-";

	for (int i = 3; i >= 0; i--, pid >>= 6)
		id[i] = digits[pid & 63];
}

static void set_address(struct utmpx *u, const char *rhost)
{
	(void)strncpy(u->ut_host, rhost, sizeof(u->ut_host) - 1);
	if (inet_pton(AF_INET, rhost, &u->ut_addr_v6[0]) != 1)
		(void)inet_pton(AF_INET6, rhost, u->ut_addr_v6);
}

/* utmp(5) says who is there, wtmp who was. Neither is made where it is not kept. */
static void write_both(const struct utmpx *u)
{
	setutxent();
	(void)pututxline(u);
	endutxent();
	updwtmpx(_PATH_WTMP, u);
}

static struct utmpx describe(const struct nsbox_accounting *record, short type)
{
	struct utmpx u = { .ut_type = type, .ut_pid = record->pid };
	struct timeval now;

	(void)gettimeofday(&now, NULL);
	u.ut_tv.tv_sec = (int32_t)now.tv_sec;
	u.ut_tv.tv_usec = (int32_t)now.tv_usec;
	memcpy(u.ut_line, record->line, sizeof(u.ut_line));
	memcpy(u.ut_id, record->id, sizeof(u.ut_id));
	return u;
}

/* An array with an entry for each uid; what was never written is a hole. */
static void write_lastlog(const struct utmpx *u, uid_t uid)
{
	cleanup_close int fd = open(_PATH_LASTLOG, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct lastlog entry = { .ll_time = u->ut_tv.tv_sec };

	if (fd < 0)
		return;
	memcpy(entry.ll_line, u->ut_line, sizeof(entry.ll_line));
	memcpy(entry.ll_host, u->ut_host, sizeof(entry.ll_host));
	(void)!pwrite(fd, &entry, sizeof(entry), (off_t)uid * (off_t)sizeof(entry));
}

void nsbox_accounting_login(struct nsbox_accounting *ret, const struct nsbox_msg_open *open,
			    uid_t uid, int pid)
{
	struct utmpx u;

	ret->line[0] = '\0';
	if (is_login(open, pid))
		name_line(open, pid, ret->line, sizeof(ret->line));
	nsbox_wtmpdb_login(&ret->wtmpdb, open, ret->line);
	if (!ret->line[0])
		return;
	ret->pid = pid;
	make_id(pid, ret->id);
	u = describe(ret, USER_PROCESS);
	(void)strncpy(u.ut_user, open->user, sizeof(u.ut_user) - 1);
	u.ut_session = getsid(pid);
	set_address(&u, open->rhost);
	write_both(&u);
	write_lastlog(&u, uid);
}

void nsbox_accounting_logout(struct nsbox_accounting *record, const char *user)
{
	struct utmpx u;

	nsbox_wtmpdb_logout(&record->wtmpdb, user);
	if (!record->line[0])
		return;
	u = describe(record, DEAD_PROCESS);
	write_both(&u);
	record->line[0] = '\0';
}
