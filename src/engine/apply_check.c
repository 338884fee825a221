/* SPDX-License-Identifier: MIT
 *
 * Looks: noted in the loop, made in a thread that touches nothing else, told in the loop.
 */
#include "engine/apply_check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "engine/background.h"
#include "engine/volume.h"
#include "spec/zone.h"

enum kind { IMAGE, COMMAND, USER, VOLUME, ZONE, KNOWN }; /* known: needs no look */

struct look {
	STAILQ_ENTRY(look) link;
	enum kind kind;
	char *ask;                 /* what makes it one of its kind */
	char *app;                 /* the first one that has it */
	char *image, *what, *path; /* path: PATH=... of the app */
	struct niwa_volume volume; /* texts are those of what and path */
	char key[48];
	unsigned others;
	int r;
	struct niwa_error err;
};

struct niwa_apply_checks {
	STAILQ_HEAD(, look) looks;
	unsigned count;
	struct niwa_map *by_ask;
	char *state_dir; /* a copy: at the end of the program the thread may outlive the engine */
	sd_event_source *deadline;
	niwa_apply_checked_fn *fn; /* NULL: was told */
	void *arg;
};

static void look_free(struct look *l)
{
	free(l->ask);
	free(l->app);
	free(l->image);
	free(l->what);
	free(l->path);
	free(l);
}

void niwa_apply_checks_free(struct niwa_apply_checks **checks)
{
	struct niwa_apply_checks *c = *checks;
	struct look *l;

	*checks = NULL;
	if (!c)
		return;
	while ((l = STAILQ_FIRST(&c->looks))) {
		STAILQ_REMOVE_HEAD(&c->looks, link);
		look_free(l);
	}
	(void)sd_event_source_disable_unref(c->deadline);
	niwa_map_free(&c->by_ask);
	free(c->state_dir);
	free(c);
}

static struct niwa_apply_checks *checks_new(void)
{
	struct niwa_apply_checks *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	STAILQ_INIT(&c->looks);
	c->by_ask = niwa_map_new(NIWA_MAP_STRING);
	if (!c->by_ask)
		niwa_apply_checks_free(&c);
	return c;
}

/* A new look; NULL when it is there already, when there are enough, or without memory. Takes ask. */
static struct look *add(struct niwa_apply_checks *c, const struct niwa_app_spec *spec, enum kind kind, char *ask)
{
	struct look *l = ask ? niwa_map_get_str(c->by_ask, ask) : NULL;

	if (l)
		l->others += strcmp(l->app, spec->name) != 0;
	if (!ask || l || c->count >= NIWA_APPLY_LOOKS_MAX || !(l = niwa_zalloc(sizeof(*l)))) {
		free(ask);
		return NULL;
	}
	l->kind = kind;
	l->ask = ask;
	l->app = niwa_strdup(spec->name);
	l->image = niwa_strdup(spec->image);
	if (!l->app || !l->image || niwa_map_put_str(c->by_ask, l->ask, l) < 0) {
		look_free(l);
		return NULL;
	}
	STAILQ_INSERT_TAIL(&c->looks, l, link);
	c->count++;
	return l;
}

static const char *path_of(const struct niwa_app_spec *spec)
{
	for (char **e = spec->env; *e; e++)
		if (strncmp(*e, "PATH=", 5) == 0)
			return *e;
	return NULL;
}

/* What lies on a volume, or depends on the folder it begins in, cannot be looked up in the image. */
static bool in_image(const struct niwa_app_spec *spec)
{
	const char *command = spec->command[0];

	if (spec->volume_count && (!command || command[0] != '/'))
		return false;
	if (command && command[0] != '/' && strchr(command, '/'))
		return false;
	for (size_t i = 0; i < spec->volume_count; i++)
		if (strncmp(command, spec->volumes[i].to, strlen(spec->volumes[i].to)) == 0)
			return false;
	return true;
}

static void note_command(struct niwa_apply_checks *c, const struct niwa_app_spec *spec)
{
	const char *command = spec->command[0], *path = path_of(spec);
	struct look *l = add(c, spec, COMMAND,
			     niwa_asprintf("c%s\n%s\n%s", spec->image, command ? command : "", path ? path : ""));

	if (!l)
		return;
	(void)snprintf(l->key, sizeof(l->key), "command");
	l->what = command ? niwa_strdup(command) : NULL;
	l->path = path ? niwa_strdup(path) : NULL;
	if ((command && !l->what) || (path && !l->path))
		l->kind = IMAGE; /* without memory it asks less */
}

static void note_user(struct niwa_apply_checks *c, const struct niwa_app_spec *spec)
{
	struct look *l = spec->user ? add(c, spec, USER, niwa_asprintf("u%s\n%s", spec->image, spec->user)) : NULL;

	if (!l)
		return;
	(void)snprintf(l->key, sizeof(l->key), "user");
	l->what = niwa_strdup(spec->user);
	if (!l->what)
		l->kind = IMAGE;
}

static void note_volume(struct niwa_apply_checks *c, const struct niwa_app_spec *spec, size_t n)
{
	const struct niwa_volume *v = &spec->volumes[n];
	struct look *l = add(c, spec, VOLUME, niwa_asprintf("v%s", v->from));

	if (!l)
		return;
	(void)snprintf(l->key, sizeof(l->key), "volumes[%zu].from", n);
	l->what = niwa_strdup(v->from);
	l->path = niwa_strdup(v->owner_user ? v->owner_user : "");
	l->volume = (struct niwa_volume){.from = l->what, .owner = v->owner, .owner_user = l->path};
}

/* What is allowed, and may not be what was meant. */
static void note_resident(struct niwa_apply_checks *c, const struct niwa_app_spec *spec)
{
	struct look *l;

	if (!spec->resident || (spec->rotate == NIWA_ROTATE_OVERLAP && !niwa_app_has_own_data(spec)))
		return;
	l = add(c, spec, KNOWN, niwa_asprintf("r%s", spec->name));
	if (!l)
		return;
	(void)snprintf(l->key, sizeof(l->key), "resident");
	l->r = niwa_fail(&l->err, NIWA_CALLER, 0,
			 "with rotate: handover%s there is a moment without an instance whenever it is replaced; "
			 "connections are held meanwhile",
			 niwa_app_has_own_data(spec) ? ", which its writable volume asks for," : "");
}

static void note_zone(struct niwa_apply_checks *c, const struct niwa_app_spec *spec, const char *key, const char *zone)
{
	struct look *l = zone ? add(c, spec, ZONE, niwa_asprintf("z%s", zone)) : NULL;

	if (!l)
		return;
	(void)snprintf(l->key, sizeof(l->key), "%s", key);
	l->what = niwa_strdup(zone);
}

void niwa_apply_check_note(struct niwa_apply_checks **checks, const struct niwa_app_spec *spec)
{
	struct look *l;

	if (!*checks && !(*checks = checks_new()))
		return;
	l = add(*checks, spec, IMAGE, niwa_asprintf("i%s", spec->image));
	if (l)
		(void)snprintf(l->key, sizeof(l->key), "image");
	if (in_image(spec))
		note_command(*checks, spec);
	note_user(*checks, spec);
	note_resident(*checks, spec);
	note_zone(*checks, spec, "awake.zone", spec->awake.zone);
	note_zone(*checks, spec, "wake.zone", spec->wake.zone);
	for (size_t n = 0; n < spec->volume_count; n++)
		note_volume(*checks, spec, n);
}

/* In the thread. */

static int look_at_user(const struct niwa_image *img, struct look *l)
{
	uint32_t uid, gid, groups[32];
	unsigned count;

	return niwa_image_user(img, l->what, &uid, &gid, groups, &count, &l->err);
}

static int look_at_image(const struct niwa_apply_checks *c, struct look *l)
{
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	char *env[] = {l->path, NULL};
	const char *command;
	int r = niwa_image_open(c->state_dir, l->image, &img, &l->err);

	if (l->kind == IMAGE || r < 0)
		return l->kind == IMAGE ? r : 0; /* that there is no image is told once */
	if (l->kind == USER)
		return look_at_user(img, l);
	command = l->what ? l->what : img->command ? img->command[0] : NULL;
	if (!command)
		return niwa_fail(&l->err, NIWA_CALLER, 0, "image '%s' has no command of its own: declare one",
				 l->image);
	return niwa_image_has_command(img, command, env, &l->err);
}

static int look_at_zone(struct look *l)
{
	NIWA_AUTO(niwa_zone_free) struct niwa_zone *zone = NULL;

	if (niwa_zone_open(l->what, &zone, &l->err) == 0)
		return 0;
	return niwa_fail(&l->err, NIWA_CALLER, 0, "there is no time zone '%s' on this host; its times do not come",
			 l->what);
}

static int look_at_all(void *arg, struct niwa_error *err)
{
	struct niwa_apply_checks *c = arg;
	struct look *l;

	(void)err;
	STAILQ_FOREACH(l, &c->looks, link)
	{
		if (l->kind == ZONE)
			l->r = l->what ? look_at_zone(l) : 0;
		else if (l->kind != VOLUME && l->kind != KNOWN)
			l->r = look_at_image(c, l);
		else if (l->kind == VOLUME && l->what && l->path)
			l->r = niwa_volume_look(&l->volume, &l->err);
	}
	return 0;
}

/* In the loop again. */

static json_t *warning(const struct look *l)
{
	const char *msg = l->err.msg;
	char text[NIWA_ERROR_MAX * 4];
	size_t len = strlen(l->key);
	json_t *w;

	if (l->kind == VOLUME && strncmp(msg, "volumes[0].from: ", 17) == 0)
		msg += 17;
	if (strncmp(msg, l->key, len) == 0 && strncmp(msg + len, ": ", 2) == 0)
		msg += len + 2;
	(void)niwa_quote(msg, strlen(msg), text, sizeof(text));
	w = json_pack("{s:s,s:s,s:s}", "app", l->app, "key", l->key, "message", text);
	if (w && l->others)
		(void)json_object_set_new(w, "others", json_integer(l->others));
	return w;
}

static void tell(struct niwa_apply_checks *c, json_t *warnings)
{
	niwa_apply_checked_fn *fn = c->fn;

	c->fn = NULL;
	if (fn)
		fn(warnings ? warnings : json_array(), c->arg);
	else
		json_decref(warnings);
}

static void on_looked(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_apply_checks *c = arg;
	json_t *warnings = json_array();
	struct look *l;

	(void)r, (void)err;
	STAILQ_FOREACH(l, &c->looks, link)
	if (l->r < 0)
		(void)json_array_append_new(warnings, warning(l));
	tell(c, warnings);
	niwa_apply_checks_free(&c);
}

/* The thread has the looks still. */
static int on_deadline(sd_event_source *s, uint64_t usec, void *arg)
{
	(void)s, (void)usec;
	tell(arg, NULL);
	return 0;
}

void niwa_apply_check_run(struct niwa_engine *e, struct niwa_apply_checks *checks, niwa_apply_checked_fn *fn, void *arg)
{
	if (!checks) {
		fn(json_array(), arg);
		return;
	}
	checks->state_dir = niwa_strdup(e->config.state_dir);
	checks->fn = fn;
	checks->arg = arg;
	if (checks->state_dir &&
	    sd_event_add_time_relative(e->event, &checks->deadline, CLOCK_MONOTONIC, NIWA_APPLY_LOOKS_US, 50000,
				       on_deadline, checks) >= 0 &&
	    niwa_background_run(e->event, look_at_all, on_looked, checks, NULL) == 0)
		return;
	tell(checks, NULL); /* too much is being done: the wakes will say */
	niwa_apply_checks_free(&checks);
}
