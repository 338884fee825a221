/* SPDX-License-Identifier: MIT
 *
 * Every allocation fails once, jansson's too: the answer is -ENOMEM, nothing leaks (with the address sanitizer),
 * nothing crashes, and nothing half-read is returned. Each try is a process of its own, because the point of failure
 * is read from the environment once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "spec/app.h"
#include "spec/file.h"

#define TRIES_MAX 5000

static const char yaml[] =
	"x-a: &a {memory: 1G, cpu: 5%}\n"
	"defaults: {tenant: t, image: host, limits: *a, env: {A: 1}}\n"
	"apps:\n"
	"- name: a.example\n  command: [x, y]\n  ports: [{port: 80, protocol: http, publish: 8080, allow: [b, c]}]\n"
	"  volumes: [{from: /a, to: /a, owner: u}, {from: /b/, to: /b, shared: true}]\n  egress: [10.0.0.0/8]\n"
	"  env_files: [env]\n  env: {B: 2, C: x}\n  user: u\n  workdir: /x\n  ready: {http: /}\n  limits: {<<: *a, "
	"disk: 1G}\n"
	"- {name: b, command: [z], ports: [{port: 1}, {port: 2}], egress: none, sleep: {save: 1h},\n"
	"   env: {K01: a, K02: a, K03: a, K04: a, K05: a, K06: a, K07: a, K08: a, K09: a, K10: a, K11: a, K12: a, K13: "
	"a,\n"
	"         K14: a, K15: a, K16: a, K17: a, K18: a}}\n";

static const char compose[] =
	"services:\n"
	"  web: {image: \"nginx:${TAG:-1}\", command: run -x 'y z', environment: {A: 1, B: 2}, env_file: env,\n"
	"    ports: ['8080:80', {target: 81, published: 82}], volumes: ['./d:/d:ro', 'v:/v'], user: x, mem_limit: 1g,\n"
	"    cpus: 1, healthcheck: {test: 'curl http://x:80/y'}, stop_signal: SIGQUIT, what: ever}\n"
	"  db: {image: postgres, environment: [A=b], volumes: [{source: v, target: /v}], entrypoint: [x]}\n";

static char folder[] = "/tmp/niwa-memory-XXXXXX";

static void write_file(const char *name, const char *text)
{
	char path[128];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "we");
	if (!file || fputs(text, file) < 0 || fclose(file) != 0)
		abort();
}

static void *allocate(size_t size)
{
	return niwa_zalloc(size);
}

static int load_file(void)
{
	char path[128];
	struct niwa_error err = {0};
	json_t *apps = NULL;
	int r;

	(void)snprintf(path, sizeof(path), "%s/f.yaml", folder);
	r = niwa_file_load(path, NULL, NULL, &apps, &err);
	if (r < 0 && apps)
		abort();
	if (r < 0 && r != -ENOMEM)
		(void)fprintf(stderr, "%s\n", err.msg);
	if (r == 0 && json_array_size(apps) != 2)
		abort();
	for (size_t i = 0; r == 0 && i < json_array_size(apps); i++) {
		struct niwa_app_spec *spec = NULL;

		r = niwa_app_from_json(json_array_get(apps, i), &spec, NULL, &err);
		if ((r == 0) != (spec != NULL))
			abort();
		if (r == 0) {
			json_t *json = niwa_app_to_json(spec);

			r = json ? 0 : -ENOMEM;
			json_decref(json);
		}
		niwa_app_spec_free(&spec);
	}
	json_decref(apps);
	return r;
}

static int import_compose(void)
{
	char path[128];
	struct niwa_error err = {0};
	char *out = NULL, *notes = NULL;
	int r;

	(void)snprintf(path, sizeof(path), "%s/compose.yml", folder);
	r = niwa_compose_import(path, "t", &out, &notes, &err);
	if (r < 0 && (out || notes))
		abort();
	if (r < 0 && r != -ENOMEM)
		(void)fprintf(stderr, "%s\n", err.msg);
	/* Complete, or not at all. */
	if (r == 0 &&
	    (!strstr(out, "web.t") || !strstr(out, "db.t") || !strstr(out, "/y") || !strstr(out, "env_files")))
		abort();
	free(out);
	free(notes);
	return r;
}

/* 0: done, 1: out of memory was said, else something is wrong. */
static int try_once(int (*scenario)(void), unsigned fail_at)
{
	int status, r;
	pid_t pid;

	(void)fflush(NULL); /* the child exits by exit(), for the leak check */
	pid = fork();
	if (pid < 0)
		abort();
	if (pid == 0) {
		char number[16];

		(void)snprintf(number, sizeof(number), "%u", fail_at);
		(void)setenv("NIWA_FAIL_ALLOC", number, 1);
		json_set_alloc_funcs(allocate, free);
		r = scenario();
		exit(r == 0 ? 0 : r == -ENOMEM ? 1 : 2);
	}
	if (waitpid(pid, &status, 0) != pid)
		abort();
	return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static int fail_each_allocation(const char *name, int (*scenario)(void))
{
	unsigned n = 0;
	int r;

	do {
		r = try_once(scenario, ++n);
	} while (r == 1 && n < TRIES_MAX);
	if (r != 0)
		(void)fprintf(stderr, "%s: wrong when allocation %u fails: %d\n", name, n, r);
	else
		(void)printf("%s: %u allocations failed one by one\n", name, n - 1);
	return r != 0 || n < 50;
}

int main(void)
{
	char path[128];
	static const char *const files[] = {"f.yaml", "env", "compose.yml"};
	int r;

	if (!mkdtemp(folder))
		return 1;
	write_file("f.yaml", yaml);
	write_file("env", "B=3\nD=4\n");
	write_file("compose.yml", compose);
	r = fail_each_allocation("load", load_file);
	r |= fail_each_allocation("import", import_compose);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(files); i++) {
		(void)snprintf(path, sizeof(path), "%s/%s", folder, files[i]);
		(void)unlink(path);
	}
	(void)rmdir(folder);
	return r;
}
