/* SPDX-License-Identifier: MIT
 *
 * A list of sources and a bucket.
 */
#include "engine/wake_policy.h"

#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/memory.h"

int niwa_wake_policy_make(const struct niwa_port *port, const struct niwa_wake_policy *before,
			  struct niwa_wake_policy **ret)
{
	struct niwa_wake_policy *p;
	unsigned count = 0;

	*ret = NULL;
	if (!port->wake_from && !port->wakes.count)
		return 0;
	while (port->wake_from && port->wake_from[count])
		count++;
	p = niwa_zalloc(sizeof(*p) + count * sizeof(p->from[0]));
	if (!p)
		return -ENOMEM;
	if (before) {
		if (before->wakes.count == port->wakes.count && before->wakes.per_s == port->wakes.per_s)
			p->until_us = before->until_us;
		p->refused[0] = before->refused[0];
		p->refused[1] = before->refused[1];
		p->last = before->last;
	}
	p->wakes = port->wakes;
	p->everybody = !port->wake_from;
	for (unsigned i = 0; i < count; i++)
		if (niwa_source_parse(port->wake_from[i], &p->from[p->count]))
			p->count++;
	*ret = p;
	return 0;
}

static bool may(const struct niwa_wake_policy *p, const struct niwa_visitor *v)
{
	for (unsigned i = 0; i < p->count; i++) {
		const struct niwa_source *s = &p->from[i];

		if ((s->kind == NIWA_SOURCE_HOST && v->is_host) || (s->kind == NIWA_SOURCE_TENANT && v->is_tenant) ||
		    (s->kind == NIWA_SOURCE_NETWORK && niwa_source_has(s, &v->addr)))
			return true;
	}
	return p->everybody;
}

/* Takes one out of the bucket; else how long until there is one. */
static uint64_t take(struct niwa_wake_policy *p, uint64_t now_us)
{
	uint64_t all = p->wakes.per_s * NIWA_SEC, one = all / p->wakes.count;
	uint64_t from = p->until_us > now_us ? p->until_us : now_us;

	if (from + one > now_us + all)
		return from + one - now_us - all;
	p->until_us = from + one;
	return 0;
}

enum niwa_wake_refusal niwa_wake_policy_ask(struct niwa_wake_policy *p, const struct niwa_visitor *v, uint64_t now_us,
					    uint64_t *ret_wait_us)
{
	enum niwa_wake_refusal refusal = NIWA_WAKE_ADMITTED;

	*ret_wait_us = 0;
	if (!may(p, v))
		refusal = NIWA_WAKE_NOT_FROM_THERE;
	else if (p->wakes.count && v->wakes && (*ret_wait_us = take(p, now_us)))
		refusal = NIWA_WAKE_TOO_OFTEN;
	if (refusal) {
		p->refused[refusal - 1]++;
		p->last = v->addr;
	}
	return refusal;
}
