/* SPDX-License-Identifier: MIT
 *
 * Fuzz target of the plan checker: what it accepts must be readable to the end. With -fsanitize=fuzzer it is
 * libFuzzer's target; with FUZZ_REPLAY it replays the files and folders named on the command line.
 */
#include "container/plan.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct niwa_text out = {0};
	char *copy = malloc(size + 1); /* aligned as a mapping is, and of the exact size */

	if (!copy)
		return 0;
	memcpy(copy, data, size);
	if (niwa_plan_check(copy, size, NULL) == 0) {
		niwa_plan_dump(copy, size, &out);
		assert(out.len > 0 || out.failed);
	}
	niwa_text_fini(&out);
	free(copy);
	return 0;
}

#ifdef FUZZ_REPLAY
#include <dirent.h>
#include <stdio.h>

static int replay_file(const char *path)
{
	static uint8_t buf[NIWA_PLAN_MAX + 1];
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f) {
		perror(path);
		return 1;
	}
	n = fread(buf, 1, sizeof(buf), f);
	(void)fclose(f);
	return LLVMFuzzerTestOneInput(buf, n);
}

int main(int argc, char **argv)
{
	int failed = 0, count = 0;
	char path[4096];

	for (int i = 1; i < argc; i++) {
		DIR *dir = opendir(argv[i]);

		if (!dir) {
			failed |= replay_file(argv[i]);
			count++;
			continue;
		}
		for (struct dirent *e; (e = readdir(dir));) {
			if (e->d_name[0] == '.')
				continue;
			(void)snprintf(path, sizeof(path), "%s/%s", argv[i], e->d_name);
			failed |= replay_file(path);
			count++;
		}
		(void)closedir(dir);
	}
	return failed || count == 0;
}
#endif
