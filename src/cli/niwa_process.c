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

/* A line of /proc/PID/cgroup is "number:controller,controller:/path"; v2 has number 0 and no controller. */
static bool line_is_of(const char *list, const char *controller)
{
	size_t len = strlen(controller);

	if (!len)
		return !*list;
	for (const char *p = list; (p = strstr(p, controller)); p += len)
		if ((p == list || p[-1] == ',') && (!p[len] || p[len] == ','))
			return true;
	return false;
}

bool niwa_process_group(pid_t pid, const char *controller, char *buf, size_t size)
{
	char path[64], text[8192], *save = NULL;

	(void)snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	if (niwa_file_read(path, text, sizeof(text)) <= 0)
		return false;
	for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
		char *list = strchr(line, ':'), *group = list ? strchr(list + 1, ':') : NULL;

		if (!group)
			continue;
		*group++ = '\0';
		if (!line_is_of(list + 1, controller))
			continue;
		(void)snprintf(buf, size, "%s", group);
		return true;
	}
	return false;
}
