/* SPDX-License-Identifier: MIT
 *
 * Queueing of messages for a socket that is full.
 */
#include "engine/channel.h"

#include <errno.h>
#include <stdbool.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/queue.h>

#include "base/fd.h"
#include "base/ipc.h"

#define QUEUE_MAX 65536
#define BATCH     64 /* messages read a turn of the loop */

struct message {
	STAILQ_ENTRY(message) link;
	size_t len, nfds;
	int fds[NIWA_IPC_FDS_MAX];
	char data[];
};

struct niwa_channel {
	int fd;
	size_t message_max, queued;
	char *buffer;
	sd_event_source *source;
	niwa_channel_message_fn *message;
	niwa_channel_closed_fn *closed;
	void *arg;
	bool *freed; /* set while a callback runs */
	STAILQ_HEAD(, message) queue;
};

static void message_free(struct message *m)
{
	for (size_t i = 0; i < m->nfds; i++)
		niwa_fd_close(&m->fds[i]);
	free(m);
}

void niwa_channel_free(struct niwa_channel **channel)
{
	struct niwa_channel *c = *channel;
	struct message *m;

	if (!c)
		return;
	*channel = NULL;
	while ((m = STAILQ_FIRST(&c->queue))) {
		STAILQ_REMOVE_HEAD(&c->queue, link);
		message_free(m);
	}
	if (c->freed)
		*c->freed = true;
	(void)sd_event_source_disable_unref(c->source);
	niwa_fd_close(&c->fd);
	free(c->buffer);
	free(c);
}

static void watch(struct niwa_channel *c)
{
	(void)sd_event_source_set_io_events(c->source, EPOLLIN | (c->queued ? EPOLLOUT : 0u));
}

static int flush(struct niwa_channel *c)
{
	struct message *m;

	while ((m = STAILQ_FIRST(&c->queue))) {
		int r = niwa_ipc_send(c->fd, m->data, m->len, m->fds, m->nfds);

		if (r == -EAGAIN)
			break;
		if (r < 0)
			return r;
		STAILQ_REMOVE_HEAD(&c->queue, link);
		c->queued--;
		message_free(m);
	}
	watch(c);
	return 0;
}

static int enqueue(struct niwa_channel *c, const void *data, size_t len, const int *fds, size_t nfds)
{
	struct message *m;

	if (c->queued >= QUEUE_MAX)
		return -ENOBUFS;
	m = niwa_zalloc(sizeof(*m) + len);
	if (!m)
		return -ENOMEM;
	m->len = len;
	memcpy(m->data, data, len);
	for (; m->nfds < nfds; m->nfds++) {
		m->fds[m->nfds] = fcntl(fds[m->nfds], F_DUPFD_CLOEXEC, 3);
		if (m->fds[m->nfds] < 0) {
			int r = -errno;

			message_free(m);
			return r;
		}
	}
	STAILQ_INSERT_TAIL(&c->queue, m, link);
	c->queued++;
	watch(c);
	return 0;
}

int niwa_channel_send(struct niwa_channel *c, const void *data, size_t len, const int *fds, size_t nfds)
{
	int r;

	if (c->queued)
		return enqueue(c, data, len, fds, nfds);
	r = niwa_ipc_send(c->fd, data, len, fds, nfds);
	return r == -EAGAIN ? enqueue(c, data, len, fds, nfds) : r;
}

static void broken(struct niwa_channel *c, int error)
{
	(void)sd_event_source_set_enabled(c->source, SD_EVENT_OFF);
	c->closed(error, c->arg);
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_channel *c = arg;
	bool freed = false;
	int fds[NIWA_IPC_FDS_MAX], r;
	size_t nfds;

	(void)s;
	if (c->queued) {
		r = flush(c);
		if (r < 0) {
			broken(c, r);
			return 0;
		}
	}
	if (!(revents & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return 0;
	c->freed = &freed;
	for (int i = 0; i < BATCH; i++) {
		ssize_t n = niwa_ipc_recv(fd, c->buffer, c->message_max, fds, &nfds);

		if (n == -EAGAIN)
			break;
		if (n <= 0) {
			c->freed = NULL;
			broken(c, n < 0 ? (int)n : -ECONNRESET);
			return 0;
		}
		c->message(c->buffer, (size_t)n, fds, nfds, c->arg);
		if (freed)
			return 0;
	}
	c->freed = NULL;
	return 0;
}

int niwa_channel_new(int fd, size_t message_max, sd_event *event, niwa_channel_message_fn *message,
		     niwa_channel_closed_fn *closed, void *arg, struct niwa_channel **ret)
{
	NIWA_AUTO(niwa_channel_free) struct niwa_channel *c = niwa_zalloc(sizeof(*c));
	int size = 4 * 1024 * 1024, r;

	if (!c) {
		niwa_fd_close(&fd);
		return -ENOMEM;
	}
	STAILQ_INIT(&c->queue);
	*c = (struct niwa_channel){.fd = fd,
				   .message_max = message_max,
				   .message = message,
				   .closed = closed,
				   .arg = arg,
				   .queue = c->queue};
	STAILQ_INIT(&c->queue);
	c->buffer = niwa_zalloc(message_max);
	if (!c->buffer)
		return -ENOMEM;
	/* a larger buffer only saves trips through the queue */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)) < 0)
		(void)setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	r = sd_event_add_io(event, &c->source, fd, EPOLLIN, on_io, c);
	if (r < 0)
		return r;
	*ret = NIWA_TAKE(c);
	return 0;
}

int niwa_channel_fd(const struct niwa_channel *channel)
{
	return channel->fd;
}

size_t niwa_channel_queued(const struct niwa_channel *c)
{
	return c->queued;
}
