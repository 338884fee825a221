/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzz target over the files of a folder, with any compiler: fuzz_replay FOLDER
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/yaml_private.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *folder, const char *name)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/%s", folder, name);
	NIWA_AUTO(niwa_free_ptr) char *data = NULL;
	struct niwa_error err = {0};
	size_t len;

	if (!path || niwa_yaml_read_file(path, 1 << 20, &data, &len, &err) < 0) {
		(void)fprintf(stderr, "%s\n", err.msg);
		return 1;
	}
	(void)printf("%s\n", name);
	(void)fflush(stdout);
	return LLVMFuzzerTestOneInput((const uint8_t *)data, len);
}

int main(int argc, char **argv)
{
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;
	struct dirent *entry;
	unsigned files = 0;
	int r = 0;

	if (!dir) {
		(void)fprintf(stderr, "usage: fuzz_replay FOLDER\n");
		return 2;
	}
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.') {
			r |= replay(argv[1], entry->d_name);
			files++;
		}
	(void)closedir(dir);
	return r != 0 || files == 0;
}
