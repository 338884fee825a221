/* SPDX-License-Identifier: MIT
 *
 * Pure.
 */
#include "base/ula.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>

int niwa_ula_parse(const char *text, struct niwa_ula *ret)
{
	static const uint8_t zeros[10];
	char copy[INET6_ADDRSTRLEN + 4];
	uint8_t addr[16];
	char *slash;

	if (strcmp(text, "none") == 0) {
		*ret = (struct niwa_ula){0};
		return 0;
	}
	if (strlen(text) >= sizeof(copy))
		return -EINVAL;
	memcpy(copy, text, strlen(text) + 1);
	slash = strchr(copy, '/');
	if (!slash || strcmp(slash, "/48") != 0)
		return -EINVAL;
	*slash = '\0';
	if (inet_pton(AF_INET6, copy, addr) != 1 || (addr[0] & 0xfe) != 0xfc || memcmp(addr + 6, zeros, 10) != 0)
		return -EINVAL;
	ret->on = true;
	memcpy(ret->prefix, addr, sizeof(ret->prefix));
	return 0;
}

void niwa_ula_make(const struct niwa_ula *ula, enum niwa_ula_net net, uint32_t addr, uint8_t ret[16])
{
	memset(ret, 0, 16);
	memcpy(ret, ula->prefix, sizeof(ula->prefix));
	ret[7] = (uint8_t)net;
	memcpy(ret + 12, &addr, sizeof(addr));
}

const char *niwa_ula_text(const struct niwa_ula *ula, enum niwa_ula_net net, uint32_t addr, char *buf)
{
	uint8_t bytes[16];

	niwa_ula_make(ula, net, addr, bytes);
	(void)inet_ntop(AF_INET6, bytes, buf, INET6_ADDRSTRLEN);
	return buf;
}

uint32_t niwa_ula_addr(const uint8_t from[16])
{
	uint32_t addr;

	memcpy(&addr, from + 12, sizeof(addr));
	return addr;
}
