/* SPDX-License-Identifier: MIT
 *
 * Reading the engine's answers.
 */
#include "cli/answer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

const char *niwa_answer_text(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

char *niwa_answer_safe(const json_t *object, const char *key, char *buf, size_t size)
{
	const char *text = niwa_answer_text(object, key);

	return niwa_quote(text, strlen(text), buf, size);
}

uint64_t niwa_answer_number(const json_t *object, const char *key)
{
	double value = json_number_value(json_object_get(object, key));

	return value > 0 ? (uint64_t)value : 0; /* exact up to 2^53: 285 years of microseconds */
}

char *niwa_answer_ports(const json_t *row, char *buf, size_t size)
{
	struct niwa_text text = {0};
	const json_t *port;
	size_t i;

	json_array_foreach(json_object_get(row, "ports"), i, port)
	{
		const char *protocol = niwa_answer_text(port, "protocol"), *publish = niwa_answer_text(port, "publish");

		niwa_text_addf(&text, "%s%u", text.len ? " " : "", (unsigned)niwa_answer_number(port, "number"));
		if (*protocol && strcmp(protocol, "tcp") != 0)
			niwa_text_addf(&text, "/%s", protocol);
		if (*publish)
			niwa_text_addf(&text, "<%s", publish);
	}
	(void)snprintf(buf, size, "%s", text.data ? text.data : "");
	niwa_text_fini(&text);
	return buf;
}

int niwa_answer_print(const json_t *value)
{
	char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY);

	if (!text)
		return -ENOMEM;
	(void)puts(text); /* checked once when standard output is closed */
	free(text);
	return 0;
}
