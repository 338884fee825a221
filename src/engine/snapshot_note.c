/* SPDX-License-Identifier: MIT
 *
 * A queue of notes. One thread at a time writes all of it.
 */
#include "engine/snapshot_note.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/memory.h"
#include "engine/background.h"
#include "engine/snapshot_host.h"

#define NOTES_MAX 1024

/* Of what becomes of an image, until it is on disk. */
struct niwa_note {
	STAILQ_ENTRY(niwa_note) link;
	struct niwa_snapshot_key key;
	struct niwa_store_note note;
	char reason[NIWA_STORE_REASON_MAX];
};

struct notes {
	struct niwa_engine *engine;
	struct niwa_store store;
	STAILQ_HEAD(, niwa_note) list;
};

static void write_notes(struct niwa_engine *e);

static int note_work(void *arg, struct niwa_error *err)
{
	struct notes *n = arg;
	struct niwa_note *note;

	STAILQ_FOREACH(note, &n->list, link)
	(void)niwa_store_note(&n->store, &note->key, &note->note, err); /* a hint */
	return 0;
}

static void note_done(int r, const struct niwa_error *err, void *arg)
{
	struct notes *n = arg;
	struct niwa_engine *e = n->engine;
	struct niwa_note *note;

	(void)r, (void)err;
	while ((note = STAILQ_FIRST(&n->list))) {
		STAILQ_REMOVE_HEAD(&n->list, link);
		free(note);
	}
	free(n);
	if (!e->snapshots)
		return;
	e->snapshots->noting = false;
	write_notes(e);
}

static void write_notes(struct niwa_engine *e)
{
	struct niwa_snapshots *s = e->snapshots;
	struct notes *n = STAILQ_EMPTY(&s->notes) || s->noting ? NULL : niwa_zalloc(sizeof(*n));
	struct niwa_error err;

	if (!n)
		return;
	n->engine = e;
	n->store = s->store;
	STAILQ_INIT(&n->list);
	STAILQ_CONCAT(&n->list, &s->notes);
	s->noting = niwa_background_run(e->event, note_work, note_done, n, &err) == 0;
	if (s->noting) {
		s->note_count = 0;
		return;
	}
	STAILQ_CONCAT(&s->notes, &n->list); /* with the next one */
	free(n);
}

void niwa_snapshot_note(struct niwa_engine *e, const struct niwa_snapshot_key *key, const struct niwa_store_note *what)
{
	struct niwa_snapshots *s = e->snapshots;
	struct niwa_note *n = s->note_count < NOTES_MAX ? niwa_zalloc(sizeof(*n)) : NULL;

	if (!n)
		return;
	n->key = *key;
	n->note = *what;
	(void)snprintf(n->reason, sizeof(n->reason), "%s", what->reason ? what->reason : "");
	n->note.reason = n->reason;
	STAILQ_INSERT_TAIL(&s->notes, n, link);
	s->note_count++;
	write_notes(e);
}

void niwa_snapshot_notes_forget(struct niwa_snapshots *s)
{
	struct niwa_note *note;

	while ((note = STAILQ_FIRST(&s->notes))) {
		STAILQ_REMOVE_HEAD(&s->notes, link);
		free(note);
	}
}
