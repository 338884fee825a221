/* SPDX-License-Identifier: MIT
 *
 * Messages and files of CRIU, field by field. https://protobuf.dev/programming-guides/encoding/ is the encoding.
 */
#include "snapshot/image_private.h"
#include "snapshot/refuse.h"

#include <string.h>

#define NUMBER_BYTES_MAX 10

static int read_number(struct criu_bytes *b, uint64_t *ret)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < NUMBER_BYTES_MAX; i++) {
		uint8_t byte;

		if (b->p == b->end)
			return -EBADMSG;
		byte = *b->p++;
		if (i == NUMBER_BYTES_MAX - 1 && byte > 1)
			return -EBADMSG; /* more than 64 bits */
		value |= (uint64_t)(byte & 0x7f) << (7 * i);
		if (byte & 0x80)
			continue;
		if (byte == 0 && i > 0)
			return -EBADMSG; /* longer than it need be: CRIU does not write that */
		*ret = value;
		return 0;
	}
	return -EBADMSG;
}

int criu_next_field(struct criu_bytes *message, uint32_t *ret_number, int *ret_wire, struct criu_value *ret)
{
	uint64_t tag, length;

	if (read_number(message, &tag) < 0 || tag >> 3 == 0 || tag >> 3 >= CRIU_FIELDS_MAX)
		return -EBADMSG;
	*ret_number = (uint32_t)(tag >> 3);
	*ret_wire = (int)(tag & 7);
	ret->at = message->p;
	if (*ret_wire == WIRE_NUMBER)
		return read_number(message, &ret->number);
	if (*ret_wire != WIRE_BYTES || read_number(message, &length) < 0 ||
	    length > (uint64_t)(message->end - message->p))
		return -EBADMSG;
	ret->bytes = (struct criu_bytes){message->p, message->p + length};
	message->p += length;
	return 0;
}

static int take(const struct criu_message *kind, struct criu_bytes *message, struct criu_value *values,
		struct niwa_error *err)
{
	struct criu_value value = {0};
	const struct criu_field *field;
	uint32_t number;
	int wire;

	if (criu_next_field(message, &number, &wire, &value) < 0)
		return niwa_snapshot_refuse(err, EBADMSG, "%s: not a message", kind->name);
	field = number < kind->count ? &kind->fields[number] : NULL;
	if (!field || !field->name)
		return niwa_snapshot_refuse(err, EBADMSG, "%s: field %u is not known", kind->name, number);
	if (wire != field->wire)
		return niwa_snapshot_refuse(err, EBADMSG, "%s: %s has another type", kind->name, field->name);
	if (values[number].seen && !(field->flags & FIELD_REPEATED))
		return niwa_snapshot_refuse(err, EBADMSG, "%s: %s is there twice", kind->name, field->name);
	if (wire == WIRE_NUMBER && value.number > (field->max ? field->max : UINT32_MAX))
		return niwa_snapshot_refuse(err, EBADMSG, "%s: %s is too large", kind->name, field->name);
	value.seen = values[number].seen + 1;
	values[number] = value;
	return 0;
}

int criu_read_message(const struct criu_message *kind, struct criu_bytes message, struct criu_value *values,
		      struct niwa_error *err)
{
	int r = 0;

	memset(values, 0, kind->count * sizeof(*values));
	while (r == 0 && message.p < message.end)
		r = take(kind, &message, values, err);
	for (size_t i = 1; r == 0 && i < kind->count; i++)
		if ((kind->fields[i].flags & FIELD_REQUIRED) && !values[i].seen)
			r = niwa_snapshot_refuse(err, EBADMSG, "%s: no %s", kind->name, kind->fields[i].name);
	return r;
}

/* Little-endian on every machine that CRIU runs on but one, which niwa does not. */
static int read_u32(struct criu_bytes *file, uint32_t *ret)
{
	if (file->end - file->p < (ptrdiff_t)sizeof(*ret))
		return -EBADMSG;
	memcpy(ret, file->p, sizeof(*ret));
	file->p += sizeof(*ret);
	return 0;
}

int criu_read_magic(struct criu_bytes *file, const char *name, const uint32_t magics[2], struct niwa_error *err)
{
	for (int i = 0; i < 2; i++) {
		uint32_t found;

		if (magics[i] && (read_u32(file, &found) < 0 || found != magics[i]))
			return niwa_snapshot_refuse(err, EBADMSG, "%s: begins with another magic number", name);
	}
	return 0;
}

int criu_next_message(struct criu_bytes *file, const char *name, struct criu_bytes *ret, struct niwa_error *err)
{
	uint32_t length;

	if (file->p == file->end)
		return 0;
	if (read_u32(file, &length) < 0 || length > (size_t)(file->end - file->p))
		return niwa_snapshot_refuse(err, EBADMSG, "%s: ends within a message", name);
	*ret = (struct criu_bytes){file->p, file->p + length};
	file->p += length;
	return 1;
}
