/* SPDX-License-Identifier: MIT
 *
 * Entering and leaving the kernel's map of awake apps, and the end of an instance. The order of leaving is what
 * keeps connections from being lost: delete the elements; delete the conntrack entries that never saw a reply;
 * look again for connections and bytes; only then stop.
 */
#ifndef NIWA_ENGINE_LEAVE_H
#define NIWA_ENGINE_LEAVE_H

#include "engine/engine_private.h"

/* The instance becomes the target of its app's service address (replacing another one in the same transaction). */
int niwa_awake_enter(struct niwa_engine *e, struct niwa_instance *i, struct niwa_error *err);
/* The fresh one becomes the target instead of the old one, whose ports may be others. */
int niwa_awake_replace(struct niwa_engine *e, struct niwa_instance *old, struct niwa_instance *fresh,
		       struct niwa_error *err);
/* One port of it, in both families, into a transaction. */
void niwa_awake_port(struct niwa_instance *i, struct niwa_net_txn *txn, enum niwa_change change, uint16_t port);
/* Adds the elements that niwa_awake_enter would, to a larger transaction. */
void niwa_awake_elements(struct niwa_instance *i, struct niwa_net_txn *txn);
/* The app does not listen on this port (any more), though on others: connections to it go to the relay, which asks
 * again and answers. */
void niwa_awake_withhold(struct niwa_engine *e, struct niwa_instance *i, uint16_t port);
/* Puts back the withheld ports that have a listener now. */
void niwa_awake_look_again(struct niwa_engine *e, struct niwa_instance *i);
/* New connections go to the relay from now on. */
void niwa_awake_leave(struct niwa_engine *e, struct niwa_instance *i);

/* Ends an idle app, or saves its memory where it asks for that, if it is still idle when looked at again. -EAGAIN: it
 * is not, and is running again. */
enum niwa_leave { NIWA_LEAVE_ENDS, NIWA_LEAVE_SLEEPS };
int niwa_leave_idle(struct niwa_engine *e, struct niwa_instance *i, enum niwa_leave how, const char *why);
/* Ends an instance: leaves `awake`, thaws, sends the stop signal, kills after the grace. Its app's state becomes
 * stopping if it is the current one. */
void niwa_leave_stop(struct niwa_engine *e, struct niwa_instance *i, const char *why);
/* The stop that waited for the end of a dump. */
void niwa_leave_go_on(struct niwa_engine *e, struct niwa_instance *i);
/* All instances of an app, also a successor that is not ready yet. */
void niwa_leave_all(struct niwa_engine *e, struct niwa_app *app, const char *why);

#endif
