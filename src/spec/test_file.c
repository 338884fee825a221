/* SPDX-License-Identifier: MIT
 *
 * Tests of app files: YAML in, canonical JSON or messages with lines out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "spec/app.h"
#include "spec/file.h"
#include "spec/file_place.h"

static void add_line(const char *msg, void *arg)
{
	niwa_text_add(arg, msg);
	niwa_text_add(arg, "\n");
}

/* Loads text as f.yaml of a folder; the canonical JSON with single quotes, or all messages. To be freed. */
static char *load_in(const char *folder, const char *yaml)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/f.yaml", folder);
	struct niwa_file_text file = {.name = "f.yaml", .path = path, .text = yaml, .len = strlen(yaml)};
	struct niwa_text also = {0};
	struct niwa_error err = {0};
	json_t *apps = NULL;
	char *text;

	if (niwa_file_load_text(&file, add_line, &also, &apps, &err) < 0) {
		text = niwa_asprintf("%s%s%s", err.msg, also.len ? "\n" : "", also.len ? also.data : "");
		if (also.len)
			text[strlen(text) - 1] = '\0';
	} else {
		text = json_dumps(apps, JSON_COMPACT);
		for (char *c = text; *c; c++)
			if (*c == '"')
				*c = '\'';
		json_decref(apps);
	}
	niwa_text_fini(&also);
	return text;
}

static void assert_loads_as(const char *yaml, const char *expected)
{
	NIWA_AUTO(niwa_free_ptr) char *text = load_in("/nowhere", yaml);

	assert_string_equal(text, expected);
}

#define APP  "apps:\n- {name: a, image: x, ports: [{port: 80}]"
#define JSON "'image':'x','name':'a','ports':[{'port':80}]"

static const struct {
	const char *yaml, *result;
} loads[] = {
	{APP "}\n", "[{" JSON "}]"},
	{"\xef\xbb\xbf---\n" APP "}\n...\n", "[{" JSON "}]"},
	/* What YAML 1.1 would guess stays what was written. */
	{APP ", env: {A: no, B: 010, C: 1:30, D: 0x1F, E: 1.10, F: ~, G: null, H: 2001-01-01, I: 'x', J: \"\"}}",
	 "[{'env':{'A':'no','B':'010','C':'1:30','D':'0x1F','E':'1.10','F':'~','G':'null','H':'2001-01-01','I':'x','J':"
	 "''}," JSON "}]"},
	{APP ", command: [sleep, 10, yes]}", "[{'command':['sleep','10','yes']," JSON "}]"},
	{"apps:\n- {name: 1.2, image: x, ports: [{port: \"80\"}]}",
	 "[{'image':'x','name':'1.2','ports':[{'port':80}]}]"},
	{"apps:\n- name: a\n  image: x\n  ports: [{port: 80}]\n  env:\n  volumes:\n  # - from: /x\n  limits:\n",
	 "[{" JSON "}]"},
	{APP ", env: {A: !!str 1, B: !!int 2, C: ! x}}", "[{'env':{'A':'1','B':'2','C':'x'}," JSON "}]"},
	{APP ", env: {A: \"\\u00e9\\t\"}}", "[{'env':{'A':'\xc3\xa9\\t'}," JSON "}]"},
	/* Anchors, aliases, merge keys. */
	{"x-limits: &l {memory: 1G}\napps:\n- {name: a, image: x, ports: [{port: 80}], limits: *l}\n"
	 "- {name: b, image: x, ports: [{port: 80}], limits: {<<: *l, cpu: 1%}}",
	 "[{'image':'x','limits':{'memory':'1G'},'name':'a','ports':[{'port':80}]},"
	 "{'image':'x','limits':{'cpu':'1%','memory':'1G'},'name':'b','ports':[{'port':80}]}]"},
	{"x-a: [&a {memory: 1G, cpu: 1%}, &b {memory: 2G}]\n" APP ", limits: {<<: [*a, *b], cpu: 2%}}",
	 "[{'image':'x','limits':{'cpu':'2%','memory':'1G'},'name':'a','ports':[{'port':80}]}]"},
	/* Defaults of the file. */
	{"defaults: {tenant: t, limits: {memory: 1G, cpu: 1%}, env: {A: 1, B: 2}, ready: {http: /}, command: [x]}\n"
	 "apps:\n- {name: a, image: x, ports: [{port: 80}]}\n"
	 "- {name: b, image: x, ports: [{port: 80}], limits: {cpu: 2%}, env: {B: 3}, ready: {listen: 81}, command: "
	 "[y]}",
	 "[{'command':['x'],'env':{'A':'1','B':'2'},'image':'x','limits':{'cpu':'1%','memory':'1G'},'name':'a','ports':"
	 "[{'port':80}],'ready':{'http':'/'},'tenant':'t'},"
	 "{'command':['y'],'env':{'A':'1','B':'3'},'image':'x','limits':{'cpu':'2%','memory':'1G'},'name':'b','ports':"
	 "[{'port':80}],'ready':{'listen':81},'tenant':'t'}]"},
	{"defaults: {limits: {memory: 1G}}\n" APP ", limits: {memory: none}}", "[{" JSON "}]"},
	{"defaults:\n" APP "}", "[{" JSON "}]"},
	/* Two may share when both say so, one may read what the other writes. */
	{"apps:\n- {name: a, image: x, ports: [{port: 80, publish: 1}], volumes: [{from: /d, to: /d, shared: true}]}\n"
	 "- {name: b, image: x, ports: [{port: 80, publish: 10.0.0.1:1}], volumes: [{from: /d, to: /d, shared: "
	 "true}]}\n"
	 "- {name: c, image: x, ports: [{port: 80}], volumes: [{from: /d, to: /d, read_only: true}]}",
	 "[{'image':'x','name':'a','ports':[{'port':80,'publish':1}],'volumes':[{'from':'/d','shared':true,'to':'/"
	 "d'}]},"
	 "{'image':'x','name':'b','ports':[{'port':80,'publish':'10.0.0.1:1'}],'volumes':[{'from':'/d','shared':true,"
	 "'to':'/d'}]},{'image':'x','name':'c','ports':[{'port':80}],'volumes':[{'from':'/d','read_only':true,'to':'/"
	 "d'}]}"
	 "]"},
};

static void a_good_file_becomes_canonical_json(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(loads); i++)
		assert_loads_as(loads[i].yaml, loads[i].result);
}

static const struct {
	const char *yaml, *messages;
} refused[] = {
	/* Not YAML, or not what we take of it. */
	{"", "f.yaml:1: found no apps; allowed: apps: and a list of them"},
	{"# nothing\n", "f.yaml:1: found no apps; allowed: apps: and a list of them"},
	{"hello", "f.yaml:1: found no apps; allowed: apps: and a list of them"},
	{"a: [1", "f.yaml:2: not YAML: did not find expected ',' or ']' while parsing a flow sequence"},
	{"a: 1\nb: 2\n\tc: 3\n", "f.yaml:3: not YAML: found a tab character that violates indentation while scanning "
				 "a plain scalar (tabs cannot "
				 "indent: use spaces)"},
	{"a: \"\xff\"", "f.yaml:1: not text: invalid leading UTF-8 octet; allowed: UTF-8"},
	{"apps:\n\n- a\x01", "f.yaml:3: not text: control characters are not allowed; allowed: UTF-8"},
	{"a: \"x\\0y\"", "f.yaml:1: a text with a NUL byte in it"},
	{"a: 1\n---\nb: 2", "f.yaml:2: a second document; allowed: one in a file"},
	{"a: 1\nb: 2\na: 3\n", "f.yaml:3: key 'a' is here twice, first in line 1"},
	{"{a: 1, 'a': 2}", "f.yaml:1: key 'a' is here twice, first in line 1"},
	{"{k1: ,k2: ,k3: ,k4: ,k5: ,k6: ,k7: ,k8: ,k9: ,k10: ,k11: ,k12: ,k13: ,k14: ,k15: ,k16: ,k17: ,k3: }",
	 "f.yaml:1: key 'k3' is here twice, first in line 1"},
	{"? [a]\n: 1", "f.yaml:1: found a list or a map as a key; allowed: a text"},
	{"a: !foo 1", "f.yaml:1: found tag '!foo'; allowed: values without tags"},
	{"a: !!python/object:os.system x",
	 "f.yaml:1: found tag 'tag:yaml.org,2002:python/object:os.system'; allowed: values without tags"},
	{"a: !!binary aGk=", "f.yaml:1: found tag 'tag:yaml.org,2002:binary'; allowed: values without tags"},
	{"a: *b", "f.yaml:1: alias '*b' has no complete anchor before it"},
	{"a: &a [*a]", "f.yaml:1: alias '*a' has no complete anchor before it"},
	{"a:\n  <<: 3", "f.yaml:2: <<: found what is not a map; allowed: an alias of a map, or a list of them"},
	{"x-a: &a {b: 1}\nc: {<<: *a, <<: *a}",
	 "f.yaml:2: key '<<' is here twice; allowed: once, with a list of aliases"},
	{"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[", "f.yaml:1: nested deeper than 32 levels"},
	/* The top of a file. */
	{"services: {}", "f.yaml:1: this is a Compose file; niwa import makes an app file from it"},
	{"app: []",
	 "f.yaml:1: app: unknown key; allowed: apps, defaults, tenants, and x-... for anchors; did you mean 'apps'?\n"
	 "f.yaml:1: apps: missing; allowed: a list of apps"},
	{"apps: []", "f.yaml:1: apps: found no apps; allowed: a list of at least one, each begins with '- name:'"},
	{"apps:\n  name: x",
	 "f.yaml:2: apps: found no apps; allowed: a list of at least one, each begins with '- name:'"},
	{"tenants: {name: a}", "f.yaml:1: tenants: found no list; allowed: a list of at most 50000, each begins with "
			       "'- name:'"},
	{"tenants:\n- name: a\n  limits:\n    memory: much\n- limits: {}\n- a",
	 "f.yaml:4: tenants[0].limits.memory: found 'much'; allowed: a size such as 64M or 1.5G (units K, M, G, T), "
	 "from 1M to 64T, or none\n"
	 "f.yaml:5: tenants[1].name: missing; allowed: lower case letters, digits and inner '-' and '.', at most 63 "
	 "characters, not 'any'\n"
	 "f.yaml:6: tenants[2]: found 'a'; allowed: a map that declares a tenant"},
	{"tenants:\n- name: a\n- name: a\n  limits: {awake: -1, disk: 1M}",
	 "f.yaml:4: tenants[1].limits.awake: found '-1'; allowed: a number from 1 to 1000000, or none\n"
	 "f.yaml:4: tenants[1].limits.disk: unknown key; allowed: memory, cpu, processes, awake, wakes"},
	{"tenants:\n- name: a\n- name: a", "f.yaml:3: tenants[1].name: found 'a' again; allowed: each tenant once"},
	{"apps:\n- a\n- [b]", "f.yaml:2: apps[0]: found 'a'; allowed: a map that declares an app\n"
			      "f.yaml:3: apps[1]: found a list; allowed: a map that declares an app"},
	{"defaults: x\n" APP "}", "f.yaml:1: defaults: found what is not a map; allowed: keys of an app"},
	{"defaults:\n  name: x\n" APP "}",
	 "f.yaml:2: defaults.name: found a name for all; allowed: every key of an app but name"},
	/* Keys: the line is that of the key, wherever it is. */
	{"apps:\n- name: a\n  image: x\n  ports:\n  - port: 80\n    protocol: htp\n",
	 "f.yaml:6: apps[0].ports[0].protocol: found 'htp'; allowed: tcp, http, smtp, imap, lmtp, pop3, postgres, "
	 "mysql or "
	 "redis; did you mean 'http'?"},
	{"apps:\n- name: a\n  image: x\n  ports:\n  -\n    protocol: http\n",
	 "f.yaml:6: apps[0].ports[0].port: missing; allowed: a number from 1 to 65535"},
	{"apps:\n- image: x\n  ports:\n  - port: 80\n    publish: 80,81\n  liftime: 1h\n",
	 "f.yaml:5: apps[0].ports[0].publish: found '80,81'; allowed: PORT, :PORT (all addresses), ADDRESS:PORT or "
	 "[IPV6]:PORT, a number from 1 to 65535\n"
	 "f.yaml:6: apps[0].liftime: unknown key; allowed: name, tenant, labels, image, command, user, workdir, env, "
	 "env_files, "
	 "init, ports, routes, volumes, egress, limits, lifetime, rotate, resident, scale, sleep, awake, wake, ready, "
	 "stop, "
	 "restart, "
	 "snapshot, warm, restore_signal, wake_deadline, "
	 "max_waiting; "
	 "did you mean 'lifetime'?\n"
	 "f.yaml:2: apps[0].name: missing; allowed: a DNS name in lower case: labels of letters, digits and inner '-', "
	 "at "
	 "most 63 characters each and 253 in all"},
	{APP ",\n init: yes}", "f.yaml:3: apps[0].init: found 'yes'; allowed: true or false"},
	{APP ",\n volumes: [{from: /a, to: /b, read_only: on}]}",
	 "f.yaml:3: apps[0].volumes[0].read_only: found 'on'; allowed: true or false"},
	{APP ",\n lifetime: 60}", "f.yaml:3: apps[0].lifetime: found '60'; allowed: a time such as 300ms, 10s, 5m or "
				  "1h30m, from 1s to 3650d, or none"},
	{APP ",\n image: {name: x}}", "f.yaml:3: key 'image' is here twice, first in line 2"},
	{APP ",\n egress: }",
	 "f.yaml:3: apps[0].egress: found nothing; allowed: none, internet, or a list of at most 64 "
	 "networks such as [10.0.0.0/8, 192.0.2.7, \"2001:db8::/32\"]"},
	{APP ",\n env: {\n A: [x]}}",
	 "f.yaml:4: apps[0].env.A: found a list; allowed: a text (in quotes where in doubt, \"\" for an empty one)"},
	{APP ",\n env: {A.B: x}}",
	 "f.yaml:3: apps[0].env.A.B: not a name for a variable; allowed: letters, digits and '_', no digit first"},
	{APP ",\n user: \"x\\ny\"}",
	 "f.yaml:3: apps[0].user: found 'x\\x0ay'; allowed: USER, USER:GROUP, names or numbers up to 65535"},
	/* Nothing of others reaches a terminal as it is. */
	{APP ",\n env: {\"\\e[31m\": x}, \"\\e\": 1, env_files: [\"/\\e]0;x\\a\"]}",
	 "f.yaml:3: apps[0].env_files[0]: open '/?]0;x?': No such file or directory\n"
	 "f.yaml:3: apps[0].env.\\x1b[31m: not a name for a variable; allowed: letters, digits and '_', no digit "
	 "first\n"
	 "f.yaml:2: apps[0].\\x1b: unknown key; allowed: name, tenant, labels, image, command, user, workdir, env, "
	 "env_files, "
	 "init, "
	 "ports, routes, volumes, egress, limits, lifetime, rotate, resident, scale, sleep, awake, wake, ready, stop, "
	 "restart, "
	 "snapshot, warm, restore_signal, wake_deadline, max_waiting"},
	/* What comes from the defaults is said once, with its own line. */
	{"defaults:\n  limits: {memory: lots}\napps:\n- {name: a, image: x, ports: [{port: 80}]}\n"
	 "- {name: b, image: x, ports: [{port: 80}]}",
	 "f.yaml:2: defaults.limits.memory: found 'lots'; allowed: a size such as 64M or 1.5G (units K, M, G, T), from "
	 "1M to "
	 "64T, or none"},
	/* Between apps. */
	{APP "}\n- {name: b, image: x, ports: [{port: 80}]}\n- {image: x, ports: [{port: 80}],\n  name: a}",
	 "f.yaml:5: apps[2].name: found 'a', as in line 2; allowed: each name once"},
	{"apps:\n- {name: a, image: x, ports: [{port: 80}], routes: [{domain: a.de}]}\n"
	 "- name: b\n  image: x\n  ports: [{port: 80}]\n  routes: [{domain: a.de, protocol: smtp},\n   {domain: a.de}]",
	 "f.yaml:7: apps[1].routes[1].domain: found 'a.de' (http), as in line 2; allowed: each domain in one app, for "
	 "each protocol"},
	{"apps:\n- {name: a, image: x, ports: [{port: 80}], routes: [{domain: a.de}]}\n"
	 "- {name: a.de.http, image: x, ports: [{port: 80}], routes: [{domain: a.de}]}",
	 "f.yaml:3: apps[1].name: found 'a.de.http', as in line 2; allowed: each name once\n"
	 "f.yaml:3: apps[1].routes[0].domain: found 'a.de' (http), as in line 2; allowed: each domain in one app, for "
	 "each protocol"},
	{"apps:\n- {name: a, image: x, ports: [{port: 80, publish: 10.0.0.1:1}]}\n"
	 "- {name: b, image: x, ports: [{port: 80, publish: 0.0.0.0:1}]}",
	 "f.yaml:3: apps[1].ports[0].publish: found 1, as in line 2; allowed: each port of the host once"},
	{"apps:\n- {name: a, image: x, ports: [{port: 80, publish: 0.0.0.0:1}]}\n"
	 "- {name: b, image: x, ports: [{port: 80, publish: '[2001:db8::1]:1'}]}\n"
	 "- {name: c, image: x, ports: [{port: 80, publish: '[2001:DB8::0:1]:1'}]}\n"
	 "- {name: d, image: x, ports: [{port: 80, publish: '[2001:db8::2]:2'}]}\n"
	 "- {name: e, image: x, ports: [{port: 80, publish: '[::]:2'}]}\n"
	 "- {name: f, image: x, ports: [{port: 80, publish: ':3'}]}\n"
	 "- {name: g, image: x, ports: [{port: 80, publish: 192.0.2.1:3}]}\n"
	 "- {name: h, image: x, ports: [{port: 80, publish: '[2001:db8::1]:3'}]}\n"
	 "- {name: i, image: x, ports: [{port: 80, publish: '[::]:1'}]}",
	 "f.yaml:4: apps[2].ports[0].publish: found 1, as in line 3; allowed: each port of the host once\n"
	 "f.yaml:6: apps[4].ports[0].publish: found 2, as in line 5; allowed: each port of the host once\n"
	 "f.yaml:8: apps[6].ports[0].publish: found 3, as in line 7; allowed: each port of the host once\n"
	 "f.yaml:9: apps[7].ports[0].publish: found 3, as in line 7; allowed: each port of the host once\n"
	 "f.yaml:10: apps[8].ports[0].publish: found 1, as in line 2; allowed: each port of the host once"},
	{"apps:\n- {name: a, image: x, ports: [{port: 80, publish: 0.0.0.0:1}]}\n"
	 "- {name: b, image: x, ports: [{port: 80, publish: 1}]}\n"
	 "- {name: c, image: x, ports: [{port: 80, publish: 2}, {port: 81, publish: 10.0.0.1:2}]}\n"
	 "- {name: d, image: x, ports: [{port: 80, publish: 10.0.0.1:2}]}",
	 "f.yaml:3: apps[1].ports[0].publish: found 1, as in line 2; allowed: each port of the host once\n"
	 "f.yaml:5: apps[3].ports[0].publish: found 2, as in line 4; allowed: each port of the host once"},
	{"apps:\n- {name: a, image: x, ports: [{port: 80}], volumes: [{from: /d, to: /d}, {from: /d/, to: /c}]}\n"
	 "- {name: b, image: x, ports: [{port: 80}], volumes: [{from: /x, to: /x}, {to: /a/,\n from: /d, shared: "
	 "true}]}",
	 "f.yaml:4: apps[1].volumes[1].from: found '/d', which the app in line 2 writes to; allowed: one writer, or "
	 "read_only: true, or shared: true at both"},
	/* Env files. */
	{APP ",\n env_files: x}", "f.yaml:3: apps[0].env_files: found what is not a list; allowed: a list of paths"},
	{APP ",\n env_files: [[]]}",
	 "f.yaml:3: apps[0].env_files[0]: found what is not a text; allowed: the path of a file"},
	{APP ",\n env_files: [no.env]}",
	 "f.yaml:3: apps[0].env_files[0]: open '/nowhere/no.env': No such file or directory"},
};

static void a_bad_file_is_refused_with_line_key_found_and_allowed(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(refused); i++)
		assert_loads_as(refused[i].yaml, refused[i].messages);
}

/* Nine lists of nine aliases each: 3.9e8 values in 400 bytes. */
static void aliases_that_multiply_are_refused(void **state)
{
	struct niwa_text yaml = {0};

	niwa_text_add(&yaml, "x-0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
	for (int i = 1; i <= 9; i++) {
		niwa_text_addf(&yaml, "x-%d: &a%d [", i, i);
		for (int j = 0; j < 9; j++)
			niwa_text_addf(&yaml, "%s*a%d", j ? ", " : "", i - 1);
		niwa_text_add(&yaml, "]\n");
	}
	niwa_text_add(&yaml, "apps: [*a9]\n");
	assert_loads_as(yaml.data, "f.yaml:8: too much: more than 8388608 values, aliases expanded");
	niwa_text_fini(&yaml);
}

static void an_app_of_many_values_is_refused_before_it_is_built(void **state)
{
	struct niwa_text yaml = {0};

	niwa_text_add(&yaml, "x-0: &a [");
	for (int i = 0; i < 1000; i++)
		niwa_text_add(&yaml, "x, ");
	niwa_text_add(&yaml, "]\napps:\n- command: [");
	for (int i = 0; i < 1000; i++)
		niwa_text_add(&yaml, "*a, ");
	niwa_text_add(&yaml, "]\n");
	assert_loads_as(yaml.data,
			"f.yaml:3: apps[0]: found 1001003 values; allowed: at most 65536 bytes of declaration");
	niwa_text_fini(&yaml);
}

static void problems_are_reported_up_to_a_bound(void **state)
{
	struct niwa_text yaml = {0};
	char *messages;
	size_t lines = 1;

	niwa_text_add(&yaml, "x-a: &a [x]\napps:\n");
	for (int i = 0; i < 200000; i++)
		niwa_text_add(&yaml, "- *a\n");
	messages = load_in("/", yaml.data);
	for (char *c = messages; *c; c++)
		lines += *c == '\n';
	assert_int_equal(lines, 101);
	assert_non_null(strstr(messages, "there is more; mend these first"));
	free(messages);
	niwa_text_fini(&yaml);
}

static void write_file(const char *folder, const char *name, const char *text)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/%s", folder, name);
	FILE *file = fopen(path, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

static void remove_file(const char *folder, const char *name)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/%s", folder, name);

	assert_int_equal(unlink(path), 0);
}

static void env_files_are_read_beside_the_app_file(void **state)
{
	char folder[] = "/tmp/niwa-spec-XXXXXX";
	char *text;

	assert_non_null(mkdtemp(folder));
	write_file(folder, "a.env", "# comment\n\nA=1\r\nB = \"two words\" \nQ='x'\nE=\nD=$A=b");
	write_file(folder, "b.env", "B=3\n\nC=4\n");
	write_file(folder, "bad.env", "A=1\nexport B=2\n");
	write_file(folder, "mark.env",
		   "\xef\xbb\xbf"
		   "A=1\n");
	write_file(folder, "name.env", "1B=2\n");
	write_file(folder, "worse.env", "A=1\nB\n");
	write_file(folder, "bytes.env", "A=\xff\n");
	text = load_in(folder, APP ", env_files: [a.env, b.env], env: {C: 5}}");
	assert_string_equal(text, "[{'env':{'A':'1','B':'3','C':'5','D':'$A=b','E':'','Q':'x'}," JSON "}]");
	free(text);
	text = load_in(folder, "defaults: {env_files: [a.env], env: {A: 2}}\n" APP ", env_files: [b.env]}");
	assert_string_equal(text, "[{'env':{'A':'2','B':'3','C':'4'}," JSON "}]");
	free(text);
	text = load_in(folder, APP ", env_files: [bad.env, worse.env, bytes.env]}");
	assert_non_null(strstr(text, "bad.env' line 2: found 'export'; allowed: KEY=value, without export"));
	assert_non_null(strstr(text, "worse.env' line 2: found 'B'; allowed: KEY=value"));
	assert_non_null(strstr(text, "bytes.env' line 1: not text; allowed: UTF-8"));
	free(text);
	text = load_in(folder, APP ", env_files: [mark.env, name.env]}");
	assert_non_null(strstr(text, "mark.env' line 1: found a byte order mark; allowed: UTF-8 without one"));
	assert_non_null(strstr(text, "name.env' line 1: found name '1B'; allowed: letters, digits and '_', no digit"));
	free(text);
	remove_file(folder, "mark.env");
	remove_file(folder, "name.env");
	remove_file(folder, "a.env");
	remove_file(folder, "b.env");
	remove_file(folder, "bad.env");
	remove_file(folder, "worse.env");
	remove_file(folder, "bytes.env");
	assert_int_equal(rmdir(folder), 0);
}

static void a_file_that_cannot_be_read_is_named(void **state)
{
	struct niwa_error err;
	json_t *apps = NULL;

	assert_int_equal(niwa_file_load("/nowhere/x.yaml", NULL, NULL, &apps, &err), -ENOENT);
	assert_string_equal(err.msg, "open '/nowhere/x.yaml': No such file or directory");
	assert_int_equal(niwa_file_load("/tmp", NULL, NULL, &apps, &err), -EISDIR);
	assert_string_equal(err.msg, "read '/tmp': Is a directory");
	assert_int_equal(niwa_file_load("/dev/zero", NULL, NULL, &apps, &err), -EFBIG);
	assert_string_equal(err.msg, "read '/dev/zero': more than 67108864 bytes: File too large");
	assert_null(apps);
}

/* The engine reads all records when it starts: 50,000 of them have to take well under a second. */
static void many_apps_load_in_good_time(void **state)
{
	struct niwa_text yaml = {0};
	struct niwa_file_text file = {.name = "f.yaml", .path = "f.yaml"};
	struct niwa_error err = {0};
	json_t *apps = NULL;
	uint64_t began;

	niwa_text_add(&yaml, "defaults: {image: host, limits: {memory: 256M, cpu: 50%}}\napps:\n");
	for (int i = 0; i < 5000; i++)
		niwa_text_addf(&yaml,
			       "- name: site%d.example.com\n  tenant: t%d\n  command: [apache2, -DFOREGROUND]\n"
			       "  ports: [{port: 80, protocol: http}]\n"
			       "  volumes: [{from: /srv/%d, to: /srv/site}]\n  lifetime: 1h\n",
			       i, i % 100, i);
	file.text = yaml.data;
	file.len = yaml.len;
	began = niwa_now_us();
	assert_int_equal(niwa_file_load_text(&file, NULL, NULL, &apps, &err), 0);
	assert_true(niwa_now_us() - began < 20 * NIWA_SEC); /* 0.15 s; sanitizers and busy machines take longer */
	assert_int_equal(json_array_size(apps), 5000);
	began = niwa_now_us();
	for (size_t i = 0; i < json_array_size(apps); i++) {
		struct niwa_app_spec *spec = NULL;

		assert_int_equal(niwa_app_from_json(json_array_get(apps, i), &spec, NULL, &err), 0);
		niwa_app_spec_free(&spec);
	}
	print_message("niwa_app_from_json: %.1f us each\n", (double)(niwa_now_us() - began) / 5000);
	json_decref(apps);
	niwa_text_fini(&yaml);
}

static void a_key_of_a_record_is_found_in_its_file(void **state)
{
	static const char yaml[] = "defaults:\n"
				   "  image: host\n"
				   "apps:\n"
				   "  - name: a\n"
				   "  - name: b\n"
				   "    volumes:\n"
				   "      - {from: /v/inner, to: /srv/a/b/}\n"
				   "      - {from: /v/outer, to: /srv/a}\n";
	static const struct {
		const char *app, *key;
		uint32_t line;
		const char *place;
	} cases[] = {
		{"b", "name", 5, "apps[1].name"},
		{"b", "image", 2, "defaults.image"},
		{"b", "volumes[0].from", 8, "apps[1].volumes[1].from"},
		{"b", "volumes[1].from", 7, "apps[1].volumes[0].from"},
		{"b", "command", 5, "apps[1].command"},
		{"c", "image", 0, ""},
	};
	char path[] = "/tmp/niwa-place-XXXXXX", place[NIWA_PLACE_MAX];
	NIWA_AUTO(niwa_file_places_free) struct niwa_file_places *places = NULL;
	int fd = mkstemp(path);

	(void)state;
	assert_int_equal(write(fd, yaml, sizeof(yaml) - 1), sizeof(yaml) - 1);
	(void)close(fd);
	places = niwa_file_places_open(path);
	(void)unlink(path);
	assert_non_null(places);
	assert_null(niwa_file_places_open(path));
	assert_null(niwa_file_places_open("-"));
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		json_t *record = json_pack("{s:s,s:[{s:s},{s:s}]}", "name", cases[i].app, "volumes", "to", "/srv/a",
					   "to", "/srv/a/b");

		place[0] = '\0';
		assert_int_equal(niwa_file_places_find(places, record, cases[i].key, place), cases[i].line);
		assert_string_equal(place, cases[i].place);
		json_decref(record);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_good_file_becomes_canonical_json),
		cmocka_unit_test(a_bad_file_is_refused_with_line_key_found_and_allowed),
		cmocka_unit_test(aliases_that_multiply_are_refused),
		cmocka_unit_test(an_app_of_many_values_is_refused_before_it_is_built),
		cmocka_unit_test(problems_are_reported_up_to_a_bound),
		cmocka_unit_test(env_files_are_read_beside_the_app_file),
		cmocka_unit_test(a_file_that_cannot_be_read_is_named),
		cmocka_unit_test(a_key_of_a_record_is_found_in_its_file),
		cmocka_unit_test(many_apps_load_in_good_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
