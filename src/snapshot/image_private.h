/* SPDX-License-Identifier: MIT
 *
 * The two layers below CRIU's files: messages of protocol buffers, checked against a table of their fields, and image
 * files, which are magic numbers and then messages with their lengths. Both stay within what they were given.
 */
#ifndef NIWA_SNAPSHOT_IMAGE_PRIVATE_H
#define NIWA_SNAPSHOT_IMAGE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "snapshot/image.h"

struct criu_bytes {
	const uint8_t *p, *end;
};

enum { WIRE_NUMBER = 0, WIRE_BYTES = 2 }; /* the two that these messages have */
enum { FIELD_REQUIRED = 1, FIELD_REPEATED = 2 };

struct criu_field {
	const char *name; /* NULL: the number is not used */
	uint8_t wire, flags;
	uint64_t max; /* of a number; 0: UINT32_MAX */
};
struct criu_message {
	const char *name;
	const struct criu_field *fields; /* by number; [0] is not used */
	size_t count;
};
#define CRIU_FIELDS_MAX 24

struct criu_value {
	unsigned seen;   /* how often */
	uint64_t number; /* the last one */
	struct criu_bytes bytes;
	const uint8_t *at; /* where the value of a number begins */
};

/* One field; *ret_number is its number. 0, or -EBADMSG. */
int criu_next_field(struct criu_bytes *message, uint32_t *ret_number, int *ret_wire, struct criu_value *ret);
/* The whole message; values has room for kind->count. */
int criu_read_message(const struct criu_message *kind, struct criu_bytes message, struct criu_value *values,
		      struct niwa_error *err);

/* magics: those that the file begins with, 0 for none. Moves *file behind them. */
int criu_read_magic(struct criu_bytes *file, const char *name, const uint32_t magics[2], struct niwa_error *err);
/* A file that holds exactly one message. */
int criu_read_single(struct criu_bytes file, const uint32_t magics[2], const struct criu_message *kind,
		     struct criu_value *values, struct niwa_error *err);
/* A whole file of the folder; freed by the caller. */
int criu_load(int images, const char *name, char **ret, size_t *ret_len, struct niwa_error *err);
/* Every mm-PID.img there (image_memory.c). */
int criu_look_at_memory(int images, struct niwa_criu_files *files, struct niwa_error *err);

/* The next message; 0 at the end, 1 when there is one. */
int criu_next_message(struct criu_bytes *file, const char *name, struct criu_bytes *ret, struct niwa_error *err);

#endif
