/* SPDX-License-Identifier: MIT
 *
 * Fuzz target of the readers of CRIU's files. The first byte says which file it is. What is accepted must be usable.
 */
#include "snapshot/image.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_files(const uint8_t *data, size_t size)
{
	struct niwa_criu_files files = {0};

	if (niwa_criu_read_files(data, size, &files, NULL) == 0)
		for (size_t i = 0; i < files.count; i++)
			assert(files.file[i].path[0] == '/' && strlen(files.file[i].path) < size);
	niwa_criu_files_fini(&files);
}

static void fuzz_memory(const uint8_t *data, size_t size)
{
	struct niwa_criu_file file[3] = {{.id = 2}, {.id = 5}, {.id = 64}};
	struct niwa_criu_files files = {file, 3};

	(void)niwa_criu_read_memory(data, size, &files, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct niwa_criu_tasks tasks;
	uint32_t user_ns;
	size_t offset;

	if (size == 0)
		return 0;
	size--;
	switch (data++[0]) {
	case 'f':
		fuzz_files(data, size);
		break;
	case 'p':
		if (niwa_criu_read_tasks(data, size, &tasks, NULL) == 0)
			assert(tasks.processes > 0 && tasks.free_pid > 0);
		break;
	case 'm':
		fuzz_memory(data, size);
		break;
	case 'u':
		if (niwa_criu_read_user_ns(data, size, &user_ns, NULL) == 0)
			assert(user_ns < 0x80);
		break;
	default:
		if (niwa_criu_find_user_ns(data, size, &offset, NULL) == 0)
			assert(offset < size && data[offset] < 0x80);
		break;
	}
	return 0;
}
