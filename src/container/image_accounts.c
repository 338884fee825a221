/* SPDX-License-Identifier: MIT
 *
 * passwd and group of `image: host`: the accounts that packages use, without people, passwords and shells.
 */
#include "container/image_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

#define SYSTEM_ID_MAX 999
#define NOBODY        65534
#define MEMBERS_MAX   64

unsigned image_fields(char *line, char **fields, unsigned max)
{
	unsigned n = 0;

	for (char *p = line; p && n < max;) {
		fields[n++] = p;
		p = strchr(p, ':');
		if (p)
			*p++ = '\0';
	}
	return n;
}

static bool system_id(const char *text, uint64_t *ret)
{
	return niwa_parse_u64(text, NOBODY, ret) == 0 && (*ret <= SYSTEM_ID_MAX || *ret == NOBODY);
}

static bool good_name(const char *name)
{
	return name[0] &&
	       name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")] == '\0' &&
	       strncmp(name, "niwa", 4) != 0; /* niwa's own users have no business inside */
}

static void add_user(char *line, struct niwa_text *out)
{
	char *f[7];
	uint64_t uid, gid;

	if (image_fields(line, f, 7) != 7 || !good_name(f[0]) || !system_id(f[2], &uid) ||
	    niwa_parse_u64(f[3], NOBODY, &gid) < 0 || f[5][0] != '/')
		return;
	niwa_text_addf(out, "%s:x:%llu:%llu::%s:%s\n", f[0], (unsigned long long)uid, (unsigned long long)gid, f[5],
		       uid == 0 ? "/bin/sh" : "/usr/sbin/nologin");
}

static bool has_user(const struct niwa_text *passwd, const char *name)
{
	size_t len = strlen(name);

	for (const char *line = passwd->data; line && *line; line = strchr(line, '\n') + 1)
		if (strncmp(line, name, len) == 0 && line[len] == ':')
			return true;
	return false;
}

static void add_group(char *line, const struct niwa_text *passwd, struct niwa_text *out)
{
	char *f[4], *save = NULL;
	const char *comma = "";
	uint64_t gid;

	if (image_fields(line, f, 4) != 4 || !good_name(f[0]) || !system_id(f[2], &gid))
		return;
	niwa_text_addf(out, "%s:x:%llu:", f[0], (unsigned long long)gid);
	for (char *m = strtok_r(f[3], ",", &save); m; m = strtok_r(NULL, ",", &save))
		if (has_user(passwd, m)) {
			niwa_text_addf(out, "%s%s", comma, m);
			comma = ",";
		}
	niwa_text_add(out, "\n");
}

void image_accounts(const char *passwd, const char *group, struct niwa_text *ret_passwd, struct niwa_text *ret_group)
{
	NIWA_AUTO(niwa_free_ptr) char *users = niwa_strdup(passwd);
	NIWA_AUTO(niwa_free_ptr) char *groups = niwa_strdup(group);
	char *save = NULL;

	if (!users || !groups) {
		ret_passwd->failed = true;
		return;
	}
	for (char *line = strtok_r(users, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		add_user(line, ret_passwd);
	for (char *line = strtok_r(groups, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
		add_group(line, ret_passwd, ret_group);
	if (!has_user(ret_passwd, "root"))
		niwa_text_add(ret_passwd, "root:x:0:0::/root:/bin/sh\n");
	if (!has_user(ret_passwd, "nobody"))
		niwa_text_add(ret_passwd, "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n");
}
