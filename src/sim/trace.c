/* SPDX-License-Identifier: MIT
 *
 * Traces as text and in memory.
 */
#include "sim/trace.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/map.h"
#include "base/memory.h"
#include "base/text.h"

#define LINE_ROOM   512
#define SECONDS_MAX 1e10
#define FIRST_ROOM  1024

int niwa_trace_add(struct niwa_trace *t, uint32_t app, uint64_t at_us, struct niwa_error *err)
{
	if (t->count == NIWA_TRACE_VISITS_MAX)
		return niwa_fail(err, NIWA_CALLER, E2BIG, "more than %d visits", NIWA_TRACE_VISITS_MAX);
	if (t->count == t->room) {
		size_t room = t->room ? t->room * 2 : FIRST_ROOM;
		struct niwa_visit *visits = reallocarray(t->visits, room, sizeof(*visits));

		if (!visits)
			return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "keep %zu visits", room);
		t->visits = visits;
		t->room = room;
	}
	t->visits[t->count++] = (struct niwa_visit){.at_us = at_us, .app = app};
	if (at_us > t->end_us)
		t->end_us = at_us;
	return 0;
}

static int by_app(const void *a, const void *b)
{
	const struct niwa_visit *x = a, *y = b;

	if (x->app != y->app)
		return x->app < y->app ? -1 : 1;
	return x->at_us < y->at_us ? -1 : x->at_us > y->at_us;
}

static int by_time(const void *a, const void *b)
{
	const struct niwa_visit *x = a, *y = b;

	if (x->at_us != y->at_us)
		return x->at_us < y->at_us ? -1 : 1;
	return x->app < y->app ? -1 : x->app > y->app;
}

void niwa_trace_done(struct niwa_trace *t)
{
	if (t->count)
		qsort(t->visits, t->count, sizeof(*t->visits), by_app);
}

/* The number of this name; numbers begin with 1 in the map, whose empty value is NULL. */
static int app_of(struct niwa_trace *t, struct niwa_map *known, const char *name, uint32_t *ret, struct niwa_error *err)
{
	uintptr_t number = (uintptr_t)niwa_map_get_str(known, name);
	char *copy;

	if (number) {
		*ret = (uint32_t)(number - 1);
		return 0;
	}
	if (t->app_count == NIWA_TRACE_APPS_MAX)
		return niwa_fail(err, NIWA_CALLER, E2BIG, "more than %d apps", NIWA_TRACE_APPS_MAX);
	copy = niwa_strdup(name);
	if (!copy)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "keep a name");
	t->names[t->app_count] = copy;
	*ret = (uint32_t)t->app_count++;
	if (niwa_map_put_str(known, copy, (void *)(uintptr_t)t->app_count) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "keep a name");
	return 0;
}

static int read_line(struct niwa_trace *t, struct niwa_map *known, char *line, struct niwa_error *err)
{
	char quoted[80], *rest, *app, *end;
	double seconds;
	uint32_t n = 0;
	int r;

	line[strcspn(line, "#\n")] = '\0';
	line += strspn(line, " \t\r");
	if (!*line)
		return 0;
	seconds = strtod(line, &rest);
	if (rest == line || !isfinite(seconds) || seconds < 0 || seconds > SECONDS_MAX ||
	    (*rest != ' ' && *rest != '\t'))
		return niwa_fail(err, NIWA_CALLER, 0, "found '%s'; a line is a time in seconds and the name of an app",
				 niwa_quote(line, strlen(line), quoted, sizeof(quoted)));
	app = rest + strspn(rest, " \t");
	end = app + strcspn(app, " \t\r");
	if (end == app || end - app > NIWA_TRACE_NAME_MAX || end[strspn(end, " \t\r")])
		return niwa_fail(err, NIWA_CALLER, 0, "found '%s' behind the time; the name of one app stands there",
				 niwa_quote(app, strlen(app), quoted, sizeof(quoted)));
	*end = '\0';
	r = app_of(t, known, app, &n, err);
	return r < 0 ? r : niwa_trace_add(t, n, (uint64_t)(seconds * 1e6), err);
}

int niwa_trace_read(FILE *in, const char *name, struct niwa_trace *ret, struct niwa_error *err)
{
	struct niwa_trace t = {.names = niwa_zalloc(NIWA_TRACE_APPS_MAX * sizeof(char *))};
	struct niwa_map *known = niwa_map_new(NIWA_MAP_STRING);
	int r = t.names && known ? 0 : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read '%s'", name);
	char line[LINE_ROOM];
	struct niwa_error why;
	unsigned long no = 0;

	while (r == 0 && fgets(line, sizeof(line), in)) {
		no++;
		if (strlen(line) == LINE_ROOM - 1)
			r = niwa_fail(&why, NIWA_CALLER, 0, "longer than %d bytes", LINE_ROOM - 2);
		else
			r = read_line(&t, known, line, &why);
		if (r < 0)
			(void)niwa_fail(err, why.kind, 0, "%s:%lu: %s", name, no, why.msg);
	}
	if (r == 0 && ferror(in))
		r = niwa_fail(err, NIWA_PERMANENT, EIO, "read '%s'", name);
	if (r == 0 && !t.count)
		r = niwa_fail(err, NIWA_CALLER, 0, "%s: there is no visit in it", name);
	niwa_map_free(&known);
	if (r < 0) {
		niwa_trace_fini(&t);
		return r;
	}
	niwa_trace_done(&t);
	*ret = t;
	return 0;
}

void niwa_trace_print(struct niwa_trace *t, FILE *out)
{
	qsort(t->visits, t->count, sizeof(*t->visits), by_time);
	for (size_t n = 0; n < t->count; n++)
		(void)fprintf(out, "%.6f %s\n", (double)t->visits[n].at_us / 1e6, t->names[t->visits[n].app]);
}

void niwa_trace_fini(struct niwa_trace *t)
{
	for (size_t n = 0; t->names && n < t->app_count; n++)
		free(t->names[n]);
	free(t->names);
	free(t->visits);
	*t = (struct niwa_trace){0};
}
