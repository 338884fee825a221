/* SPDX-License-Identifier: MIT
 *
 * The conversation with niwad (docs/rpc.md, names.watch): settings, all names, then changes. When it ends, what is
 * known is answered from until it has begun again.
 */
#include "api/api_private.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#include <jansson.h>
#include <systemd/sd-daemon.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/memory.h"

#define LINE_MAX_BYTES (1024 * 1024) /* what niwad keeps to */
#define CHUNK          65536
#define METRICS_ID     2  /* names.watch has 1 */
#define CATCH_UP_MAX   16 /* chunks a time: questions are waiting */
#define PAUSE_FIRST_US (20 * NIWA_MS)
#define PAUSE_MAX_US   NIWA_SEC

struct niwa_watch {
	struct niwa_api *api;
	int fd;
	sd_event_source *source, *again;
	uint64_t pause_us; /* before the next attempt */
	bool told_gone;
	bool asked; /* for metrics, and not answered */
	struct niwa_log_limit log_names;
	char *in;
	size_t len, size;
};

static void hang_up(struct niwa_watch *w, const char *why)
{
	bool asked = w->asked;

	w->asked = false;
	w->source = sd_event_source_disable_unref(w->source);
	niwa_fd_close(&w->fd);
	free(w->in);
	w->in = NULL;
	w->len = w->size = 0;
	if (!w->told_gone)
		niwa_log(NIWA_LOG_WARN, NULL, "no conversation with niwad (%s): %s; trying again", w->api->socket_path,
			 why);
	w->told_gone = true;
	(void)sd_event_source_set_time_relative(w->again, w->pause_us);
	(void)sd_event_source_set_enabled(w->again, SD_EVENT_ONESHOT);
	w->pause_us = w->pause_us * 2 < PAUSE_MAX_US ? w->pause_us * 2 : PAUSE_MAX_US;
	if (asked)
		niwa_http_told(w->api, NULL);
}

/* What niwad says. */

static int read_settings(const json_t *result, struct niwa_settings *ret)
{
	struct niwa_settings s = {.listen[NIWA_DOOR_HOST].sin_family = AF_INET,
				  .listen[NIWA_DOOR_INSTANCES].sin_family = AF_INET,
				  .metrics.sin_family = AF_INET};
	const char *domain, *address, *metrics = "0.0.0.0", *instances = "0.0.0.0", *ula = "none";
	json_int_t port, metrics_port = 0, instances_port = 0, instance_rate = 0, ttl, negative_ttl, connections,
			 idle_us;

	if (json_unpack((json_t *)result, "{s:s,s:s,s:I,s?s,s?I,s?s,s?I,s?I,s:I,s:I,s:I,s:I,s?s}", "domain", &domain,
			"address", &address, "port", &port, "metrics_address", &metrics, "metrics_port", &metrics_port,
			"instances_address", &instances, "instances_port", &instances_port, "instance_rate",
			&instance_rate, "ttl", &ttl, "negative_ttl", &negative_ttl, "tcp_connections", &connections,
			"tcp_idle_us", &idle_us, "ula_prefix", &ula) < 0 ||
	    niwa_ula_parse(ula, &s.ula) < 0 || inet_pton(AF_INET, address, &s.listen[NIWA_DOOR_HOST].sin_addr) != 1 ||
	    inet_pton(AF_INET, instances, &s.listen[NIWA_DOOR_INSTANCES].sin_addr) != 1 ||
	    inet_pton(AF_INET, metrics, &s.metrics.sin_addr) != 1 || strlen(domain) >= sizeof(s.domain))
		return -EPROTO;
	memcpy(s.domain, domain, strlen(domain) + 1);
	s.listen[NIWA_DOOR_HOST].sin_port = htons((uint16_t)port);
	s.listen[NIWA_DOOR_INSTANCES].sin_port = htons((uint16_t)instances_port);
	s.instance_rate = (uint32_t)instance_rate;
	s.metrics.sin_port = htons((uint16_t)metrics_port);
	s.ttl = (uint32_t)ttl & INT32_MAX; /* RFC 2181 section 8 */
	s.negative_ttl = (uint32_t)negative_ttl & INT32_MAX;
	s.tcp_connections = connections > 0 ? (unsigned)connections : 1;
	s.tcp_idle_us = (uint64_t)idle_us;
	*ret = s;
	return 0;
}

static bool same_address(const struct sockaddr_in *a, const struct sockaddr_in *b)
{
	return a->sin_addr.s_addr == b->sin_addr.s_addr && a->sin_port == b->sin_port;
}

static bool same_settings(const struct niwa_settings *a, const struct niwa_settings *b)
{
	for (enum niwa_door d = 0; d < NIWA_DOORS; d++)
		if (!same_address(&a->listen[d], &b->listen[d]))
			return false;
	return strcmp(a->domain, b->domain) == 0 && same_address(&a->metrics, &b->metrics) && a->ttl == b->ttl &&
	       a->negative_ttl == b->negative_ttl && a->tcp_connections == b->tcp_connections &&
	       a->tcp_idle_us == b->tcp_idle_us && a->instance_rate == b->instance_rate && a->ula.on == b->ula.on &&
	       memcmp(a->ula.prefix, b->ula.prefix, sizeof(a->ula.prefix)) == 0;
}

/* The answer to names.watch; all names follow. */
static int take_settings(struct niwa_api *api, const json_t *result)
{
	struct niwa_settings settings;
	struct niwa_error err;

	if (read_settings(result, &settings) < 0)
		return -EPROTO;
	if (!api->dns.names && niwa_api_settle(api, &settings, &err) < 0) {
		niwa_log(NIWA_LOG_ERR, NULL, "%s", err.msg);
		return sd_event_exit(api->event, 1);
	}
	if (!same_settings(&settings, &api->settings)) {
		niwa_log(NIWA_LOG_INFO, NULL, "niwad has other settings now: starting afresh");
		return sd_event_exit(api->event, 0);
	}
	niwa_zone_begin(api->dns.names);
	return 0;
}

static void complain(struct niwa_watch *w, const char *name, int r)
{
	if (niwa_log_allow(&w->log_names, 10, 60 * NIWA_SEC))
		niwa_log(NIWA_LOG_WARN, NULL, "%.253s has no name in %s: %s", name, w->api->settings.domain,
			 r == -EINVAL ? "too long" : strerror(-r));
}

static int take_changes(struct niwa_watch *w, const json_t *params)
{
	struct niwa_api *api = w->api;
	unsigned changes = 0;
	const char *name;
	json_t *value;
	size_t i;

	if (!api->dns.names)
		return -EPROTO;
	json_object_foreach(json_object_get(params, "set"), name, value)
	{
		struct in_addr addr;
		int r;

		if (!json_is_string(value) || inet_pton(AF_INET, json_string_value(value), &addr) != 1)
			return -EPROTO;
		r = niwa_zone_set(api->dns.names, name, addr.s_addr);
		if (r < 0)
			complain(w, name, r);
		changes += r == 0;
	}
	json_array_foreach(json_object_get(params, "gone"), i, value) changes +=
		json_is_string(value) && niwa_zone_remove(api->dns.names, json_string_value(value)) == 0;
	api->dns.serial += changes > 0;
	return 0;
}

static int take_complete(struct niwa_watch *w)
{
	struct niwa_api *api = w->api;

	if (!api->dns.names)
		return -EPROTO;
	niwa_zone_end(api->dns.names);
	api->dns.complete = true;
	api->dns.serial++;
	w->pause_us = PAUSE_FIRST_US;
	w->told_gone = false;
	niwa_log(NIWA_LOG_INFO, NULL, "%zu names in %s", niwa_zone_count(api->dns.names), api->settings.domain);
	(void)sd_notify(0, "READY=1");
	return 0;
}

static int take_metrics(struct niwa_watch *w, const json_t *result)
{
	w->asked = false;
	niwa_http_told(w->api, json_string_value(json_object_get(result, "text")));
	return 0;
}

static int take_line(struct niwa_watch *w, const char *line, size_t len)
{
	json_t *message = json_loadb(line, len, 0, NULL), *params = json_object_get(message, "params"), *error;
	const char *method = json_string_value(json_object_get(message, "method"));
	int r = -EPROTO;

	if (!method && json_integer_value(json_object_get(message, "id")) == METRICS_ID)
		r = take_metrics(w, json_object_get(message, "result"));
	else if (method && strcmp(method, "names.changed") == 0)
		r = take_changes(w, params);
	else if (method && strcmp(method, "names.complete") == 0)
		r = take_complete(w);
	else if (method)
		r = 0; /* of a later niwad */
	else if (json_object_get(message, "result"))
		r = take_settings(w->api, json_object_get(message, "result"));
	else if ((error = json_object_get(message, "error")))
		niwa_log(NIWA_LOG_ERR, NULL, "names.watch: %.200s",
			 json_string_value(json_object_get(error, "message")) ?: "refused");
	json_decref(message);
	return r;
}

static int take_lines(struct niwa_watch *w)
{
	size_t at = 0;
	char *end;
	int r = 0;

	while (r >= 0 && (end = memchr(w->in + at, '\n', w->len - at))) {
		r = take_line(w, w->in + at, (size_t)(end - w->in) - at);
		at = (size_t)(end - w->in) + 1;
	}
	w->len -= at;
	memmove(w->in, w->in + at, w->len);
	return r;
}

/* 1: something came, 0: nothing is there, negative: the conversation is over. */
static int receive(struct niwa_watch *w)
{
	ssize_t n;

	if (w->size - w->len < CHUNK) {
		char *in = w->size < LINE_MAX_BYTES + CHUNK ? realloc(w->in, w->size + CHUNK) : NULL;

		if (!in)
			return w->size < LINE_MAX_BYTES ? -ENOMEM : -EMSGSIZE;
		w->in = in;
		w->size += CHUNK;
	}
	n = recv(w->fd, w->in + w->len, w->size - w->len, MSG_DONTWAIT);
	if (n < 0)
		return errno == EAGAIN ? 0 : -errno;
	if (n == 0)
		return -ESHUTDOWN;
	w->len += (size_t)n;
	n = take_lines(w);
	return n < 0 ? (int)n : 1;
}

void niwa_watch_catch_up(struct niwa_api *api)
{
	struct niwa_watch *w = api->watch;
	int r = 1;

	for (unsigned i = 0; w->fd >= 0 && r > 0 && i < CATCH_UP_MAX; i++)
		r = receive(w);
	if (r < 0)
		hang_up(w, r == -ESHUTDOWN ? "it has closed the connection" : strerror(-r));
}

static int on_readable(sd_event_source *s, int fd, uint32_t revents, void *arg)
{
	struct niwa_watch *w = arg;

	(void)s, (void)fd, (void)revents;
	niwa_watch_catch_up(w->api);
	return 0;
}

static int on_again(sd_event_source *s, uint64_t usec, void *arg)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"names.watch\",\"params\":{}}\n";
	struct niwa_watch *w = arg;
	int r;

	(void)s, (void)usec;
	w->fd = niwa_ipc_connect(w->api->socket_path, SOCK_STREAM);
	if (w->fd < 0) {
		r = w->fd;
		w->fd = -1;
	} else {
		r = sd_event_add_io(w->api->event, &w->source, w->fd, EPOLLIN, on_readable, w);
		if (r >= 0 && send(w->fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(ask) - 1)
			r = -EPIPE;
	}
	if (r < 0)
		hang_up(w, strerror(-r));
	return 0;
}

int niwa_watch_ask_metrics(struct niwa_api *api)
{
	static const char ask[] = "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"metrics.get\",\"params\":{}}\n";
	struct niwa_watch *w = api->watch;

	if (w->fd < 0)
		return -ENOTCONN;
	if (w->asked) /* and the answer is late */
		return 0;
	if (send(w->fd, ask, sizeof(ask) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) != sizeof(ask) - 1)
		return -EPIPE; /* a part of it may be sent: niwad says so, and the conversation begins again */
	w->asked = true;
	return 0;
}

int niwa_watch_open(struct niwa_api *api, struct niwa_error *err)
{
	struct niwa_watch *w = niwa_zalloc(sizeof(*w));
	int r;

	api->watch = w;
	if (!w)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "start");
	w->api = api;
	w->fd = -1;
	w->pause_us = PAUSE_FIRST_US;
	r = sd_event_add_time_relative(api->event, &w->again, CLOCK_MONOTONIC, 0, NIWA_MS, on_again, w);
	return r < 0 ? niwa_fail(err, NIWA_TEMPORARY, -r, "start") : 0;
}

void niwa_watch_close(struct niwa_api *api)
{
	struct niwa_watch *w = api->watch;

	if (!w)
		return;
	(void)sd_event_source_disable_unref(w->source);
	(void)sd_event_source_disable_unref(w->again);
	niwa_fd_close(&w->fd);
	free(w->in);
	free(w);
	api->watch = NULL;
}
