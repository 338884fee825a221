/* SPDX-License-Identifier: MIT
 *
 * What only one app of a file may have: its name, a domain, a port of the host, a volume to write to. Each call notes
 * the claim: 0, -EEXIST with the line of who has it already, or -ENOMEM.
 */
#ifndef NIWA_SPEC_CLAIMS_PRIVATE_H
#define NIWA_SPEC_CLAIMS_PRIVATE_H

#include <stddef.h>
#include <stdint.h>

#include "spec/app.h"

struct niwa_claims;

struct niwa_claims *niwa_claims_new(void); /* NULL: out of memory */
void niwa_claims_free(struct niwa_claims **claims);

int niwa_claims_name(struct niwa_claims *claims, const char *name, size_t app, uint32_t line, uint32_t *ret_line);
/* DOMAIN.PROTOCOL is a name too, that another app may not have; its own app may be called so. */
int niwa_claims_route(struct niwa_claims *claims, const struct niwa_route *route, size_t app, uint32_t line,
		      uint32_t *ret_line);
int niwa_claims_port(struct niwa_claims *claims, const struct niwa_publish *publish, uint32_t line, uint32_t *ret_line);
/* Two apps may write to one folder when both say `shared`; one app may mount it twice. */
int niwa_claims_volume(struct niwa_claims *claims, const struct niwa_volume *volume, size_t app, uint32_t line,
		       uint32_t *ret_line);

#endif
