/* SPDX-License-Identifier: MIT
 *
 * Tests of records: what is read, what is refused and in which words, what is written. JSON is written with single
 * quotes here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <signal.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/memory.h"
#include "base/text.h"
#include "spec/app.h"

#define BASE "'name': 'a.example', 'image': '/srv/root'"
#define PORT BASE ", 'ports': [{'port': 80}]"

static json_t *parse(const char *text)
{
	char *copy = strdup(text);
	json_error_t error;
	json_t *json;

	for (char *c = copy; *c; c++)
		if (*c == '\'')
			*c = '"';
	json = json_loads(copy, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
	if (!json)
		print_error("%s: %s\n", copy, error.text);
	free(copy);
	assert_non_null(json);
	return json;
}

static struct niwa_app_spec *read_app(const char *text)
{
	struct niwa_app_spec *spec = NULL;
	struct niwa_error err = {0};
	json_t *json = parse(text);

	if (niwa_app_from_json(json, &spec, NULL, &err) < 0)
		print_error("%s\n", err.msg);
	assert_non_null(spec);
	json_decref(json);
	return spec;
}

/* The canonical text with single quotes. */
static char *write_app(const struct niwa_app_spec *spec)
{
	json_t *json = niwa_app_to_json(spec);
	char *text = json_dumps(json, JSON_COMPACT);

	assert_non_null(text);
	for (char *c = text; *c; c++)
		if (*c == '"')
			*c = '\'';
	json_decref(json);
	return text;
}

static void a_small_app_gets_the_defaults(void **state)
{
	struct niwa_app_spec *s = read_app("{" PORT "}");

	assert_string_equal(s->name, "a.example");
	assert_string_equal(s->tenant, "a.example");
	assert_string_equal(s->image, "/srv/root");
	assert_null(s->command[0]);
	assert_null(s->env[0]);
	assert_null(s->user);
	assert_null(s->workdir);
	assert_false(s->init);
	assert_int_equal(s->port_count, 1);
	assert_int_equal(s->ports[0].number, 80);
	assert_int_equal(s->ports[0].protocol, NIWA_PROTO_TCP);
	assert_int_equal(s->ports[0].speaks, NIWA_SPEAKS_SERVER);
	assert_int_equal(s->ports[0].publish.port, 0);
	assert_int_equal(s->volume_count, 0);
	assert_int_equal(s->egress, NIWA_EGRESS_INTERNET);
	assert_int_equal(s->limits.memory_bytes, 0);
	assert_int_equal(s->limits.processes, 1024);
	assert_int_equal(s->lifetime_us, 0);
	assert_int_equal(s->rotate, NIWA_ROTATE_OVERLAP);
	assert_int_equal(s->sleep.freeze_us, 10 * NIWA_SEC);
	assert_int_equal(s->sleep.page_us, 60 * NIWA_SEC);
	assert_int_equal(s->sleep.save_us, 300 * NIWA_SEC);
	assert_int_equal(s->sleep.connection_us, 3600 * NIWA_SEC);
	assert_int_equal(s->sleep.cpu_centi, 100);
	assert_int_equal(s->ready.kind, NIWA_READY_LISTEN);
	assert_int_equal(s->ready.port, 80);
	assert_int_equal(s->ready.deadline_us, 30 * NIWA_SEC);
	assert_int_equal(s->stop.signal, SIGTERM);
	assert_int_equal(s->stop.grace_us, 10 * NIWA_SEC);
	assert_int_equal(s->restart.policy, NIWA_RESTART_ON_WAKE);
	assert_int_equal(s->restart.backoff_us, 100 * NIWA_MS);
	assert_int_equal(s->restart.backoff_max_us, 30 * NIWA_SEC);
	assert_int_equal(s->wake_deadline_us, 25 * NIWA_SEC);
	assert_int_equal(s->max_waiting, 1024);
	niwa_app_spec_free(&s);
	assert_null(s);
}

static const char full_app[] =
	"{'command':['apache2','-DFOREGROUND',''],'egress':['10.0.0.0/8','192.0.2.7'],'env':{'A':'1','EMPTY':''},"
	"'image':'host','init':true,'lifetime':'1h30m','limits':{'cpu':'12.5%','disk':'1G','io_weight':50,"
	"'memory':'256M','open_files':2048,'processes':64},'max_waiting':10,'name':'blog.example.com','ports':[{'allow'"
	":"
	"'any','port':80,'protocol':'http','publish':8080},{'allow':['shop','mail.example'],'port':25,'protocol':'smtp'"
	","
	"'publish':'0.0.0.0:2525','speaks':'client'}],'ready':{'deadline':'5s','http':'/health','port':25},'restart':{"
	"'backoff':'1s','backoff_max':'1m','policy':'always'},'rotate':'handover','sleep':{'connection':'2h','cpu':"
	"'0.5%','freeze':'2s','page':'30s','save':'5m'},'stop':{'grace':'0','signal':'SIGWINCH'},'tenant':'example',"
	"'user':'www-data:33','volumes':[{'from':'/srv/blog','owner':'www-example','shared':true,'to':'/srv/blog'},{"
	"'from':'/etc/x','read_only':true,'to':'/srv/blog/etc'}],'wake_deadline':'10s','workdir':'/srv'}";

static void every_key_is_read(void **state)
{
	struct niwa_app_spec *s = read_app(full_app);
	char text[NIWA_PUBLISH_TEXT];

	assert_string_equal(s->tenant, "example");
	assert_string_equal(s->command[1], "-DFOREGROUND");
	assert_string_equal(s->command[2], "");
	assert_null(s->command[3]);
	assert_string_equal(s->user, "www-data:33");
	assert_string_equal(s->workdir, "/srv");
	assert_string_equal(s->env[0], "A=1");
	assert_string_equal(s->env[1], "EMPTY=");
	assert_true(s->init);
	assert_true(s->ports[0].allow_any);
	assert_int_equal(s->ports[0].speaks, NIWA_SPEAKS_CLIENT);
	assert_string_equal(niwa_publish_text(&s->ports[0].publish, text), "127.0.0.1:8080");
	assert_int_equal(s->ports[1].speaks, NIWA_SPEAKS_CLIENT);
	assert_string_equal(niwa_publish_text(&s->ports[1].publish, text), "0.0.0.0:2525");
	assert_int_equal(s->ports[1].allow_count, 2);
	assert_string_equal(s->ports[1].allow[1], "mail.example");
	assert_int_equal(s->volume_count, 2);
	assert_int_equal(s->volumes[0].owner, NIWA_OWNER_USER);
	assert_string_equal(s->volumes[0].owner_user, "www-example");
	assert_true(s->volumes[0].shared);
	assert_true(s->volumes[1].read_only);
	assert_int_equal(s->egress, NIWA_EGRESS_LIST);
	assert_string_equal(s->egress_list[0], "10.0.0.0/8");
	assert_int_equal(s->limits.memory_bytes, 256 << 20);
	assert_int_equal(s->limits.cpu_centi, 1250);
	assert_int_equal(s->limits.io_weight, 50);
	assert_int_equal(s->limits.open_files, 2048);
	assert_int_equal(s->limits.disk_bytes, 1 << 30);
	assert_int_equal(s->lifetime_us, 5400 * NIWA_SEC);
	assert_int_equal(s->rotate, NIWA_ROTATE_HANDOVER);
	assert_int_equal(s->sleep.connection_us, 7200 * NIWA_SEC);
	assert_int_equal(s->sleep.cpu_centi, 50);
	assert_int_equal(s->ready.kind, NIWA_READY_HTTP);
	assert_int_equal(s->ready.port, 25);
	assert_string_equal(s->ready.path, "/health");
	assert_int_equal(s->stop.signal, SIGWINCH);
	assert_int_equal(s->stop.grace_us, 0);
	assert_int_equal(s->restart.policy, NIWA_RESTART_ALWAYS);
	assert_int_equal(s->wake_deadline_us, 10 * NIWA_SEC);
	assert_int_equal(s->max_waiting, 10);
	niwa_app_spec_free(&s);
}

static void a_resident_app_never_sleeps(void **state)
{
	struct niwa_app_spec *s = read_app("{" PORT ", 'resident': true, 'sleep': {'freeze': '2s', 'answer': '1s'}}"),
			     *again;
	json_t *json = niwa_app_to_json(s);
	struct niwa_error err;

	(void)state;
	assert_true(s->resident);
	assert_int_equal(s->sleep.freeze_us, 0);
	assert_int_equal(s->sleep.page_us, 0);
	assert_int_equal(s->sleep.save_us, 0);
	assert_int_equal(s->sleep.answer_us, NIWA_SEC);
	assert_int_equal(s->snapshot, NIWA_SNAPSHOT_OFF);
	assert_int_equal(niwa_app_from_json(json, &again, NULL, &err), 0);
	assert_true(again->resident);
	assert_int_equal(again->sleep.save_us, 0);
	niwa_app_spec_free(&again);
	niwa_app_spec_free(&s);
	json_decref(json);
}

static void the_canonical_form_is_read_back_to_itself(void **state)
{
	static const struct {
		const char *in, *out; /* NULL: as it came in */
	} cases[] = {
		{full_app, NULL},
		{"{'image':'/srv/root','name':'a.example','ports':[{'port':80}]}", NULL},
		/* Defaults and derived defaults are left out. */
		{"{" PORT
		 ", 'tenant': 'a.example', 'rotate': 'overlap', 'egress': 'internet', 'command': [], 'env': {},"
		 "'volumes': [], 'limits': {'memory': 'none', 'processes': '1024'}, 'lifetime': 'never', 'ready': "
		 "{'listen': '80', 'notify': false}, 'sleep': {'freeze': '10s', 'page': '1m', 'save': '300s'}, 'stop': "
		 "{"
		 "'signal': 15}}",
		 "{'image':'/srv/root','name':'a.example','ports':[{'port':80}]}"},
		{"{" BASE ", 'ports': [{'port': '80', 'publish': '127.0.0.1:80', 'speaks': 'server', 'allow': []}]}",
		 "{'image':'/srv/root','name':'a.example','ports':[{'port':80,'publish':80}]}"},
		{"{" PORT ", 'volumes': [{'from': '/b/', 'to': '/y/z//'}, {'from': '/a', 'to': '/y', 'owner': 1000}]}",
		 "{'image':'/srv/root','name':'a.example','ports':[{'port':80}],'volumes':[{'from':'/a','owner':'1000',"
		 "'to':'/y'},{'from':'/b','to':'/y/z'}]}"},
		{"{" PORT ", 'ready': {'notify': true}}",
		 "{'image':'/srv/root','name':'a.example','ports':[{'port':80}],'ready':{'notify':true}}"},
		{"{" BASE ", 'ports': [{'port': 25}, {'port': 80, 'protocol': 'http'}], 'ready': {'http': '/'}}",
		 "{'image':'/srv/root','name':'a.example','ports':[{'port':25},{'port':80,'protocol':'http'}],'ready':"
		 "{'http':'/'}}"},
		{"{" PORT ", 'stop': {'signal': 'RTMIN+3'}, 'egress': 'none', 'limits': {'processes': 'none'}}",
		 "{'egress':'none','image':'/srv/"
		 "root','limits':{'processes':'none'},'name':'a.example','ports':[{'port':"
		 "80}],'stop':{'signal':'SIGRTMIN+3'}}"},
		{"{" BASE ", 'ports': [{'port': 80, 'proxy': 'v1'}, {'port': 81, 'proxy': 'none'}]}",
		 "{'image':'/srv/root','name':'a.example','ports':[{'port':80,'proxy':'v1'},{'port':81}]}"},
		/* Sleep times that were not given make room. */
		{"{" PORT ", 'sleep': {'save': '5s'}}",
		 "{'image':'/srv/"
		 "root','name':'a.example','ports':[{'port':80}],'sleep':{'freeze':'2s500ms','page':'never',"
		 "'save':'5s'}}"},
		{"{" PORT ", 'awake': 'Mon-Fri 08:00-18:00', 'wake': '*/15 * * * *'}",
		 "{'awake':{'times':['Mon-Fri 08:00-18:00']},'image':'/srv/root','name':'a.example','ports':[{'port':"
		 "80}],'wake':{'at':['*/15 * * * *']}}"},
		{"{" PORT ", 'awake': {'times': ['Sat', 'Sun'], 'zone': 'UTC'}, 'wake': {'at': ['@daily'], 'for': "
		 "'60s', 'zone': 'Europe/Vienna'}}",
		 "{'awake':{'times':['Sat','Sun'],'zone':'UTC'},'image':'/srv/root','name':'a.example','ports':[{'port'"
		 ":80}],'wake':{'at':['@daily'],'zone':'Europe/Vienna'}}"},
		{"{" BASE ", 'ports': [{'port': 80, 'wake': {'from': 'any', 'wakes': 'any'}}, {'port': 81, 'wake': "
		 "{'from': 'none', 'wakes': '3/m'}}, {'port': 82, 'wake': {'from': ['host', 'tenant', "
		 "'2001:db8::/32', '10.0.0.0/8'], 'wakes': '7/d'}}]}",
		 "{'image':'/srv/root','name':'a.example','ports':[{'port':80},{'port':81,'wake':{'from':'none','wakes'"
		 ":'3/m'}},{'port':82,'wake':{'from':['host','tenant','2001:db8::/32','10.0.0.0/8'],'wakes':'7/d'}}]}"},
		{"{" PORT ", 'sleep': {'freeze': '2m'}}",
		 "{'image':'/srv/"
		 "root','name':'a.example','ports':[{'port':80}],'sleep':{'freeze':'2m','page':'12m','save':"
		 "'1h'}}"},
		{"{" PORT ", 'sleep': {'freeze': 'never'}}",
		 "{'image':'/srv/"
		 "root','name':'a.example','ports':[{'port':80}],'sleep':{'freeze':'never','page':'never',"
		 "'save':'5m'}}"},
		{"{" PORT ", 'sleep': {'freeze': 'never', 'save': 'never', 'page': '0'}}",
		 "{'image':'/srv/"
		 "root','name':'a.example','ports':[{'port':80}],'sleep':{'freeze':'never','page':'never',"
		 "'save':'never'}}"},
		{"{" PORT ", 'sleep': {'page': '8s'}, 'restart': {'backoff': '1m'}}",
		 "{'image':'/srv/"
		 "root','name':'a.example','ports':[{'port':80}],'restart':{'backoff':'1m','backoff_max':"
		 "'1m'},'sleep':{'freeze':'4s','page':'8s','save':'5m'}}"},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_app_spec *s = read_app(cases[i].in);
		char *once = write_app(s), *twice;

		niwa_app_spec_free(&s);
		assert_string_equal(once, cases[i].out ? cases[i].out : cases[i].in);
		s = read_app(once);
		twice = write_app(s);
		assert_string_equal(once, twice);
		niwa_app_spec_free(&s);
		free(once);
		free(twice);
	}
}

static const struct {
	const char *json, *key, *msg;
} refused[] = {
	{"[]", "", "found a list; allowed: a map that declares an app"},
	{"{}", "name",
	 "name: missing; allowed: a DNS name in lower case: labels of letters, digits and inner '-', at most 63 "
	 "characters each and 253 in all"},
	{"{'name': 'Blog.example'}", "name",
	 "name: found 'Blog.example'; allowed: a DNS name in lower case: labels of letters, digits and inner '-', at "
	 "most "
	 "63 characters each and 253 in all"},
	{"{" BASE "}", "ports",
	 "ports: missing; allowed: a list of at most 16 maps of port, protocol, speaks, proxy, publish, allow, wake"},
	{"{" BASE ", 'ports': []}", "ports", "ports: found 0 items; allowed: 1 to 16"},
	{"{" BASE ", 'ports': [80]}", "ports[0]", "ports[0]: found 80; allowed: a map such as {port: ...}"},
	{"{" BASE ", 'ports': [{}]}", "ports[0].port", "ports[0].port: missing; allowed: a number from 1 to 65535"},
	{"{" BASE ", 'ports': [{'port': 99999}]}", "ports[0].port",
	 "ports[0].port: found 99999; allowed: a number from 1 to 65535"},
	{"{" BASE ", 'ports': [{'port': '080'}]}", "ports[0].port",
	 "ports[0].port: found '080'; allowed: a number from 1 to 65535 (write it without the zero in front)"},
	{"{" BASE ", 'ports': [{'port': 80, 'publish': '010'}]}", "ports[0].publish",
	 "ports[0].publish: found '010'; allowed: PORT, :PORT (all addresses), ADDRESS:PORT or [IPV6]:PORT, a number "
	 "from 1 to 65535 "
	 "(write it without the zero in front)"},
	{"{" BASE ", 'ports': [{'port': -1}]}", "ports[0].port",
	 "ports[0].port: found -1; allowed: a number from 1 to 65535"},
	{"{" BASE ", 'ports': [{'port': 80.5}]}", "ports[0].port",
	 "ports[0].port: found a fraction; allowed: a number from 1 to 65535"},
	{"{" BASE ", 'ports': [{'port': 80, 'protocol': 'htp'}]}", "ports[0].protocol",
	 "ports[0].protocol: found 'htp'; allowed: tcp, http, smtp, imap, lmtp, pop3, postgres, mysql or redis; did "
	 "you "
	 "mean 'http'?"},
	{"{" BASE ", 'ports': [{'port': 80, 'protcol': 'http'}]}", "ports[0].protcol",
	 "ports[0].protcol: unknown key; allowed: port, protocol, speaks, proxy, publish, allow, wake; did you mean "
	 "'protocol'?"},
	{"{" BASE ", 'ports': [{'port': 80, 'publish': '::1:80'}]}", "ports[0].publish",
	 "ports[0].publish: found '::1:80'; allowed: PORT, :PORT (all addresses), ADDRESS:PORT or [IPV6]:PORT, a "
	 "number from 1 to 65535"},
	{"{" BASE ", 'ports': [{'port': 80, 'publish': '[fe80::1]:80'}]}", "ports[0].publish",
	 "ports[0].publish: found '[fe80::1]:80'; allowed: PORT, :PORT (all addresses), ADDRESS:PORT or [IPV6]:PORT, a "
	 "number from 1 to 65535"},
	{"{" BASE ", 'ports': [{'port': 80, 'publish': '[2001:db8::1]'}]}", "ports[0].publish",
	 "ports[0].publish: found '[2001:db8::1]'; allowed: PORT, :PORT (all addresses), ADDRESS:PORT or [IPV6]:PORT, "
	 "a number from 1 to 65535"},
	{"{" BASE ", 'ports': [{'port': 80, 'publish': '[::1]:1'}, {'port': 81, 'publish': ':1'}]}", "ports[1].publish",
	 "ports[1].publish: found 1, as in ports[0]; allowed: each port of the host once"},
	{"{" BASE ", 'ports': [{'port': 80, 'publish': 0}]}", "ports[0].publish",
	 "ports[0].publish: found 0; allowed: PORT, :PORT (all addresses), ADDRESS:PORT or [IPV6]:PORT, a number from "
	 "1 to 65535"},
	{"{" BASE ", 'ports': [{'port': 80, 'allow': 'shop'}]}", "ports[0].allow",
	 "ports[0].allow: found 'shop'; allowed: any, or a list of at most 32 tenants"},
	{"{" BASE ", 'ports': [{'port': 80, 'allow': ['any']}]}", "ports[0].allow[0]",
	 "ports[0].allow[0]: found 'any'; allowed: a tenant's name; 'any' stands alone, without []"},
	{"{" BASE ", 'ports': [{'port': 80, 'allow': ['a', 'a']}]}", "ports[0].allow",
	 "ports[0].allow: found 'a' twice; allowed: each tenant once"},
	{"{" BASE ", 'ports': [{'port': 80}, {'port': 80}]}", "ports[1].port",
	 "ports[1].port: found 80, as in ports[0]; allowed: each port once"},
	{"{" BASE ", 'ports': [{'port': 80, 'publish': '10.0.0.1:1'}, {'port': 81, 'publish': '0.0.0.0:1'}]}",
	 "ports[1].publish", "ports[1].publish: found 1, as in ports[0]; allowed: each port of the host once"},
	{"{" PORT ", 'routes': [{'domain': 'Example.com'}]}", "routes[0].domain",
	 "routes[0].domain: found 'Example.com'; allowed: a DNS name in lower case, as app names; one with other "
	 "letters "
	 "as punycode (xn--...), no wildcard"},
	{"{" PORT ", 'routes': [{'domain': '*.example.com'}]}", "routes[0].domain",
	 "routes[0].domain: found '*.example.com'; allowed: a DNS name in lower case, as app names; one with other "
	 "letters as punycode (xn--...), no wildcard"},
	{"{" PORT ", 'routes': [{'domain': 'xn--99zzzzzz99.de'}]}", "routes[0].domain",
	 "routes[0].domain: found 'xn--99zzzzzz99.de'; allowed: a DNS name in lower case, as app names; one with other "
	 "letters as punycode (xn--...), no wildcard"},
	{"{" PORT ", 'routes': [{'domain': 'ab--c.de'}]}", "routes[0].domain",
	 "routes[0].domain: found 'ab--c.de'; allowed: a DNS name in lower case, as app names; one with other letters "
	 "as "
	 "punycode (xn--...), no wildcard"},
	{"{" PORT ", 'routes': [{'domain': 'a.de'}, {'domain': 'a.de', 'protocol': 'smtp'}, {'domain': 'a.de'}]}",
	 "routes[2].domain", "routes[2].domain: found 'a.de', as in routes[0]; allowed: each domain once"},
	{"{" PORT ", 'comand': ['x']}", "comand",
	 "comand: unknown key; allowed: name, tenant, labels, image, command, user, workdir, env, env_files, init, "
	 "ports, "
	 "routes, volumes, egress, limits, lifetime, rotate, resident, scale, sleep, awake, wake, ready, stop, "
	 "restart, "
	 "snapshot, warm, restore_signal, wake_deadline, max_waiting; did you "
	 "mean 'command'?"},
	{"{" PORT ", 'vol': []}", "vol",
	 "vol: unknown key; allowed: name, tenant, labels, image, command, user, workdir, env, env_files, init, ports, "
	 "routes, volumes, egress, limits, lifetime, rotate, resident, scale, sleep, awake, wake, ready, stop, "
	 "restart, "
	 "snapshot, warm, restore_signal, wake_deadline, max_waiting; did you "
	 "mean 'volumes'?"},
	{"{" PORT ", 'something\\nelse': []}", "something\\x0aelse",
	 "something\\x0aelse: unknown key; allowed: name, tenant, labels, image, command, user, workdir, env, "
	 "env_files, init, "
	 "ports, routes, volumes, egress, limits, lifetime, rotate, resident, scale, sleep, awake, wake, ready, stop, "
	 "restart, "
	 "snapshot, warm, restore_signal, wake_deadline, max_waiting"},
	{"{" PORT ", 'command': 'x -y'}", "command",
	 "command: found 'x -y'; allowed: a list of at most 256 texts, such as [one, two]"},
	{"{" PORT ", 'command': ['']}", "command[0]", "command[0]: found ''; allowed: the name or path of a program"},
	{"{" PORT ", 'command': ['x', 3]}", "command[1]", "command[1]: found 3; allowed: a text"},
	{"{'name': 'a', 'image': 'host', 'ports': [{'port': 80}]}", "command",
	 "command: missing; allowed: a list of texts, because image host has no command of its own"},
	{"{'name': 'a', 'image': 'docker.io/x', 'ports': [{'port': 80}]}", "image",
	 "image: found 'docker.io/x'; allowed: host, an absolute path of a folder, or the name of an imported image "
	 "(letters, digits, '.', '_', '-', at most 128)"},
	{"{" PORT ", 'tenant': 'any'}", "tenant",
	 "tenant: found 'any'; allowed: lower case letters, digits and inner '-' and '.', at most 63 characters, not "
	 "'any'"},
	{"{" PORT ", 'user': '65536'}", "user",
	 "user: found '65536'; allowed: USER, USER:GROUP, names or numbers up to 65535"},
	{"{" PORT ", 'env': ['A=1']}", "env", "env: found a list; allowed: at most 512 lines of KEY: value"},
	{"{" PORT ", 'env': {'1A': 'x'}}", "env.1A",
	 "env.1A: not a name for a variable; allowed: letters, digits and '_', no digit first"},
	{"{" PORT ", 'env': {'A': null}}", "env.A",
	 "env.A: found nothing; allowed: a text (in quotes where in doubt, \"\" for an empty one)"},
	{"{" PORT ", 'env_files': ['/x']}", "env_files", "env_files: found in a record; allowed: only in an app file"},
	{"{" PORT ", 'init': 'yes'}", "init", "init: found 'yes'; allowed: true or false"},
	{"{" PORT ", 'volumes': [{'from': '/a/../b', 'to': '/x'}]}", "volumes[0].from",
	 "volumes[0].from: found '/a/../b'; allowed: an absolute path on the host, no . or .. in it, not / and not "
	 "below "
	 "/proc, /sys, /dev or /run/niwa"},
	{"{" PORT ", 'volumes': [{'from': '/a', 'to': '/proc/self'}]}", "volumes[0].to",
	 "volumes[0].to: found '/proc/self'; allowed: an absolute path in the container, no . or .. in it, not / and "
	 "not "
	 "over /proc, /sys, /dev or /run/niwa"},
	{"{" PORT ", 'volumes': [{'from': '/a', 'to': '/run//'}]}", "volumes[0].to",
	 "volumes[0].to: found '/run//'; allowed: an absolute path in the container, no . or .. in it, not / and not "
	 "over "
	 "/proc, /sys, /dev or /run/niwa"},
	{"{" PORT ", 'volumes': [{'from': '/a', 'to': '/x', 'owner': 'root'}]}", "volumes[0].owner",
	 "volumes[0].owner: found 'root'; allowed: tenant, or a user of the host (name or number), not root"},
	{"{" PORT ", 'volumes': [{'from': '/a', 'to': '/x'}, {'from': '/b', 'to': '/x/'}]}", "volumes[1].to",
	 "volumes[1].to: found '/x', as in volumes[0]; allowed: each place once"},
	{"{" PORT ", 'volumes': [{'from': '/a', 'to': '/x', 'read_only': true, 'shared': true}]}", "volumes[0].shared",
	 "volumes[0].shared: found true beside read_only: true; allowed: one of them, what nobody writes needs no "
	 "leave to "
	 "be shared"},
	{"{" PORT ", 'scale': {'max': 3}}", "scale.max",
	 "scale.max: found 3 without a word on when an instance is full; allowed: with connections or cpu beside it"},
	{"{" PORT ", 'scale': {'cpu': '50%'}}", "scale.max",
	 "scale.max: missing or 1 beside connections or cpu; allowed: 2 to 16"},
	{"{" PORT ", 'scale': {'max': 17, 'cpu': '50%'}}", "scale.max",
	 "scale.max: found 17; allowed: a number from 1 to 16"},
	{"{" PORT ", 'scale': {'max': 3, 'connections': 5}, 'volumes': [{'from': '/a', 'to': '/x'}]}", "scale.max",
	 "scale.max: found 3 with a writable volume that is not shared; allowed: 1, or shared: true at each writable "
	 "volume"},
	{"{" PORT ", 'scale': {'max': 3, 'connections': 5}, 'rotate': 'handover'}", "scale.max",
	 "scale.max: found 3 with rotate: handover, which lets no two instances live beside each other; allowed: 1, or "
	 "rotate: overlap"},
	{"{" PORT ", 'scale': {'cpu_max': '50%'}}", "scale.cpu_max",
	 "scale.cpu_max: found without limits.cpu, so there is nothing to widen; allowed: with it"},
	{"{" PORT ", 'limits': {'cpu': '50%'}, 'scale': {'cpu_max': '50%'}}", "scale.cpu_max",
	 "scale.cpu_max: found no more than limits.cpu; allowed: more than that"},
	{"{" PORT ", 'resident': true, 'sleep': {'keep': 'memory'}}", "resident",
	 "resident: found true beside sleep: keep: memory; allowed: one of them, a resident app does not sleep"},
	{"{" PORT ", 'volumes': [{'from': '/a', 'to': '/x'}], 'rotate': 'overlap'}", "rotate",
	 "rotate: found overlap with a writable volume that is not shared; allowed: handover, or shared: true at each "
	 "writable volume"},
	{"{" PORT ", 'snapshot': 'off', 'sleep': {'keep': 'memory'}}", "snapshot",
	 "snapshot: found off beside sleep: keep: memory, which is an image too; allowed: one of them"},
	{"{" PORT ", 'egress': ['10.0.0.1/8']}", "egress[0]",
	 "egress[0]: found '10.0.0.1/8'; allowed: an address or network such as 192.0.2.7, 10.0.0.0/8 or "
	 "2001:db8::/32, no bits set behind the prefix, not /0"},
	{"{" PORT ", 'egress': ['2001:db8::1/32']}", "egress[0]",
	 "egress[0]: found '2001:db8::1/32'; allowed: an address or network such as 192.0.2.7, 10.0.0.0/8 or "
	 "2001:db8::/32, no bits set behind the prefix, not /0"},
	{"{" PORT ", 'egress': ['::/0']}", "egress[0]",
	 "egress[0]: found '::/0'; allowed: an address or network such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, no "
	 "bits set behind the prefix, not /0"},
	{"{" PORT ", 'egress': ['2001:db8::/129']}", "egress[0]",
	 "egress[0]: found '2001:db8::/129'; allowed: an address or network such as 192.0.2.7, 10.0.0.0/8 or "
	 "2001:db8::/32, no bits set behind the prefix, not /0"},
	{"{" PORT ", 'egress': ['host']}", "egress[0]",
	 "egress[0]: found 'host'; allowed: an address or network such as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32, no "
	 "bits set behind the prefix, not /0"},
	{"{" PORT ", 'egress': ['2001:db8::/32', '::/64', '128.0.0.0/1', '2001:db8:7::/48']}", "egress",
	 "egress: '2001:db8::/32' and '2001:db8:7::/48' overlap; allowed: networks without common addresses"},
	{"{" PORT ", 'egress': ['10.0.0.0/8', '10.1.0.0/16']}", "egress",
	 "egress: '10.0.0.0/8' and '10.1.0.0/16' overlap; allowed: networks without common addresses"},
	{"{" PORT ", 'egress': 'all'}", "egress",
	 "egress: found 'all'; allowed: none, internet, or a list of at most 64 networks such as [10.0.0.0/8, "
	 "192.0.2.7, \"2001:db8::/32\"]"},
	{"{" PORT ", 'limits': {'memory': '256MB'}}", "limits.memory",
	 "limits.memory: found '256MB'; allowed: a size such as 64M or 1.5G (units K, M, G, T), from 1M to 64T, or "
	 "none"},
	{"{" PORT ", 'limits': {'memory': 1000}}", "limits.memory",
	 "limits.memory: found 1000; allowed: a size such as 64M or 1.5G (units K, M, G, T), from 1M to 64T, or none"},
	{"{" PORT ", 'limits': {'cpu': '0.5'}}", "limits.cpu",
	 "limits.cpu: found '0.5'; allowed: a share of one CPU such as 50% or 12.5%, from 1% to 100000%, or none"},
	{"{" PORT ", 'limits': 3}", "limits",
	 "limits: found 3; allowed: a map of memory, cpu, processes, io_weight, open_files, disk"},
	{"{" PORT ", 'lifetime': '5'}", "lifetime",
	 "lifetime: found '5'; allowed: a time such as 300ms, 10s, 5m or 1h30m, from 1s to 3650d, or none"},
	{"{" PORT ", 'lifetime': true}", "lifetime",
	 "lifetime: found true; allowed: a time such as 300ms, 10s, 5m or 1h30m, from 1s to 3650d, or none"},
	{"{" PORT ", 'awake': 'Mon-Fri 8-18'}", "awake.times",
	 "awake.times: found 'Mon-Fri 8-18'; allowed: days, hours or both, such as Mon-Fri "
	 "08:00-18:00, "
	 "Sat,Sun or 22:00-06:00"},
	{"{" PORT ", 'awake': ['Mon', 'Mox']}", "awake.times[1]",
	 "awake.times[1]: found 'Mox'; allowed: days, hours or both, such as Mon-Fri 08:00-18:00, Sat,Sun or "
	 "22:00-06:00"},
	{"{" PORT ", 'awake': {'zone': 'UTC'}}", "awake.times",
	 "awake.times: missing; allowed: days, hours or both, such as Mon-Fri 08:00-18:00, Sat,Sun or 22:00-06:00; at "
	 "most 16 of them in a list"},
	{"{" PORT ", 'awake': {'times': 'Mon', 'zone': '../../etc/passwd'}}", "awake.zone",
	 "awake.zone: found '../../etc/passwd'; allowed: a time zone such as Europe/Vienna or UTC"},
	{"{" PORT ", 'awake': {'times': 'Mon', 'zones': 'UTC'}}", "awake.zones",
	 "awake.zones: unknown key; allowed: times, zone; did you mean 'zone'?"},
	{"{" PORT ", 'wake': {'at': ['0 0 * * *', '0 0 30 2 *']}}", "wake.at[1]",
	 "wake.at[1]: found '0 0 30 2 *': a day that never comes"},
	{"{" PORT ", 'wake': {'at': '0 24 * * *', 'for': '1m'}}", "wake.at",
	 "wake.at: found '0 24 * * *': hour '24'; allowed: 0 to 23, ranges such as 1-5, lists with ',', * and steps "
	 "such as */3"},
	{"{" PORT ", 'wake': {'at': '0 4 * * *', 'for': '0'}}", "wake.for",
	 "wake.for: found '0'; allowed: a time such as 300ms, 10s, 5m or 1h30m, from 1s to 1d"},
	{"{" BASE ", 'ports': [{'port': 80, 'wake': {'wakes': '20'}}]}", "ports[0].wake.wakes",
	 "ports[0].wake.wakes: found '20'; allowed: a number from 1 to 100000 with /m, /h or /d, such as 20/h, or any"},
	{"{" BASE ", 'ports': [{'port': 80, 'wake': {'wakes': '0/h'}}]}", "ports[0].wake.wakes",
	 "ports[0].wake.wakes: found '0/h'; allowed: a number from 1 to 100000 with /m, /h or /d, such as 20/h, or "
	 "any"},
	{"{" BASE ", 'ports': [{'port': 80, 'wake': {'from': ['10.0.0.1/8']}}]}", "ports[0].wake.from[0]",
	 "ports[0].wake.from[0]: found '10.0.0.1/8'; allowed: host, tenant, an address or a network such as 192.0.2.7, "
	 "10.0.0.0/8 or 2001:db8::/32, no bits set behind the prefix"},
	{"{" BASE ", 'ports': [{'port': 80, 'wake': {'from': 'all'}}]}", "ports[0].wake.from",
	 "ports[0].wake.from: found 'all'; allowed: any, none, or a list of at most 64 of host, tenant and networks "
	 "such as [host, 10.0.0.0/8, 2001:db8::/32]"},
	{"{" PORT ", 'sleep': {'freeze': '1m', 'page': '30s'}}", "sleep.page",
	 "sleep.page: found 30s; allowed: more than freeze, which is 1m"},
	{"{" PORT ", 'sleep': {'freeze': '1m', 'save': '1m'}}", "sleep.save",
	 "sleep.save: found 1m; allowed: more than freeze, which is 1m"},
	{"{" PORT ", 'sleep': {'freeze': 'never', 'page': '1m'}}", "sleep.page",
	 "sleep.page: found a time, but freeze is never; allowed: never, because only a frozen app is paged"},
	{"{" PORT ", 'ready': {'listen': 80, 'http': '/'}}", "ready",
	 "ready: found more than one kind of check; allowed: one of listen, http and notify"},
	{"{" PORT ", 'ready': {'port': 80}}", "ready.port",
	 "ready.port: found without http; allowed: listen: PORT, or http: PATH with port"},
	{"{" PORT ", 'ready': {'http': 'x y'}}", "ready.http",
	 "ready.http: found 'x y'; allowed: a path such as /health, at most 200 printable ASCII characters without "
	 "spaces"},
	{"{" BASE ", 'ports': [{'port': 80, 'proxy': 'v3'}]}", "ports[0].proxy",
	 "ports[0].proxy: found 'v3'; allowed: none, v1 or v2; did you mean 'v1'?"},
	{"{" PORT ", 'stop': {'signal': 'SIGFOO'}}", "stop.signal",
	 "stop.signal: found 'SIGFOO'; allowed: a signal such as SIGTERM, QUIT, SIGRTMIN+3 or 15"},
	{"{" PORT ", 'restart': {'policy': 'allways'}}", "restart.policy",
	 "restart.policy: found 'allways'; allowed: on-wake, always or on-failure; did you mean 'always'?"},
	{"{" PORT ", 'restart': {'backoff': '1m', 'backoff_max': '1s'}}", "restart.backoff_max",
	 "restart.backoff_max: found less than backoff; allowed: backoff or more"},
	{"{" PORT ", 'max_waiting': 0}", "max_waiting", "max_waiting: found 0; allowed: a number from 1 to 65536"},
};

static void a_bad_record_is_refused_with_key_found_and_allowed(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(refused); i++) {
		struct niwa_app_spec *spec = NULL;
		struct niwa_error err = {0};
		char key[128];
		json_t *json = parse(refused[i].json);

		assert_int_equal(niwa_app_from_json(json, &spec, key, &err), -EINVAL);
		assert_null(spec);
		assert_string_equal(err.msg, refused[i].msg);
		assert_string_equal(key, refused[i].key);
		assert_int_equal(err.kind, NIWA_CALLER);
		json_decref(json);
	}
}

static void a_record_has_a_bound(void **state)
{
	struct niwa_app_spec *spec = NULL;
	struct niwa_error err = {0};
	json_t *json = parse("{" PORT ", 'env': {}}");
	char *big = malloc(NIWA_APP_JSON_MAX + 1);

	memset(big, 'x', NIWA_APP_JSON_MAX);
	big[NIWA_APP_JSON_MAX] = '\0';
	json_object_set_new(json_object_get(json, "env"), "A", json_string(big));
	assert_int_equal(niwa_app_from_json(json, &spec, NULL, &err), -EINVAL);
	assert_string_equal(err.msg, "found about 65764 bytes of declaration; allowed: at most 65536");
	json_decref(json);
	free(big);
}

static void names_follow_dns(void **state)
{
	static const struct {
		const char *name;
		int r;
	} cases[] = {
		{"a", 0},
		{"a.b-c.d0", 0},
		{"xn--bcher-kva.example", 0},
		{"1.2.3.4", 0},
		{"-a", -EINVAL},
		{"a-", -EINVAL},
		{"a.", -EINVAL},
		{".a", -EINVAL},
		{"a..b", -EINVAL},
		{"a_b", -EINVAL},
		{"b\u00fccher.example", -EINVAL},
		{"", -EINVAL},
		{"a/b", -EINVAL},
		{"a b", -EINVAL},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		json_t *json = parse("{" PORT "}");
		struct niwa_app_spec *spec = NULL;

		json_object_set_new(json, "name", json_string(cases[i].name));
		assert_int_equal(niwa_app_from_json(json, &spec, NULL, NULL), cases[i].r);
		niwa_app_spec_free(&spec);
		json_decref(json);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_small_app_gets_the_defaults),
		cmocka_unit_test(every_key_is_read),
		cmocka_unit_test(a_resident_app_never_sleeps),
		cmocka_unit_test(the_canonical_form_is_read_back_to_itself),
		cmocka_unit_test(a_bad_record_is_refused_with_key_found_and_allowed),
		cmocka_unit_test(a_record_has_a_bound),
		cmocka_unit_test(names_follow_dns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
