/* SPDX-License-Identifier: MIT
 *
 * What the engine knows of the image of an app: whether it may have one and why not, the one it has and whether it pays
 * to use it. Of this host it is snapshot_host.h, of an instance snapshot_start.h; taking one is dump.h, waking from one
 * restore.h. An image is a cache: whatever is wrong with it, it is dropped with the reason and the app is started.
 */
#ifndef NIWA_ENGINE_SNAPSHOT_H
#define NIWA_ENGINE_SNAPSHOT_H

#include "engine/engine_private.h"
#include "snapshot/store.h"

/* Of an app, once there is something to know; or of all apps that share an image (share.h). */
struct niwa_app_snapshot {
	struct niwa_snapshot_key key; /* of the image, or of the start that could not be dumped */
	bool usable;                  /* the store has it */
	bool moment;                  /* of the moment of sleep: used once */
	bool refused;                 /* no dump of a start with this key is tried again */
	bool taking;
	bool unchecked, wanted_anew; /* rebuild.h */
	bool shared, making;         /* making: a template is there (template.h) */
	bool settled;                /* the `usable` that the states of those who share it follow */
	unsigned sharers,
		failed;      /* failed: restores one after the other, of whichever app; since one of them has lived */
	unsigned told;       /* in that list */
	unsigned cold_since; /* cold starts since the last restore was measured */
	uint64_t like;       /* the app of which it was taken, or like whose it was; 0: not known */
	uint32_t week;       /* wakes in the week before niwad started; shared: and since */
	unsigned late;       /* restores in a row that the host was too slow for, or had no means for */
	/* Of dumps, after one for which there was no room. */
	uint64_t pause_us, not_before_us;
	uint64_t bytes, taken_us, still_us;
	uint64_t cold_us[NIWA_STORE_SAMPLES], restored_us[NIWA_STORE_SAMPLES]; /* newest first */
	uint64_t restores, failures, last_restore_us;
	char reason[NIWA_STORE_REASON_MAX]; /* why there is none, or the last failure */
};

/* Why no image of this app is made, "" when one may be. Returns buf. */
const char *niwa_snapshot_refusal(const struct niwa_engine *e, const struct niwa_app_spec *spec, char *buf,
				  size_t size);
/* The text for people: why there is no image, why it is not used, "" when it is. */
const char *niwa_snapshot_why_not(struct niwa_engine *e, const struct niwa_app *app, const struct niwa_app_spec *spec,
				  char *buf, size_t size);
/* The app would be woken from its image. */
bool niwa_snapshot_is_wanted(const struct niwa_app *app);
/* There is one, and starting the app was measured to be no slower. */
bool niwa_snapshot_is_slower(const struct niwa_app *app);
/* Never NULL unless memory is out. */
struct niwa_app_snapshot *niwa_snapshot_of(struct niwa_app *app);
void niwa_app_snapshot_free(struct niwa_app *app);

/* Its memory is kept when it sleeps (sleep.keep: memory). */
bool niwa_snapshot_hibernates(const struct niwa_engine *e, const struct niwa_app_spec *spec);
/* A restore of the instance's app failed, or it ended at once. An image of its own is dropped, and after some that had
 * this end none is made of such a start any more; one that it shares is dropped when others fail too: whoever spoils
 * his own instance must not take it from the others. */
void niwa_snapshot_failed(struct niwa_engine *e, const struct niwa_instance *i, const char *reason);
/* The restored instance has ended: by itself and soon is as bad as a restore that failed. */
void niwa_snapshot_ended(struct niwa_engine *e, const struct niwa_instance *i, const char *how);
/* On a host that is starved everything is slow or fails, and a good image is not to pay for it: once in a row it is
 * kept. The next time it was the image. */
bool niwa_snapshot_forgives(struct niwa_app *app, const char *reason);
/* There is no image for now: each try stops the app, so the pause before the next one doubles, and holds for the app's
 * next instances too. It begins with a minute (no room), with a second when err->code is EBUSY (what the app just did).
 */
void niwa_snapshot_later(struct niwa_app_snapshot *s, const struct niwa_error *err);
/* None is made of this start of it, which is as good as others; the next one may have one. */
void niwa_snapshot_not_now(const struct niwa_instance *i, const struct niwa_error *err);
/* The image is void. The app's state follows when it sleeps. */
void niwa_snapshot_drop(struct niwa_engine *e, struct niwa_app *app, const char *reason);
/* What the store knows of it. */
void niwa_snapshot_found(struct niwa_app_snapshot *s, const struct niwa_store_entry *entry);
/* It was restored. */
void niwa_snapshot_restored(struct niwa_app *app);
/* A wake by a cold start or a restore took so long, to the first byte of the answer: what is ready at once may still
 * have to load what the first request wants. */
void niwa_snapshot_measured(struct niwa_engine *e, struct niwa_app *app, bool restored, uint64_t us);
/* The app is stopped and has an image that is wanted: it is saved. Or the other way round. Those who share the image
 * follow soon; settle_one: only this app. */
void niwa_snapshot_settle(struct niwa_engine *e, struct niwa_app *app, const char *why);
void niwa_snapshot_settle_one(struct niwa_engine *e, struct niwa_app *app, const char *why);

#endif
