/* SPDX-License-Identifier: MIT
 *
 * Messages with descriptors over Unix sockets (SOCK_SEQPACKET between niwa's own programs).
 * One message is one sendmsg/recvmsg; a truncated one is an error, its descriptors are closed.
 */
#ifndef NIWA_BASE_IPC_H
#define NIWA_BASE_IPC_H

#include <stddef.h>
#include <sys/types.h>

#define NIWA_IPC_FDS_MAX 16

/* Sends one message, never blocks, never SIGPIPE. 0, -EAGAIN when the buffer is full, else -errno. */
int niwa_ipc_send(int sock, const void *data, size_t len, const int *fds, size_t nfds);

/* Receives one message, never blocks. Returns its length, 0 at the end of the stream, -EAGAIN when
 * there is none, -EMSGSIZE when data or descriptors were cut. On success *ret_nfds descriptors
 * (O_CLOEXEC) belong to the caller. fds holds NIWA_IPC_FDS_MAX. */
ssize_t niwa_ipc_recv(int sock, void *data, size_t size, int *fds, size_t *ret_nfds);

/* A listening Unix socket of the given type at path (an old socket there is replaced), mode applied
 * before anybody can connect. Returns the descriptor (non-blocking) or -errno. */
int niwa_ipc_listen(const char *path, int type, mode_t mode);
/* Connects (non-blocking afterwards). Returns the descriptor or -errno. */
int niwa_ipc_connect(const char *path, int type);

#endif
