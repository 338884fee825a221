/* SPDX-License-Identifier: MIT
 *
 * sd_event_loop, with a clock.
 */
#include "base/loop.h"

#include <signal.h>

#include "base/clock.h"

int niwa_loop_new(sd_event **ret, struct niwa_error *err)
{
	sd_event *event = NULL;
	sigset_t mask;
	int r;

	(void)sigemptyset(&mask);
	(void)sigaddset(&mask, SIGTERM);
	(void)sigaddset(&mask, SIGINT);
	(void)sigprocmask(SIG_BLOCK, &mask, NULL);
	(void)signal(SIGPIPE, SIG_IGN);
	r = sd_event_new(&event);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGTERM, NULL, NULL);
	if (r >= 0)
		r = sd_event_add_signal(event, NULL, SIGINT, NULL, NULL);
	if (r < 0) {
		(void)sd_event_unref(event);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "make the loop");
	}
	*ret = event;
	return 0;
}

static int turn(sd_event *event, niwa_loop_turned_fn *turned, void *arg)
{
	int r = sd_event_prepare(event);
	uint64_t began;

	if (r == 0)
		r = sd_event_wait(event, UINT64_MAX);
	if (r <= 0)
		return r;
	began = niwa_now_us();
	r = sd_event_dispatch(event);
	if (turned)
		turned(niwa_now_us() - began, arg);
	return r;
}

int niwa_loop_run(sd_event *event, niwa_loop_turned_fn *turned, void *arg)
{
	int r = 0, code;

	while (r >= 0 && sd_event_get_state(event) != SD_EVENT_FINISHED)
		r = turn(event, turned, arg);
	if (r >= 0)
		r = sd_event_get_exit_code(event, &code);
	return r < 0 ? 1 : code;
}
