/* SPDX-License-Identifier: MIT
 *
 * For the tests that start whole instances: a niwa-keep of one's own in namespaces of one's own, a host image, a
 * folder image, and short ways to start an app and look at it. Needs root.
 */
#ifndef NIWA_CONTAINER_TEST_RUN_FIXTURE_H
#define NIWA_CONTAINER_TEST_RUN_FIXTURE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "container/image.h"
#include "container/instance.h"
#include "container/keep_protocol.h"
#include "spec/app.h"

struct world {
	char dir[64], run[96], state[96], dev[112];
	char groups[5][128]; /* v2, then v1: memory, cpu, pids, blkio; "": none */
	pid_t keep;
	int sock;
	uint64_t next_id;
	struct ended {
		uint64_t id;
		int status;
	} ended[8]; /* told before somebody asked; id 0: free */
	struct niwa_host host;
};

/* One app to start. Zeroed fields get defaults: no limits, user root, image folder, command of the image. */
struct app {
	struct niwa_app_spec spec;
	struct niwa_instance_params params;
	struct niwa_image *image;
};

struct started {
	uint64_t id;
	pid_t pid;
	int pidfd, log, diag, notify, layer; /* -1: not there */
	uint32_t addr;                       /* network order */
	char addr_text[16];
	uint64_t planned_us, cloned_us, took_us; /* from the start: plan sent, child cloned, STARTED received */
};

void world_open(struct world *w);
void world_close(struct world *w);

/* image: the name of a folder below w->dir, else of an image. argv: NULL-terminated. */
void app_init(struct world *w, struct app *a, const char *image, char **argv);
void app_fini(struct app *a);
/* Starts it and fails the test when that fails. */
void app_start(struct world *w, struct app *a, struct started *ret);
/* Starts it; 0, or the errno that keep answers, with the name of the failed operation. */
int app_try(struct world *w, struct app *a, struct started *ret, const char **ret_op);
/* Waits for the end; status as the shell has it (128 + signal). Reads the log up to its end first. */
int started_end(struct world *w, struct started *s, char *log, size_t size);
/* The same without a look at the log. */
int started_status(struct world *w, struct started *s);
/* SIGKILL, then as above. */
void started_kill(struct world *w, struct started *s);
/* Starts what a plan says, with descriptors for slots 3, ...; 0, or as app_try. Slots that are sent back: as those of
 * an instance. */
int plan_try(struct world *w, struct niwa_plan *plan, const int *given, size_t count, struct started *ret,
	     const char **ret_op);
/* Runs a command in it; its output goes to out. Returns its status as above. */
int exec_in(struct world *w, struct app *a, const struct started *s, char **argv, char *out, size_t size);
/* Connects (retrying for 5 s), sends a line, reads the answer up to its end. */
void ask(const struct started *s, uint16_t port, const char *line, char *ret, size_t size);

#endif
