/* SPDX-License-Identifier: MIT */
/* Our line in a file of /etc/pam.d: see pamedit.h. */
#include "pamedit.h"
#include "cleanup.h"
#include "file.h"
#include "pamd.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/xattr.h>

/* What tells our line from one that was written by hand, and why it is at the end. */
#define MARK "# The next line is nsbox's and has to stay last: nsbox enable, nsbox disable."
#define MARK_NEWLINE MARK " Before it came no newline."

int nsbox_pam_edit_open(const char *name, struct nsbox_pam_edit *ret, struct nsbox_error *err)
{
	struct nsbox_pam_edit cleanup_pam_edit e = { .name = name, .file = -EBADF };
	int r;

	e.dir = open(NSBOX_PAM_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (e.dir < 0)
		return nsbox_error_set(err, errno, "open " NSBOX_PAM_DIR);
	if (flock(e.dir, LOCK_EX) < 0)
		return nsbox_error_set(err, errno, "lock " NSBOX_PAM_DIR);
	e.file = openat(e.dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (e.file < 0 && errno == ELOOP)
		return nsbox_error_say(err, ELOOP, NSBOX_PAM_DIR "/%.100s is a symbolic link: "
				       "the service that it leads to has to be edited", name);
	if (e.file < 0)
		return nsbox_error_set(err, errno, "open " NSBOX_PAM_DIR "/%.100s", name);
	if (fstat(e.file, &e.st) < 0 || !S_ISREG(e.st.st_mode))
		return nsbox_error_say(err, EINVAL, NSBOX_PAM_DIR "/%.100s is not a file", name);
	if (e.st.st_nlink > 1)
		return nsbox_error_say(err, EMLINK, NSBOX_PAM_DIR "/%.100s has another name: a file "
				       "that is replaced would leave that behind", name);
	r = nsbox_fd_read_all(e.file, NSBOX_PAM_FILE_MAX, &e.text, &e.len, err);
	if (r < 0) {
		(void)nsbox_error_wrap(err, NSBOX_PAM_DIR "/%.100s", name);
		return r;
	}
	*ret = e;
	e = (struct nsbox_pam_edit){ .dir = -EBADF, .file = -EBADF };
	return 0;
}

void nsbox_pam_edit_drop(struct nsbox_pam_edit *edit)
{
	edit->file = nsbox_close(edit->file);
	edit->dir = nsbox_close(edit->dir);
	free(edit->text);
	edit->text = NULL;
}

static bool is_mark(const char *s, size_t len, const char *mark)
{
	if (len && s[len - 1] == '\n')
		len--;
	return len == strlen(mark) && memcmp(s, mark, len) == 0;
}

/* The arguments of our rule, blanks at the ends left out. */
static char *arguments(const struct nsbox_pam_line *line)
{
	char copy[NSBOX_PAM_LINE_MAX], *rest = copy;

	strcpy(copy, line->text);
	for (int words = 0; words < 3; words++)
		(void)nsbox_pam_word(&rest);
	return strdup(rest + strspn(rest, " \t"));
}

int nsbox_pam_edit_without(const struct nsbox_pam_edit *edit, char **ret, size_t *ret_len,
			   char **ret_args, struct nsbox_error *err)
{
	cleanup_free char *out = malloc(edit->len + 1), *args = NULL;
	char path[NSBOX_PAM_NAME_MAX * 2];
	size_t at = 0, used = 0, added_newline = (size_t)-1;
	struct nsbox_pam_line line;
	unsigned int number = 0;
	int r;

	if (!out)
		return nsbox_error_set(err, ENOMEM, "editing %.80s", edit->name);
	(void)snprintf(path, sizeof(path), NSBOX_PAM_DIR "/%s", edit->name);
	while ((r = nsbox_pam_next_line(path, edit->text, edit->len, &at, &number, &line, err)) > 0) {
		const char *s = edit->text + line.start;
		size_t len = line.end - line.start;

		if (is_mark(s, len, MARK_NEWLINE)) {
			added_newline = used;
		} else if (nsbox_pam_line_is_ours(&line)) {
			free(args);
			args = arguments(&line);
		} else if (!is_mark(s, len, MARK)) {
			memcpy(out + used, s, len);
			used += len;
		}
	}
	if (r < 0)
		return r;
	if (used && used == added_newline)
		used--;
	out[used] = '\0';
	*ret = out;
	*ret_len = used;
	out = NULL;
	if (ret_args) {
		*ret_args = args;
		args = NULL;
	}
	return 0;
}

int nsbox_pam_edit_with(const struct nsbox_pam_edit *edit, const char *module, const char *args,
			char **ret, size_t *ret_len, struct nsbox_error *err)
{
	cleanup_free char *bare = NULL;
	size_t len;
	bool newline;
	int r = nsbox_pam_edit_without(edit, &bare, &len, NULL, err);

	if (r < 0)
		return r;
	newline = len && bare[len - 1] != '\n';
	r = asprintf(ret, "%s%s%s\nsession required %s%s%s\n", bare, newline ? "\n" : "",
		     newline ? MARK_NEWLINE : MARK, module, *args ? " " : "", args);
	if (r < 0)
		return nsbox_error_set(err, ENOMEM, "editing %.80s", edit->name);
	*ret_len = (size_t)r;
	return 0;
}

/* Everything that ls -l and getfattr show of @from. */
static int copy_attributes(int from, int to, struct nsbox_error *err)
{
	char names[4096], value[4096];
	struct stat st;
	ssize_t n;

	if (fstat(from, &st) < 0 || fchown(to, st.st_uid, st.st_gid) < 0 ||
	    fchmod(to, st.st_mode & 07777) < 0)
		return nsbox_error_set(err, errno, "giving the new file its owner and mode");
	n = flistxattr(from, names, sizeof(names));
	if (n < 0)
		return errno == ENOTSUP ? 0 : nsbox_error_set(err, errno, "reading the names of "
							      "extended attributes");
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		ssize_t size = fgetxattr(from, name, value, sizeof(value));

		if (size < 0 || fsetxattr(to, name, value, (size_t)size, 0) < 0)
			return nsbox_error_set(err, errno, "copying the attribute %.80s", name);
	}
	return 0;
}

static int write_all(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		text += n;
		len -= (size_t)n;
	}
	return fsync(fd);
}

int nsbox_replace_file(int dir, const char *name, int like, const char *text, size_t len,
		       struct nsbox_error *err)
{
	cleanup_close int fd = -EBADF;
	char temporary[NAME_MAX + 1];
	int r = 0;

	if ((size_t)snprintf(temporary, sizeof(temporary), ".%s.nsbox-new", name) >=
	    sizeof(temporary))
		return nsbox_error_set(err, ENAMETOOLONG, "%.80s", name);
	(void)unlinkat(dir, temporary, 0);	/* of one that was killed; the lock is ours */
	fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return nsbox_error_set(err, errno, "making %.100s", temporary);
	if (like >= 0)
		r = copy_attributes(like, fd, err);
	else if (fchmod(fd, 0644) < 0)
		r = nsbox_error_set(err, errno, "chmod %.100s", temporary);
	if (r == 0 && write_all(fd, text, len) < 0)
		r = nsbox_error_set(err, errno, "writing %.100s", temporary);
	if (r == 0 && renameat(dir, temporary, dir, name) < 0)
		r = nsbox_error_set(err, errno, "rename %.100s", temporary);
	if (r == 0 && fsync(dir) < 0)
		return nsbox_error_set(err, errno, "fsync of the directory of %.80s", name);
	if (r < 0)
		(void)unlinkat(dir, temporary, 0);
	return r;
}

int nsbox_pam_edit_write(const struct nsbox_pam_edit *edit, const char *text, size_t len,
			 struct nsbox_error *err)
{
	struct stat now;

	if (fstatat(edit->dir, edit->name, &now, AT_SYMLINK_NOFOLLOW) < 0 ||
	    now.st_ino != edit->st.st_ino || now.st_dev != edit->st.st_dev ||
	    now.st_size != edit->st.st_size || now.st_mtim.tv_sec != edit->st.st_mtim.tv_sec ||
	    now.st_mtim.tv_nsec != edit->st.st_mtim.tv_nsec)
		return nsbox_error_say(err, EBUSY, NSBOX_PAM_DIR "/%.100s changed meanwhile: "
				       "nothing was written", edit->name);
	return nsbox_replace_file(edit->dir, edit->name, edit->file, text, len, err);
}
