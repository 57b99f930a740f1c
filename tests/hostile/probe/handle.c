/* SPDX-License-Identifier: MIT */
/*
 * handle DIRECTORY...: opens files by inode number below the mount of each
 * directory (open_by_handle_at(2), the "shocker"); prints "OPENED N" for each that opens.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct {
			struct file_handle h;
			unsigned char room[128];
		} own = { .h = { .handle_bytes = 128 } };
		int dir = open(argv[i], O_RDONLY | O_DIRECTORY), id, opened = 0, code = 0;

		if (dir < 0 || name_to_handle_at(AT_FDCWD, argv[i], &own.h, &id, 0) < 0) {
			(void)printf("%s: no handle\n", argv[i]);
			continue;
		}
		for (unsigned int ino = 0; ino < 4096; ino++) {
			unsigned int parts[2] = { ino, 0 };
			int fd;

			if (ino)
				(void)memcpy(own.h.f_handle, parts, sizeof(parts));
			fd = open_by_handle_at(dir, &own.h, O_RDONLY);
			if (fd >= 0) {
				opened++;
				(void)close(fd);
			} else {
				code = errno;
			}
		}
		(void)printf("%s: opened %d %s\n", argv[i], opened, strerrorname_np(code));
		(void)close(dir);
	}
	return 0;
}
