/* SPDX-License-Identifier: MIT
 *
 * The table of keys as a section of niwa.yaml(5), in mdoc.
 */
#include "spec/file.h"

#include <string.h>

#include "spec/schema_private.h"

/* One sentence a line, as mdoc likes it. */
static void add_sentences(struct niwa_text *out, const char *text)
{
	for (const char *c = text; *c; c++) {
		bool end = *c == '.' && c > text && c[1] == ' ' && c[-1] != ' ' && c[-1] != '.';

		niwa_text_add_bytes(out, c, 1);
		if (end) {
			niwa_text_add(out, "\n");
			c++;
		}
	}
	niwa_text_add(out, "\n");
}

static void add_key(struct niwa_text *out, const char *prefix, const struct niwa_key *key)
{
	const char *fallback = key->derived ? key->derived : key->fallback;
	bool group = key->kind == &niwa_kind_group, list = key->kind == &niwa_kind_list;

	niwa_text_addf(out, ".It Cm %s%s\n", prefix, key->name);
	add_sentences(out, key->doc);
	if (group)
		return;
	niwa_text_add(out, ".Pp\nAllowed: ");
	if (list)
		niwa_text_addf(out, "a list of at most %llu maps", (unsigned long long)key->max);
	else
		niwa_key_allowed(key, out);
	niwa_text_add(out, ".\n");
	if (key->required)
		niwa_text_add(out, "Required.\n");
	else if (fallback)
		niwa_text_addf(out, "Default: %s.\n", fallback);
}

static void add_group(struct niwa_text *out, const char *prefix, const struct niwa_group *group)
{
	for (size_t i = 0; i < group->count; i++) {
		const struct niwa_key *key = &group->keys[i];
		struct niwa_text below = {0};

		add_key(out, prefix, key);
		if (!key->group)
			continue;
		niwa_text_addf(&below, "%s%s%s.", prefix, key->name, key->kind == &niwa_kind_list ? "[]" : "");
		if (below.failed)
			out->failed = true;
		else
			add_group(out, below.data, key->group);
		niwa_text_fini(&below);
	}
}

char *niwa_schema_man(void)
{
	struct niwa_text out = {0};

	niwa_text_add(&out, ".Bl -tag -width Ds\n");
	add_group(&out, "", &niwa_schema_app);
	niwa_text_add(&out,
		      ".El\n.Pp\nLimits of tenants stand beside\n.Cm apps ,\nin\n.Cm tenants ,\n"
		      "a list of maps with these keys.\nThey stay until they are declared anew; a tenant with its name "
		      "alone has none.\n.Bl -tag -width Ds\n");
	add_group(&out, "tenants[].", &niwa_schema_tenant);
	niwa_text_add(&out, ".El\n");
	if (out.failed)
		niwa_text_fini(&out);
	return out.data;
}
