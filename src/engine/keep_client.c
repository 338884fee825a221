/* SPDX-License-Identifier: MIT
 *
 * Requests to niwa-keep and the dispatch of what it says.
 */
#include "engine/keep_client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/log.h"
#include "engine/adopt.h"
#include "engine/criu.h"
#include "engine/exec.h"
#include "engine/instance.h"
#include "engine/relay_client.h"
#include "engine/relay_peer.h"

_Static_assert(sizeof(struct niwa_tag) <= NIWA_KEEP_TAG_MAX, "keep holds a whole tag");

static void request(struct niwa_engine *e, struct niwa_keep_msg *m, const int *fds, size_t nfds)
{
	int r;

	m->version = NIWA_KEEP_VERSION;
	r = e->keep ? niwa_channel_send(e->keep, m, sizeof(*m), fds, nfds) : -ENOTCONN;
	if (r < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "request %u to niwa-keep: %s", m->type, strerror(-r));
}

int niwa_keep_start(struct niwa_engine *e, uint64_t id, const struct niwa_tag *tag, const int *fds, size_t nfds)
{
	struct niwa_keep_msg m = {
		.version = NIWA_KEEP_VERSION, .type = NIWA_KEEP_START, .id = id, .tag_len = sizeof(*tag)};

	memcpy(m.tag, tag, sizeof(*tag));
	return e->keep ? niwa_channel_send(e->keep, &m, sizeof(m), fds, nfds) : -ENOTCONN;
}

void niwa_keep_tag(struct niwa_engine *e, uint64_t id, const struct niwa_tag *tag)
{
	struct niwa_keep_msg m = {.type = NIWA_KEEP_TAG, .id = id, .tag_len = sizeof(*tag)};

	memcpy(m.tag, tag, sizeof(*tag));
	request(e, &m, NULL, 0);
}

void niwa_keep_forget(struct niwa_engine *e, uint64_t id)
{
	struct niwa_keep_msg m = {.type = NIWA_KEEP_FORGET, .id = id};

	request(e, &m, NULL, 0);
}

void niwa_keep_list(struct niwa_engine *e)
{
	struct niwa_keep_msg m = {.type = NIWA_KEEP_LIST};

	request(e, &m, NULL, 0);
}

void niwa_keep_store(struct niwa_engine *e, const char *name, int fd)
{
	struct niwa_keep_msg m = {.type = NIWA_KEEP_STORE};

	(void)snprintf(m.name, sizeof(m.name), "%s", name);
	request(e, &m, &fd, 1);
}

void niwa_keep_unstore(struct niwa_engine *e, const char *name)
{
	struct niwa_keep_msg m = {.type = NIWA_KEEP_UNSTORE};

	(void)snprintf(m.name, sizeof(m.name), "%s", name);
	request(e, &m, NULL, 0);
}

void niwa_keep_deliver(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	struct niwa_instance *i = niwa_map_get(e->instances, m->id);

	if (i && m->type == NIWA_KEEP_STARTED)
		niwa_instance_started(e, i, m, fds, nfds);
	else if (i && m->type == NIWA_KEEP_FAILED)
		niwa_instance_failed(e, i, m);
	else if (i && m->type == NIWA_KEEP_EXITED)
		niwa_instance_exited(e, i, m->code, m->status);
	else if (niwa_relay_peer_find(e, m->id))
		niwa_relay_kept(e, m, fds, nfds);
	else if (niwa_map_get(e->execs, m->id))
		niwa_exec_kept(e, m, fds, nfds);
	else if (niwa_criu_is(e, m->id))
		niwa_criu_kept(e, m, fds, nfds);
	else if (m->type == NIWA_KEEP_STARTED) /* asked for by a niwad that is no more */
		niwa_keep_list(e);
	else if (m->type == NIWA_KEEP_EXITED) /* of a failed start keep has forgotten everything */
		niwa_keep_forget(e, m->id);
}

static void deliver_or_defer(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	if (e->adopted)
		niwa_keep_deliver(e, m, fds, nfds);
	else
		niwa_adopt_defer(e, m, fds, nfds);
}

static void on_message(const void *data, size_t len, int *fds, size_t nfds, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_keep_msg m;

	if (len != sizeof(m)) {
		niwa_log(NIWA_LOG_ERR, NULL, "niwa-keep sent %zu bytes, expected %zu: not the same version", len,
			 sizeof(m));
		goto out;
	}
	memcpy(&m, data, sizeof(m));
	if (m.version != NIWA_KEEP_VERSION || m.tag_len > NIWA_KEEP_TAG_MAX)
		goto out;
	switch ((enum niwa_keep_type)m.type) {
	case NIWA_KEEP_STARTED:
	case NIWA_KEEP_EXITED:
		deliver_or_defer(e, &m, fds, nfds);
		break;
	case NIWA_KEEP_FAILED:
		if (m.id)
			deliver_or_defer(e, &m, fds, nfds);
		else
			niwa_log(NIWA_LOG_ERR, NULL, "niwa-keep: %.64s: %s", m.name, strerror(m.error));
		break;
	case NIWA_KEEP_INSTANCE:
		niwa_adopt_instance(e, &m, fds, nfds);
		break;
	case NIWA_KEEP_STORED:
		niwa_adopt_stored(e, &m, fds, nfds);
		break;
	case NIWA_KEEP_END:
		niwa_adopt_end(e);
		break;
	case NIWA_KEEP_OK:
		break;
	case NIWA_KEEP_START:
	case NIWA_KEEP_TAG:
	case NIWA_KEEP_FORGET:
	case NIWA_KEEP_LIST:
	case NIWA_KEEP_STORE:
	case NIWA_KEEP_UNSTORE:
	default:
		niwa_log(NIWA_LOG_ERR, NULL, "niwa-keep sent an unknown message %u", m.type);
	}
out:
	for (size_t i = 0; i < nfds; i++)
		niwa_fd_close(&fds[i]);
}

/* Without keep nothing can be started or known. niwad ends; its supervisor starts it again, and the new one adopts
 * what the new keep has and collects the rest. */
static void on_closed(int error, void *arg)
{
	struct niwa_engine *e = arg;

	niwa_log(NIWA_LOG_ERR, NULL, "niwa-keep is gone (%s); ending, so that the next niwad begins afresh",
		 strerror(-error));
	niwa_channel_free(&e->keep);
	(void)sd_event_exit(e->event, 1);
}

int niwa_keep_open(struct niwa_engine *e, struct niwa_error *err)
{
	uint64_t until = niwa_now_us() + e->config.keep_wait_us;
	struct rlimit files;
	struct ucred peer = {0};
	socklen_t len = sizeof(peer);
	char path[256];
	int fd, r;

	(void)snprintf(path, sizeof(path), "%s/keep.sock", e->config.run_dir);
	for (;;) { /* before the loop runs */
		fd = niwa_ipc_connect(path, SOCK_SEQPACKET);
		if (fd >= 0 || niwa_now_us() >= until)
			break;
		(void)poll(NULL, 0, 20);
	}
	if (fd < 0)
		return niwa_fail(err, NIWA_PERMANENT, -fd, "connect to niwa-keep at '%s' (is niwa-keep running?)",
				 path);
	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0)
		e->keep_pid = peer.pid;
	if (e->keep_pid > 0 && prlimit(e->keep_pid, RLIMIT_NOFILE, NULL, &files) == 0)
		e->host.nofile_max = files.rlim_max;
	r = niwa_channel_new(fd, sizeof(struct niwa_keep_msg), e->event, on_message, on_closed, e, &e->keep);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "talk to niwa-keep");
	niwa_keep_list(e);
	return 0;
}
