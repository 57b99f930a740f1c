/* SPDX-License-Identifier: MIT */
/* Log lines of a box: see boxlog.h. */
#include "boxlog.h"
#include "cleanup.h"
#include "proto.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <syslog.h>
#include <time.h>

enum {
	LINE_MAX_BYTES = 2048,
	LINES_AT_ONCE = 64,	/* then the keeper looks after its sessions again */
	LINES_MAX = 1000,	/* in an INTERVAL_MS, as journald has it */
	INTERVAL_MS = 30000,
};

int nsbox_boxlog_open(struct nsbox_boxlog *log, int dev, uint32_t owner, struct nsbox_error *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	cleanup_close int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	cleanup_close int host = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (sock < 0 || host < 0)
		return nsbox_error_set(err, errno, "the box's /dev/log");
	(void)snprintf(sa.sun_path, sizeof(sa.sun_path), "/proc/self/fd/%d/log", dev);
	if (bind(sock, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    fchmodat(dev, "log", 0600, 0) < 0 ||
	    fchownat(dev, "log", owner, owner, AT_SYMLINK_NOFOLLOW) < 0)
		return nsbox_error_set(err, errno, "the box's /dev/log");
	log->box = take_fd(&sock);
	log->host = take_fd(&host);
	return 0;
}

/* "<13>" at the begin: takes it off. Nobody but the kernel speaks for the kernel. */
static int take_priority(char **text)
{
	int priority = 0, n = 0;

	if (sscanf(*text, "<%3d>%n", &priority, &n) != 1 || n == 0 || priority < 0 ||
	    priority > (LOG_FACMASK | LOG_PRIMASK))
		return LOG_USER | LOG_NOTICE;
	*text += n;
	return (priority & LOG_FACMASK) == LOG_KERN ? LOG_USER | (priority & LOG_PRIMASK) : priority;
}

/* syslog(3) writes "Nov  2 03:04:05 " first; the time is ours to say. */
static void skip_time(char **text)
{
	static const char pattern[] = "aaa dd dd:dd:dd ";
	const char *c = *text;

	for (size_t i = 0; pattern[i]; i++, c++) {
		bool fits = pattern[i] == 'a' ? isalpha((unsigned char)*c) :
			    pattern[i] == 'd' ? isdigit((unsigned char)*c) || *c == ' ' :
						*c == pattern[i];

		if (!fits)
			return;
	}
	*text += sizeof(pattern) - 1;
}

/* One line, whatever it is made of: a control character could pass for the begin of the next. */
static void clean(char *text)
{
	size_t len = strlen(text);

	while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\0'))
		text[--len] = '\0';
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 127)
			*text = '?';
}

static void send_line(const struct nsbox_boxlog *log, int priority, const char *user,
		      const char *text)
{
	const struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = "/dev/log" };
	char line[LINE_MAX_BYTES + 512], when[32];
	time_t now = time(NULL);
	struct tm tm;
	int n;

	(void)strftime(when, sizeof(when), "%b %e %H:%M:%S", localtime_r(&now, &tm));
	n = snprintf(line, sizeof(line), "<%d>%s nsbox[%s]: %s", priority, when, user, text);
	/* Full or gone: a line less, but no keeper that waits for a log. */
	(void)sendto(log->host, line, (size_t)n < sizeof(line) ? (size_t)n : sizeof(line) - 1,
		     MSG_NOSIGNAL, (const struct sockaddr *)&sa, sizeof(sa));
}

/* Is there room for one more line now? */
static bool admit(struct nsbox_boxlog *log, const char *user)
{
	uint64_t now = nsbox_now_ms();
	char text[96];

	if (now - log->since_ms >= INTERVAL_MS) {
		if (log->lost) {
			(void)snprintf(text, sizeof(text), "%u lines of this box were too many and "
				       "are lost", log->lost);
			send_line(log, LOG_AUTHPRIV | LOG_WARNING, user, text);
		}
		log->since_ms = now;
		log->lines = log->lost = 0;
	}
	if (log->lines < LINES_MAX) {
		log->lines++;
		return true;
	}
	log->lost++;
	return false;
}

void nsbox_boxlog_forward(struct nsbox_boxlog *log, const char *user)
{
	char buf[LINE_MAX_BYTES];

	for (int i = 0; i < LINES_AT_ONCE; i++) {
		ssize_t n = recv(log->box, buf, sizeof(buf) - 1, 0);
		char *text = buf;
		int priority;

		if (n < 0)
			return;
		buf[n] = '\0';
		if (!admit(log, user))
			continue;
		priority = take_priority(&text);
		skip_time(&text);
		clean(text);
		send_line(log, priority, user, text);
	}
}

void nsbox_boxlog_close(struct nsbox_boxlog *log)
{
	log->box = nsbox_close(log->box);
	log->host = nsbox_close(log->host);
}
