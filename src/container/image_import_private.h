/* SPDX-License-Identifier: MIT
 *
 * Shared by the parts of an import: image_import.c (in charge), image_sandbox.c (the child's world),
 * image_unpack.c (its work).
 */
#ifndef NIWA_CONTAINER_IMAGE_IMPORT_PRIVATE_H
#define NIWA_CONTAINER_IMAGE_IMPORT_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Where the child finds things. */
#define SANDBOX_WORK   "/tmp/work"
#define SANDBOX_SOURCE "/tmp/source"
#define SANDBOX_STDERR "/tmp/stderr"

struct sandbox {
	int user_ns; /* ids 0 to 65535 ↔ the reserved range */
	int work;    /* detached mount of the writable folder, id-mapped */
	int source;  /* detached mount of a folder or file, or -1 */
	bool network;
	bool source_is_file;
	int status; /* write end: "Pstage" and "Emessage" lines */
};

/* A user namespace with ids 0 to 65535 at id_base. A descriptor or -errno. */
int sandbox_user_ns(uint32_t id_base);
/* A detached, private, id-mapped clone of the mount at path, nosuid,nodev and with the further attributes.
 * A descriptor or -errno. */
int sandbox_mount(const char *path, int user_ns, uint64_t attributes);
/* In the child, first process of its pid namespace and root so far: becomes the sandbox. 0 or -errno, *ret_what. */
int sandbox_enter(const struct sandbox *s, const char **ret_what);

/* In the sandbox: fetch, unpack, describe. source: as skopeo wants it, name: as it was given, for config.json.
 * 0 or -errno. */
int unpack_image(int status, const char *source, const char *given, struct niwa_error *err);
/* "Pstage" or "Emessage". */
void unpack_say(int status, char kind, const char *text);

#endif
