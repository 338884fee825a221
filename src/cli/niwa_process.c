/* SPDX-License-Identifier: MIT
 *
 * Finding niwa's own programs without talking to them.
 */
#include "cli/niwa_process.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fd.h"

#define LISTENS 0x10000u /* __SO_ACCEPTCON in the flags of /proc/net/unix */

bool niwa_socket_is_listened_on(const char *path)
{
	FILE *f = fopen("/proc/net/unix", "re");
	char line[512], name[256];
	unsigned flags;
	bool found = false;

	while (f && !found && fgets(line, sizeof(line), f))
		found = sscanf(line, "%*x: %*x %*x %x %*x %*x %*u %255s", &flags, name) == 2 && (flags & LISTENS) &&
			!strcmp(name, path);
	if (f)
		(void)fclose(f); /* read only */
	return found;
}

pid_t niwa_process_find(const char *name)
{
	DIR *proc = opendir("/proc");
	const struct dirent *e;
	pid_t found = 0;

	while (proc && !found && (e = readdir(proc))) {
		char path[300], comm[64];

		(void)snprintf(path, sizeof(path), "/proc/%s/comm", e->d_name);
		if (!isdigit((unsigned char)e->d_name[0]) || niwa_file_read(path, comm, sizeof(comm)) <= 0)
			continue;
		comm[strcspn(comm, "\n")] = '\0';
		if (!strcmp(comm, name))
			found = (pid_t)atoi(e->d_name);
	}
	if (proc)
		(void)closedir(proc); /* read only */
	return found;
}
