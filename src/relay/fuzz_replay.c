/* SPDX-License-Identifier: MIT
 *
 * Runs a fuzz target over the files of a folder, for builds without a fuzzer (meson test). With clang:
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
	uint8_t buf[65536], *exact;
	FILE *f = fopen(path, "re");
	size_t n;

	if (!f)
		return -errno;
	n = fread(buf, 1, sizeof(buf), f);
	(void)fclose(f);
	exact = malloc(n ? n : 1); /* its end is where the sanitizers look */
	if (!exact)
		return -ENOMEM;
	memcpy(exact, buf, n);
	(void)LLVMFuzzerTestOneInput(exact, n);
	/* Each of its beginnings too. */
	for (size_t cut = 0; cut < n && cut < 64; cut++)
		(void)LLVMFuzzerTestOneInput(exact, cut);
	free(exact);
	return 0;
}

int main(int argc, char **argv)
{
	struct dirent *entry;
	unsigned count = 0;
	DIR *dir = argc == 2 ? opendir(argv[1]) : NULL;

	if (!dir) {
		(void)fprintf(stderr, "usage: replay FOLDER\n");
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
