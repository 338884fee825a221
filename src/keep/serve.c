/* SPDX-License-Identifier: MIT
 *
 * The conversation with niwad. Nothing is queued: what an instance has to tell is a bit beside it, a LIST is a
 * cursor, and an answer that does not fit stands alone, because no request is read before it is gone. So a niwad
 * that does not read costs nothing but its own answers.
 */
#include "keep/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/log.h"

#define ACCEPT_AGAIN_MS 100

static int epoll_fd = -1, listen_fd = -1;
static int spare_fd = -1; /* gives way to niwad's connection where there are no descriptors */
static bool accept_due;   /* somebody waits and could not be let in */
static struct {
	int fd;
	uint32_t events; /* asked for at the epoll */
	bool blocked;    /* the socket is full */
	bool answering;  /* `answer` waits */
	struct niwa_keep_msg answer;
	bool listing;
	unsigned list_at; /* instances, then stored descriptors */
	bool list_stored;
} conn = {.fd = -1};

static void hold_spare(void)
{
	if (spare_fd < 0)
		spare_fd = fcntl(listen_fd, F_DUPFD_CLOEXEC, 0); /* or later */
}

int keep_serve_init(int epoll, const char *run_dir)
{
	char path[108];
	int r;

	epoll_fd = epoll;
	if (sd_listen_fds(1) > 0) {
		listen_fd = SD_LISTEN_FDS_START;
		r = niwa_fd_nonblock(listen_fd);
		if (r < 0)
			return r;
	} else {
		(void)snprintf(path, sizeof(path), "%s/keep.sock", run_dir);
		listen_fd = niwa_ipc_listen(path, SOCK_SEQPACKET, 0600);
	}
	if (listen_fd < 0)
		return listen_fd;
	hold_spare();
	/* Told once of each connection: one that cannot be let in must not keep the loop busy. */
	return keep_epoll(epoll_fd, EPOLL_CTL_ADD, listen_fd, EPOLLIN | EPOLLET, KEEP_EVENT(KEEP_EVENT_LISTEN, 0u));
}

/* Who comes next learns from LIST what this one has not been told. */
static void forget_unsent(void)
{
	for (unsigned i = 0; i < keep_table_end() && keep_any_unsent(); i++) {
		if (keep_unsent(i) & KEEP_TELL_FAILED)
			keep_instance_drop(i);
		else
			keep_told(i, UINT8_MAX);
	}
}

static void disconnect(void)
{
	if (conn.fd < 0)
		return;
	/* Children hold copies until their exec: closing alone would leave it in the epoll. */
	(void)keep_epoll(epoll_fd, EPOLL_CTL_DEL, conn.fd, 0, 0);
	niwa_fd_close(&conn.fd);
	hold_spare();
	conn.answering = conn.listing = conn.blocked = false;
	forget_unsent();
}

static void serve_client(int client)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);
	NIWA_AUTO_FD fd = client;

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.uid != 0) {
		niwa_log(NIWA_LOG_WARN, NULL, "refused a connection of user %d: only root may give orders",
			 (int)peer.uid);
		return;
	}
	disconnect();
	if (keep_epoll(epoll_fd, EPOLL_CTL_ADD, fd, EPOLLIN, KEEP_EVENT(KEEP_EVENT_NIWAD, 0u)) < 0)
		return;
	conn.events = EPOLLIN;
	conn.fd = NIWA_TAKE_FD(fd);
	niwa_log(NIWA_LOG_INFO, NULL, "niwad connected, pid %d; %u instances", (int)peer.pid, keep_table_count());
}

/* The last one counts. */
void keep_serve_accept(void)
{
	static struct niwa_log_limit limit;
	int fd, error;

	do {
		niwa_fd_close(&spare_fd);
		fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		error = fd < 0 ? errno : 0;
		if (fd >= 0)
			serve_client(fd);
		hold_spare();
	} while (fd >= 0 || error == ECONNABORTED || error == EINTR);
	accept_due = error != EAGAIN;
	if (accept_due && niwa_log_allow(&limit, 1, 10 * NIWA_SEC))
		niwa_log(NIWA_LOG_WARN, NULL, "accept niwad's connection: %s; trying again", strerrordesc_np(error));
}

int keep_serve_timeout(void)
{
	return accept_due ? ACCEPT_AGAIN_MS : -1;
}

/* True when it went out. */
static bool send_msg(struct niwa_keep_msg *msg, const int *fds, size_t nfds)
{
	int r;

	if (conn.fd < 0 || conn.blocked)
		return false;
	msg->version = NIWA_KEEP_VERSION;
	r = niwa_ipc_send(conn.fd, msg, sizeof(*msg), fds, nfds);
	if (r == 0)
		return true;
	conn.blocked = r == -EAGAIN || r == -ENOBUFS || r == -ETOOMANYREFS;
	if (!conn.blocked)
		disconnect();
	return false;
}

static void answer(const struct niwa_keep_msg *request, int error)
{
	conn.answer = (struct niwa_keep_msg){
		.type = error ? NIWA_KEEP_FAILED : NIWA_KEEP_OK, .id = request->id, .op = -1, .error = error};
	memcpy(conn.answer.name, request->name, sizeof(conn.answer.name));
	conn.answering = !send_msg(&conn.answer, NULL, 0);
}

static void serve_start(const struct niwa_keep_msg *m, int *fds, size_t *nfds)
{
	struct keep_instance *in;
	int index = -EAGAIN;

	if (m->id == 0 || *nfds == 0) {
		answer(m, EINVAL);
		return;
	}
	if (keep_instance_find(m->id) >= 0) {
		answer(m, EEXIST);
		return;
	}
	if (keep_start_room())
		index = keep_instance_add(m->id);
	if (index < 0) {
		answer(m, -index);
		return;
	}
	in = keep_instance_at((unsigned)index);
	in->tag_len = m->tag_len;
	memcpy(in->tag, m->tag, m->tag_len);
	keep_start_begin((unsigned)index, fds, *nfds);
	*nfds = 0;
}

static void serve_tag(const struct niwa_keep_msg *m, int *fds, size_t *nfds)
{
	int index = m->id ? keep_instance_find(m->id) : -1;
	struct keep_instance *in;

	if (index < 0) {
		answer(m, ENOENT);
		return;
	}
	in = keep_instance_at((unsigned)index);
	in->tag_len = m->tag_len;
	memcpy(in->tag, m->tag, m->tag_len);
	answer(m, 0);
}

static void serve_forget(const struct niwa_keep_msg *m, int *fds, size_t *nfds)
{
	int index = m->id ? keep_instance_find(m->id) : -1;
	enum keep_state state = index >= 0 ? keep_instance_at((unsigned)index)->state : KEEP_FREE;

	if (state == KEEP_STARTING || state == KEEP_LIVE) {
		answer(m, EBUSY);
		return;
	}
	if (index >= 0)
		keep_instance_drop((unsigned)index);
	answer(m, 0);
}

static void serve_list(const struct niwa_keep_msg *m, int *fds, size_t *nfds)
{
	conn.listing = true;
	conn.list_stored = false;
	conn.list_at = 0;
}

static void serve_store(const struct niwa_keep_msg *m, int *fds, size_t *nfds)
{
	if (*nfds != 1 || !m->name[0]) {
		answer(m, EINVAL);
		return;
	}
	*nfds = 0;
	answer(m, -keep_store(m->name, fds[0]));
}

static void serve_unstore(const struct niwa_keep_msg *m, int *fds, size_t *nfds)
{
	if (m->name[0])
		keep_unstore(m->name);
	answer(m, 0);
}

static void serve(const struct niwa_keep_msg *m, int *fds, size_t *nfds)
{
	static void (*const requests[])(const struct niwa_keep_msg *, int *, size_t *) = {
		[NIWA_KEEP_START] = serve_start, [NIWA_KEEP_TAG] = serve_tag,     [NIWA_KEEP_FORGET] = serve_forget,
		[NIWA_KEEP_LIST] = serve_list,   [NIWA_KEEP_STORE] = serve_store, [NIWA_KEEP_UNSTORE] = serve_unstore,
	};

	if (m->type > NIWA_KEEP_UNSTORE)
		answer(m, EOPNOTSUPP);
	else if (m->tag_len > NIWA_KEEP_TAG_MAX || memchr(m->name, '\0', sizeof(m->name)) == NULL)
		answer(m, EINVAL);
	else
		requests[m->type](m, fds, nfds);
}

void keep_serve_event(uint32_t events)
{
	static struct niwa_keep_msg msg;
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds = 0;
	ssize_t n;

	conn.blocked = conn.blocked && !(events & EPOLLOUT);
	if (conn.fd < 0 || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		return;
	if ((conn.events & EPOLLIN) == 0 && (events & (EPOLLHUP | EPOLLERR)) == 0)
		return;
	n = niwa_ipc_recv(conn.fd, &msg, sizeof(msg), fds, &nfds);
	if (n == -EAGAIN)
		return;
	if (n == sizeof(msg) && msg.version == NIWA_KEEP_VERSION) {
		serve(&msg, fds, &nfds);
	} else {
		niwa_log(n == 0 || n == -ECONNRESET ? NIWA_LOG_INFO : NIWA_LOG_ERR, NULL,
			 n == 0 || n == -ECONNRESET ? "niwad is gone; instances go on"
						    : "a message that is not of version 1 of the protocol; closed");
		disconnect();
	}
	for (size_t i = 0; i < nfds; i++)
		niwa_fd_close(&fds[i]);
}

static bool send_instance(unsigned index, enum niwa_keep_type type)
{
	const struct keep_instance *in = keep_instance_at(index);
	bool with_fds = type != NIWA_KEEP_EXITED && in->state != KEEP_STARTING;
	struct niwa_keep_msg msg = {.type = type,
				    .id = keep_instance_id(index),
				    .pid = in->pid,
				    .sent = with_fds ? in->sent : 0,
				    .started_us = in->started_us,
				    .cloned_us = in->cloned_us};
	int fds[1 + NIWA_PLAN_KEPT_MAX] = {in->pidfd};
	size_t nfds = 1;

	if (in->state == KEEP_EXITED && type != NIWA_KEEP_STARTED) {
		msg.code = in->code;
		msg.status = in->status;
	}
	if (type == NIWA_KEEP_INSTANCE) {
		msg.tag_len = in->tag_len;
		memcpy(msg.tag, in->tag, in->tag_len);
	}
	for (int i = 0; i < NIWA_PLAN_KEPT_MAX && in->kept[i] >= 0; i++)
		fds[nfds++] = in->kept[i];
	return send_msg(&msg, fds, with_fds ? nfds : 0);
}

static bool send_failed(unsigned index)
{
	const struct keep_instance *in = keep_instance_at(index);
	struct niwa_keep_msg msg = {.type = NIWA_KEEP_FAILED,
				    .id = keep_instance_id(index),
				    .op = in->fail_op,
				    .error = in->fail_error,
				    .status = in->fail_message};

	return send_msg(&msg, NULL, 0);
}

static bool flush_instance(unsigned i)
{
	unsigned bits = keep_unsent(i);

	if (bits & KEEP_TELL_FAILED) {
		if (!send_failed(i))
			return false;
		keep_instance_drop(i);
		return true;
	}
	if (bits & KEEP_TELL_STARTED) {
		if (!send_instance(i, NIWA_KEEP_STARTED))
			return false;
		keep_told(i, KEEP_TELL_STARTED);
	}
	if (bits & KEEP_TELL_EXITED) {
		if (!send_instance(i, NIWA_KEEP_EXITED))
			return false;
		keep_told(i, KEEP_TELL_EXITED);
	}
	return true;
}

static bool flush_list(void)
{
	struct keep_stored *st;
	enum keep_state state;

	for (; !conn.list_stored && conn.list_at < keep_table_end(); conn.list_at++) {
		state = keep_instance_id(conn.list_at) ? keep_instance_at(conn.list_at)->state : KEEP_FREE;
		if ((state == KEEP_STARTING || state == KEEP_LIVE || state == KEEP_EXITED) &&
		    !send_instance(conn.list_at, NIWA_KEEP_INSTANCE))
			return false;
	}
	if (!conn.list_stored)
		conn.list_at = 0;
	conn.list_stored = true;
	for (; (st = keep_stored_at(conn.list_at)); conn.list_at++) {
		struct niwa_keep_msg msg = {.type = NIWA_KEEP_STORED};

		memcpy(msg.name, st->name, sizeof(msg.name));
		if (st->name[0] && !send_msg(&msg, &st->fd, 1))
			return false;
	}
	if (!send_msg(&(struct niwa_keep_msg){.type = NIWA_KEEP_END}, NULL, 0))
		return false;
	conn.listing = false;
	return true;
}

static void flush_all(void)
{
	if (conn.answering && !send_msg(&conn.answer, NULL, 0))
		return;
	conn.answering = false;
	for (unsigned i = 0; i < keep_table_end() && keep_any_unsent(); i++)
		if (keep_unsent(i) && !flush_instance(i))
			return;
	if (conn.listing)
		(void)flush_list(); /* goes on at the next turn */
}

void keep_serve_flush(void)
{
	uint32_t events;

	if (accept_due) /* this turn may have closed some */
		keep_serve_accept();
	if (conn.fd < 0) {
		forget_unsent();
		return;
	}
	if (!conn.blocked)
		flush_all();
	if (conn.fd < 0)
		return;
	events = (conn.blocked ? EPOLLOUT : 0u) | (conn.answering || conn.listing ? 0u : (uint32_t)EPOLLIN);
	if (events != conn.events &&
	    keep_epoll(epoll_fd, EPOLL_CTL_MOD, conn.fd, events, KEEP_EVENT(KEEP_EVENT_NIWAD, 0u)) == 0)
		conn.events = events;
}
