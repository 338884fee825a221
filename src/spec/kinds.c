/* SPDX-License-Identifier: MIT
 *
 * The scalar kinds: text → field, field → JSON, and what is allowed in words. Values get their type from the key
 * that they stand at, never from how they look: in YAML 1.1 `no`, `1:30` and `010` would be surprises.
 */
#include "spec/schema_private.h"

#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "spec/source.h"

static bool is_never(const struct niwa_key *key, const char *text)
{
	return key->never && (strcmp(text, "never") == 0 || strcmp(text, "none") == 0 || strcmp(text, "0") == 0);
}

static bool in_range(const struct niwa_key *key, uint64_t n)
{
	return n >= key->min && n <= key->max;
}

static void add_never(const struct niwa_key *key, struct niwa_text *out)
{
	if (key->never)
		niwa_text_addf(out, ", or %s", key->never);
}

static int text_set(const char *text, size_t len, void *field)
{
	char **ret = field;
	char *copy = niwa_zalloc(len + 1);

	if (!copy)
		return -ENOMEM;
	memcpy(copy, text, len);
	free(*ret);
	*ret = copy;
	return 0;
}

static int text_parse(const struct niwa_key *key, const char *text, void *field)
{
	return key->check(text) ? text_set(text, strlen(text), field) : -EINVAL;
}

static json_t *text_write(const struct niwa_key *key, const void *field)
{
	(void)key;
	return json_string(*(char *const *)field);
}

const struct niwa_kind niwa_kind_text = {.parse = text_parse, .write = text_write};

static int path_parse(const struct niwa_key *key, const char *text, void *field)
{
	size_t len = strlen(text);

	if (!key->check(text))
		return -EINVAL;
	while (len > 1 && text[len - 1] == '/')
		len--;
	return text_set(text, len, field);
}

const struct niwa_kind niwa_kind_path = {.parse = path_parse, .write = text_write};

static void number_set(const struct niwa_key *key, uint64_t n, void *field)
{
	if (key->size == sizeof(uint16_t))
		*(uint16_t *)field = (uint16_t)n;
	else if (key->size == sizeof(uint32_t))
		*(uint32_t *)field = (uint32_t)n;
	else
		*(uint64_t *)field = n;
}

static uint64_t number_get(const struct niwa_key *key, const void *field)
{
	if (key->size == sizeof(uint16_t))
		return *(const uint16_t *)field;
	if (key->size == sizeof(uint32_t))
		return *(const uint32_t *)field;
	return *(const uint64_t *)field;
}

static json_t *never_write(const struct niwa_key *key)
{
	return json_string(key->never);
}

/* To some it is octal, to others a slip; YAML itself does not say. */
static bool has_leading_zero(const char *text)
{
	return text[0] == '0' && text[1] != '\0';
}

static int number_parse(const struct niwa_key *key, const char *text, void *field)
{
	uint64_t n = 0;

	if (!is_never(key, text) && (has_leading_zero(text) || niwa_parse_u64(text, key->max, &n) < 0 || n < key->min))
		return -EINVAL;
	number_set(key, n, field);
	return 0;
}

static json_t *number_write(const struct niwa_key *key, const void *field)
{
	uint64_t n = number_get(key, field);

	return n == 0 && key->never ? never_write(key) : json_integer((json_int_t)n);
}

static void number_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	niwa_text_addf(out, "a number from %llu to %llu", (unsigned long long)key->min, (unsigned long long)key->max);
	add_never(key, out);
}

const struct niwa_kind niwa_kind_number = {
	.parse = number_parse,
	.write = number_write,
	.allowed = number_allowed,
	.integer = true,
};

static int duration_parse(const struct niwa_key *key, const char *text, void *field)
{
	uint64_t us = 0;

	if (!is_never(key, text) && (niwa_parse_duration(text, &us) < 0 || !in_range(key, us)))
		return -EINVAL;
	*(uint64_t *)field = us;
	return 0;
}

static json_t *duration_write(const struct niwa_key *key, const void *field)
{
	uint64_t us = *(const uint64_t *)field;
	char buf[64];

	return us == 0 && key->never ? never_write(key) : json_string(niwa_format_duration(us, buf, sizeof(buf)));
}

static void duration_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	char min[64], max[64];

	niwa_text_addf(out, "a time such as 300ms, 10s, 5m or 1h30m, from %s to %s",
		       niwa_format_duration(key->min, min, sizeof(min)),
		       niwa_format_duration(key->max, max, sizeof(max)));
	add_never(key, out);
}

const struct niwa_kind niwa_kind_duration = {
	.parse = duration_parse,
	.write = duration_write,
	.allowed = duration_allowed,
};

static int size_parse(const struct niwa_key *key, const char *text, void *field)
{
	uint64_t bytes = 0;

	if (!is_never(key, text) && (niwa_parse_size(text, &bytes) < 0 || !in_range(key, bytes)))
		return -EINVAL;
	*(uint64_t *)field = bytes;
	return 0;
}

static json_t *size_write(const struct niwa_key *key, const void *field)
{
	uint64_t bytes = *(const uint64_t *)field;
	char buf[64];

	return bytes == 0 && key->never ? never_write(key) : json_string(niwa_format_size(bytes, buf, sizeof(buf)));
}

static void size_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	char min[64], max[64];

	niwa_text_addf(out, "a size such as 64M or 1.5G (units K, M, G, T), from %s to %s",
		       niwa_format_size(key->min, min, sizeof(min)), niwa_format_size(key->max, max, sizeof(max)));
	add_never(key, out);
}

const struct niwa_kind niwa_kind_size = {
	.parse = size_parse,
	.write = size_write,
	.allowed = size_allowed,
	.integer = true,
};

/* Hundredths of a percent as people write them: 5000 as "50%", 1250 as "12.5%". */
static char *percent_format(uint64_t centi, char *buf, size_t size)
{
	int n = snprintf(buf, size, "%llu.%02llu", (unsigned long long)(centi / 100),
			 (unsigned long long)(centi % 100));

	while (buf[n - 1] == '0')
		n--;
	if (buf[n - 1] == '.')
		n--;
	(void)snprintf(buf + n, size - (size_t)n, "%%");
	return buf;
}

static int percent_parse(const struct niwa_key *key, const char *text, void *field)
{
	uint32_t centi = 0;

	if (!is_never(key, text) && (niwa_parse_percent(text, &centi) < 0 || !in_range(key, centi)))
		return -EINVAL;
	*(uint32_t *)field = centi;
	return 0;
}

static json_t *percent_write(const struct niwa_key *key, const void *field)
{
	uint32_t centi = *(const uint32_t *)field;
	char buf[32];

	return centi == 0 && key->never ? never_write(key) : json_string(percent_format(centi, buf, sizeof(buf)));
}

static void percent_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	char min[32], max[32];

	niwa_text_addf(out, "a share of one CPU such as 50%% or 12.5%%, from %s to %s",
		       percent_format(key->min, min, sizeof(min)), percent_format(key->max, max, sizeof(max)));
	add_never(key, out);
}

const struct niwa_kind niwa_kind_percent = {
	.parse = percent_parse,
	.write = percent_write,
	.allowed = percent_allowed,
};

static int flag_parse(const struct niwa_key *key, const char *text, void *field)
{
	(void)key;
	(void)field;
	return strcmp(text, "true") == 0 || strcmp(text, "false") == 0 ? 0 : -EINVAL;
}

static int bool_parse(const struct niwa_key *key, const char *text, void *field)
{
	int r = flag_parse(key, text, field);

	if (r == 0)
		*(bool *)field = strcmp(text, "true") == 0;
	return r;
}

static json_t *bool_write(const struct niwa_key *key, const void *field)
{
	(void)key;
	return json_boolean(*(const bool *)field);
}

static json_t *flag_write(const struct niwa_key *key, const void *field)
{
	(void)key;
	(void)field;
	return json_true();
}

static void bool_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	(void)key;
	niwa_text_add(out, "true or false");
}

const struct niwa_kind niwa_kind_bool = {
	.parse = bool_parse,
	.write = bool_write,
	.allowed = bool_allowed,
	.boolean = true,
};
/* A yes that is kept elsewhere: the group's finish looks at the JSON. */
const struct niwa_kind niwa_kind_flag = {
	.parse = flag_parse,
	.write = flag_write,
	.allowed = bool_allowed,
	.boolean = true,
};

static int word_parse(const struct niwa_key *key, const char *text, void *field)
{
	for (int i = 0; key->words[i]; i++)
		if (strcmp(key->words[i], text) == 0) {
			*(int *)field = i;
			return 0;
		}
	return -EINVAL;
}

static json_t *word_write(const struct niwa_key *key, const void *field)
{
	return json_string(key->words[*(const int *)field]);
}

static void word_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	for (int i = 0; key->words[i]; i++)
		niwa_text_addf(out, "%s%s", i == 0 ? "" : key->words[i + 1] ? ", " : " or ", key->words[i]);
}

const struct niwa_kind niwa_kind_word = {.parse = word_parse, .write = word_write, .allowed = word_allowed};

static int signal_parse(const struct niwa_key *key, const char *text, void *field)
{
	const char *name = strncmp(text, "SIG", 3) == 0 ? text + 3 : text;
	uint64_t n;

	(void)key;
	if (niwa_parse_u64(text, (uint64_t)SIGRTMAX, &n) == 0 && n > 0) {
		*(int *)field = (int)n;
		return 0;
	}
	if (strncmp(name, "RTMIN+", 6) == 0 && niwa_parse_u64(name + 6, (uint64_t)(SIGRTMAX - SIGRTMIN), &n) == 0) {
		*(int *)field = SIGRTMIN + (int)n;
		return 0;
	}
	for (int i = 1; i < SIGRTMIN; i++) {
		const char *abbrev = sigabbrev_np(i);

		if (abbrev && strcmp(abbrev, name) == 0) {
			*(int *)field = i;
			return 0;
		}
	}
	return -EINVAL;
}

static json_t *signal_write(const struct niwa_key *key, const void *field)
{
	int signal = *(const int *)field;
	const char *abbrev = sigabbrev_np(signal);
	char buf[32];

	(void)key;
	if (abbrev)
		(void)snprintf(buf, sizeof(buf), "SIG%s", abbrev);
	else if (signal >= SIGRTMIN)
		(void)snprintf(buf, sizeof(buf), "SIGRTMIN+%d", signal - SIGRTMIN);
	else
		(void)snprintf(buf, sizeof(buf), "%d", signal);
	return json_string(buf);
}

static void signal_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	(void)key;
	niwa_text_add(out, "a signal such as SIGTERM, QUIT, SIGRTMIN+3 or 15");
}

const struct niwa_kind niwa_kind_signal = {
	.parse = signal_parse,
	.write = signal_write,
	.allowed = signal_allowed,
	.integer = true,
};

static int publish_parse(const struct niwa_key *key, const char *text, void *field)
{
	(void)key;
	return niwa_publish_parse(text, field) ? 0 : -EINVAL;
}

static json_t *publish_write(const struct niwa_key *key, const void *field)
{
	const struct in6_addr unsaid = niwa_addr_mapped(htonl(INADDR_LOOPBACK));
	const struct niwa_publish *publish = field;
	char text[NIWA_PUBLISH_TEXT];

	(void)key;
	if (IN6_ARE_ADDR_EQUAL(&publish->addr, &unsaid))
		return json_integer(publish->port);
	return json_string(niwa_publish_text(publish, text));
}

static void publish_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	(void)key;
	niwa_text_add(out, "PORT, :PORT (all addresses), ADDRESS:PORT or [IPV6]:PORT, a number from 1 to 65535");
}

const struct niwa_kind niwa_kind_publish = {
	.parse = publish_parse,
	.write = publish_write,
	.allowed = publish_allowed,
	.integer = true,
};

static int owner_parse(const struct niwa_key *key, const char *text, void *field)
{
	struct niwa_volume *volume = field;

	(void)key;
	if (strcmp(text, "tenant") == 0) {
		volume->owner = NIWA_OWNER_TENANT;
		return 0;
	}
	if (!niwa_is_owner(text))
		return -EINVAL;
	volume->owner = NIWA_OWNER_USER;
	return text_set(text, strlen(text), &volume->owner_user);
}

static json_t *owner_write(const struct niwa_key *key, const void *field)
{
	const struct niwa_volume *volume = field;

	(void)key;
	return json_string(volume->owner == NIWA_OWNER_TENANT ? "tenant" : volume->owner_user);
}

static void owner_allowed(const struct niwa_key *key, struct niwa_text *out)
{
	(void)key;
	niwa_text_add(out, "tenant, or a user of the host (name or number), not root");
}

const struct niwa_kind niwa_kind_owner = {
	.parse = owner_parse,
	.write = owner_write,
	.allowed = owner_allowed,
	.integer = true,
};
