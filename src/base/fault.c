/* SPDX-License-Identifier: MIT
 *
 * Named points at which a test can kill or fail the program.
 */
#include "base/fault.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"

#define POINTS_MAX 8
#define SLOW_S     2
#define HANG_S     3600

struct point {
	char name[48], action[16];
	unsigned at, passes;
};

static struct point points[POINTS_MAX];
static unsigned points_count;
static bool loaded;

static void load(void)
{
	const char *env = getenv("NIWA_FAULT");
	char buf[512], *save = NULL;

	loaded = true;
	if (!env)
		return;
	(void)snprintf(buf, sizeof(buf), "%s", env);
	for (char *tok = strtok_r(buf, ",", &save); tok && points_count < POINTS_MAX;
	     tok = strtok_r(NULL, ",", &save)) {
		struct point *p = &points[points_count];

		if (sscanf(tok, "%47[^:]:%15[^@]@%u", p->name, p->action, &p->at) >= 2)
			points_count++;
	}
}

static int act(const char *action)
{
	static const struct {
		const char *name;
		int code;
	} codes[] = {{"ENOSPC", ENOSPC}, {"ENOMEM", ENOMEM}, {"EAGAIN", EAGAIN}, {"EIO", EIO},
		     {"ENOSYS", ENOSYS}, {"EPERM", EPERM},   {"EMFILE", EMFILE}, {"ENOBUFS", ENOBUFS}};

	if (strcmp(action, "kill") == 0) {
		(void)kill(getpid(), SIGKILL);
		__builtin_trap(); /* the first process of a pid namespace cannot kill itself by a signal */
	}
	if (strcmp(action, "stop") == 0)
		(void)kill(getpid(), SIGSTOP);
	if (strcmp(action, "slow") == 0)
		(void)sleep(SLOW_S);
	if (strcmp(action, "hang") == 0)
		(void)sleep(HANG_S);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(codes); i++)
		if (strcmp(action, codes[i].name) == 0)
			return -codes[i].code;
	return 0;
}

int niwa_fault_step(const char *point, const char *step)
{
	char name[sizeof(points[0].name)];

	if (loaded && !points_count)
		return 0;
	(void)snprintf(name, sizeof(name), "%s.%s", point, step);
	return niwa_fault(name);
}

int niwa_fault(const char *point)
{
	if (!loaded)
		load();
	for (unsigned i = 0; i < points_count; i++) {
		if (strcmp(points[i].name, point) != 0)
			continue;
		points[i].passes++;
		if (points[i].at == 0 || points[i].passes == points[i].at)
			return act(points[i].action);
	}
	return 0;
}
