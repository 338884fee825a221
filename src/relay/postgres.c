/* SPDX-License-Identifier: MIT
 *
 * The start of a PostgreSQL connection.
 */
#include "relay/postgres.h"

#define SSL_REQUEST    80877103u
#define GSS_REQUEST    80877104u
#define CANCEL_REQUEST 80877102u

static uint32_t be32(const uint8_t *b)
{
	return (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
}

static enum niwa_postgres_said head_complete(struct niwa_postgres *p)
{
	uint32_t len = be32(p->head), code = be32(p->head + 4);

	p->have = 0;
	if (len < sizeof(p->head) || len > NIWA_POSTGRES_STARTUP_MAX)
		return NIWA_POSTGRES_BAD;
	if (code == SSL_REQUEST || code == GSS_REQUEST) {
		uint8_t bit = code == SSL_REQUEST ? 1 : 2;

		if (len != sizeof(p->head) || (p->asked & bit))
			return NIWA_POSTGRES_BAD;
		p->asked |= bit;
		return NIWA_POSTGRES_ENCRYPT;
	}
	if (code == CANCEL_REQUEST)
		return NIWA_POSTGRES_CANCEL;
	if (code >> 16 != 2 && code >> 16 != 3)
		return NIWA_POSTGRES_BAD;
	p->rest = (uint16_t)(len - sizeof(p->head));
	return p->rest ? NIWA_POSTGRES_MORE : NIWA_POSTGRES_STARTUP;
}

enum niwa_postgres_said niwa_postgres_feed(struct niwa_postgres *p, const uint8_t *data, size_t len, size_t *ret_used)
{
	size_t i = 0;

	while (i < len) {
		enum niwa_postgres_said said;

		if (p->rest) {
			size_t n = len - i < p->rest ? len - i : p->rest;

			p->rest = (uint16_t)(p->rest - n);
			i += n;
			said = p->rest ? NIWA_POSTGRES_MORE : NIWA_POSTGRES_STARTUP;
		} else {
			p->head[p->have++] = data[i++];
			said = p->have == sizeof(p->head) ? head_complete(p) : NIWA_POSTGRES_MORE;
		}
		if (said != NIWA_POSTGRES_MORE) {
			*ret_used = i;
			return said;
		}
	}
	*ret_used = i;
	return NIWA_POSTGRES_MORE;
}
