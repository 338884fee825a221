/* SPDX-License-Identifier: MIT
 *
 * JSON printed for people. Depth is bounded by jansson's own limit of nesting.
 */
#include "cli/tree.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "base/clock.h"
#include "cli/answer.h"
#include "cli/human.h"

#define VALUE_MAX 512

static size_t without_suffix(const char *key, const char *suffix)
{
	size_t len = strlen(key), end = strlen(suffix);

	return len > end && !strcmp(key + len - end, suffix) ? len - end : 0;
}

static const char *scalar(const char *key, const json_t *value, char *buf, size_t size)
{
	uint64_t n = (uint64_t)json_integer_value(value);
	char *p;

	if (json_is_integer(value) && (!strcmp(key, "at") || without_suffix(key, "_at") || !strcmp(key, "started_us")))
		return niwa_human_ago(n, niwa_realtime_us(), buf, size);
	if (json_is_integer(value) && without_suffix(key, "_us"))
		return niwa_human_took(n, buf, size);
	if (json_is_integer(value) && without_suffix(key, "_bytes"))
		return niwa_human_bytes(n, buf, size);
	if (json_is_integer(value))
		(void)snprintf(buf, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	else if (json_is_real(value))
		(void)snprintf(buf, size, "%.2f", json_real_value(value));
	else if (json_is_boolean(value))
		(void)snprintf(buf, size, "%s", json_is_true(value) ? "yes" : "no");
	else
		(void)snprintf(buf, size, "%s", json_is_string(value) ? json_string_value(value) : "-");
	for (p = buf; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return buf;
}

static bool is_flat(const json_t *array)
{
	const json_t *item;
	size_t i;

	json_array_foreach(array, i, item) if (json_is_object(item) || json_is_array(item)) return false;
	return true;
}

static void print_flat(FILE *out, const json_t *array)
{
	const json_t *item;
	char buf[VALUE_MAX];
	size_t i;

	json_array_foreach(array, i, item)(void)
		fprintf(out, "%s%s", i ? ", " : "", scalar("", item, buf, sizeof(buf)));
	(void)fputs(json_array_size(array) ? "\n" : "-\n", out);
}

static int key_width(const char *key)
{
	size_t us = without_suffix(key, "_us"), bytes = without_suffix(key, "_bytes");

	return (int)(us ? us : bytes ? bytes : strlen(key));
}

static void print_items(FILE *out, const json_t *array, unsigned indent)
{
	const json_t *item;
	size_t i;

	json_array_foreach(array, i, item)
	{
		(void)fprintf(out, "%*s-\n", (int)indent, "");
		niwa_tree_print(out, item, indent + 2);
	}
}

static void print_member(FILE *out, const char *key, const json_t *item, unsigned indent, int width)
{
	char buf[VALUE_MAX];

	(void)fprintf(out, "%*s", (int)indent, "");
	for (int i = 0; i < key_width(key); i++)
		(void)fputc((unsigned char)key[i] < ' ' ? '?' : key[i], out);
	if (json_is_object(item) || (json_is_array(item) && !is_flat(item))) {
		(void)fputc('\n', out);
		niwa_tree_print(out, item, indent + 2);
		return;
	}
	(void)fprintf(out, "%*s  ", width - key_width(key), "");
	if (json_is_array(item))
		print_flat(out, item);
	else
		(void)fprintf(out, "%s\n", scalar(key, item, buf, sizeof(buf)));
}

void niwa_tree_print(FILE *out, const json_t *value, unsigned indent)
{
	const char *key;
	json_t *item;
	int width = 0;

	if (json_is_array(value)) {
		print_items(out, value, indent);
		return;
	}
	json_object_foreach((json_t *)(uintptr_t)value, key, item) if (!json_is_object(item) && key_width(key) > width)
		width = key_width(key);
	json_object_foreach((json_t *)(uintptr_t)value, key, item) print_member(out, key, item, indent, width);
}
