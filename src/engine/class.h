/* SPDX-License-Identifier: MIT
 *
 * Classes: who may connect to ports that say `allow`. Ports of a tenant's apps that name the same tenants are of one
 * class, and all ports for everybody of another one, so that an instance has as many entries in the kernel's set `may`
 * as there are different ways to name its tenant, however many apps there are. Nothing here knows the kernel.
 */
#ifndef NIWA_ENGINE_CLASS_H
#define NIWA_ENGINE_CLASS_H

#include <stdint.h>

#include "spec/app.h"

#define NIWA_CLASS_ANY   0x7fffffffu
#define NIWA_CLASS_FIRST 0x40000000u /* below: ids of tenants, which are the classes of ports without `allow` */

struct niwa_classes; /* opaque */

struct niwa_classes *niwa_classes_new(void); /* NULL: out of memory */
void niwa_classes_free(struct niwa_classes **classes);

/* fn is told of each tenant that a class now permits, or no longer; tenant NULL: every one. */
typedef void niwa_class_told_fn(uint32_t id, const char *tenant, void *arg);
struct niwa_class_told {
	niwa_class_told_fn *fn; /* NULL: nobody is told */
	void *arg;
};

/* The class of a port with `allow`; each port gives it back once. 0 or -ENOMEM. */
int niwa_class_take(struct niwa_classes *classes, const char *owner, const struct niwa_port *port,
		    const struct niwa_class_told *told, uint32_t *ret_id);
/* An id that is no class of this kind is left alone. That of everybody stays for ever: it costs each instance one
 * entry, and all of them are not looked at again when the last of its ports goes. */
void niwa_class_give_back(struct niwa_classes *classes, uint32_t id, const struct niwa_class_told *told);

/* Calls fn for each class that permits the tenant. */
void niwa_classes_of(const struct niwa_classes *classes, const char *tenant, niwa_class_told_fn *fn, void *arg);

#endif
