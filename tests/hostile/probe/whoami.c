/* SPDX-License-Identifier: MIT */
/* Prints its effective ids and whether it reads the files given: what a setuid copy of it became. */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	(void)printf("euid=%u egid=%u\n", geteuid(), getegid());
	for (int i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY);
		char buf[256];
		ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf));

		(void)printf("%s: %s\n", argv[i], n < 0 ? "no" : "READ");
	}
	return 0;
}
