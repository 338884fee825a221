/* SPDX-License-Identifier: MIT
 *
 * The event loop of a program of niwa: made, run, and how long each turn of it took. SIGTERM and SIGINT end it.
 */
#ifndef NIWA_BASE_LOOP_H
#define NIWA_BASE_LOOP_H

#include <stdint.h>

#include <systemd/sd-event.h>

#include "base/error.h"

/* From now on SIGTERM and SIGINT are blocked and read by the loop, and SIGPIPE is ignored. */
int niwa_loop_new(sd_event **ret, struct niwa_error *err);

/* A turn is one source's callback; nothing else is done in between. */
typedef void niwa_loop_turned_fn(uint64_t us, void *arg);
/* Runs until the end was asked for; returns the exit status. turned may be NULL. */
int niwa_loop_run(sd_event *event, niwa_loop_turned_fn *turned, void *arg);

#endif
