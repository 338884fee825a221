/* SPDX-License-Identifier: MIT
 *
 * The life of one container: from the record to a plan, through keep, to its last trace.
 */
#ifndef NIWA_ENGINE_INSTANCE_H
#define NIWA_ENGINE_INSTANCE_H

#include "engine/engine_private.h"

/* Makes an instance of the app and hands its plan to keep. The app's state is not touched. -EINPROGRESS: not yet, an
 * instance that is ending writes to one of its folders (folder.h). */
int niwa_instance_make(struct niwa_engine *e, struct niwa_app *app, struct niwa_instance **ret, struct niwa_error *err);

/* The image that it is to be restored from was opened (restore_open.h), or not: then its app is started. */
void niwa_instance_opened(struct niwa_engine *e, struct niwa_instance *i, int r, const struct niwa_error *err);

/* What keep said. Descriptors that are taken are set to -1 in fds. */
void niwa_instance_started(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_keep_msg *m, int *fds,
			   size_t nfds);
void niwa_instance_failed(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_keep_msg *m);
void niwa_instance_exited(struct niwa_engine *e, struct niwa_instance *i, int code, int status);

/* An instance object around what keep holds; not yet serving. */
struct niwa_instance *niwa_instance_adopt(struct niwa_engine *e, struct niwa_app *app, struct niwa_app_spec *spec,
					  const struct niwa_tag *tag);
/* Takes over the descriptors of a STARTED or INSTANCE message. */
void niwa_instance_take(struct niwa_engine *e, struct niwa_instance *i, const struct niwa_keep_msg *m, int *fds,
			size_t nfds);
void niwa_instance_write_tag(struct niwa_engine *e, const struct niwa_instance *i);

/* Adds what the kernel has to know of an instance before its first instruction: mark, where it may go. */
void niwa_instance_elements(struct niwa_engine *e, struct niwa_instance *i, struct niwa_net_txn *txn);
/* The reverse, but for the mark: what its connections are known by. */
void niwa_instance_elements_gone(struct niwa_engine *e, struct niwa_instance *i, struct niwa_net_txn *txn);
/* Where its layer is on disk. */
void niwa_instance_layer_path(const struct niwa_engine *e, uint64_t id, char *buf, size_t size);

/* Signals the first process; 0 or -errno. */
int niwa_instance_signal(struct niwa_instance *i, int signal);
/* Kills every process of the instance through its control group. */
void niwa_instance_kill(struct niwa_engine *e, struct niwa_instance *i);

/* Freed at the end of this turn of the loop. */
void niwa_instance_bury(struct niwa_engine *e, struct niwa_instance *i);
/* The end of a turn: frees what was buried. */
int niwa_instance_on_post(sd_event_source *s, void *arg);

/* "exited with status 1", "killed by SIGSEGV (core dumped)". Returns buf. */
char *niwa_exit_text(int code, int status, char *buf, size_t size);

/* What the plan of an instance is made of, and what that borrows. */
struct niwa_prepared {
	struct niwa_instance_params params;
	char *home, layer[512], tenant_dir[512];
};
int niwa_instance_prepare(struct niwa_engine *e, const struct niwa_instance *i, struct niwa_prepared *ret,
			  struct niwa_error *err);
void niwa_prepared_fini(struct niwa_prepared *prepared);

#endif
