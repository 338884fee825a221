/* SPDX-License-Identifier: MIT
 *
 * The manifest of a snapshot: a text file that says of what it was taken, what a restore has to prepare, and which
 * files of the image and of the volumes must still be those that were mapped or open. Its last line is a hash of all
 * others, so that a manifest is whole or refused. The reader trusts nothing: every count, number and string is bounded.
 */
#ifndef NIWA_SNAPSHOT_MANIFEST_H
#define NIWA_SNAPSHOT_MANIFEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/text.h"
#include "snapshot/key.h"

#define NIWA_MANIFEST_MAX       (4 * 1024 * 1024) /* bytes */
#define NIWA_MANIFEST_FILES_MAX 4096              /* mapped or open files; more: -E2BIG, no snapshot */
#define NIWA_MANIFEST_PARTS_MAX 4096              /* files of the snapshot itself */

/* A file that was mapped or open at the dump. */
struct niwa_manifest_file {
	char *path; /* inside the instance, absolute, any bytes; owned by the manifest */
	uint64_t device, inode, size;
	int64_t mtime_ns, ctime_ns; /* since 1970 */
};

/* A file of the snapshot: below its folder, "images/core-101.img". The store fills these. */
struct niwa_manifest_part {
	char *path; /* owned by the manifest */
	uint64_t size;
	uint8_t sha256[32];
};

struct niwa_manifest {
	/* Set by who dumps. */
	struct niwa_snapshot_key key;
	enum niwa_snapshot_kind kind;
	enum niwa_snapshot_scope scope;
	uint32_t root_pid; /* of the process that --adopt waits for, in its pid namespace */
	uint32_t free_pid; /* first of NIWA_CRIU_FREE_PIDS numbers that no process, thread, group or session of the
			      image has: write free_pid - 1 to ns_last_pid */
	uint64_t log_pipe; /* inode number of the dumped instance's log pipe, for --inherit-fd */
	int64_t monotonic_ns, boottime_ns; /* both clocks as the app saw them at the dump */
	uint64_t taken_us;                 /* CLOCK_REALTIME, microseconds since 1970 */
	uint64_t cold_us;                  /* from the start of the app to its ready point, cold */
	uint64_t still_us;                 /* how long it stood still for the dump */
	char app[256];                     /* whose instance it was taken of, for people; may be empty */
	/* Kind MOMENT: how long its memory had lived, and when that was: CLOCK_MONOTONIC of the host, which boot.
	 * Optional lines, left out when they are 0. */
	uint64_t age_us, host_us, boot;
	uint64_t app_id; /* whose it is; 0: shared */
	uint32_t tenant_id;
	uint64_t trees;    /* which of the folders that the app only reads were walked, by position; and */
	uint64_t print[2]; /* what was found there: a change makes the image void */
	/* Set by the store when it commits. Bytes as the disk counts them. */
	uint64_t image_bytes, layer_bytes, shm_bytes;
	uint32_t layer_entries, shm_entries; /* 0: there is nothing to mount or to unpack */

	struct niwa_manifest_file *files;
	size_t file_count;
	struct niwa_manifest_part *parts;
	size_t part_count;
};
/* Releases what the manifest owns and zeroes it; NULL is fine. A zeroed manifest is empty. */
void niwa_manifest_fini(struct niwa_manifest *manifest);

/* Appends a copy of path. -E2BIG when there are too many, -ENOMEM, -EINVAL for a path that is not absolute or longer
 * than PATH_MAX. */
int niwa_manifest_add_file(struct niwa_manifest *manifest, const struct niwa_manifest_file *file,
			   struct niwa_error *err);
int niwa_manifest_add_part(struct niwa_manifest *manifest, const struct niwa_manifest_part *part,
			   struct niwa_error *err);

/* Where in the instance what of the host's file systems is to be seen. The longest prefix counts, so the image's root
 * folder is {"/", fd}, its /usr {"/usr", fd}, a volume {its `to`, fd of its source}; what is mounted over them without
 * coming from the host ("/proc", "/dev", "/run/niwa") has -1 and is not compared. Borrowed; descriptors of folders, or
 * of the file itself when a volume is a file; O_PATH is enough. */
struct niwa_manifest_root {
	const char *at;
	int fd;
	bool writable; /* the app may write there: a volume that is not read-only */
};

/* Where a volume with this `to` really is in an instance: the links of the image (/var/run, /lib) followed, as its
 * mount did. What is not there is taken as it is written. image: the image's root folder; O_PATH is enough. */
int niwa_manifest_place(int image, const char *to, char *ret, size_t size, struct niwa_error *err);

/* At the dump: looks up what the images name and appends those that are regular files of a root, each path once. Passed
 * over are files that are open for writing only (logs grow; CRIU looks after the others), what the app wrote outside
 * its volumes, which is saved in the layer, and deleted files, which are in the images. Symbolic links are not
 * followed, a path cannot leave its root or enter another mount. Touches the disk.
 * -EBUSY (NIWA_PERMANENT), for kind READY, when a file of a writable root is open for writing other than appending, or
 * mapped so: old memory would meet new data. Databases do that. */
struct niwa_criu_files;
int niwa_manifest_look(struct niwa_manifest *manifest, const struct niwa_manifest_root *roots, size_t root_count,
		       const struct niwa_criu_files *files, struct niwa_error *err);

/* Before a restore: 0 when all files are still those. -ESTALE (NIWA_PERMANENT) names the first that is not and what
 * changed; other errors are those of the file systems. Some microseconds a file. */
int niwa_manifest_compare(const struct niwa_manifest *manifest, const struct niwa_manifest_root *roots,
			  size_t root_count, struct niwa_error *err);

/* Appends the whole text. -ENOMEM; -EINVAL for a manifest that could not be read back. */
int niwa_manifest_write(const struct niwa_manifest *manifest, struct niwa_text *out, struct niwa_error *err);
/* Pure. Fills *ret (released with niwa_manifest_fini) only on success; -EBADMSG (NIWA_PERMANENT) with the line's number
 * for everything that niwa_manifest_write does not write. */
int niwa_manifest_read(const char *data, size_t len, struct niwa_manifest *ret, struct niwa_error *err);

#endif
