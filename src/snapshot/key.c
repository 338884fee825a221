/* SPDX-License-Identifier: MIT
 *
 * The key of a snapshot: the plan of a stand-in for the instance, as text, and what else counts, through SHA-256.
 */
#include "snapshot/key.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <arpa/inet.h>

#include <nettle/sha2.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"

#define STAND_IN_NAME "template"
#define STAND_IN_IDS  UINT32_C(0x10000) /* a multiple of 65,536, as leases are */

/* Where the instance's own values would be. */
struct stand_in {
	struct niwa_host host;
	struct niwa_instance_params params;
	struct niwa_app_spec spec;
	struct niwa_volume volumes[NIWA_VOLUMES_MAX];
	char sources[NIWA_VOLUMES_MAX][32];
	char name[sizeof(STAND_IN_NAME)];
	char *no_env[1];
};

/* Where groups are is the host's affair; which ones there are is not: limits are written there. */
static void replace_host(struct stand_in *s, const struct niwa_host *host)
{
	const struct {
		const char **path, *with;
	} groups[] = {{&s->host.cgroup_v2, "/cgroup"},
		      {&s->host.cgroup_memory, "/cgroup/memory"},
		      {&s->host.cgroup_cpu, "/cgroup/cpu"},
		      {&s->host.cgroup_pids, "/cgroup/pids"},
		      {&s->host.cgroup_blkio, "/cgroup/blkio"}};

	s->host = *host;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(groups); i++)
		if (*groups[i].path)
			*groups[i].path = groups[i].with;
	s->host.gateway_addr = htonl(INADDR_LOOPBACK);
	s->host.veth_group = 1;
	memset(s->host.host_mac, 0, sizeof(s->host.host_mac));
}

static void replace_volumes(struct stand_in *s)
{
	for (size_t i = 0; i < s->spec.volume_count; i++) {
		struct niwa_volume_ids *ids = &s->params.volume_ids[i];

		s->volumes[i] = s->spec.volumes[i];
		(void)snprintf(s->sources[i], sizeof(s->sources[i]), "/volume/%zu", i);
		s->volumes[i].from = s->sources[i];
		ids->host_uid = ids->host_gid = 1;
	}
	s->spec.volumes = s->volumes;
}

static void replace_instance(struct stand_in *s, const struct niwa_key_params *k)
{
	s->params = *k->instance;
	s->spec = *k->instance->spec;
	s->params.spec = &s->spec;
	s->params.id = 1;
	s->params.id_base = s->params.tenant_id_base = STAND_IN_IDS;
	s->params.private_addr = s->params.service_addr = htonl(INADDR_LOOPBACK);
	memset(s->params.veth, 0, sizeof(s->params.veth));
	memcpy(s->params.veth, "veth", sizeof("veth"));
	s->params.layer_dir = "/layer";
	s->params.tenant_dir = "/tenant";
	s->params.random[0] = '\0';
	/* Whoever asks, it is about a start that may be dumped. */
	s->params.init = true;
	s->params.restore = NULL;
	if (k->scope == NIWA_SCOPE_SHARED) {
		memcpy(s->name, STAND_IN_NAME, sizeof(STAND_IN_NAME));
		s->spec.name = s->name;
		s->spec.env = s->no_env;
	}
	replace_volumes(s);
}

/* An image of one app has seen what is the tenant's, so whose it is and where its volumes come from count. The length
 * comes first: no text can look like a line of another kind. */
static void add_owner(const struct niwa_instance_params *p, struct niwa_text *out)
{
	const struct niwa_app_spec *spec = p->spec;
	const char *tenant = spec->tenant ? spec->tenant : "";

	niwa_text_addf(out, "app %zu %s\nnumber %" PRIu64 "\ntenant %zu %s\n", strlen(spec->name), spec->name,
		       p->app_id, strlen(tenant), tenant);
	for (size_t i = 0; i < spec->volume_count; i++)
		niwa_text_addf(out, "source %zu %s\n", strlen(spec->volumes[i].from), spec->volumes[i].from);
}

static int add_plan(const struct niwa_key_params *k, struct niwa_text *out, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) struct stand_in *s = niwa_zalloc(sizeof(*s));
	struct niwa_plan plan = {0};
	int r;

	if (!s)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "key of a snapshot");
	if (k->instance->spec->volume_count > NIWA_VOLUMES_MAX)
		return niwa_fail(err, NIWA_CALLER, 0, "volumes: %zu, at most %d", k->instance->spec->volume_count,
				 NIWA_VOLUMES_MAX);
	replace_host(s, k->host);
	replace_instance(s, k);
	r = niwa_instance_plan(&s->host, &s->params, &plan, err);
	if (r < 0)
		return r;
	niwa_plan_dump(plan.buf.data, plan.buf.len, out);
	niwa_plan_fini(&plan);
	return 0;
}

int niwa_snapshot_key_text(const struct niwa_key_params *k, struct niwa_text *out, struct niwa_error *err)
{
	const struct niwa_image *image = k->instance->image;
	const struct {
		const char *label, *text;
	} lines[] = {{"kernel", k->platform->kernel}, {"processor", k->platform->processor},
		     {"flags", k->platform->flags},   {"criu", k->platform->criu},
		     {"niwa", k->platform->niwa},     {"image", image->name},
		     {"digest", image->digest},       {"extra", k->extra}};
	int r;

	if (k->kind == NIWA_KIND_MOMENT && k->scope == NIWA_SCOPE_SHARED)
		return niwa_fail(err, NIWA_CALLER, EINVAL, "memory of the moment of sleep cannot be shared");
	niwa_text_addf(out, "format %d\nkind %s\nscope %s\n", NIWA_SNAPSHOT_FORMAT,
		       k->kind == NIWA_KIND_MOMENT ? "moment" : "ready",
		       k->scope == NIWA_SCOPE_SHARED ? "shared" : "app");
	if (k->scope == NIWA_SCOPE_APP)
		add_owner(k->instance, out);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(lines); i++) {
		const char *text = lines[i].text ? lines[i].text : "";

		niwa_text_addf(out, "%s %zu %s\n", lines[i].label, strlen(text), text);
	}
	r = add_plan(k, out, err);
	if (r == 0 && out->failed)
		r = niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "key of a snapshot");
	return r;
}

int niwa_snapshot_key(const struct niwa_key_params *k, struct niwa_snapshot_key *ret, struct niwa_error *err)
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct niwa_text text = {0};
	struct sha256_ctx hash;
	int r = niwa_snapshot_key_text(k, &text, err);

	if (r == 0) {
		sha256_init(&hash);
		sha256_update(&hash, text.len, (const uint8_t *)text.data);
		sha256_digest(&hash, sizeof(digest), digest);
		for (size_t i = 0; i < sizeof(digest); i++)
			(void)snprintf(ret->hex + 2 * i, 3, "%02x", digest[i]);
	}
	niwa_text_fini(&text);
	return r;
}

int niwa_snapshot_key_parse(const char *text, struct niwa_snapshot_key *ret, struct niwa_error *err)
{
	if (strnlen(text, NIWA_KEY_HEX + 1) != NIWA_KEY_HEX || strspn(text, "0123456789abcdef") != NIWA_KEY_HEX)
		return niwa_fail(err, NIWA_CALLER, 0, "a snapshot's key has %d hexadecimal digits", NIWA_KEY_HEX);
	memcpy(ret->hex, text, NIWA_KEY_HEX + 1);
	return 0;
}

/* ---- what the host is ---- */

/* Appends "name=value;" when the line has that name. */
static void take_field(const char *line, const char *name, char *out, size_t size)
{
	size_t n = strlen(name), used = strlen(out);
	const char *value = line + n;

	if (strncmp(line, name, n) != 0)
		return;
	value += strspn(value, " \t");
	if (*value++ != ':')
		return;
	value += strspn(value, " \t");
	(void)snprintf(out + used, size - used, "%s=%.*s;", name, (int)strcspn(value, "\n"), value);
}

/* The first processor stands for all: a host of mixed ones would have to be told apart by cpusets anyway. */
static int read_processor(struct niwa_key_host *ret, struct niwa_error *err)
{
	static const char *const names[] = {"vendor_id",        "cpu family",  "model",   "CPU implementer",
					    "CPU architecture", "CPU variant", "CPU part"};
	NIWA_AUTO(niwa_free_ptr) char *line = NULL;
	FILE *f = fopen("/proc/cpuinfo", "re");
	size_t size = 0;

	if (!f)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open /proc/cpuinfo");
	while (getline(&line, &size, f) > 1) { /* up to the empty line after it */
		for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++)
			take_field(line, names[i], ret->processor, sizeof(ret->processor));
		take_field(line, "flags", ret->flags, sizeof(ret->flags));
		take_field(line, "Features", ret->flags, sizeof(ret->flags));
	}
	(void)fclose(f);
	return 0;
}

/* Appends size, mtime and inode of a program. */
static int add_build(const char *path, char *out, size_t size, struct niwa_error *err)
{
	size_t used = strlen(out);
	struct stat st;

	if (stat(path, &st) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "look at '%s'", path);
	(void)snprintf(out + used, size - used, " %" PRIu64 ".%" PRId64 ".%09ld.%" PRIu64, (uint64_t)st.st_size,
		       (int64_t)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, (uint64_t)st.st_ino);
	return 0;
}

int niwa_key_host_read(const char *criu_path, const char *criu_version, const char *niwa_version,
		       const char *const *programs, struct niwa_key_host *ret, struct niwa_error *err)
{
	struct niwa_key_host host = {0};
	struct utsname name;
	int r;

	if (uname(&name) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "uname");
	(void)snprintf(host.kernel, sizeof(host.kernel), "%s %s %s", name.machine, name.release, name.version);
	(void)snprintf(host.criu, sizeof(host.criu), "%.60s", criu_version);
	(void)snprintf(host.niwa, sizeof(host.niwa), "%.60s", niwa_version);
	r = read_processor(&host, err);
	if (r == 0)
		r = add_build(criu_path, host.criu, sizeof(host.criu), err);
	for (; r == 0 && *programs; programs++)
		r = add_build(*programs, host.niwa, sizeof(host.niwa), err);
	if (r == 0)
		*ret = host;
	return r;
}
