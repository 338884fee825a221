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

static size_t version_1(const struct niwa_proxy_ends *ends, char *buf)
{
	char client[INET_ADDRSTRLEN], server[INET_ADDRSTRLEN];
	int n;

	if (!ends)
		n = snprintf(buf, NIWA_PROXY_HEADER_MAX, "PROXY UNKNOWN\r\n");
	else
		n = snprintf(buf, NIWA_PROXY_HEADER_MAX, "PROXY TCP4 %s %s %u %u\r\n",
			     inet_ntop(AF_INET, &ends->client, client, sizeof(client)),
			     inet_ntop(AF_INET, &ends->server, server, sizeof(server)), ends->client_port,
			     ends->server_port);
	return (size_t)n;
}

static size_t version_2(const struct niwa_proxy_ends *ends, uint8_t *buf)
{
	struct {
		uint8_t signature[12], command, family;
		uint16_t length;
		uint32_t client, server;
		uint16_t client_port, server_port;
	} header = {.command = LOCAL};
	size_t addresses = sizeof(header) - offsetof(__typeof__(header), client);

	memcpy(header.signature, SIGNATURE, sizeof(header.signature));
	if (ends) {
		header.command = PROXIED;
		header.family = TCP_OVER_V4;
		header.length = htons((uint16_t)addresses);
		header.client = ends->client;
		header.server = ends->server;
		header.client_port = htons(ends->client_port);
		header.server_port = htons(ends->server_port);
	}
	memcpy(buf, &header, sizeof(header));
	return ends ? sizeof(header) : sizeof(header) - addresses;
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
