/* SPDX-License-Identifier: MIT
 *
 * The PROXY protocol, https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt: what stands before the first byte of
 * a connection and says whose it is. Writes only; nothing of it is ever read.
 */
#ifndef NIWA_RELAY_PROXY_H
#define NIWA_RELAY_PROXY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NIWA_PROXY_HEADER_MAX 108 /* of version 1, with its end; version 2 takes 28 or 52 */

enum niwa_proxy_version { NIWA_PROXY_NONE, NIWA_PROXY_V1, NIWA_PROXY_V2 };

struct niwa_proxy_ends {
	uint8_t client[16], server[16]; /* who connected, and whereto; of IPv4 the first 4 bytes are used */
	uint16_t client_port, server_port;
	bool six;
};

/* Bytes written to buf (NIWA_PROXY_HEADER_MAX). ends NULL: a connection of niwa's own, such as a ready check. */
size_t niwa_proxy_header(enum niwa_proxy_version version, const struct niwa_proxy_ends *ends, uint8_t *buf);

#endif
