/* SPDX-License-Identifier: MIT
 *
 * The names below the domain, in memory. A key is a name relative to the domain in wire form (RFC 1035 section 3.1),
 * lower case, without the last empty label: "\4blog\7example\3com". What is named holds letters, digits and hyphens
 * only, so a key is a string of C. Names between a name and the domain exist too (RFC 8020): they have no address.
 */
#ifndef NIWA_API_ZONE_H
#define NIWA_API_ZONE_H

#include <stddef.h>
#include <stdint.h>

#define NIWA_ZONE_KEY_MAX 256 /* bytes with the terminating one */

struct niwa_zone; /* opaque */

/* domain_len: bytes of the domain in wire form; a longer one leaves less for names. NULL: out of memory. */
struct niwa_zone *niwa_zone_new(size_t domain_len);
void niwa_zone_free(struct niwa_zone **zone);

/* "blog.example.com"; addr in network order. 0, 1 when nothing has changed, -EINVAL (cannot be a name here), -ENOMEM.
 */
int niwa_zone_set(struct niwa_zone *zone, const char *name, uint32_t addr);
/* 0, 1 when it was not there, -EINVAL. */
int niwa_zone_remove(struct niwa_zone *zone, const char *name);
size_t niwa_zone_count(const struct niwa_zone *zone); /* names with an address */

/* All names come anew: those that were not set between begin and end go. Until then they are found. */
void niwa_zone_begin(struct niwa_zone *zone);
void niwa_zone_end(struct niwa_zone *zone);

enum niwa_zone_found { NIWA_ZONE_NOTHING, NIWA_ZONE_BETWEEN, NIWA_ZONE_ADDRESS };
enum niwa_zone_found niwa_zone_find(const struct niwa_zone *zone, const char *key, uint32_t *ret_addr);

/* Text to wire form, without the last empty label. The length, or -EINVAL. out: NIWA_ZONE_KEY_MAX. */
int niwa_zone_key(const char *name, char *out);

#endif
