/* SPDX-License-Identifier: MIT */
/* swap A B: exchanges two names until standard input ends; prints how often. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct pollfd in = { .fd = 0, .events = POLLIN };
	long n = 0;

	(void)alarm(150);
	if (argc != 3)
		return 2;
	do {
		for (int i = 0; i < 8; i++) {
			if (renameat2(AT_FDCWD, argv[1], AT_FDCWD, argv[2], RENAME_EXCHANGE) < 0) {
				perror("renameat2");
				return 1;
			}
			n++;
			(void)usleep(300);	/* each of the two is there for a while */
		}
	} while (poll(&in, 1, 0) == 0);
	(void)printf("%ld\n", n);
	return 0;
}
