/* SPDX-License-Identifier: MIT
 *
 * Imported images: STATE_DIR/images/NAME/{rootfs,config.json}. For the command line tool; root only, blocks.
 *
 * Foreign bytes are touched by skopeo and umoci alone, in a child that has lost everything: ids of a reserved range
 * in a user namespace of its own, a host tree that is read-only and mostly hidden, one writable folder, a system
 * call filter, no network unless the source is docker://, a deadline. What it unpacks is stored with canonical ids
 * through an id-mapped mount, and gets its name only when it is complete and on disk.
 */
#ifndef NIWA_CONTAINER_IMAGE_IMPORT_H
#define NIWA_CONTAINER_IMAGE_IMPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define NIWA_IMPORT_ID_BASE     0x0fff0000u /* 65,536 ids just below the pool of leases (lease.h) */
#define NIWA_IMPORT_DEADLINE_US (UINT64_C(600) * 1000000)
#define NIWA_IMPORT_FILE_MAX    (UINT64_C(16) << 30) /* bytes of one file */

enum niwa_import_mode { NIWA_IMPORT_NEW, NIWA_IMPORT_REPLACE };

struct niwa_image_import {
	const char *state_dir;
	const char *name;           /* [a-zA-Z0-9][a-zA-Z0-9._-]*, up to 128, as app files; not "host", not "host.*" */
	const char *source;         /* oci:DIR[:TAG], docker-archive:FILE[:REF], docker://REF */
	enum niwa_import_mode mode; /* NEW: -EEXIST when the name is taken */
	uint32_t id_base;           /* 0: NIWA_IMPORT_ID_BASE */
	uint64_t deadline_us;       /* for all of it, 0: NIWA_IMPORT_DEADLINE_US */
	/* REPLACE: is this root in use by a running instance? then -EBUSY. NULL: not asked. */
	bool (*in_use)(const char *root, void *arg);
	/* One word for each stage: "fetch", "unpack", "store". May be NULL. */
	void (*progress)(const char *stage, void *arg);
	void *arg;
};
/* 0, or an error that carries the last words of the tool that failed. Nothing is left behind then. */
int niwa_image_import(const struct niwa_image_import *import, struct niwa_error *err);

/* fn is called for each imported image, in order of names; digest and source as config.json says ("" if not). */
int niwa_image_list(const char *state_dir,
		    void (*fn)(const char *name, const char *digest, const char *source, void *arg), void *arg,
		    struct niwa_error *err);
/* -ENOENT, -EBUSY as above. */
int niwa_image_remove(const char *state_dir, const char *name, bool (*in_use)(const char *root, void *arg), void *arg,
		      struct niwa_error *err);

#endif
