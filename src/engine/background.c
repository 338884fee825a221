/* SPDX-License-Identifier: MIT
 *
 * Threads for single jobs, and two queues of jobs that wait for one.
 */
#include "engine/background.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/priority.h"

struct job {
	STAILQ_ENTRY(job) link; /* while it waits */
	pthread_t thread;
	int fd; /* an eventfd: written once, by the thread, when it has finished */
	sd_event_source *source;
	niwa_background_work_fn *work;
	niwa_background_done_fn *done;
	void *arg;
	int r;
	bool hurries;
	struct niwa_error err;
};

STAILQ_HEAD(queue, job);
static struct queue hurrying = STAILQ_HEAD_INITIALIZER(hurrying), others = STAILQ_HEAD_INITIALIZER(others);
static unsigned running, running_others, waiting;

static void *run(void *arg)
{
	struct job *j = arg;
	uint64_t one = 1;

	if (!j->hurries)
		niwa_priority_lower();
	j->r = j->work(j->arg, &j->err);
	if (write(j->fd, &one, sizeof(one)) < 0)
		abort(); /* an eventfd takes the first write in every case */
	return NULL;
}

static void job_free(struct job *j)
{
	(void)sd_event_source_disable_unref(j->source);
	niwa_fd_close(&j->fd);
	free(j);
}

static void begin_waiting(void);

static void count(const struct job *j, int change)
{
	running += (unsigned)change;
	running_others += j->hurries ? 0 : (unsigned)change;
}

static int on_finished(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct job *j = arg;

	(void)s, (void)fd, (void)revents;
	(void)pthread_join(j->thread, NULL);
	count(j, -1);
	begin_waiting();
	j->done(j->r, j->r < 0 ? &j->err : NULL, j->arg);
	job_free(j);
	return 0;
}

static int start_thread(struct job *j)
{
	sigset_t all, old;
	int r;

	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the loop's */
	r = pthread_create(&j->thread, NULL, run, j);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -r;
}

static bool has_room(bool hurries)
{
	return running < NIWA_BACKGROUND_MAX && (hurries || running_others < NIWA_BACKGROUND_OTHERS);
}

static struct job *take(struct queue *queue, bool hurries)
{
	struct job *j = has_room(hurries) ? STAILQ_FIRST(queue) : NULL;

	if (!j)
		return NULL;
	STAILQ_REMOVE_HEAD(queue, link);
	waiting--;
	return j;
}

static void begin_waiting(void)
{
	struct job *j;

	while ((j = take(&hurrying, true)) || (j = take(&others, false))) {
		int r = start_thread(j);

		if (r == 0) {
			count(j, 1);
			continue;
		}
		(void)niwa_fail(&j->err, NIWA_TEMPORARY, -r, "work in the background");
		j->done(r, &j->err, j->arg);
		job_free(j);
	}
}

static int start_or_wait(struct job *j)
{
	int r;

	if (has_room(j->hurries)) {
		r = start_thread(j);
		if (r == 0)
			count(j, 1);
		return r;
	}
	if (j->hurries)
		STAILQ_INSERT_TAIL(&hurrying, j, link);
	else
		STAILQ_INSERT_TAIL(&others, j, link);
	waiting++;
	return 0;
}

static int begin(sd_event *event, const struct job *wanted, struct niwa_error *err)
{
	struct job *j;
	int r;

	if (waiting >= NIWA_BACKGROUND_WAITING)
		return niwa_fail(err, NIWA_TEMPORARY, EAGAIN, "too much is being done in the background");
	j = niwa_zalloc(sizeof(*j));
	if (!j)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "work in the background");
	*j = *wanted;
	j->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = j->fd < 0 ? -errno : sd_event_add_io(event, &j->source, j->fd, EPOLLIN, on_finished, j);
	if (r >= 0)
		r = start_or_wait(j);
	if (r < 0) {
		job_free(j);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "work in the background");
	}
	return 0;
}

int niwa_background_run(sd_event *event, niwa_background_work_fn *work, niwa_background_done_fn *done, void *arg,
			struct niwa_error *err)
{
	return begin(event, &(struct job){.work = work, .done = done, .arg = arg}, err);
}

int niwa_background_hurry(sd_event *event, niwa_background_work_fn *work, niwa_background_done_fn *done, void *arg,
			  struct niwa_error *err)
{
	return begin(event, &(struct job){.work = work, .done = done, .arg = arg, .hurries = true}, err);
}
