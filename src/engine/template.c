/* SPDX-License-Identifier: MIT
 *
 * From an app that shares to a template, and its end.
 */
#include "engine/template.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/app.h"
#include "engine/dump.h"
#include "engine/instance.h"
#include "engine/leave.h"
#include "engine/past.h"
#include "engine/share.h"
#include "engine/volume.h"
#include "engine/wake.h"

#define NAME    "template"
#define TENANT  "_template"         /* no tenant can be called so */
#define ADDRESS 0xc0000201u         /* 192.0.2.1, RFC 5737 */
#define IDS     (UINT64_C(1) << 62) /* the store counts from 1 */
#define DUMP_US (60 * NIWA_SEC)     /* after it is ready: warm requests, a quiet moment, CRIU, the disk */
#define NOBODY  "65534"

struct niwa_template {
	char *record; /* JSON */
	uint64_t until_us;
	bool over; /* it is being ended, and for no fault of its own */
	char like[NIWA_NAME_MAX + 3];
};

bool niwa_template_is_wanted(const struct niwa_app_snapshot *s)
{
	return s->shared && s->wanted_anew && !s->usable && !s->refused && !s->making && s->sharers;
}

const char *niwa_template_like(const struct niwa_app *template)
{
	return template->template->like;
}

/* ---- its record ---- */

static int put_text(char **text, const char *value, struct niwa_error *err)
{
	free(*text);
	*text = niwa_strdup(value);
	return *text ? 0 : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make a template");
}

static void drop_texts(char **list)
{
	for (char **text = list; text && *text; text++) {
		free(*text);
		*text = NULL;
	}
}

/* Nothing is in it, nobody of the container can write to it, it is the app's own. */
static int empty_volume(struct niwa_engine *e, struct niwa_volume *v, struct niwa_error *err)
{
	char path[PATH_MAX];
	struct stat st;
	bool file = niwa_volume_stat(v, &st) == 0 && !S_ISDIR(st.st_mode);
	int r;

	(void)snprintf(path, sizeof(path), "%s/template", e->config.state_dir);
	r = niwa_mkdir_p(path, 0711, err);
	(void)snprintf(path, sizeof(path), "%s/template/%s", e->config.state_dir, file ? "file" : "folder");
	if (r == 0)
		r = file ? niwa_file_replace_volatile(path, "", 0, 0444, err) : niwa_mkdir_p(path, 0555, err);
	if (r == 0)
		r = put_text(&v->from, path, err);
	if (r == 0)
		r = put_text(&v->owner_user, NOBODY, err);
	v->owner = NIWA_OWNER_USER;
	v->read_only = true;
	v->shared = false;
	return r;
}

static int neutralize(struct niwa_engine *e, struct niwa_app_spec *spec, struct niwa_error *err)
{
	int r = put_text(&spec->name, NAME, err);

	if (r == 0)
		r = put_text(&spec->tenant, NAME, err);
	for (size_t n = 0; r == 0 && n < spec->volume_count; n++)
		r = empty_volume(e, &spec->volumes[n], err);
	drop_texts(spec->env);
	drop_texts(spec->egress_list);
	free(spec->egress_list);
	spec->egress_list = NULL;
	spec->egress = NIWA_EGRESS_NONE;
	for (size_t n = 0; n < spec->port_count; n++) {
		struct niwa_port *port = &spec->ports[n];

		port->publish = (struct niwa_publish){0};
		for (size_t a = 0; a < port->allow_count; a++)
			free(port->allow[a]);
		port->allow_count = 0;
		port->allow_any = false;
	}
	spec->sleep.freeze_us = spec->sleep.page_us = spec->sleep.save_us = 0;
	spec->lifetime_us = 0;
	spec->rotate = NIWA_ROTATE_HANDOVER;
	spec->stop.signal = SIGKILL; /* nothing of it is worth a grace, and a new niwad has no other use for it */
	spec->restart.policy = NIWA_RESTART_ON_WAKE;
	spec->restore_signal = 0;
	if (spec->ready.deadline_us > e->config.template_us) /* there is one at a time, for the apps of all tenants */
		spec->ready.deadline_us = e->config.template_us;
	return r;
}

static char *record_of(struct niwa_engine *e, struct niwa_app *like, uint64_t *ret_ready_us, struct niwa_error *err)
{
	NIWA_AUTO(niwa_app_spec_free) struct niwa_app_spec *spec = NULL;
	json_t *json;
	char *text;

	if (niwa_app_spec_read(e, like, &spec, err) < 0 || neutralize(e, spec, err) < 0)
		return NULL;
	json = niwa_app_to_json(spec);
	text = json ? json_dumps(json, JSON_COMPACT) : NULL;
	json_decref(json);
	if (!text)
		(void)niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make a template");
	*ret_ready_us = spec->ready.deadline_us;
	return text;
}

int niwa_template_spec(const struct niwa_app *template, struct niwa_app_spec **ret, struct niwa_error *err)
{
	json_t *json = json_loads(template->template->record, 0, NULL);
	int r = json ? niwa_app_from_json(json, ret, NULL, err)
		     : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read the record of a template");

	json_decref(json);
	return r;
}

/* ---- its life ---- */

static void free_template(struct niwa_engine *e, struct niwa_app *app)
{
	struct niwa_app_snapshot *s = app->snapshot;
	struct niwa_template *t = app->template;

	app->template = NULL;
	app->snapshot = NULL;
	e->templates--;
	free(t->record);
	free(t);
	niwa_app_unlink_if_done(e, app); /* it is: nothing of it lives */
	s->making = false;
	niwa_share_unused(e, s);
}

int niwa_template_start(struct niwa_engine *e, struct niwa_app *like, struct niwa_app **ret, struct niwa_error *err)
{
	struct niwa_app_snapshot *s = like->snapshot;
	struct niwa_template *t = niwa_zalloc(sizeof(*t));
	struct niwa_app *app;
	uint64_t ready_us;

	s->wanted_anew = false;
	if (!t)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make a template");
	t->record = record_of(e, like, &ready_us, err);
	app = t->record ? niwa_app_new_template(e, IDS | ++e->next_template, NAME, TENANT) : NULL;
	if (!app) {
		if (t->record)
			(void)niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "make a template");
		free(t->record);
		free(t);
		return -ENOMEM;
	}
	t->until_us = niwa_now_us() + ready_us + DUMP_US;
	(void)snprintf(t->like, sizeof(t->like), "%s", like->name);
	app->service_addr = htonl(ADDRESS);
	app->template = t;
	app->snapshot = s;
	s->making = true;
	s->like = like->id;
	s->reason[0] = '\0';
	e->templates++;
	*ret = app;
	niwa_wake_start_cold(e, app, "an image to be shared is made");
	return 0;
}

static void end(struct niwa_engine *e, struct niwa_app *app, const char *why)
{
	app->template->over = true;
	if (app->current)
		app->current->killed = true;
	niwa_leave_all(e, app, why);
}

/* What an app without its environment and volumes does not do, it will not do next time. */
static void give_up(struct niwa_app *app)
{
	struct niwa_log_ctx ctx = {.app = app->template->like, .doing = "snapshot"};
	struct niwa_app_snapshot *s = app->snapshot;
	const char *error = niwa_app_last_error(app);

	if (strncmp(error, NAME ": ", strlen(NAME ": ")) == 0)
		error += strlen(NAME ": ");
	s->refused = true;
	s->failures++;
	(void)snprintf(s->reason, sizeof(s->reason),
		       "it cannot be shared: not ready without its environment and volumes: %.90s", error);
	niwa_log(NIWA_LOG_WARN, &ctx, "no image: %s", s->reason);
}

bool niwa_template_goes_on(struct niwa_engine *e, struct niwa_app *app)
{
	const struct niwa_app_snapshot *s = app->snapshot;
	struct niwa_template *t = app->template;

	if (niwa_state_is_down(app->state)) {
		if (s->taking || app->instance_count) /* its image may still get its name */
			return true;
		if (!t->over && !s->usable && !s->refused)
			give_up(app);
		free_template(e, app);
		return false;
	}
	if (t->over || app->state == NIWA_STOPPING)
		return true;
	if (s->usable || s->refused)
		end(e, app, s->usable ? "its image was taken" : "no image can be taken");
	else if (!s->sharers)
		end(e, app, "nobody wants its image");
	else if (niwa_now_us() >= t->until_us || (*s->reason && !s->taking))
		end(e, app, "no image was taken this time");
	return true;
}

int niwa_template_check(const struct niwa_manifest *manifest, const struct niwa_roots *roots, size_t volumes,
			struct niwa_error *err)
{
	for (size_t v = roots->count - volumes; v < roots->count; v++) {
		const char *at = roots->root[v].at;
		size_t n = strlen(at);

		for (size_t f = 0; f < manifest->file_count; f++) {
			const char *path = manifest->files[f].path;

			if (strncmp(path, at, n) == 0 && (path[n] == '/' || path[n] == '\0'))
				return niwa_fail(err, NIWA_PERMANENT, 0,
						 "it cannot be shared: it has '%s' open, and each app has another one",
						 path);
		}
	}
	return 0;
}
