/* SPDX-License-Identifier: MIT
 *
 * Probe: niwa-api is asked for its domain by DNS, and for /metrics by HTTP. Of the answers only as much is read as says
 * that they are answers.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "base/text.h"
#include "cli/probe_list.h"

#define WAIT_MS   1000
#define TRIES     3 /* a datagram may be lost */
#define QUERY_MAX 300
#define SERVFAIL  2

static int parse_address(const char *text, struct sockaddr_in *ret)
{
	char copy[64], *colon;
	uint64_t port;

	(void)snprintf(copy, sizeof(copy), "%s", text);
	colon = strrchr(copy, ':');
	if (!colon || niwa_parse_u64(colon + 1, UINT16_MAX, &port) < 0)
		return -EINVAL;
	*colon = '\0';
	*ret = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (inet_pton(AF_INET, copy, &ret->sin_addr) != 1)
		return -EINVAL;
	if (ret->sin_addr.s_addr == htonl(INADDR_ANY))
		ret->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	return 0;
}

static int connect_to(const struct sockaddr_in *at, int type)
{
	NIWA_AUTO_FD fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	const struct timeval wait = {.tv_sec = WAIT_MS / 1000};

	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) < 0 ||
	    connect(fd, (const struct sockaddr *)at, sizeof(*at)) < 0)
		return -errno;
	return NIWA_TAKE_FD(fd);
}

/* The SOA of the domain (RFC 1035 section 4.1). The length, 0: the domain is too long. */
static size_t make_query(const char *domain, uint8_t query[QUERY_MAX])
{
	static const uint8_t head[] = {'n', 'w', 1, 0, 0, 1, 0, 0, 0, 0, 0, 0}, tail[] = {0, 0, 6, 0, 1};
	size_t len = sizeof(head);

	memcpy(query, head, sizeof(head));
	while (*domain) {
		size_t label = strcspn(domain, ".");

		if (label == 0 || label > 63 || len + 1 + label + sizeof(tail) > QUERY_MAX)
			return 0;
		query[len++] = (uint8_t)label;
		memcpy(query + len, domain, label);
		len += label;
		domain += label + (domain[label] == '.');
	}
	memcpy(query + len, tail, sizeof(tail));
	return len + sizeof(tail);
}

/* The response code, or -errno. */
static int ask_name(const struct sockaddr_in *at, const char *domain)
{
	NIWA_AUTO_FD fd = connect_to(at, SOCK_DGRAM);
	uint8_t query[QUERY_MAX], answer[1500];
	size_t len = make_query(domain, query);

	if (fd < 0 || len == 0)
		return fd < 0 ? fd : -EINVAL;
	for (unsigned i = 0; i < TRIES; i++) {
		ssize_t n = send(fd, query, len, MSG_NOSIGNAL);

		if (n >= 0)
			n = recv(fd, answer, sizeof(answer), 0);
		if (n >= 12 && answer[0] == query[0] && answer[1] == query[1] && answer[2] & 0x80)
			return answer[3] & 15;
		if (n < 0 && errno != EAGAIN)
			return -errno;
	}
	return -ETIMEDOUT;
}

/* 0, -EPROTO for another answer than 200, or -errno. */
static int ask_metrics(const struct sockaddr_in *at)
{
	static const char get[] = "GET /metrics HTTP/1.0\r\n\r\n";
	NIWA_AUTO_FD fd = connect_to(at, SOCK_STREAM);
	char answer[16] = "";
	ssize_t n;

	if (fd < 0)
		return fd;
	if (send(fd, get, sizeof(get) - 1, MSG_NOSIGNAL) < 0)
		return -errno;
	do { /* niwad has two seconds */
		n = recv(fd, answer, sizeof(answer) - 1, MSG_WAITALL);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	return strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0 ? 0 : -EPROTO;
}

static void probe_metrics(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct sockaddr_in at;
	int r;

	if (strcmp(host->metrics_listen, "off") == 0) {
		niwa_probe_say(report, NIWA_PROBE_OK, "%s on %s; metrics are off", host->domain, host->dns_listen);
		return;
	}
	r = parse_address(host->metrics_listen, &at);
	if (r == 0)
		r = ask_metrics(&at);
	if (r == 0) {
		niwa_probe_say(report, NIWA_PROBE_OK, "%s on %s, metrics on %s", host->domain, host->dns_listen,
			       host->metrics_listen);
		return;
	}
	niwa_probe_say(report, NIWA_PROBE_WARN, "names on %s, but no metrics on %s: %s", host->dns_listen,
		       host->metrics_listen, r == -EPROTO ? "somebody else answers" : strerror(-r));
	niwa_probe_mend(report, "another address for metrics_listen in niwad.conf(5), then systemctl restart niwad");
}

void niwa_probe_api(const struct niwa_probe_host *host, struct niwa_probe_report *report)
{
	struct sockaddr_in at;
	int code;

	if (parse_address(host->dns_listen, &at) < 0) {
		niwa_probe_say(report, NIWA_PROBE_UNKNOWN, "dns_listen = %s is no address", host->dns_listen);
		return;
	}
	code = ask_name(&at, host->domain);
	if (code == 0)
		probe_metrics(host, report);
	else if (code == SERVFAIL)
		niwa_probe_say(report, NIWA_PROBE_WARN, "it does not know all names yet, or niwad is away");
	else if (code > 0)
		niwa_probe_say(report, NIWA_PROBE_WARN, "%s does not answer for %s: somebody else listens there (%d)",
			       host->dns_listen, host->domain, code);
	else if (code == -ECONNREFUSED)
		niwa_probe_say(report, NIWA_PROBE_WARN, "it does not run: apps are found by address only");
	else
		niwa_probe_say(report, NIWA_PROBE_FAIL, "no answer on %s: %s", host->dns_listen, strerror(-code));
}
