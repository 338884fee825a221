/* SPDX-License-Identifier: MIT
 *
 * One limit of an app by itself, in the words of the app file.
 */
#include <errno.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "spec/schema_private.h"

static const struct niwa_key *find(const char *name)
{
	const struct niwa_key *limits = niwa_group_find(&niwa_schema_app, "limits");

	return niwa_group_find(limits->group, name);
}

int niwa_limit_parse(const char *name, const char *text, struct niwa_limits *limits, struct niwa_error *err)
{
	const struct niwa_key *key = find(name);
	NIWA_AUTO(niwa_text_fini) struct niwa_text allowed = {0};
	struct niwa_app_spec spec = {.limits = *limits};
	char found[64];

	if (!key)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "%.40s: no such limit", name);
	if (key->kind->parse(key, text, (char *)&spec + key->offset) == 0) {
		*limits = spec.limits;
		return 0;
	}
	niwa_key_allowed(key, &allowed);
	(void)niwa_fail(err, NIWA_CALLER, 0, "%s: found '%s'; allowed: %s", name,
			niwa_quote(text, strlen(text), found, sizeof(found)), allowed.data ? allowed.data : "");
	return -EINVAL;
}

json_t *niwa_limit_write(const char *name, const struct niwa_limits *limits)
{
	const struct niwa_app_spec spec = {.limits = *limits};
	const struct niwa_key *key = find(name);

	return key ? key->kind->write(key, (const char *)&spec + key->offset) : NULL;
}
