/* SPDX-License-Identifier: MIT
 *
 * The relay's start and its messages. The listener and the engine's end of the pair are stored in niwa-keep, so that
 * neither a restart of niwad nor one of the relay refuses a connection.
 */
#include "engine/relay_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/capability.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "engine/app.h"
#include "engine/instance.h"
#include "engine/keep_client.h"
#include "engine/publish.h"
#include "engine/ready.h"
#include "engine/relay_peer.h"
#include "engine/relay_stats.h"
#include "engine/snapshot.h"
#include "engine/visit.h"
#include "engine/wake.h"
#include "spec/source.h"

#define RETRY_AFTER_S    5
#define RESTART_PAUSE_US (50 * NIWA_MS)
#define OLD_RELAY_US     (2 * NIWA_SEC)
#define RELAY_CAPS       (UINT64_C(1) << CAP_NET_RAW) /* for IP_TRANSPARENT; niwa-relay confines itself, see there */
#define LISTENER_NAME    "relay-listener"
#define LISTENER6_NAME   "relay-listener6"
#define ENGINE_END_NAME  "relay-engine-end"

static void send_to(const struct niwa_relay_peer *p, const struct niwa_relay_msg *m, const int *fds, size_t nfds)
{
	int r = p && p->channel ? niwa_channel_send(p->channel, m, sizeof(*m), fds, nfds) : -ENOTCONN;

	if (r < 0 && r != -ENOTCONN)
		niwa_log(NIWA_LOG_ERR, NULL, "message %u to niwa-relay: %s", m->type, strerror(-r));
}

/* About a ticket, to the relay that has it. */
static void send_msg(struct niwa_engine *e, struct niwa_relay_msg *m)
{
	const struct niwa_relay_peer *p = niwa_relay_peer_of(e, m->ticket);

	m->ticket = niwa_relay_peer_own(m->ticket);
	send_to(p, m, NULL, 0);
}

static uint32_t ms(uint64_t us)
{
	return us / 1000 > UINT32_MAX ? UINT32_MAX : (uint32_t)(us / 1000);
}

/* Also to a relay that runs since before there was IPv6. */
static void tell_listener6(struct niwa_engine *e)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_LISTEN, .flags = NIWA_RELAY_V6};

	if (e->config.ula.on && e->relay_listener6 >= 0)
		send_to(e->relay_peer, &m, &e->relay_listener6, 1);
}

static void hello(struct niwa_engine *e, const struct niwa_relay_peer *p)
{
	const struct niwa_config *c = &e->config;
	struct niwa_relay_msg m = {
		.type = NIWA_RELAY_HELLO,
		.flags = c->return_mark ? NIWA_RELAY_CLIENT_ADDR : 0,
		.host = c->gateway_addr,
		.limits = {.connections = (uint32_t)c->relay_connections,
			   .waiting = (uint32_t)c->relay_waiting,
			   .waiting_per_source = (uint32_t)c->relay_waiting_per_source,
			   .held_bytes = (uint32_t)c->relay_held_bytes,
			   .first_byte_ms = ms(c->relay_first_byte_us),
			   .idle_ms = ms(c->relay_idle_us),
			   .linger_ms = ms(c->relay_linger_us),
			   .linger_bytes = (uint32_t)c->relay_linger_bytes},
	};

	send_to(p, &m, NULL, 0);
	if (p != e->relay_peer)
		return;
	tell_listener6(e);
	niwa_publish_tell_relay(e);
}

static void reply(struct niwa_engine *e, const struct niwa_relay_msg *to, enum niwa_relay_type type,
		  uint32_t deadline_ms)
{
	struct niwa_relay_msg m = {.type = type, .ticket = to->ticket, .deadline_ms = deadline_ms};

	send_msg(e, &m);
}

/* Silent connections are counted per app, so that nobody who only connects takes the places of all. */
static int silent_begin(struct niwa_engine *e, struct niwa_app *app, uint64_t ticket)
{
	if (niwa_map_get(e->silent, ticket))
		return 0;
	if (app->silent >= app->max_waiting) {
		e->metrics.refusals[NIWA_REFUSED_SILENT]++;
		return -EBUSY;
	}
	if (niwa_map_put(e->silent, ticket, (void *)(uintptr_t)app->id) < 0) /* an id is never 0 */
		return -ENOMEM;
	app->silent++;
	return 0;
}

static void silent_end(struct niwa_engine *e, uint64_t ticket)
{
	uint64_t id = (uint64_t)(uintptr_t)niwa_map_del(e->silent, ticket);
	struct niwa_app *app = id ? niwa_map_get(e->apps_by_id, id) : NULL;

	if (app && app->silent)
		app->silent--;
}

static void on_silent(struct niwa_engine *e, struct niwa_app *app, const struct niwa_app_port *port,
		      const struct niwa_relay_msg *m)
{
	struct niwa_relay_msg answer = {.type = NIWA_RELAY_WAIT,
					.ticket = m->ticket,
					.protocol = port->protocol,
					.deadline_ms = ms(e->config.relay_first_byte_us)};

	if (silent_begin(e, app, m->ticket) < 0) {
		answer.type = NIWA_RELAY_FAIL;
		answer.kind = NIWA_TEMPORARY;
		answer.retry_after_s = RETRY_AFTER_S;
		(void)snprintf(answer.text, sizeof(answer.text), "%.180s has too many connections", app->name);
	}
	send_msg(e, &answer);
}

/* The answer to a visitor that went through the relay has begun. */
static void on_relayed(struct niwa_engine *e, const struct niwa_relay_msg *m)
{
	struct niwa_app *app = niwa_map_get(e->apps_by_addr, m->service);

	struct niwa_app_past *past = app ? app->past : NULL;
	bool restored;

	if (!past || past->last_ticket != m->ticket || !m->first_byte_us)
		return;
	past->last.first_byte_us = m->first_byte_us;
	niwa_metrics_stage(&e->metrics, past->path, NIWA_STAGE_FIRST_BYTE, past->last.accepted_us, m->first_byte_us);
	restored = strcmp(past->path, "restore") == 0;
	if (!past->last.measured && (restored || strcmp(past->path, "start") == 0))
		niwa_snapshot_measured(e, app, restored, m->first_byte_us - past->last.decided_us);
	past->last.measured = true;
}

/* IPv4 is mapped. */
static struct in6_addr from_of(const struct niwa_relay_msg *m)
{
	struct in6_addr addr = {0};
	char text[INET6_ADDRSTRLEN];

	if (!(m->flags & NIWA_RELAY_V6))
		return niwa_addr_mapped(m->client);
	memcpy(text, m->text, sizeof(text));
	text[sizeof(text) - 1] = '\0';
	(void)inet_pton(AF_INET6, text, &addr); /* else it is nobody's */
	return addr;
}

/* An instance that came by IPv6 is known by its private address all the same; others have none there. */
static uint32_t client_of(const struct niwa_engine *e, const struct niwa_relay_msg *m)
{
	const struct in6_addr addr = from_of(m);
	uint8_t of_instance[16];

	if (!(m->flags & NIWA_RELAY_V6))
		return m->client;
	niwa_ula_make(&e->config.ula, NIWA_ULA_PRIVATE, niwa_ula_addr(addr.s6_addr), of_instance);
	return memcmp(addr.s6_addr, of_instance, sizeof(of_instance)) == 0 ? niwa_ula_addr(addr.s6_addr) : 0;
}

static void turn_away(struct niwa_engine *e, const struct niwa_relay_msg *to, const struct niwa_app *app,
		      const struct niwa_app_port *port, uint32_t retry_after_s)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_FAIL,
				   .ticket = to->ticket,
				   .protocol = port->protocol,
				   .kind = NIWA_TEMPORARY,
				   .retry_after_s = retry_after_s};

	(void)snprintf(m.text, sizeof(m.text), "%.180s cannot be reached at the moment", app->name);
	send_msg(e, &m);
}

static void on_open(struct niwa_engine *e, const struct niwa_relay_msg *m)
{
	struct niwa_app *app = niwa_map_get(e->apps_by_addr, m->service);
	struct niwa_app_port *port = app && !app->removed ? niwa_app_port(app, m->port) : NULL;
	struct niwa_waiter *w = niwa_map_get(e->waiters_by_ticket, m->ticket);
	uint32_t retry_after_s;
	struct in6_addr from;

	if (!port) {
		e->metrics.refusals[NIWA_REFUSED_UNDECLARED]++;
		reply(e, m, NIWA_RELAY_REFUSE, 0);
		return;
	}
	if (w) /* repeated after HELLO, or bytes for one that is held already */
		return;
	/* A port that always goes this way behaves as others do while its app is awake: no client is made to speak. */
	if (port->speaks == NIWA_SPEAKS_CLIENT && !(m->flags & NIWA_RELAY_BYTES) &&
	    !(port->proxy && app->state == NIWA_RUNNING)) {
		on_silent(e, app, port, m);
		return;
	}
	silent_end(e, m->ticket);
	from = from_of(m);
	retry_after_s = niwa_visit_refused(e, app, port, client_of(e, m), &from);
	if (retry_after_s) {
		turn_away(e, m, app, port, retry_after_s);
		return;
	}
	w = niwa_waiter_new(app, m->ticket, m->port, client_of(e, m));
	if (!w) {
		reply(e, m, NIWA_RELAY_REFUSE, 0);
		return;
	}
	w->since_us = m->accepted_us;
	w->from = from;
	w->client6 = m->flags & NIWA_RELAY_V6;
	niwa_wake(e, app, w, m->accepted_us);
}

static void replace(struct niwa_engine *e, struct niwa_relay_peer *drains);

static void on_message(const void *data, size_t len, int *fds, size_t nfds, void *arg)
{
	struct niwa_relay_peer *p = arg;
	struct niwa_engine *e = p->engine;
	struct niwa_relay_msg m;

	for (size_t i = 0; i < nfds; i++)
		niwa_fd_close(&fds[i]); /* the relay sends none */
	if (len != sizeof(m)) {
		niwa_log(NIWA_LOG_ERR, NULL, "niwa-relay sent %zu bytes, expected %zu: not the same version", len,
			 sizeof(m));
		return;
	}
	memcpy(&m, data, sizeof(m));
	if (m.type != NIWA_RELAY_CHECKED)
		m.ticket = niwa_relay_peer_ticket(p, m.ticket);
	switch (m.type) {
	case NIWA_RELAY_OPEN:
		on_open(e, &m);
		break;
	case NIWA_RELAY_GONE:
		silent_end(e, m.ticket);
		niwa_wake_gone(e, m.ticket);
		break;
	case NIWA_RELAY_RESULT:
		niwa_wake_connected(e, m.ticket, m.error, m.connected_us);
		break;
	case NIWA_RELAY_CLOSED:
		on_relayed(e, &m);
		niwa_wake_gone(e, m.ticket);
		break;
	case NIWA_RELAY_CHECKED:
		m.text[sizeof(m.text) - 1] = '\0';
		niwa_ready_checked(e, m.ticket, m.error, m.text);
		break;
	case NIWA_RELAY_DRAINING:
		replace(e, p);
		break;
	case NIWA_RELAY_STATS:
		if (p != e->relay_peer)
			break;
		memcpy(e->relay_counters, m.counters, sizeof(e->relay_counters));
		niwa_relay_stats_came(e);
		break;
	default:
		niwa_log(NIWA_LOG_ERR, NULL, "niwa-relay sent an unknown message %u", m.type);
	}
}

/* The relay's tickets died with it. Waiters of the socket stay, and those of other relays; only the silent ones of
 * these are not counted any more. */
static void forget_tickets(struct niwa_engine *e, const struct niwa_relay_peer *p)
{
	struct niwa_map *fresh = niwa_map_new(NIWA_MAP_U64);
	struct niwa_waiter *w;
	struct niwa_app *app;
	size_t pos = 0;
	void *id;

	while ((w = niwa_map_next(e->waiters_by_ticket, &pos)))
		if (niwa_relay_peer_ticket(p, w->ticket) == w->ticket)
			niwa_wake_gone(e, w->ticket);
	pos = 0;
	while ((id = niwa_map_next(e->silent, &pos))) {
		app = niwa_map_get(e->apps_by_id, (uint64_t)(uintptr_t)id);
		if (app)
			app->silent = 0;
	}
	if (fresh) { /* else the old entries stay, and count for nobody */
		niwa_map_free(&e->silent);
		e->silent = fresh;
	}
}

static void on_closed(int error, void *arg)
{
	struct niwa_relay_peer *p = arg;
	struct niwa_engine *e = p->engine;

	(void)error;
	if (e->relay_peer == p)
		e->relay = NULL;
	niwa_channel_free(&p->channel); /* its exit, told by keep, starts the next one */
	forget_tickets(e, p);
}

static int take_channel(struct niwa_relay_peer *p, int fd, struct niwa_error *err)
{
	struct niwa_engine *e = p->engine;
	int r = niwa_channel_new(fd, sizeof(struct niwa_relay_msg), e->event, on_message, on_closed, p, &p->channel);

	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "talk to niwa-relay");
	if (!p->drains) {
		e->relay_peer = p;
		e->relay = p->channel;
	}
	return 0;
}

/* When niwa-keep was killed too, its relay goes on until it has noticed. */
static int bind_patiently(int fd, const void *sa, socklen_t len)
{
	uint64_t until = niwa_now_us() + OLD_RELAY_US;

	while (bind(fd, sa, len) < 0) {
		if (errno != EADDRINUSE || niwa_now_us() >= until)
			return -1;
		(void)poll(NULL, 0, 10); /* the loop does not run yet */
	}
	return 0;
}

static int open_listener(struct niwa_engine *e, struct niwa_error *err)
{
	struct sockaddr_in sa = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)e->config.relay_port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	NIWA_AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_IP, IP_TRANSPARENT, &one, sizeof(one)) < 0 || bind_patiently(fd, &sa, sizeof(sa)) < 0 ||
	    listen(fd, 16384) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open the transparent listener on 127.0.0.1:%u",
				 (unsigned)e->config.relay_port);
	niwa_keep_store(e, LISTENER_NAME, fd);
	e->relay_listener = NIWA_TAKE_FD(fd);
	return 0;
}

static int open_listener6(struct niwa_engine *e, struct niwa_error *err)
{
	struct sockaddr_in6 sa = {.sin6_family = AF_INET6,
				  .sin6_port = htons((uint16_t)e->config.relay_port),
				  .sin6_addr = IN6ADDR_LOOPBACK_INIT};
	NIWA_AUTO_FD fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_IPV6, IPV6_V6ONLY, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_IPV6, IPV6_TRANSPARENT, &one, sizeof(one)) < 0 ||
	    bind_patiently(fd, &sa, sizeof(sa)) < 0 || listen(fd, 16384) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open the transparent listener on [::1]:%u",
				 (unsigned)e->config.relay_port);
	niwa_keep_store(e, LISTENER6_NAME, fd);
	e->relay_listener6 = NIWA_TAKE_FD(fd);
	return 0;
}

static int make_plan(struct niwa_engine *e, struct niwa_error *err)
{
	char path[512];
	char *argv[] = {path, NULL}, *env[] = {(char[]){"PATH=/usr/bin:/bin"}, NULL};
	struct niwa_program_params p = {.argv = argv, .env = env, .fd_count = 2, .caps = RELAY_CAPS};
	struct passwd *pw = getpwnam(e->config.relay_user);
	struct niwa_plan plan = {0};
	int r;

	if (!pw)
		return niwa_fail(err, NIWA_PERMANENT, 0,
				 "no Unix user '%s' for niwa-relay: create it (adduser --system %s)",
				 e->config.relay_user, e->config.relay_user);
	p.uid = pw->pw_uid;
	p.gid = pw->pw_gid;
	(void)snprintf(path, sizeof(path), "%s/niwa-relay", e->config.libexec_dir);
	r = niwa_program_plan(&p, &plan, err);
	if (r == 0)
		r = niwa_plan_to_memfd(&plan, err);
	niwa_plan_fini(&plan);
	return r;
}

static int start_relay(struct niwa_engine *e, struct niwa_error *err)
{
	struct niwa_tag tag = {.version = NIWA_TAG_VERSION, .kind = NIWA_TAG_RELAY, .program = niwa_relay_program(e)};
	NIWA_AUTO_FD plan = make_plan(e, err);
	struct niwa_relay_peer *p;
	int pair[2], fds[6], r;
	size_t n = 0;

	if (plan < 0)
		return plan;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "make a socket pair");
	tag.instance = e->next_instance++;
	p = niwa_relay_peer_new(e, tag.instance);
	if (!p) {
		niwa_fd_close(&pair[0]);
		niwa_fd_close(&pair[1]);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start niwa-relay");
	}
	fds[n++] = plan;
	fds[n++] = e->relay_listener;
	fds[n++] = pair[1];
	/* stored first: a relay whose engine end nobody has would drain at once */
	niwa_keep_store(e, ENGINE_END_NAME, pair[0]);
	(void)niwa_fault("niwad.relay-stored");
	r = niwa_keep_start(e, p->instance, &tag, fds, n);
	(void)niwa_fault("niwad.relay-sent");
	niwa_fd_close(&pair[1]);
	if (r < 0) {
		niwa_fd_close(&pair[0]);
		niwa_relay_peer_free(&p);
		return niwa_fail(err, NIWA_TEMPORARY, -r, "ask niwa-keep to start niwa-relay");
	}
	r = take_channel(p, pair[0], err);
	if (r == 0)
		hello(e, p);
	return r;
}

int niwa_relay_listen(struct niwa_engine *e, struct niwa_error *err)
{
	int r = e->relay_listener < 0 ? open_listener(e, err) : 0;

	if (r == 0 && e->config.ula.on && e->relay_listener6 < 0)
		r = open_listener6(e, err);
	return r;
}

static int start_again(struct niwa_engine *e, uint64_t pause_us);

static int on_restart(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_engine *e = arg;
	struct niwa_error err;

	(void)usec;
	(void)sd_event_source_disable_unref(s);
	if (e->relay_peer)
		return 0;
	if (start_relay(e, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		(void)start_again(e, NIWA_SEC);
	}
	return 0;
}

static int start_again(struct niwa_engine *e, uint64_t pause_us)
{
	int r = sd_event_add_time_relative(e->event, NULL, CLOCK_MONOTONIC, pause_us, NIWA_MS, on_restart, e);

	if (r < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: niwa-relay is not started again");
	return r;
}

/* What it holds and carries goes on; whoever comes is the next one's. */
static void replace(struct niwa_engine *e, struct niwa_relay_peer *drains)
{
	struct niwa_error err;

	if (drains->drains)
		return;
	niwa_log(NIWA_LOG_INFO, NULL, "niwa-relay, process %d, drains; starting another one", (int)drains->pid);
	niwa_relay_peer_drains(drains);
	(void)niwa_fault("niwad.relay-drains");
	if (start_relay(e, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		(void)start_again(e, NIWA_SEC);
	}
}

/* By its signal: an older one may not understand another word. */
static void replace_if_old(struct niwa_engine *e, struct niwa_relay_peer *p)
{
	uint64_t program = niwa_relay_program(e);

	if (!program || p->program == program || p->pidfd < 0)
		return;
	niwa_log(NIWA_LOG_INFO, NULL, "niwa-relay was installed anew");
	if (pidfd_send_signal(p->pidfd, SIGTERM, NULL, 0) == 0)
		replace(e, p);
}

/* Those that drain go on. Of the others, there is one at most whose end is known. */
static void take_over(struct niwa_engine *e)
{
	struct niwa_relay_peer *p, *next;
	struct niwa_error err;
	int end;

	for (p = LIST_FIRST(&e->relay_peers); p; p = next) {
		next = LIST_NEXT(p, link);
		end = p->drains ? NIWA_TAKE_FD(p->end) : NIWA_TAKE_FD(e->relay_engine_end);
		if (end < 0 && p->pidfd >= 0)
			(void)pidfd_send_signal(p->pidfd, SIGKILL, NULL, 0); /* its exit follows */
		if (end < 0)
			p->drains = true;
		else if (take_channel(p, end, &err) < 0)
			niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		else
			hello(e, p);
	}
}

int niwa_relay_begin(struct niwa_engine *e, struct niwa_error *err)
{
	take_over(e);
	niwa_fd_close(&e->relay_engine_end);
	if (!e->relay_peer)
		return start_relay(e, err);
	replace_if_old(e, e->relay_peer);
	return 0;
}

void niwa_relay_close(struct niwa_engine *e)
{
	struct niwa_relay_peer *p;

	e->relay_peer = NULL;
	e->relay = NULL;
	LIST_FOREACH(p, &e->relay_peers, link)
	niwa_channel_free(&p->channel); /* the rest goes with the process */
}

void niwa_relay_kept(struct niwa_engine *e, const struct niwa_keep_msg *m, int *fds, size_t nfds)
{
	struct niwa_relay_peer *p = niwa_relay_peer_find(e, m->id);
	char text[64];

	(void)fds, (void)nfds;
	if (m->type == NIWA_KEEP_STARTED) {
		p->pid = m->pid;
		return;
	}
	if (m->type == NIWA_KEEP_FAILED)
		niwa_log(NIWA_LOG_ERR, NULL, "start niwa-relay: operation %d: %s", m->op, strerror(m->error));
	else
		niwa_log(p->drains ? NIWA_LOG_INFO : NIWA_LOG_ERR, NULL, "niwa-relay, process %d, %s%s", (int)p->pid,
			 niwa_exit_text(m->code, m->status, text, sizeof(text)),
			 p->drains ? "; it had drained" : "; starting another one");
	niwa_keep_forget(e, m->id);
	forget_tickets(e, p);
	niwa_relay_peer_free(&p);
	if (!e->relay_peer)
		(void)start_again(e, m->type == NIWA_KEEP_FAILED ? NIWA_SEC : RESTART_PAUSE_US);
}

/* The flags of a message that has the relay connect to the port. */
static uint32_t proxy_flags(const struct niwa_instance *i, uint16_t port)
{
	static const uint32_t flags[] = {[NIWA_PORT_PROXY_NONE] = 0,
					 [NIWA_PORT_PROXY_V1] = NIWA_RELAY_PROXY_V1,
					 [NIWA_PORT_PROXY_V2] = NIWA_RELAY_PROXY_V2};

	for (size_t n = 0; n < i->spec->port_count; n++)
		if (i->spec->ports[n].number == port)
			return flags[i->spec->ports[n].proxy];
	return 0;
}

void niwa_relay_ready(struct niwa_engine *e, const struct niwa_waiter *w, const struct niwa_instance *i)
{
	struct niwa_relay_msg m = {
		.type = NIWA_RELAY_READY, .ticket = w->ticket, .to = i->private_addr, .to_port = w->port};

	m.flags = proxy_flags(i, w->port);
	if (w->client6 && niwa_ready_listens6(i, w->port)) {
		m.flags |= NIWA_RELAY_V6;
		(void)niwa_ula_text(&e->config.ula, NIWA_ULA_PRIVATE, i->private_addr, m.text);
	}
	send_msg(e, &m);
}

void niwa_relay_hold(struct niwa_engine *e, const struct niwa_waiter *w)
{
	const struct niwa_app_port *port = niwa_app_port(w->app, w->port);
	uint64_t waited = niwa_now_us() - w->since_us;
	uint32_t left = ms(waited) < w->app->wake_deadline_ms ? w->app->wake_deadline_ms - ms(waited) : 1;
	struct niwa_relay_msg m = {.type = NIWA_RELAY_HOLD,
				   .ticket = w->ticket,
				   .deadline_ms = left,
				   .protocol = port ? port->protocol : 0,
				   .retry_after_s = RETRY_AFTER_S};

	(void)snprintf(m.text, sizeof(m.text), "%.180s did not wake in time", w->app->name);
	send_msg(e, &m);
}

void niwa_relay_fail(struct niwa_engine *e, const struct niwa_waiter *w)
{
	const struct niwa_app_port *port = niwa_app_port(w->app, w->port);
	struct niwa_relay_msg m = {.type = NIWA_RELAY_FAIL,
				   .ticket = w->ticket,
				   .protocol = port ? port->protocol : 0,
				   .kind = NIWA_TEMPORARY,
				   .retry_after_s = RETRY_AFTER_S};

	/* Whatever is wrong with the app will be mended: a mail must not bounce and a page not leave an index because
	 * somebody mistyped the name of an image. What exactly went wrong is the operator's business (niwa show). */
	(void)snprintf(m.text, sizeof(m.text), "%.180s cannot be reached at the moment", w->app->name);
	send_msg(e, &m);
}

int niwa_relay_check(struct niwa_engine *e, uint64_t ticket, const struct niwa_instance *i, uint16_t port,
		     const char *path)
{
	struct niwa_relay_msg m = {
		.type = NIWA_RELAY_CHECK, .ticket = ticket, .to = i->private_addr, .to_port = port, .deadline_ms = 900};

	if ((size_t)snprintf(m.text, sizeof(m.text), "%s %s", path ? path : "/", i->app->name) >= sizeof(m.text))
		(void)snprintf(m.text, sizeof(m.text), "%s", path ? path : "/"); /* then by address */
	m.flags = proxy_flags(i, port);
	return e->relay ? niwa_channel_send(e->relay, &m, sizeof(m), NULL, 0) : -ENOTCONN;
}

void niwa_relay_ask_stats(struct niwa_engine *e)
{
	struct niwa_relay_msg m = {.type = NIWA_RELAY_ASK_STATS};

	send_to(e->relay_peer, &m, NULL, 0);
}
