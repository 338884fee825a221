/* SPDX-License-Identifier: MIT
 *
 * The thread that removes trees.
 */
#include "engine/trash.h"

#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#include "base/fd.h"
#include "base/log.h"

struct item {
	STAILQ_ENTRY(item) link;
	char path[];
};

struct niwa_trash {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t wake;
	bool ends;
	STAILQ_HEAD(, item) items;
};

static struct item *next(struct niwa_trash *t)
{
	struct item *item;

	(void)pthread_mutex_lock(&t->lock);
	while (!(item = STAILQ_FIRST(&t->items)) && !t->ends)
		(void)pthread_cond_wait(&t->wake, &t->lock);
	if (item)
		STAILQ_REMOVE_HEAD(&t->items, link);
	(void)pthread_mutex_unlock(&t->lock);
	return item;
}

static void *run(void *arg)
{
	struct niwa_trash *t = arg;
	struct niwa_error err;
	struct item *item;

	while ((item = next(t))) {
		if (niwa_remove_tree(item->path, &err) < 0)
			niwa_log(NIWA_LOG_WARN, NULL, "%s; the next start tries again", err.msg);
		free(item);
	}
	return NULL;
}

int niwa_trash_new(struct niwa_trash **ret, struct niwa_error *err)
{
	struct niwa_trash *t = niwa_zalloc(sizeof(*t));
	sigset_t all, old;
	int r;

	if (!t)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	STAILQ_INIT(&t->items);
	(void)pthread_mutex_init(&t->lock, NULL);
	(void)pthread_cond_init(&t->wake, NULL);
	(void)sigfillset(&all);
	(void)pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&t->thread, NULL, run, t);
	(void)pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r) {
		free(t);
		return niwa_fail(err, NIWA_TEMPORARY, r, "start a thread");
	}
	*ret = t;
	return 0;
}

void niwa_trash_put(struct niwa_trash *t, const char *path)
{
	size_t len = strlen(path);
	struct item *item = niwa_zalloc(sizeof(*item) + len + 1);

	if (!item) {
		niwa_log(NIWA_LOG_WARN, NULL, "out of memory: '%s' is removed by the next start", path);
		return;
	}
	memcpy(item->path, path, len + 1);
	(void)pthread_mutex_lock(&t->lock);
	STAILQ_INSERT_TAIL(&t->items, item, link);
	(void)pthread_cond_signal(&t->wake);
	(void)pthread_mutex_unlock(&t->lock);
}

void niwa_trash_free(struct niwa_trash **trash)
{
	struct niwa_trash *t = *trash;

	if (!t)
		return;
	(void)pthread_mutex_lock(&t->lock);
	t->ends = true;
	(void)pthread_cond_signal(&t->wake);
	(void)pthread_mutex_unlock(&t->lock);
	(void)pthread_join(t->thread, NULL);
	(void)pthread_cond_destroy(&t->wake);
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
	*trash = NULL;
}
