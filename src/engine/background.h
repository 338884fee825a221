/* SPDX-License-Identifier: MIT
 *
 * Work that takes longer than a turn of the loop may: a thread for one job, which touches nothing of the engine, and
 * a callback in the loop when it is done. Jobs are few (building an image, writing a snapshot), so each has its own
 * thread. What finds none free waits for one: those who hurry before the others, who never have all of them.
 */
#ifndef NIWA_ENGINE_BACKGROUND_H
#define NIWA_ENGINE_BACKGROUND_H

#include <systemd/sd-event.h>

#include "base/error.h"

#define NIWA_BACKGROUND_MAX     16   /* jobs at a time */
#define NIWA_BACKGROUND_OTHERS  8    /* of them, for which nobody waits */
#define NIWA_BACKGROUND_WAITING 4096 /* beyond these */

typedef int niwa_background_work_fn(void *arg, struct niwa_error *err);               /* in the thread */
typedef void niwa_background_done_fn(int r, const struct niwa_error *err, void *arg); /* in the loop */

/* -EAGAIN when too many wait. arg must live until done was called. */
int niwa_background_run(sd_event *event, niwa_background_work_fn *work, niwa_background_done_fn *done, void *arg,
			struct niwa_error *err);
/* The same at the loop's own priority, for what somebody waits for. */
int niwa_background_hurry(sd_event *event, niwa_background_work_fn *work, niwa_background_done_fn *done, void *arg,
			  struct niwa_error *err);

#endif
