/* SPDX-License-Identifier: MIT
 *
 * The header, in both versions. Pure.
 */
#include "relay/proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#define SIGNATURE   "\r\n\r\n\0\r\nQUIT\n"
#define LOCAL       0x20 /* version 2, a connection of the sender's own */
#define PROXIED     0x21
#define TCP_OVER_V4 0x11
#define TCP_OVER_V6 0x21

static size_t version_1(const struct niwa_proxy_ends *ends, char *buf)
{
	char client[INET6_ADDRSTRLEN], server[INET6_ADDRSTRLEN];
	int n, family;

	if (!ends) {
		n = snprintf(buf, NIWA_PROXY_HEADER_MAX, "PROXY UNKNOWN\r\n");
		return (size_t)n;
	}
	family = ends->six ? AF_INET6 : AF_INET;
	n = snprintf(buf, NIWA_PROXY_HEADER_MAX, "PROXY TCP%c %s %s %u %u\r\n", ends->six ? '6' : '4',
		     inet_ntop(family, ends->client, client, sizeof(client)),
		     inet_ntop(family, ends->server, server, sizeof(server)), ends->client_port, ends->server_port);
	return (size_t)n;
}

static size_t version_2(const struct niwa_proxy_ends *ends, uint8_t *buf)
{
	struct {
		uint8_t signature[12], command, family;
		uint16_t length;
	} head = {.command = LOCAL};
	size_t size = !ends ? 0 : ends->six ? 16 : 4;
	uint8_t *to = buf + sizeof(head);

	memcpy(head.signature, SIGNATURE, sizeof(head.signature));
	if (ends) {
		const uint16_t ports[] = {htons(ends->client_port), htons(ends->server_port)};

		head.command = PROXIED;
		head.family = ends->six ? TCP_OVER_V6 : TCP_OVER_V4;
		head.length = htons((uint16_t)(2 * size + sizeof(ports)));
		memcpy(to, ends->client, size);
		memcpy(to + size, ends->server, size);
		memcpy(to + 2 * size, ports, sizeof(ports));
		to += 2 * size + sizeof(ports);
	}
	memcpy(buf, &head, sizeof(head));
	return (size_t)(to - buf);
}

size_t niwa_proxy_header(enum niwa_proxy_version version, const struct niwa_proxy_ends *ends, uint8_t *buf)
{
	switch (version) {
	case NIWA_PROXY_V1:
		return version_1(ends, (char *)buf);
	case NIWA_PROXY_V2:
		return version_2(ends, buf);
	case NIWA_PROXY_NONE:
		break;
	}
	return 0;
}
