/* SPDX-License-Identifier: MIT
 *
 * Tests of niwa import: what is carried over, what is listed, and that the result is an app file.
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

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "spec/file.h"

static char folder[] = "/tmp/niwa-compose-XXXXXX";
static char path[64];

static int make_folder(void **state)
{
	if (!mkdtemp(folder))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/c.yml", folder);
	return 0;
}

static int remove_folder(void **state)
{
	return niwa_remove_tree(folder, NULL);
}

static void write_file(const char *name, const char *text)
{
	NIWA_AUTO(niwa_free_ptr) char *full = niwa_asprintf("%s/%s", folder, name);
	FILE *file = fopen(full, "we");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

/* Replaces the folder's name by DIR, which has no fixed name. Frees text. */
static char *hide_folder(char *text)
{
	struct niwa_text out = {0};
	char *at = text, *found;

	while ((found = strstr(at, folder))) {
		niwa_text_add_bytes(&out, at, (size_t)(found - at));
		niwa_text_add(&out, "DIR");
		at = found + strlen(folder);
	}
	niwa_text_add(&out, at);
	free(text);
	return out.data;
}

/* Imports; asserts that the result loads. */
static void import(const char *compose, char **ret_yaml, char **ret_notes)
{
	struct niwa_error err = {0};
	struct niwa_file_text file = {.name = "result", .path = path};
	json_t *apps = NULL;

	write_file("c.yml", compose);
	*ret_yaml = *ret_notes = NULL;
	if (niwa_compose_import(path, "shop", ret_yaml, ret_notes, &err) < 0)
		fail_msg("%s", err.msg);
	file.text = *ret_yaml;
	file.len = strlen(*ret_yaml);
	if (niwa_file_load_text(&file, NULL, NULL, &apps, &err) < 0)
		fail_msg("%s\n%s", err.msg, *ret_yaml);
	json_decref(apps);
	*ret_yaml = hide_folder(*ret_yaml);
	*ret_notes = hide_folder(*ret_notes);
}

#define HEAD "# Made from DIR/c.yml by niwa import.\ndefaults: {tenant: shop}\n\napps:\n"

static const struct {
	const char *what, *compose, *yaml, *notes;
} imports[] = {
	{"a service with everything in its short form",
	 "services:\n"
	 "  Web_1:\n"
	 "    image: nginx:1.25\n"
	 "    entrypoint: /bin/run --mode \"a b\"\n"
	 "    command: [x, 'y z']\n"
	 "    environment: {A: 1, B: yes, \"b.c\": d, E: }\n"
	 "    env_file: web.env\n"
	 "    ports: ['8080:80', 443, '3000-3001']\n"
	 "    volumes: ['./d/../data:/data:ro', 'logs:/var/log', '../x:/x:z']\n"
	 "    user: '33'\n"
	 "    working_dir: /srv/\n"
	 "    restart: on-failure:3\n"
	 "    stop_signal: SIGQUIT\n"
	 "    stop_grace_period: 1m30s\n"
	 "    mem_limit: 1.5gb\n"
	 "    cpus: 0.5\n"
	 "    pids_limit: -1\n"
	 "    init: true\n",
	 HEAD "  - name: web-1.shop\n"
	      "    image: nginx-1.25\n"
	      "    command: [/bin/run, \"--mode\", \"a b\", x, \"y z\"]\n"
	      "    user: 33\n"
	      "    workdir: /srv/\n"
	      "    env:\n"
	      "      A: 1\n"
	      "      B: yes\n"
	      "    env_files: [DIR/web.env]\n"
	      "    init: true\n"
	      "    ports:\n"
	      "      - {port: 80, protocol: http, publish: \"[::]:8080\"}\n"
	      "      - {port: 443, protocol: tcp, speaks: client}\n"
	      "      - {port: 3000, protocol: http}\n"
	      "      - {port: 3001}\n"
	      "    volumes:\n"
	      "      - {from: DIR/data, to: /data, read_only: true}\n"
	      "      - {from: /srv/volumes/logs, to: /var/log}\n"
	      "      - {from: /tmp/x, to: /x}\n"
	      "    limits: {memory: 1.5G, cpu: 50%, processes: none}\n"
	      "    stop: {signal: SIGQUIT, grace: 1m30s}\n"
	      "    restart: {policy: on-failure}\n",
	 "DIR/c.yml:3: Web_1.image: import it first: niwa image import nginx-1.25 docker://nginx:1.25\n"
	 "DIR/c.yml:6: Web_1.environment.b.c: left out: not a name for a variable\n"
	 "DIR/c.yml:6: Web_1.environment.E: left out: its value comes from the shell\n"
	 "DIR/c.yml:8: Web_1.ports[2]: port 3001 is taken as tcp; say protocol and speaks if you know better\n"
	 "DIR/c.yml:9: Web_1.volumes[1]: the named volume is the folder /srv/volumes/logs now; copy its content "
	 "there\n"},
	{"the long forms",
	 "services:\n"
	 "  a:\n"
	 "    image: localhost:5000/team/app@sha256:abc\n"
	 "    environment: [\"A=x=y\", B, \"HOST=db:1\"]\n"
	 "    env_file: [{path: web.env}, {path: none.env}]\n"
	 "    ports:\n"
	 "    - {target: 25, published: 2525, host_ip: 10.0.0.1}\n"
	 "    - {target: 53, protocol: udp}\n"
	 "    - {target: 81, published: 81, host_ip: '::1'}\n"
	 "    - {target: 82, published: 82, host_ip: 'fe80::1'}\n"
	 "    volumes:\n"
	 "    - {type: bind, source: /d, target: /d, read_only: true}\n"
	 "    - {type: tmpfs, target: /t}\n"
	 "    - {type: bind, source: /proc, target: /p}\n"
	 "    healthcheck: {test: \"wget -q http://127.0.0.1:81/up || exit 1\"}\n"
	 "    deploy: {resources: {limits: {cpus: '2', memory: 64M, pids: 9}, reservations: {memory: 1M}}, mode: x}\n"
	 "    ulimits: {nofile: 1024, nproc: 3}\n"
	 "  db: {image: 'docker.io/library/mariadb', user: no such user}\n",
	 HEAD "  - name: a.shop\n"
	      "    image: localhost-5000-team-app-sha256-abc\n"
	      "    env:\n"
	      "      A: x=y\n"
	      "      HOST: \"db:1\"\n"
	      "    env_files: [DIR/web.env]\n"
	      "    ports:\n"
	      "      - {port: 25, protocol: smtp, publish: \"10.0.0.1:2525\"}\n"
	      "      - {port: 81, publish: \"[::1]:81\"}\n"
	      "      - {port: 82}\n"
	      "    volumes:\n"
	      "      - {from: /d, to: /d, read_only: true}\n"
	      "    limits: {cpu: 200%, memory: 64M, processes: 9, open_files: 1024}\n"
	      "    ready: {port: 81, http: /up}\n"
	      "\n"
	      "  - name: db.shop\n"
	      "    image: mariadb\n"
	      "    ports:\n"
	      "      - {port: 3306, protocol: mysql}\n",
	 "DIR/c.yml:3: a.image: import it first: niwa image import localhost-5000-team-app-sha256-abc "
	 "docker://localhost:5000/team/app@sha256:abc\n"
	 "DIR/c.yml:4: a.environment[1]: left out: its value comes from the shell\n"
	 "DIR/c.yml:4: a.environment[2]: names service 'db'; its address is db.shop.niwa.internal here\n"
	 "DIR/c.yml:5: a.env_file[1]: left out: open 'DIR/none.env': No such file or directory\n"
	 "DIR/c.yml:8: a.ports[1]: left out: niwa carries TCP only\n"
	 "DIR/c.yml:9: a.ports[2]: port 81 is taken as tcp; say protocol and speaks if you know better\n"
	 "DIR/c.yml:10: a.ports[3]: not published: 'fe80::1' is not an address to listen on\n"
	 "DIR/c.yml:10: a.ports[3]: port 82 is taken as tcp; say protocol and speaks if you know better\n"
	 "DIR/c.yml:13: a.volumes[1]: left out: niwa has no volumes of type tmpfs\n"
	 "DIR/c.yml:14: a.volumes[2]: left out: niwa does not mount '/proc' at '/p'\n"
	 "DIR/c.yml:15: a.healthcheck: only its path is used, to find out that the app is ready\n"
	 "DIR/c.yml:16: a.deploy.resources.reservations: left out: niwa sets limits, nothing is reserved\n"
	 "DIR/c.yml:16: a.deploy.mode: left out: niwa decides by itself how many run, where and when\n"
	 "DIR/c.yml:17: a.ulimits.nproc: left out: niwa limits only nofile, as limits.open_files\n"
	 "DIR/c.yml:18: db.image: import it first: niwa image import mariadb docker://docker.io/library/mariadb\n"
	 "DIR/c.yml:18: db.image: no port is declared; 3306 is a guess from the image's name\n"
	 "DIR/c.yml:18: db: left out: user: found 'no such user'; allowed: USER, USER:GROUP, names or numbers up to "
	 "65535\n"},
	{"variables",
	 "services:\n  a:\n    image: ${IMAGE}:${TAG:-1}$NOTHING\n    expose: [80]\n"
	 "    environment: {A: $$x, B: '${NONE-a}${', C: $IMAGE$, D: \"\\u00e9\\e\"}\n",
	 HEAD "  - name: a.shop\n"
	      "    image: web-1\n"
	      "    env:\n"
	      "      A: \"$x\"\n"
	      "      B: \"a${\"\n"
	      "      C: \"web$\"\n"
	      "      D: \"\xc3\xa9\\x1B\"\n"
	      "    ports:\n"
	      "      - {port: 80, protocol: http}\n",
	 "DIR/c.yml:3: a.image: variable NOTHING has no value in .env and no default; empty here\n"
	 "DIR/c.yml:3: a.image: import it first: niwa image import web-1 docker://web:1\n"},
	{"services that cannot be together, or not at all",
	 "services:\n"
	 "  a_b: {image: x, ports: ['80:80'], volumes: ['v:/v']}\n"
	 "  a-b: {image: x, ports: ['81:80']}\n"
	 "  c: {image: x, ports: ['80:80'], volumes: ['v:/w', 'w:/x:ro'], privileged: true, x-y: 1, what: 2}\n"
	 "  worker: {image: x}\n"
	 "  built: {build: ., ports: [80]}\n"
	 "  none: 3\n"
	 "  'bad name': {image: x, ports: [80]}\n"
	 "  -: {image: \"x\\ny\", ports: [[], 'x', '70000', '1-60', '1:2-3', '1/sctp'], volumes: [3, [], x], command: "
	 "{}}\n"
	 "networks: {n: }\n",
	 HEAD "  - name: a-b.shop\n"
	      "    image: x\n"
	      "    ports:\n"
	      "      - {port: 80, protocol: http, publish: \"[::]:80\"}\n"
	      "    volumes:\n"
	      "      - {from: /srv/volumes/v, to: /v, shared: true}\n"
	      "\n"
	      "  - name: c.shop\n"
	      "    image: x\n"
	      "    ports:\n"
	      "      - {port: 80, protocol: http}\n"
	      "    volumes:\n"
	      "      - {from: /srv/volumes/v, to: /w, shared: true}\n"
	      "      - {from: /srv/volumes/w, to: /x, read_only: true}\n",
	 NULL},
};

static void services_become_apps_and_the_rest_is_listed(void **state)
{
	write_file("web.env", "X=1\n");
	write_file(".env", "IMAGE=web\n");
	for (size_t i = 0; i < NIWA_ARRAY_LEN(imports); i++) {
		char *yaml, *notes;

		import(imports[i].compose, &yaml, &notes);
		assert_string_equal(yaml, imports[i].yaml);
		if (imports[i].notes)
			assert_string_equal(notes, imports[i].notes);
		free(yaml);
		free(notes);
	}
}

static void what_cannot_be_carried_over_says_why(void **state)
{
	static const char *const expected[] = {
		"DIR/c.yml:10: networks: left out: niwa has no such thing\n",
		"DIR/c.yml:4: c.privileged: left out: no app of niwa is privileged\n",
		"DIR/c.yml:4: c.what: left out: niwa has no such key\n",
		"DIR/c.yml:5: worker: the app is left out: without a port no connection could wake it\n",
		"DIR/c.yml:6: built.build: left out: niwa builds no images: build it elsewhere and import it\n",
		"DIR/c.yml:6: built: the app is left out: without an image there is nothing to run\n",
		"DIR/c.yml:7: none: left out: not a service, or too large a one\n",
		"DIR/c.yml:9: -.image: import it first: niwa image import x?y docker://x?y\n",
		"DIR/c.yml:8: bad name: left out: name: found 'bad name.shop'; allowed: a DNS name",
		"DIR/c.yml:8: bad name: the app is left out\n",
		"DIR/c.yml:9: -.ports[0]: left out: not a port\n",
		"DIR/c.yml:9: -.ports[3]: left out: not a port, or too many ports\n",
		"DIR/c.yml:9: -.ports[5]: left out: niwa carries TCP only, not sctp\n",
		"DIR/c.yml:9: -.volumes[1]: left out: not a volume\n",
		"DIR/c.yml:9: -.command: left out: not a command\n",
		": services: two are named 'a-b.shop'; the second is left out\n",
		": services: [::]:80 is published twice; left out at c.shop\n",
		": services: /srv/volumes/v is written to by several: shared: true; never do so with a database\n",
	};
	char *yaml, *notes;

	import(imports[3].compose, &yaml, &notes);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(expected); i++)
		if (!strstr(notes, expected[i]))
			fail_msg("not in the notes: %s\n%s", expected[i], notes);
	free(yaml);
	free(notes);
}

static void what_is_no_compose_file_is_refused(void **state)
{
	static const struct {
		const char *compose, *msg;
	} cases[] = {
		{"", "DIR/c.yml: services: missing; allowed: a Compose file with a map of services"},
		{"services: []", "DIR/c.yml: services: missing; allowed: a Compose file with a map of services"},
		{"services: {a: {image: x}}", "DIR/c.yml: no service can become an app, the last: DIR/c.yml:1: a: the "
					      "app is left out: without a port no connection could wake it"},
		{"services: {}", "DIR/c.yml: no service can become an app"},
		{"a: [", "DIR/c.yml:2: not YAML: did not find expected node content while parsing a flow node"},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_error err = {0};
		char *yaml = NULL, *notes = NULL, *msg;

		write_file("c.yml", cases[i].compose);
		assert_int_equal(niwa_compose_import(path, NULL, &yaml, &notes, &err), -EINVAL);
		msg = hide_folder(strdup(err.msg));
		assert_string_equal(msg, cases[i].msg);
		free(msg);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(services_become_apps_and_the_rest_is_listed),
		cmocka_unit_test(what_cannot_be_carried_over_says_why),
		cmocka_unit_test(what_is_no_compose_file_is_refused),
	};

	return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
