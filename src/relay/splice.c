/* SPDX-License-Identifier: MIT
 *
 * Bytes in both directions. A flow takes a pipe from the pool, moves bytes from its source into it and on to its
 * sink, and gives it back when it is empty; a sink that is full keeps the pipe. When all pipes are kept, bytes are
 * copied in small pieces instead, so readers that never read cannot stop the others. A flow reads only while its
 * sink takes bytes: what is under way is at most one pipe or one spill a flow.
 */
#include "relay/relay_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"

struct niwa_spill {
	size_t off, len;
	char data[];
};

enum outcome { MOVED_ALL, BUDGET_SPENT, SOURCE_FAILED, SINK_FAILED };

static struct niwa_pipe *pipe_new(struct niwa_relay *r)
{
	struct niwa_pipe *p = niwa_zalloc(sizeof(*p));
	int fds[2];

	if (!p)
		return NULL;
	if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
		if (niwa_log_allow(&r->log_pipe, 1, 60 * NIWA_SEC))
			niwa_log(NIWA_LOG_WARN, NULL, "make a pipe: %s; bytes are copied instead", strerror(errno));
		free(p);
		return NULL;
	}
	p->read = fds[0];
	p->write = fds[1];
	/* Above pipe-user-pages-soft the kernel refuses; a smaller pipe does its work too. */
	(void)fcntl(p->write, F_SETPIPE_SZ, NIWA_RELAY_PIPE_BYTES);
	r->pipes_made++;
	return p;
}

static void pipe_free(struct niwa_relay *r, struct niwa_pipe *p)
{
	niwa_fd_close(&p->read);
	niwa_fd_close(&p->write);
	free(p);
	r->pipes_made--;
}

static struct niwa_pipe *pipe_take(struct niwa_relay *r)
{
	struct niwa_pipe *p = r->pipes;

	if (p) {
		r->pipes = p->next;
		p->next = NULL;
		return p;
	}
	return r->pipes_made < r->pipes_max ? pipe_new(r) : NULL;
}

static void pipe_give(struct niwa_relay *r, struct niwa_pipe **pp)
{
	struct niwa_pipe *p = NIWA_TAKE(*pp);

	if (!p)
		return;
	if (p->bytes) { /* cannot be emptied for the next one */
		pipe_free(r, p);
		return;
	}
	p->next = r->pipes;
	r->pipes = p;
}

void niwa_splice_free_pipes(struct niwa_relay *r)
{
	while (r->pipes)
		pipe_free(r, pipe_take(r));
}

void niwa_splice_release(struct niwa_conn *c)
{
	for (int i = NIWA_IN; i <= NIWA_OUT; i++) {
		pipe_give(c->relay, &c->flow[i].pipe);
		free(c->flow[i].spill);
		c->flow[i].spill = NULL;
	}
}

int niwa_splice_keep(struct niwa_conn *c, int flow, const void *data, size_t len)
{
	struct niwa_spill *s = niwa_zalloc(sizeof(*s) + len);

	if (!s)
		return -ENOMEM;
	s->len = len;
	memcpy(s->data, data, len);
	c->flow[flow].spill = s;
	return 0;
}

int niwa_splice_flush_spill(struct niwa_conn *c, int flow)
{
	struct niwa_spill *s = c->flow[flow].spill;
	int to = !flow;

	while (s && s->off < s->len) {
		ssize_t n = send(c->fd[to], s->data + s->off, s->len - s->off, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno == EAGAIN)
				c->writable[to] = false;
			return -errno;
		}
		s->off += (size_t)n;
	}
	free(s);
	c->flow[flow].spill = NULL;
	return 0;
}

static int flush_pipe(struct niwa_conn *c, int flow)
{
	struct niwa_pipe *p = c->flow[flow].pipe;
	int to = !flow;

	while (p->bytes) {
		ssize_t n = splice(p->read, NULL, c->fd[to], NULL, p->bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			if (errno == EAGAIN)
				c->writable[to] = false;
			return -errno;
		}
		if (n == 0)
			return -EPIPE;
		p->bytes -= (uint32_t)n;
	}
	pipe_give(c->relay, &c->flow[flow].pipe);
	return 0;
}

/* What is under way goes first. 0: nothing is under way any more. */
static int flush(struct niwa_conn *c, int flow)
{
	struct niwa_flow *f = &c->flow[flow];

	if (!f->spill && !f->pipe)
		return 0;
	if (!c->writable[!flow])
		return -EAGAIN;
	return f->spill ? niwa_splice_flush_spill(c, flow) : flush_pipe(c, flow);
}

/* Without a pipe: a small piece through memory. */
static ssize_t fill_by_copy(struct niwa_conn *c, int flow)
{
	static char buf[NIWA_RELAY_SPILL]; /* one thread; used between two calls only */
	ssize_t n = recv(c->fd[flow], buf, sizeof(buf), MSG_DONTWAIT);
	int r;

	if (n <= 0)
		return n < 0 ? -errno : 0;
	r = niwa_splice_keep(c, flow, buf, (size_t)n);
	return r < 0 ? r : n;
}

static ssize_t fill(struct niwa_conn *c, int flow)
{
	struct niwa_flow *f = &c->flow[flow];
	ssize_t n;

	f->pipe = pipe_take(c->relay);
	if (!f->pipe)
		return fill_by_copy(c, flow);
	n = splice(c->fd[flow], NULL, f->pipe->write, NULL, NIWA_RELAY_CHUNK, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
	if (n < 0)
		n = -errno;
	if (n > 0)
		f->pipe->bytes = (uint32_t)n;
	else
		pipe_give(c->relay, &f->pipe);
	return n;
}

static void count(struct niwa_conn *c, int flow, size_t n)
{
	c->active_us = niwa_now_us();
	if (flow == NIWA_OUT && !c->first_byte_us)
		c->first_byte_us = c->active_us;
	c->bytes[flow] += n;
	c->relay->counters[NIWA_COUNT_BYTES] += n;
}

static void end_flow(struct niwa_conn *c, int flow)
{
	c->flow[flow].done = true;
	if (c->broken)
		return;                        /* what is left will be reset, not ended */
	(void)shutdown(c->fd[!flow], SHUT_WR); /* fails when the peer is gone: the other flow will see that */
	if (flow == NIWA_OUT && !c->flow[NIWA_IN].done)
		niwa_relay_arm(c->relay, c, niwa_now_us() + niwa_splice_idle_bound(c));
}

static enum outcome move(struct niwa_conn *c, int flow, int *ret_error)
{
	struct niwa_flow *f = &c->flow[flow];
	size_t moved = 0;

	while (!f->done && moved < NIWA_RELAY_BUDGET) {
		int r = flush(c, flow);
		ssize_t n;

		if (r < 0 && r != -EAGAIN) {
			*ret_error = -r;
			return SINK_FAILED;
		}
		if (r < 0)
			return MOVED_ALL;
		if (f->ended) {
			end_flow(c, flow);
			return MOVED_ALL;
		}
		if (!c->readable[flow] || !c->writable[!flow])
			return MOVED_ALL;
		n = fill(c, flow);
		if (n == 0) {
			f->ended = true;
		} else if (n == -EAGAIN) {
			c->readable[flow] = false;
		} else if (n < 0 && n != -EINTR) {
			*ret_error = (int)-n;
			return SOURCE_FAILED;
		} else if (n > 0) {
			moved += (size_t)n;
			count(c, flow, (size_t)n);
		}
	}
	return f->done ? MOVED_ALL : BUDGET_SPENT;
}

/* A side is gone without an ordinary end: the other side must not take what it has for the whole. */
static void break_off(struct niwa_conn *c, int side, int error)
{
	c->broken = true;
	c->flow[NIWA_IN].done = c->flow[NIWA_OUT].done = true;
	c->closed_error = error;
	niwa_splice_release(c);
	niwa_conn_close_side(c, side);
	niwa_reset_after_drain(c);
}

/* The sink is gone; what it had sent before may still be there to be delivered. */
static void sink_failed(struct niwa_conn *c, int flow, int error)
{
	struct niwa_flow *f = &c->flow[flow];

	c->broken = true;
	c->failed_side = !flow;
	c->closed_error = error;
	f->done = true;
	pipe_give(c->relay, &f->pipe);
	free(f->spill);
	f->spill = NULL;
	c->readable[!flow] = true;
}

uint64_t niwa_splice_idle_bound(const struct niwa_conn *c)
{
	uint64_t us = c->relay->limits.idle_ms * NIWA_MS;

	/* The instance has closed: an ordinary client follows soon. */
	if (c->flow[NIWA_OUT].done && (!us || us > NIWA_RELAY_CLOSING_US))
		us = NIWA_RELAY_CLOSING_US;
	return us;
}

void niwa_splice_pump(struct niwa_conn *c)
{
	bool again = false;

	/* Twice: what one direction finds out about a socket changes what the other may do. */
	for (int i = 0; i < 4; i++) {
		int flow = i & 1, error = 0;

		switch (move(c, flow, &error)) {
		case MOVED_ALL:
			break;
		case BUDGET_SPENT:
			again = true;
			break;
		case SOURCE_FAILED:
			break_off(c, flow, error);
			return;
		case SINK_FAILED:
			sink_failed(c, flow, error);
			break;
		}
		if (i == 1 && !c->broken)
			break;
	}
	if (c->flow[NIWA_IN].done && c->flow[NIWA_OUT].done) {
		if (c->broken)
			break_off(c, c->failed_side, c->closed_error);
		else
			niwa_conn_die(c, 0);
	} else if (again) {
		niwa_relay_runnable(c);
	}
}
