/* SPDX-License-Identifier: MIT
 *
 * One dump, and the four parts it goes through: when (dump_when), its steps in the loop (dump), the work of threads
 * that touch files and nothing of the engine (dump_work), what becomes of it (dump_end). It belongs to the chain of its
 * callbacks, and outlives its instance when that ends meanwhile.
 */
#ifndef NIWA_ENGINE_DUMP_PRIVATE_H
#define NIWA_ENGINE_DUMP_PRIVATE_H

#include "base/clock.h"
#include "engine/dump.h"
#include "engine/roots.h"
#include "snapshot/manifest.h"
#include "snapshot/store.h"

#define NIWA_DUMPS_MAX      4               /* at a time */
#define NIWA_DUMP_AGAIN_US  (250 * NIWA_MS) /* twice as long each time */
#define NIWA_DUMP_LATEST_US (10 * NIWA_SEC)

#define WARM_TICKET (UINT64_C(1) << 63)
#define WARM_US     (2 * NIWA_SEC) /* that an answer is waited for */

struct niwa_dump {
	struct niwa_engine *engine;
	struct niwa_instance *instance; /* NULL: it has ended */
	uint64_t app_id;
	struct niwa_store store;
	struct niwa_store_limits limits;
	struct niwa_store_new files;
	struct niwa_manifest manifest;
	struct niwa_snapshot_key start; /* what a refusal holds for */
	struct niwa_roots roots;
	uint64_t expected, criu, stopped_us;
	int64_t began_ns; /* since 1970: the start that it is an image of */
	bool still;       /* the app stands still or is about to */
	bool moment;      /* hibernation */
	bool shared;      /* of a template */
	bool committing;  /* a moment's, by a thread: who comes now may change its fate */
	_Atomic(int) fate;
	size_t volume_count;
	struct niwa_app_spec *spec; /* moment: for the thread that looks at volumes */
	struct niwa_text volumes;   /* as they were before CRIU */
	int layer_fd;
	uint32_t id_base;
	pid_t pid;
	char layer[512];
	char procs[512]; /* the group's list of processes */
	char saved[600]; /* the layer of the image that it was restored from; "": none */
};

/* dump_when: the next look whether it may begin, and what it wants for that. */
void niwa_dump_try_at(struct niwa_engine *e, struct niwa_instance *i, uint64_t pause_us);
/* It could not be now: somebody is connected, others are being dumped. */
void niwa_dump_try_later(struct niwa_engine *e, struct niwa_instance *i);

/* dump: of an app that is ready and stays. */
bool niwa_dump_may_stand_still(const struct niwa_instance *i);
int niwa_dump_begin(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err);
/* The app goes on; the dump has no instance any more. */
void niwa_dump_let_go(struct niwa_dump *d);

/* dump_work: in a thread; the argument is the dump. */
int niwa_dump_begin_work(void *arg, struct niwa_error *err);
int niwa_dump_copy_work(void *arg, struct niwa_error *err);
int niwa_dump_commit_work(void *arg, struct niwa_error *err);
int niwa_dump_remove_work(void *arg, struct niwa_error *err);

/* dump_end: what was written becomes an image; ends the dump. */
void niwa_dump_commit(struct niwa_dump *d);
/* There will be none of this start. */
void niwa_dump_refused(struct niwa_dump *d, const char *reason);
/* What will pass (no room, too much to do) is tried again; what will not is remembered. */
void niwa_dump_failed(struct niwa_dump *d, const struct niwa_error *err);
void niwa_dump_free(struct niwa_dump *d);

#endif
