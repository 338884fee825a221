/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzz target of any folder over the files of its corpus and all their beginnings, for builds without a fuzzer
 * (meson test): fuzz_X FOLDER. With clang and its fuzzer, of the relay for example:
 *   clang -g -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I<build>/inc/relay fuzz_X.c X.c && ./a.out corpus/X
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path)
{
	static uint8_t buf[65536];
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return -errno;
	n = fread(buf, 1, sizeof(buf), f);
	(void)fclose(f);
	for (size_t cut = 0; cut <= n; cut++) {
		uint8_t *exact = malloc(cut ? cut : 1); /* its end is where the sanitizers look */

		if (!exact)
			return -ENOMEM;
		memcpy(exact, buf, cut);
		(void)LLVMFuzzerTestOneInput(exact, cut);
		free(exact);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const struct dirent *entry;
	unsigned count = 0;
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;

	if (!dir) {
		(void)fprintf(stderr, "usage: fuzz FOLDER\n");
		return 2;
	}
	while ((entry = readdir(dir))) {
		char path[4096];
		int r;

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		r = replay(path);
		if (r < 0) {
			(void)fprintf(stderr, "%s: %s\n", path, strerror(-r));
			return 1;
		}
		count++;
	}
	(void)closedir(dir);
	(void)printf("%u inputs\n", count);
	return count ? 0 : 1;
}
