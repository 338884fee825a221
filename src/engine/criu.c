/* SPDX-License-Identifier: MIT
 *
 * Children that are CRIU.
 */
#include "engine/criu.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/keep_client.h"
#include "engine/put_away.h"

#define LOG_READ_MAX 16384
#define FDS_MAX      8

struct criu {
	struct niwa_engine *engine;
	uint64_t id, instance;
	enum niwa_criu_work work;
	int pidfd, log, fd;
	bool killed, late, ended, adopted;
	sd_event_source *timer;
	niwa_criu_done_fn *done;
	void *arg;
};

static void free_criu(struct criu *c)
{
	(void)niwa_map_del(c->engine->criu, c->id);
	(void)sd_event_source_disable_unref(c->timer);
	niwa_fd_close(&c->pidfd);
	niwa_fd_close(&c->log);
	niwa_fd_close(&c->fd);
	free(c);
}

static void send_kill(struct criu *c)
{
	c->killed = true;
	if (c->pidfd >= 0)
		(void)pidfd_send_signal(c->pidfd, SIGKILL, NULL, 0); /* -ESRCH: ending already */
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *arg)
{
	struct criu *c = arg;

	(void)s, (void)usec;
	c->late = true;
	send_kill(c);
	return 0;
}

static struct criu *new_criu(struct niwa_engine *e, uint64_t id, const struct niwa_criu_run *run)
{
	struct criu *c = niwa_zalloc(sizeof(*c));

	if (!c)
		return NULL;
	*c = (struct criu){.engine = e,
			   .id = id,
			   .instance = run->instance,
			   .work = run->work,
			   .pidfd = -1,
			   .log = -1,
			   .fd = -1,
			   .done = run->done,
			   .arg = run->arg};
	if (niwa_map_put(e->criu, id, c) < 0) {
		free(c);
		return NULL;
	}
	if (sd_event_add_time_relative(e->event, &c->timer, CLOCK_MONOTONIC, run->deadline_us, NIWA_MS, on_deadline,
				       c) < 0) {
		free_criu(c);
		return NULL;
	}
	return c;
}

int niwa_criu_start(struct niwa_engine *e, struct niwa_plan *plan, const struct niwa_criu_run *run, uint64_t *ret_id,
		    struct niwa_error *err)
{
	struct niwa_tag tag = {.version = NIWA_TAG_VERSION,
			       .kind = NIWA_TAG_CRIU,
			       .instance = e->next_instance++,
			       .target = run->instance,
			       .work = (uint32_t)run->work};
	NIWA_AUTO_FD memfd = niwa_plan_to_memfd(plan, err);
	int send[FDS_MAX + 2], r;
	struct criu *c;
	size_t n = 0;

	niwa_plan_fini(plan);
	if (memfd < 0)
		return memfd;
	c = run->nfds <= FDS_MAX ? new_criu(e, tag.instance, run) : NULL;
	if (!c)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start CRIU");
	c->log = memfd_create("criu.log", MFD_CLOEXEC);
	send[n++] = memfd;
	for (size_t k = 0; k < run->nfds; k++)
		send[n++] = run->fds[k];
	send[n++] = c->log;
	r = c->log < 0 ? -errno : niwa_keep_start(e, c->id, &tag, send, n);
	if (r < 0) {
		free_criu(c);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "ask niwa-keep to start CRIU");
	}
	*ret_id = c->id;
	return 0;
}

void niwa_criu_kill(struct niwa_engine *e, uint64_t id)
{
	struct criu *c = niwa_map_get(e->criu, id);

	if (c && !c->ended)
		send_kill(c);
}

bool niwa_criu_is(struct niwa_engine *e, uint64_t id)
{
	return niwa_map_get(e->criu, id) != NULL;
}

bool niwa_criu_is_at(struct niwa_engine *e, uint64_t instance)
{
	const struct criu *c;
	size_t pos = 0;

	while ((c = niwa_map_next(e->criu, &pos)))
		if (c->instance == instance && !c->ended)
			return true;
	return false;
}

void niwa_criu_forget(struct niwa_engine *e, uint64_t id)
{
	struct criu *c = niwa_map_get(e->criu, id);

	niwa_keep_forget(e, id);
	if (c)
		free_criu(c);
}

/* The first line that says what was wrong, without its time and place. */
static void read_reason(const struct criu *c, char *buf, size_t size)
{
	char text[LOG_READ_MAX + 1], *line, *rest = text, *at;
	ssize_t n = c->log < 0 ? 0 : pread(c->log, text, LOG_READ_MAX, 0);

	text[n > 0 ? n : 0] = '\0';
	(void)snprintf(buf, size, "CRIU did not say why");
	while ((line = strsep(&rest, "\n"))) {
		at = strstr(line, "Error");
		if (!at || strstr(line, "rlimit"))
			continue;
		at = strstr(at, "): ") ? strstr(at, "): ") + 3 : at;
		(void)snprintf(buf, size, "CRIU: %s", at);
		return;
	}
}

static void end(struct niwa_engine *e, struct criu *c, enum niwa_criu_end how, const char *reason)
{
	struct niwa_criu_result result = {.end = how,
					  .late = c->late,
					  .reason = reason,
					  .fd = NIWA_TAKE_FD(c->fd),
					  .instance = c->instance,
					  .arg = c->arg};
	uint64_t id = c->id;
	bool keeps = c->work == NIWA_CRIU_DUMP && !c->adopted; /* forgotten when the app goes on */

	c->ended = true;
	c->timer = sd_event_source_disable_unref(c->timer);
	c->done(e, &result);
	if (!keeps)
		niwa_criu_forget(e, id);
	niwa_fd_close(&result.fd);
}

static void started(struct criu *c, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	if (nfds)
		c->pidfd = NIWA_TAKE_FD(fds[0]);
	if (nfds > 1 && (m->sent & 1))
		c->fd = NIWA_TAKE_FD(fds[1]);
	if (c->killed)
		send_kill(c);
	if (c->work == NIWA_CRIU_DUMP)
		(void)niwa_fault("niwad.dump-started");
	else if (c->work == NIWA_CRIU_RESTORE)
		(void)niwa_fault("niwad.restore-started");
}

void niwa_criu_kept(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	struct criu *c = niwa_map_get(e->criu, m->id);
	char reason[NIWA_ERROR_MAX], text[64];

	if (m->type == NIWA_KEEP_STARTED) {
		started(c, m, fds, nfds);
	} else if (m->type == NIWA_KEEP_FAILED) {
		(void)snprintf(reason, sizeof(reason), "CRIU could not be started: operation %d: %s", m->op,
			       strerror(m->error));
		end(e, c, NIWA_CRIU_REFUSED, reason);
	} else if (m->code == CLD_EXITED && m->status == 0) {
		end(e, c, NIWA_CRIU_DONE, "");
	} else if (m->code == CLD_EXITED) {
		read_reason(c, reason, sizeof(reason));
		end(e, c, NIWA_CRIU_REFUSED, reason);
	} else {
		(void)snprintf(reason, sizeof(reason), "CRIU %s",
			       c->killed ? "was not done in time"
					 : niwa_exit_text(m->code, m->status, text, sizeof(text)));
		end(e, c, NIWA_CRIU_BROKEN, reason);
	}
}

static int go_on_one(pid_t pid, void *arg)
{
	(void)arg;
	(void)kill(pid, SIGCONT); /* of this moment's list of our own group */
	return 0;
}

void niwa_criu_go_on(struct niwa_engine *e, uint64_t instance)
{
	(void)niwa_group_each_process(e, instance, go_on_one, NULL);
}

/* Nobody is left who wants the image. */
static void adopted_dump_done(struct niwa_engine *e, struct niwa_criu_result *result)
{
	struct niwa_log_ctx ctx = {.instance = result->instance, .doing = "snapshot"};

	niwa_snapshots_collect(e); /* it held what it has written, perhaps when the others were collected */
	if (result->end != NIWA_CRIU_BROKEN) {
		niwa_criu_go_on(e, result->instance);
		return;
	}
	niwa_log(NIWA_LOG_WARN, &ctx, "%s in the middle of a dump: the instance is ended", result->reason);
	niwa_group_kill(e, result->instance);
}

void niwa_criu_adopt(struct niwa_engine *e, const struct niwa_keep_msg *m, const struct niwa_tag *tag, int *fds,
		     size_t nfds)
{
	const struct niwa_criu_run run = {.work = NIWA_CRIU_DUMP,
					  .instance = tag->target,
					  .deadline_us = e->config.dump_us,
					  .done = adopted_dump_done};
	struct niwa_criu_result over = {.end = m->code == CLD_EXITED ? NIWA_CRIU_DONE : NIWA_CRIU_BROKEN,
					.reason = "CRIU was killed",
					.instance = tag->target};
	struct criu *c = NULL;

	if (m->code) {
		if (tag->work == NIWA_CRIU_DUMP)
			adopted_dump_done(e, &over);
		niwa_keep_forget(e, m->id);
		return;
	}
	if (tag->work == NIWA_CRIU_DUMP)
		c = new_criu(e, m->id, &run);
	if (c) {
		c->adopted = true;
		if (nfds)
			started(c, m, fds, nfds);
	} else if (nfds) {
		(void)pidfd_send_signal(fds[0], SIGKILL, NULL, 0); /* -ESRCH: ended already */
	}
}
