/* SPDX-License-Identifier: MIT
 *
 * CRIU's image files, as far as niwa has to know them: magic numbers, a length, a protocol buffer. One of them is
 * edited, once, at the dump; of others the paths of files and the numbers of processes are read. Written against the
 * formats of CRIU 4.2 (images/inventory.proto, core.proto, fdinfo.proto, regfile.proto, pstree.proto, mm.proto,
 * vma.proto): an unknown
 * field, another type, a missing or repeated one, a number that is too long, bytes after the end: all are refused with
 * -EBADMSG. Functions on bytes are pure and allocate only what they return; they are what the fuzzer calls.
 */
#ifndef NIWA_SNAPSHOT_IMAGE_H
#define NIWA_SNAPSHOT_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

#define NIWA_CRIU_FILE_MAX  (4 * 1024 * 1024) /* bytes of an image file that is read whole */
#define NIWA_CRIU_FILES_MAX 4096              /* entries of files.img */
#define NIWA_CRIU_TASKS_MAX 4096              /* processes and threads */
#define NIWA_CRIU_FREE_PIDS 64

/* A file that a dumped process has open, mapped, or as its program, root or working folder. */
struct niwa_criu_file {
	char *path;             /* absolute, inside the instance; any bytes but NUL */
	uint32_t id, flags;     /* of open(2), as the kernel has them; mappings: 0 or O_RDWR */
	uint32_t mode;          /* st_mode, 0 when the image does not say */
	uint64_t size;          /* at the dump, 0 when the image does not say */
	bool written_in_memory; /* mapped shared, and writable or to be made so */
};
struct niwa_criu_files {
	struct niwa_criu_file *file;
	size_t count;
};
void niwa_criu_files_fini(struct niwa_criu_files *files); /* NULL is fine */

struct niwa_criu_tasks {
	uint32_t root_pid;           /* of the first process */
	uint32_t free_pid;           /* as in struct niwa_manifest */
	uint32_t processes, threads; /* threads: all, the processes' first ones included */
};

/* On bytes of one file. */
int niwa_criu_read_files(const void *data, size_t len, struct niwa_criu_files *ret, struct niwa_error *err);
int niwa_criu_read_tasks(const void *data, size_t len, struct niwa_criu_tasks *ret, struct niwa_error *err);
/* user_ns_id of an ids-PID.img. */
int niwa_criu_read_user_ns(const void *data, size_t len, uint32_t *ret, struct niwa_error *err);
/* Where the one byte of root_ids.user_ns_id lies in inventory.img. -EBADMSG also when it is longer than a byte. */
int niwa_criu_find_user_ns(const void *data, size_t len, size_t *ret_offset, struct niwa_error *err);

/* An mm-PID.img: marks those of the files that the process has mapped shared for writing. */
int niwa_criu_read_memory(const void *data, size_t len, struct niwa_criu_files *files, struct niwa_error *err);

/* On the folder of the images; these touch the disk. */
/* The one edit: root_ids.user_ns_id of inventory.img becomes the one of ids-ROOT_PID.img. Twice is once. Not synced:
 * the store does that. */
int niwa_criu_edit(int images, uint32_t root_pid, struct niwa_error *err);
/* Reads files.img, pstree.img and each mm-PID.img. */
int niwa_criu_look(int images, struct niwa_criu_files *ret_files, struct niwa_criu_tasks *ret_tasks,
		   struct niwa_error *err);

#endif
