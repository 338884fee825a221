/* SPDX-License-Identifier: MIT
 *
 * A message channel over a SOCK_SEQPACKET socket with a bounded queue for what the kernel does not take at
 * once. Used towards niwa-keep and niwa-relay. Owns the socket.
 */
#ifndef NIWA_ENGINE_CHANNEL_H
#define NIWA_ENGINE_CHANNEL_H

#include <stddef.h>

#include <systemd/sd-event.h>

#include "base/error.h"

struct niwa_channel; /* opaque */

/* One whole message; the descriptors belong to the callee, which closes or keeps each. */
typedef void niwa_channel_message_fn(const void *data, size_t len, int *fds, size_t nfds, void *arg);
/* The other side is gone or broken; called once, the channel may be freed in it. */
typedef void niwa_channel_closed_fn(int error, void *arg);

int niwa_channel_new(int fd, size_t message_max, sd_event *event, niwa_channel_message_fn *message,
		     niwa_channel_closed_fn *closed, void *arg, struct niwa_channel **ret);
void niwa_channel_free(struct niwa_channel **channel);
/* Sends or queues (descriptors are duplicated when queued; the caller keeps its own). -ENOBUFS: queue full. */
int niwa_channel_send(struct niwa_channel *channel, const void *data, size_t len, const int *fds, size_t nfds);
int niwa_channel_fd(const struct niwa_channel *channel); /* stays the channel's */
size_t niwa_channel_queued(const struct niwa_channel *channel);

#endif
