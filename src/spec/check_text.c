/* SPDX-License-Identifier: MIT
 *
 * Which texts may be names, users, paths and networks. Pure.
 */
#include "spec/schema_private.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

static bool is_lower_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

/* Labels as in RFC 1123 section 2.1, lower case. */
bool niwa_is_dns_name(const char *s)
{
	size_t label = 0, len = strlen(s);

	if (len == 0 || len > NIWA_NAME_MAX)
		return false;
	for (size_t i = 0; i <= len; i++) {
		if (s[i] == '.' || s[i] == '\0') {
			if (label == 0 || label > 63 || s[i - 1] == '-')
				return false;
			label = 0;
			continue;
		}
		if (!is_lower_alnum(s[i]) && (s[i] != '-' || label == 0))
			return false;
		label++;
	}
	return true;
}

/* RFC 3492 section 6.2, without the result: whether the digits are those of some text. */
static bool is_punycode(const char *s, size_t len)
{
	uint64_t n = 128, i = 0, bias = 72, points = 0;
	bool first = true;

	for (size_t at = len; at > 0 && !points; at--)
		if (s[at - 1] == '-')
			points = at; /* where the digits begin */
	s += points;
	len -= points;
	points -= points > 0;
	if (len == 0)
		return false;
	while (len > 0) {
		uint64_t before = i, weight = 1, delta;

		for (uint64_t k = 36;; k += 36) {
			uint64_t digit, least = k <= bias ? 1 : k >= bias + 26 ? 26 : k - bias;

			if (len == 0)
				return false;
			digit = *s >= 'a' ? (uint64_t)(*s - 'a') : (uint64_t)(*s - '0' + 26);
			s++, len--;
			i += digit * weight;
			if (i > UINT32_MAX)
				return false;
			if (digit < least)
				break;
			weight *= 36 - least;
		}
		points++;
		delta = (i - before) / (first ? 700 : 2);
		first = false;
		delta += delta / points;
		for (bias = 0; delta > 455; bias += 36)
			delta /= 35;
		bias += 36 * delta / (delta + 38);
		n += i / points;
		i = i % points + 1;
		if (n > 0x10ffff || (n >= 0xd800 && n <= 0xdfff))
			return false;
	}
	return true;
}

/* Two hyphens there are for what is written in other letters (RFC 5891 section 4.2.3.1). */
static bool is_label_of_letters(const char *s, size_t len)
{
	if (len < 4 || s[2] != '-' || s[3] != '-')
		return true;
	return s[0] == 'x' && s[1] == 'n' && is_punycode(s + 4, len - 4);
}

bool niwa_is_route_domain(const char *s)
{
	if (!niwa_is_dns_name(s))
		return false;
	for (size_t len; *s; s += len + (s[len] == '.')) {
		len = strcspn(s, ".");
		if (!is_label_of_letters(s, len))
			return false;
	}
	return true;
}

bool niwa_is_tenant(const char *s)
{
	return strlen(s) <= 63 && niwa_is_dns_name(s) && strcmp(s, "any") != 0;
}

static bool is_image_name(const char *s)
{
	if (!isalnum((unsigned char)*s) || strlen(s) > 128)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("._-", *s))
			return false;
	return true;
}

bool niwa_is_image(const char *s)
{
	return *s == '/' ? niwa_is_path(s) && s[1] : is_image_name(s);
}

/* One user or group: a number, or a name as useradd(8) takes it. */
static bool is_account(const char *s, size_t len, uint64_t max)
{
	char buf[33];
	uint64_t id;

	if (len == 0 || len >= sizeof(buf))
		return false;
	memcpy(buf, s, len);
	buf[len] = '\0';
	if (isdigit((unsigned char)*s))
		return niwa_parse_u64(buf, max, &id) == 0;
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	for (size_t i = 1; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("_-.", s[i]) && !(s[i] == '$' && i == len - 1))
			return false;
	return true;
}

bool niwa_is_user(const char *s)
{
	const char *colon = strchr(s, ':');

	if (!colon)
		return is_account(s, strlen(s), 65535);
	return is_account(s, (size_t)(colon - s), 65535) && is_account(colon + 1, strlen(colon + 1), 65535);
}

bool niwa_is_owner(const char *s)
{
	uint64_t id;

	if (strcmp(s, "root") == 0 || (niwa_parse_u64(s, UINT32_MAX, &id) == 0 && id == 0))
		return false;
	return is_account(s, strlen(s), UINT32_MAX - 1);
}

bool niwa_is_env_key(const char *s, size_t len)
{
	if (len == 0 || isdigit((unsigned char)*s))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!isalnum((unsigned char)s[i]) && s[i] != '_')
			return false;
	return true;
}

static bool is_label_text(const char *s)
{
	if (strlen(s) > NIWA_LABEL_MAX)
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("._-/@:+", *s))
			return false;
	return true;
}

bool niwa_is_label_key(const char *s)
{
	return isalnum((unsigned char)*s) && is_label_text(s);
}

bool niwa_is_label_value(const char *s)
{
	return is_label_text(s);
}

bool niwa_is_url_path(const char *s)
{
	size_t len = strlen(s);

	if (*s != '/' || len > 200)
		return false;
	for (; *s; s++)
		if (*s <= ' ' || *s >= 0x7f)
			return false;
	return true;
}

bool niwa_is_path(const char *s)
{
	if (*s != '/' || strlen(s) > 1024)
		return false;
	for (const char *c = s; *c; c++)
		if ((unsigned char)*c < ' ' || *c == 0x7f)
			return false;
	while (*s) {
		size_t len = strcspn(++s, "/");

		if (len == 0 && s[strspn(s, "/")] == '\0')
			return true; /* slashes at the end */
		if (len == 0 || (len == 1 && s[0] == '.') || (len == 2 && s[0] == '.' && s[1] == '.'))
			return false;
		s += len;
	}
	return true;
}

/* path is top, or lies below it. */
static bool is_within(const char *path, const char *top)
{
	size_t len = strlen(top);

	return strncmp(path, top, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

static bool is_kernel_or_ours(const char *s)
{
	static const char *const kept[] = {"/proc", "/sys", "/dev", "/run/niwa"};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(kept); i++)
		if (is_within(s, kept[i]))
			return true;
	return false;
}

static bool is_root(const char *s)
{
	return s[strspn(s, "/")] == '\0';
}

bool niwa_is_volume_source(const char *s)
{
	return niwa_is_path(s) && !is_root(s) && !is_kernel_or_ours(s);
}

bool niwa_is_volume_target(const char *s)
{
	if (!niwa_is_path(s) || is_root(s) || is_kernel_or_ours(s))
		return false;
	/* A volume over /run would hide /run/niwa. */
	return strncmp(s, "/run", 4) != 0 || !is_root(s + 4);
}
