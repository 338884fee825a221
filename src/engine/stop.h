/* SPDX-License-Identifier: MIT
 *
 * Sending the stop signal to an instance. The kernel throws away signals for the first process of a pid namespace that
 * it has no handler for: a program that would simply end elsewhere would sit through its whole grace. So such a signal
 * goes to the other processes, and the first one is killed when it is alone, which is what the signal would have done.
 */
#ifndef NIWA_ENGINE_STOP_H
#define NIWA_ENGINE_STOP_H

#include "engine/engine_private.h"

/* Sends the signal, arms the timer of the grace, at the end of which everything is killed. The exit is told by keep. */
void niwa_stop_send(struct niwa_engine *e, struct niwa_instance *i);

#endif
