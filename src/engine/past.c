/* SPDX-License-Identifier: MIT
 *
 * The past of apps, and the texts in it.
 */
#include "engine/past.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/memory.h"
#include "engine/limit_hit.h"
#include "engine/past_store.h"

#define WHY_MAX   64   /* bytes of a reason */
#define WHYS_MAX  4096 /* different ones; others are cut to what they have in common */
#define ERROR_MAX 199
#define VISITOR   "connection from "

struct niwa_app_past *niwa_app_past(struct niwa_app *app)
{
	if (app->past)
		return app->past;
	app->past = niwa_zalloc(sizeof(*app->past));
	if (!app->past)
		return NULL;
	app->past->app = app;
	niwa_past_load(app->past);
	return app->past;
}

void niwa_app_past_free(struct niwa_app *app)
{
	niwa_limit_hits_forget(app);
	if (app->past) {
		niwa_past_forget(app->past);
		free(app->past->last_error);
	}
	free(app->past);
	app->past = NULL;
}

/* The one copy of this text; NULL: there are too many, or no memory. */
static const char *find_or_keep(struct niwa_engine *e, const char *text)
{
	char *copy = niwa_map_get_str(e->whys, text);

	if (copy || niwa_map_count(e->whys) >= WHYS_MAX)
		return copy;
	copy = niwa_strdup(text);
	if (copy && niwa_map_put_str(e->whys, copy, copy) == 0)
		return copy;
	free(copy);
	return NULL;
}

/* Addresses and numbers are what differs most. */
static const char *keep(struct niwa_engine *e, const char *why)
{
	char text[WHY_MAX];
	const char *kept;

	(void)snprintf(text, sizeof(text), "%s", why);
	kept = find_or_keep(e, text);
	if (kept)
		return kept;
	text[strcspn(text, "0123456789")] = '\0';
	kept = niwa_map_get_str(e->whys, text);
	return kept ? kept : "";
}

/* Visitors are many, and each is to be known: the address is kept apart from the text. */
static const char *visitor_in(const char *why, uint32_t *ret)
{
	size_t len = strlen(VISITOR);
	struct in_addr addr;

	if (strncmp(why, VISITOR, len) != 0 || inet_pton(AF_INET, why + len, &addr) != 1)
		return why;
	*ret = addr.s_addr;
	return VISITOR;
}

void niwa_app_note_move(struct niwa_app *app, enum niwa_state from, enum niwa_state to, const char *why)
{
	/* sleepers that only get or lose an image have no past yet, and there are many of them */
	bool slept = niwa_state_is_down(from) && niwa_state_is_down(to);
	struct niwa_app_past *past = slept ? app->past : niwa_app_past(app);
	struct niwa_move *move = past ? &past->history[past->history_next] : NULL;
	uint32_t client = 0;

	if (!move)
		return;
	why = visitor_in(why, &client);
	*move = (struct niwa_move){.realtime_us = niwa_realtime_us(),
				   .why = keep(app->engine, why),
				   .client = client,
				   .from = (uint8_t)from,
				   .to = (uint8_t)to};
	past->history_next = (past->history_next + 1) % NIWA_HISTORY;
}

char *niwa_app_why(const struct niwa_app *app, unsigned n, char *buf, size_t size)
{
	const struct niwa_move *move =
		app->past ? &app->past->history[(app->past->history_next + n) % NIWA_HISTORY] : NULL;
	char addr[INET_ADDRSTRLEN] = "";

	if (move && move->client)
		(void)inet_ntop(AF_INET, &move->client, addr, sizeof(addr));
	(void)snprintf(buf, size, "%s%s", move && move->why ? move->why : "", addr);
	return buf;
}

char *niwa_app_last_why(const struct niwa_app *app, char *buf, size_t size)
{
	return niwa_app_why(app, NIWA_HISTORY - 1, buf, size);
}

void niwa_app_note_woke(struct niwa_app *app, enum niwa_wake_outcome outcome)
{
	struct niwa_metrics *m = &app->engine->metrics;
	struct niwa_stages *s = app->past ? &app->past->now : NULL;

	if (!s || !s->accepted_us)
		return;
	niwa_metrics_woke(m, app->past->path, outcome);
	if (outcome == NIWA_WAKE_OK) {
		niwa_metrics_stage(m, app->past->path, NIWA_STAGE_DECIDED, s->accepted_us, s->decided_us);
		niwa_metrics_stage(m, app->past->path, NIWA_STAGE_CLONED, s->accepted_us, s->cloned_us);
		niwa_metrics_stage(m, app->past->path, NIWA_STAGE_EXECUTED, s->accepted_us, s->executed_us);
		niwa_metrics_stage(m, app->past->path, NIWA_STAGE_READY, s->accepted_us, s->ready_us);
		app->past->last = *s;
		app->past->last_took_us = s->ready_us - s->accepted_us;
		if (strcmp(app->past->path, "thaw") != 0)
			app->past->woke_us = app->past->last_took_us;
	}
	s->accepted_us = 0;
}

void niwa_app_note_fell_back(const struct niwa_app *app)
{
	if (app->past && app->past->now.accepted_us)
		niwa_metrics_woke(&app->engine->metrics, niwa_metrics_path_name(NIWA_PATH_RESTORE),
				  NIWA_WAKE_FELL_BACK);
}

void niwa_app_note_error(struct niwa_app *app, const char *text)
{
	struct niwa_app_past *past = niwa_app_past(app);

	if (!past)
		return;
	free(past->last_error);
	past->last_error = niwa_asprintf("%.*s", ERROR_MAX, text);
}

const char *niwa_app_last_error(const struct niwa_app *app)
{
	return app->past && app->past->last_error ? app->past->last_error : "";
}
