/* SPDX-License-Identifier: MIT
 *
 * /proc/PID/status, line by line: a process may be in so many groups that the one that names them is half a megabyte.
 */
#include "engine/dump_size.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static uint64_t kib_of(const char *line, const char *key)
{
	size_t len = strlen(key);

	return strncmp(line, key, len) == 0 ? strtoull(line + len, NULL, 10) : 0;
}

static uint64_t size_of(int pid)
{
	NIWA_AUTO(niwa_free_ptr) char *line = NULL;
	uint64_t kib = 0;
	size_t room = 0;
	char path[64];
	FILE *f;

	(void)snprintf(path, sizeof(path), "/proc/%d/status", pid);
	f = fopen(path, "re");
	while (f && getline(&line, &room, f) > 0)
		kib += kib_of(line, "RssAnon:") + kib_of(line, "VmSwap:");
	if (f)
		(void)fclose(f); /* read only */
	return kib * 1024;
}

uint64_t niwa_dump_size(const char *procs)
{
	FILE *f = fopen(procs, "re");
	uint64_t bytes = 0;
	int pid;

	while (f && fscanf(f, "%d", &pid) == 1)
		bytes += size_of(pid);
	if (f)
		(void)fclose(f); /* read only */
	return bytes;
}
