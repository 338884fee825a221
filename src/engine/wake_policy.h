/* SPDX-License-Identifier: MIT
 *
 * Who may wake an app by a port, and how often. Pure. The rate is a bucket: `count` wakes at once, each given back
 * after per_s / count seconds; kept as one instant (the generic cell rate algorithm). Times are CLOCK_MONOTONIC, so
 * whoever sets the clock of the day changes nothing.
 */
#ifndef NIWA_ENGINE_WAKE_POLICY_H
#define NIWA_ENGINE_WAKE_POLICY_H

#include <stdbool.h>
#include <stdint.h>

#include "spec/app.h"
#include "spec/source.h"

struct niwa_wake_policy {
	struct niwa_rate wakes; /* count 0: any number */
	uint64_t until_us;      /* as long as this is ahead, so much of the bucket is used */
	uint64_t refused[2];    /* enum niwa_wake_refusal minus 1 */
	struct in6_addr last;   /* who was refused last */
	bool everybody;         /* from: any */
	unsigned count;
	struct niwa_source from[]; /* count of them */
};

enum niwa_wake_refusal { NIWA_WAKE_ADMITTED, NIWA_WAKE_NOT_FROM_THERE, NIWA_WAKE_TOO_OFTEN };

struct niwa_visitor {
	struct in6_addr addr; /* IPv4 mapped */
	bool is_host, is_tenant;
	bool wakes; /* else it joins a wake that is under way */
};

/* *ret NULL: the port has none. `before` (may be NULL) is the one of the record before: what was used of the same rate
 * stays used. */
int niwa_wake_policy_make(const struct niwa_port *port, const struct niwa_wake_policy *before,
			  struct niwa_wake_policy **ret);
/* May this one? Counts the wake, or the refusal; ret_wait_us: when it is worth another try, 0: not known. */
enum niwa_wake_refusal niwa_wake_policy_ask(struct niwa_wake_policy *p, const struct niwa_visitor *v, uint64_t now_us,
					    uint64_t *ret_wait_us);

#endif
