/* SPDX-License-Identifier: MIT
 *
 * Descriptors and small files. Every descriptor is O_CLOEXEC from birth and closed once.
 */
#ifndef NIWA_BASE_FD_H
#define NIWA_BASE_FD_H

#include <stddef.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/memory.h"

/* Closes *fd if it is not negative and sets it to -1. Never retried. */
void niwa_fd_close(int *fd);
#define NIWA_AUTO_FD NIWA_AUTO(niwa_fd_close) int

/* Takes a descriptor out of an owning variable, leaving -1. */
#define NIWA_TAKE_FD(fd)                                                                                               \
	({                                                                                                             \
		int *from_ = &(fd);                                                                                    \
		int taken_ = *from_;                                                                                   \
		*from_ = -1;                                                                                           \
		taken_;                                                                                                \
	})

/* Reads a whole small file (procfs, cgroupfs) into buf and terminates it. A longer file is -EFBIG.
 * Returns the length or -errno. */
ssize_t niwa_file_read(const char *path, char *buf, size_t size);
/* Writes text with one write(). Returns 0 or -errno. Does not create. */
int niwa_file_write(const char *path, const char *text);
/* Writes a file under a temporary name in the same folder, syncs it, renames it into place. */
int niwa_file_replace(const char *path, const void *data, size_t len, mode_t mode, struct niwa_error *err);
/* The same without waiting for the disk: who reads it sees the old text or the new one, but after the host has lost its
 * power it may be empty. For what is made anew after a boot, and for loops. */
int niwa_file_replace_volatile(const char *path, const void *data, size_t len, mode_t mode, struct niwa_error *err);
/* mkdir -p: creates the missing folders of path with mode. */
int niwa_mkdir_p(const char *path, mode_t mode, struct niwa_error *err);
/* Removes a tree without following links or crossing into another file system. 0 when it is not there. */
int niwa_remove_tree(const char *path, struct niwa_error *err);

int niwa_fd_nonblock(int fd); /* sets O_NONBLOCK; 0 or -errno */

#endif
