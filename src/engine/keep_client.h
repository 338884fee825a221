/* SPDX-License-Identifier: MIT
 *
 * niwad's side of the conversation with niwa-keep. Requests are sent and forgotten; answers come as calls to
 * the functions of instance.h, adopt.h and relay_client.h.
 */
#ifndef NIWA_ENGINE_KEEP_CLIENT_H
#define NIWA_ENGINE_KEEP_CLIENT_H

#include "engine/engine_private.h"

/* Connects, waiting up to config.keep_wait for the socket to appear, and asks for the list. */
int niwa_keep_open(struct niwa_engine *e, struct niwa_error *err);
/* fds: [0] the plan, then those of the slots. */
int niwa_keep_start(struct niwa_engine *e, uint64_t id, const struct niwa_tag *tag, const int *fds, size_t nfds);
void niwa_keep_tag(struct niwa_engine *e, uint64_t id, const struct niwa_tag *tag);
void niwa_keep_forget(struct niwa_engine *e, uint64_t id);
void niwa_keep_list(struct niwa_engine *e);
void niwa_keep_store(struct niwa_engine *e, const char *name, int fd); /* fd stays the caller's */
void niwa_keep_unstore(struct niwa_engine *e, const char *name);
/* Hands STARTED, FAILED or EXITED to the part of niwad that the id belongs to. Descriptors that are taken are set to
 * -1 in fds. */
void niwa_keep_deliver(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds);

#endif
