/* SPDX-License-Identifier: MIT
 *
 * Processes that join an instance.
 */
#include "engine/exec.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/group_tenant.h"
#include "engine/images.h"
#include "engine/keep_client.h"

struct exec {
	uint64_t id, instance;
	int pidfd, signal;
	int last_op; /* of its plan: that of the command itself */
	niwa_exec_done_fn *done;
	void *arg;
};

static int make_plan(struct niwa_engine *e, struct niwa_instance *i, uint64_t id, char *const *argv,
		     const struct niwa_terminal *terminal, int *ret_last_op, struct niwa_error *err)
{
	struct niwa_exec_params p = {
		.id = id, .instance = i->id, .spec = i->spec, .argv = argv, .terminal = terminal != NULL};
	NIWA_AUTO(niwa_free_ptr) char *home = NULL;
	struct niwa_group_host host;
	struct niwa_plan plan = {0};
	int r = niwa_images_get(e, i->spec->image, &p.image, err);

	if (terminal) {
		p.rows = terminal->rows;
		p.columns = terminal->columns;
	}

	if (r == 0)
		r = niwa_image_user(p.image, niwa_images_user(p.image, i->spec), &p.uid, &p.gid, p.groups,
				    &p.group_count, err);
	if (r == 0)
		p.home = home = niwa_image_home(p.image, p.uid);
	if (r == 0)
		r = niwa_exec_plan(niwa_group_host(e, i, &host), &p, &plan, err);
	*ret_last_op = (int)plan.count - 1;
	if (r == 0)
		r = niwa_plan_to_memfd(&plan, err);
	niwa_plan_fini(&plan);
	return r;
}

int niwa_exec_begin(struct niwa_engine *e, struct niwa_app *app, char *const *argv,
		    const struct niwa_terminal *terminal, const int *fds, size_t nfds, niwa_exec_done_fn *done,
		    void *arg, uint64_t *ret_id, struct niwa_error *err)
{
	struct niwa_tag tag = {.version = NIWA_TAG_VERSION, .kind = NIWA_TAG_EXEC, .app_id = app->id};
	struct niwa_instance *i = app->current;
	int send[NIWA_SLOT_FIRST_FREE + 5], r, last_op;
	NIWA_AUTO_FD plan = -1;
	struct exec *x;
	size_t n = 0;

	if (!i || i->pidfd < 0 || !niwa_state_is_awake(app->state))
		return niwa_fail(err, NIWA_TEMPORARY, 0, "%s is not running", app->name);
	if (nfds != (terminal ? 1u : 3u))
		return niwa_fail(err, NIWA_CALLER, 0, "exec needs %s",
				 terminal ? "a console socket" : "three descriptors");
	tag.instance = e->next_instance++;
	plan = make_plan(e, i, tag.instance, argv, terminal, &last_op, err);
	if (plan < 0)
		return plan;
	x = niwa_zalloc(sizeof(*x));
	if (!x || niwa_map_put(e->execs, tag.instance, x) < 0) {
		free(x);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "exec in %s", app->name);
	}
	*x = (struct exec){
		.id = tag.instance, .instance = i->id, .pidfd = -1, .last_op = last_op, .done = done, .arg = arg};
	send[n++] = plan;
	send[n++] = i->pidfd;
	for (size_t k = 0; k < nfds; k++)
		send[n++] = fds[k];
	r = niwa_keep_start(e, x->id, &tag, send, n);
	if (r < 0) {
		(void)niwa_map_del(e->execs, x->id);
		free(x);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "ask niwa-keep");
	}
	i->execs++;
	*ret_id = tag.instance;
	return 0;
}

void niwa_exec_signal(struct niwa_engine *e, uint64_t id, int signal)
{
	struct exec *x = niwa_map_get(e->execs, id);

	if (!x)
		return;
	if (x->pidfd < 0)
		x->signal = signal;
	else
		(void)pidfd_send_signal(x->pidfd, signal, NULL, 0); /* -ESRCH: ending already */
}

static void explain(const struct niwa_instance *i, int error, struct niwa_error *err)
{
	if (error == EAGAIN && i && i->spec->limits.processes)
		(void)niwa_fail(err, NIWA_TEMPORARY, 0,
				"start the command: %s is at its limit of %u processes: end some, or raise "
				"limits.processes",
				i->app->name, i->spec->limits.processes);
	else
		(void)niwa_fail(err, NIWA_PERMANENT, error, "start the command");
}

/* What a shell would say of the command; 0: it is not the command's fault. */
static int not_executed(const struct exec *x, const struct niwa_keep_msg *m)
{
	if (m->op != x->last_op || m->error == EAGAIN || m->error == ENOMEM || m->error == ECHILD ||
	    m->error == ETIMEDOUT)
		return 0;
	return m->error == ENOENT ? 127 : 126;
}

void niwa_exec_kept(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	struct exec *x = niwa_map_get(e->execs, m->id);
	struct niwa_instance *i = niwa_map_get(e->instances, x->instance);
	struct niwa_error err;

	if (m->type == NIWA_KEEP_STARTED) {
		if (nfds)
			x->pidfd = NIWA_TAKE_FD(fds[0]);
		if (x->signal)
			niwa_exec_signal(e, m->id, x->signal);
		return;
	}
	if (x->done && m->type == NIWA_KEEP_FAILED) {
		explain(i, m->error, &err);
		x->done(CLD_EXITED, not_executed(x, m), &err, x->arg);
	} else if (x->done) {
		x->done(m->code, m->status, NULL, x->arg);
	}
	if (i)
		i->execs--;
	niwa_keep_forget(e, m->id);
	(void)niwa_map_del(e->execs, x->id);
	niwa_fd_close(&x->pidfd);
	free(x);
}
