/* SPDX-License-Identifier: MIT
 *
 * GET /metrics (docs/metrics.md). HTTP is libmicrohttpd's, driven by our loop; the text is niwad's, asked for when
 * somebody asks us, with our own numbers behind it. However many ask, niwad is asked by one at a time and at most ten
 * times a second. Names are answered whatever happens here.
 */
#include "api/api_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "base/text.h"

#define CONNECTIONS  64
#define IDLE_S       3
#define MEMORY       8192 /* of a connection: headers of a scraper are some hundred bytes */
#define FRESH_US     (100 * NIWA_MS)
#define DEADLINE_US  (2 * NIWA_SEC) /* of niwad's answer */
#define BACKLOG      64
#define CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct request {
	LIST_ENTRY(request) link; /* in http.waiting */
	struct MHD_Connection *connection;
	bool asked, waiting;
};

struct niwa_http {
	struct niwa_api *api;
	struct MHD_Daemon *daemon;
	sd_event_source *source, *timer, *deadline;
	LIST_HEAD(, request) waiting; /* suspended until niwad has answered */
	struct MHD_Response *last;    /* what was told last; NULL: nothing yet */
	uint64_t last_us;
};

static unsigned connections(const struct niwa_http *h)
{
	const union MHD_DaemonInfo *info = MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);

	return info ? info->num_connections : 0;
}

/* libmicrohttpd does what there is to do, and says when it wants to be called without anything having come. It listens
 * no more while there are too many connections, and begins again only with the call after the one that ended some. */
static void run(struct niwa_http *h)
{
	MHD_UNSIGNED_LONG_LONG ms;
	unsigned before;

	do {
		before = connections(h);
		(void)MHD_run(h->daemon);
	} while (connections(h) < before);
	if (MHD_get_timeout(h->daemon, &ms) != MHD_YES) {
		(void)sd_event_source_set_enabled(h->timer, SD_EVENT_OFF);
		return;
	}
	(void)sd_event_source_set_time_relative(h->timer, ms * NIWA_MS);
	(void)sd_event_source_set_enabled(h->timer, SD_EVENT_ONESHOT);
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	(void)s, (void)fd, (void)revents;
	run(arg);
	return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *arg)
{
	(void)s, (void)usec;
	run(arg);
	return 0;
}

/* The text. */

static void add_own(const struct niwa_api *api, bool engine, struct niwa_text *out)
{
	static const char *const codes[] = {"noerror", "formerr", "servfail", "nxdomain", "notimp", "refused"};
	const struct niwa_api_counts *c = &api->counts;

	niwa_text_addf(
		out,
		"# HELP niwa_engine_up Whether niwad answers niwa-api.\n# TYPE niwa_engine_up gauge\n"
		"niwa_engine_up %d\n"
		"# HELP niwa_dns_names Names with an address.\n# TYPE niwa_dns_names gauge\n"
		"niwa_dns_names %zu\n"
		"# HELP niwa_dns_complete Whether all names are known.\n# TYPE niwa_dns_complete gauge\n"
		"niwa_dns_complete %d\n"
		"# HELP niwa_dns_queries_total Questions by transport.\n# TYPE niwa_dns_queries_total counter\n"
		"niwa_dns_queries_total{transport=\"udp\"} %" PRIu64 "\n"
		"niwa_dns_queries_total{transport=\"tcp\"} %" PRIu64 "\n"
		"# HELP niwa_dns_answers_total Answers by response code.\n# TYPE niwa_dns_answers_total counter\n",
		engine, niwa_zone_count(api->dns.names), api->dns.complete, c->udp, c->tcp);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(codes); i++)
		niwa_text_addf(out, "niwa_dns_answers_total{code=\"%s\"} %" PRIu64 "\n", codes[i], c->codes[i]);
	niwa_text_addf(out,
		       "niwa_dns_answers_total{code=\"other\"} %" PRIu64 "\n"
		       "# HELP niwa_dns_dropped_total Questions of instances beyond dns_instance_rate.\n"
		       "# TYPE niwa_dns_dropped_total counter\n"
		       "niwa_dns_dropped_total %" PRIu64 "\n",
		       c->codes[NIWA_ARRAY_LEN(codes)], c->dropped);
}

/* What is told from now on; text NULL: niwad does not answer. */
static void compose(struct niwa_http *h, const char *text)
{
	struct niwa_text out = {0};
	struct MHD_Response *fresh;

	niwa_text_add(&out, text ? text : "");
	add_own(h->api, text, &out);
	fresh = out.failed ? NULL : MHD_create_response_from_buffer(out.len, out.data, MHD_RESPMEM_MUST_COPY);
	niwa_text_fini(&out);
	if (!fresh)
		return; /* out of memory: the old one is told */
	(void)MHD_add_response_header(fresh, MHD_HTTP_HEADER_CONTENT_TYPE, CONTENT_TYPE);
	if (h->last)
		MHD_destroy_response(h->last); /* whoever is being sent it holds it */
	h->last = fresh;
	h->last_us = niwa_now_us();
}

void niwa_http_told(struct niwa_api *api, const char *text)
{
	struct niwa_http *h = api->http;
	struct request *r;

	if (!h || LIST_EMPTY(&h->waiting)) /* too late */
		return;
	(void)sd_event_source_set_enabled(h->deadline, SD_EVENT_OFF);
	compose(h, text);
	while ((r = LIST_FIRST(&h->waiting))) {
		LIST_REMOVE(r, link);
		r->waiting = false;
		MHD_resume_connection(r->connection);
	}
	run(h);
}

static int on_deadline(sd_event_source *s, uint64_t usec, void *arg)
{
	const struct niwa_http *h = arg;

	(void)s, (void)usec;
	niwa_http_told(h->api, NULL);
	return 0;
}

/* Requests. */

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned status, const char *text)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text, MHD_RESPMEM_PERSISTENT);
	enum MHD_Result queued;

	if (!r)
		return MHD_NO;
	(void)MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, "text/plain; charset=utf-8");
	if (status == MHD_HTTP_METHOD_NOT_ALLOWED)
		(void)MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
	queued = MHD_queue_response(connection, status, r);
	MHD_destroy_response(r);
	return queued;
}

/* Waits for niwad unless it was asked a moment ago, or cannot be. */
static enum MHD_Result answer_metrics(struct niwa_http *h, struct request *r)
{
	if (!r->asked && (!h->last || niwa_now_us() - h->last_us > FRESH_US)) {
		r->asked = true;
		if (!LIST_EMPTY(&h->waiting) || niwa_watch_ask_metrics(h->api) == 0) {
			if (LIST_EMPTY(&h->waiting)) {
				(void)sd_event_source_set_time_relative(h->deadline, DEADLINE_US);
				(void)sd_event_source_set_enabled(h->deadline, SD_EVENT_ONESHOT);
			}
			LIST_INSERT_HEAD(&h->waiting, r, link);
			r->waiting = true;
			MHD_suspend_connection(r->connection);
			return MHD_YES;
		}
		compose(h, NULL);
	}
	return h->last ? MHD_queue_response(r->connection, MHD_HTTP_OK, h->last) : MHD_NO;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *connection, const char *url, const char *method,
				  const char *version, const char *body, size_t *body_len, void **state)
{
	struct request *r = *state;

	(void)version, (void)body;
	if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
		return answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
	if (!r) { /* the headers are there; called again when all of the request is */
		r = *state = niwa_zalloc(sizeof(*r));
		if (r)
			r->connection = connection;
		return r ? MHD_YES : MHD_NO;
	}
	*body_len = 0; /* whatever it is */
	if (strcmp(url, "/metrics") != 0)
		return answer(connection, MHD_HTTP_NOT_FOUND, "there is /metrics\n");
	return answer_metrics(arg, r);
}

static void on_completed(void *arg, struct MHD_Connection *connection, void **state,
			 enum MHD_RequestTerminationCode code)
{
	struct request *r = *state;

	(void)arg, (void)connection, (void)code;
	if (r && r->waiting)
		LIST_REMOVE(r, link);
	free(r);
	*state = NULL;
}

/* Beginning and end. */

static int listen_on(const struct sockaddr_in *at, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int one = 1;

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)) < 0 ||
	    bind(fd, (const struct sockaddr *)at, sizeof(*at)) < 0 || listen(fd, BACKLOG) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "listen");
	return NIWA_TAKE_FD(fd);
}

static int start_daemon(struct niwa_http *h, int fd, struct niwa_error *err)
{
	const union MHD_DaemonInfo *info;
	int r;

	h->daemon = MHD_start_daemon(MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, h,
				     MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS,
				     MHD_OPTION_CONNECTION_TIMEOUT, IDLE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
				     (size_t)MEMORY, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
	info = h->daemon ? MHD_get_daemon_info(h->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
	if (!info) {
		if (!h->daemon)
			niwa_fd_close(&fd);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start libmicrohttpd");
	}
	r = sd_event_add_io(h->api->event, &h->source, info->epoll_fd, EPOLLIN, on_readable, h);
	if (r >= 0)
		r = sd_event_add_time_relative(h->api->event, &h->timer, CLOCK_MONOTONIC, 0, NIWA_MS, on_timer, h);
	if (r >= 0)
		r = sd_event_add_time_relative(h->api->event, &h->deadline, CLOCK_MONOTONIC, 0, NIWA_MS, on_deadline,
					       h);
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, -r, "watch");
	/* names first */
	(void)sd_event_source_set_priority(h->source, SD_EVENT_PRIORITY_NORMAL + 10);
	(void)sd_event_source_set_priority(h->timer, SD_EVENT_PRIORITY_NORMAL + 10);
	return sd_event_source_set_enabled(h->deadline, SD_EVENT_OFF);
}

int niwa_http_open(struct niwa_api *api, struct niwa_error *err)
{
	const struct sockaddr_in *at = &api->settings.metrics;
	int fd;

	if (!at->sin_port)
		return 0;
	fd = listen_on(at, err);
	if (fd < 0)
		return fd;
	api->http = niwa_zalloc(sizeof(*api->http));
	if (!api->http) {
		niwa_fd_close(&fd);
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	}
	api->http->api = api;
	return start_daemon(api->http, fd, err);
}

void niwa_http_close(struct niwa_api *api)
{
	struct niwa_http *h = api->http;

	if (!h)
		return;
	if (h->daemon) {
		niwa_http_told(api, NULL); /* it wants nobody suspended */
		MHD_stop_daemon(h->daemon);
	}
	if (h->last)
		MHD_destroy_response(h->last);
	(void)sd_event_source_disable_unref(h->source);
	(void)sd_event_source_disable_unref(h->timer);
	(void)sd_event_source_disable_unref(h->deadline);
	free(h);
	api->http = NULL;
}
