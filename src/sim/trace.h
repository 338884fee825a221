/* SPDX-License-Identifier: MIT
 *
 * Visits to apps: read from a text of lines "SECONDS APP", or made from a kind and a seed. Bounded; sorted by app, then
 * by time, because apps are replayed one after the other.
 */
#ifndef NIWA_SIM_TRACE_H
#define NIWA_SIM_TRACE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/error.h"

#define NIWA_TRACE_APPS_MAX   100000
#define NIWA_TRACE_VISITS_MAX 20000000
#define NIWA_TRACE_NAME_MAX   253

struct niwa_visit {
	uint64_t at_us;
	uint32_t app;
};

struct niwa_trace {
	struct niwa_visit *visits;
	size_t count, room;
	char **names;
	size_t app_count;
	uint64_t end_us; /* of the last visit of all */
};

struct niwa_trace_plan {
	const char *kind; /* of niwa_trace_kinds */
	unsigned apps;
	uint64_t length_us;
	double visits; /* a day, of all apps together, about */
	uint64_t seed;
};
extern const char *const niwa_trace_kinds[]; /* NULL-terminated */

int niwa_trace_read(FILE *in, const char *name, struct niwa_trace *ret, struct niwa_error *err);
/* The same plan gives the same visits, on every machine. */
int niwa_trace_make(const struct niwa_trace_plan *plan, struct niwa_trace *ret, struct niwa_error *err);
/* In the order of time, as niwa_trace_read reads it. Sorts. */
void niwa_trace_print(struct niwa_trace *trace, FILE *out);
void niwa_trace_fini(struct niwa_trace *trace);

/* For trace_make.c: 0 or -errno; afterwards niwa_trace_done. */
int niwa_trace_add(struct niwa_trace *trace, uint32_t app, uint64_t at_us, struct niwa_error *err);
void niwa_trace_done(struct niwa_trace *trace);

#endif
