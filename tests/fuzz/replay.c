/* SPDX-License-Identifier: MIT */
/*
 * A fuzz target without libFuzzer: every file of a corpus once, as TAP. What a
 * target finds wrong aborts, which the runner reports with the last line.
 */
#include "fuzz.h"
#include "test.h"

#include <dirent.h>
#include <stdlib.h>

#ifndef NSBOX_CORPUS
#error "NSBOX_CORPUS must be the directory of the inputs"
#endif

enum { INPUT_MAX = 1 << 20, INPUTS_MIN = 20 };

static void replay(const char *name)
{
	static uint8_t data[INPUT_MAX];
	char path[512];
	size_t size;
	FILE *f;

	(void)snprintf(path, sizeof(path), "%s/%s", NSBOX_CORPUS, name);
	f = fopen(path, "re");
	size = f ? fread(data, 1, sizeof(data), f) : 0;
	if (!f || fclose(f) != 0) {
		OK(false, "reading %s", path);
		return;
	}
	(void)printf("# %s\n", name);
	(void)fflush(stdout);
	OK(LLVMFuzzerTestOneInput(data, size) == 0, "%s", name);
}

static int is_input(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

int main(void)
{
	struct dirent **list = NULL;
	int n = scandir(NSBOX_CORPUS, &list, is_input, alphasort);

	OK(n >= INPUTS_MIN, "%d inputs in " NSBOX_CORPUS ", at least %d", n, INPUTS_MIN);
	for (int i = 0; i < n; i++) {
		replay(list[i]->d_name);
		free(list[i]);
	}
	free(list);
	return test_done();
}
