/* SPDX-License-Identifier: MIT
 *
 * ping, host.status, image.prepare, and the warnings that app.show gives.
 */
#include <arpa/inet.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "container/image.h"
#include "engine/admit.h"
#include "engine/app.h"
#include "engine/background.h"
#include "engine/images.h"
#include "engine/outside.h"
#include "engine/relay_peer.h"
#include "engine/relay_stats.h"
#include "engine/rebuild.h"
#include "engine/rpc.h"
#include "engine/rpc_show.h"
#include "engine/start.h"

#define OUTSIDE_WARN_BYTES (1024 * 1024)
#define OUTSIDE_LOOKS      2000 /* files looked at */

void niwa_rpc_ping(struct niwa_call *call)
{
	struct niwa_engine *e = call->engine;

	niwa_call_answer(call,
			 json_pack("{s:s,s:i,s:I,s:I}", "version", NIWA_VERSION, "pid", (int)getpid(), "started_us",
				   (json_int_t)(niwa_realtime_us() - (niwa_now_us() - e->started_us)), "apps",
				   (json_int_t)(niwa_map_count(e->apps_by_id) - e->templates)));
}

static json_t *number_of(const char *path)
{
	char text[64];

	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return json_null();
	return json_integer(atoll(text));
}

static json_t *network(uint32_t net, unsigned bits)
{
	char addr[INET_ADDRSTRLEN], text[32];

	(void)inet_ntop(AF_INET, &net, addr, sizeof(addr));
	(void)snprintf(text, sizeof(text), "%s/%u", addr, bits);
	return json_string(text);
}

static json_t *relay_status(const struct niwa_engine *e)
{
	static const char *const names[] = {"open",     "waiting", "accepted", "spliced",
					    "answered", "refused", "bytes",    "over_limit"};
	json_t *r = json_pack("{s:i}", "pid", (int)(e->relay_peer ? e->relay_peer->pid : 0));

	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++)
		(void)json_object_set_new(r, names[i], json_integer((json_int_t)e->relay_counters[i]));
	return r;
}

/* What a program of root needs to find the folders and ids of this engine, by the keys of niwad.conf(5). */
static json_t *configuration(const struct niwa_config *c)
{
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:s,s:o,s:o,s:I,s:I,s:I}", "domain", c->domain,
			 "dns_listen", c->dns_listen, "metrics_listen", c->metrics_listen, "run_dir", c->run_dir,
			 "state_dir", c->state_dir, "log_dir", c->log_dir, "libexec_dir", c->libexec_dir, "criu",
			 c->criu, "cgroup", c->cgroup, "relay_user", c->relay_user, "ula_prefix", c->ula_prefix,
			 "service_range", network(c->service_net, c->service_bits), "private_range",
			 network(c->private_net, c->private_bits), "veth_group", (json_int_t)c->veth_group,
			 "lease_base", (json_int_t)c->lease_base, "lease_count", (json_int_t)c->lease_count);
}

/* niwa-api, as far as niwad knows it. */
static json_t *names_status(const struct niwa_engine *e)
{
	return json_pack("{s:b,s:I}", "watched", !LIST_EMPTY(&e->names_watches), "routes",
			 (json_int_t)niwa_map_count(e->routes));
}

static json_t *conntrack_status(void)
{
	json_t *entries = number_of("/proc/sys/net/netfilter/nf_conntrack_count");
	json_t *max = number_of("/proc/sys/net/netfilter/nf_conntrack_max");
	json_int_t full = json_integer_value(max);

	return json_pack("{s:o,s:o,s:I}", "entries", entries, "max", max, "percent",
			 full > 0 ? json_integer_value(entries) * 100 / full : 0);
}

static json_t *starts_status(const struct niwa_engine *e)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I}", "under_way", (json_int_t)e->starts.busy, "limit",
			 (json_int_t)e->starts.places, "waiting", (json_int_t)e->starts.length, "waiting_for_folders",
			 (json_int_t)niwa_start_waiting_for_folders(e), "connections_waiting",
			 (json_int_t)niwa_map_count(e->waiters_by_ticket), "connections_silent",
			 (json_int_t)niwa_map_count(e->silent));
}

static json_t *memory_status(const struct niwa_engine *e)
{
	return json_pack("{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I}", "total", (json_int_t)e->memory.total_bytes,
			 "available", (json_int_t)e->memory.available_bytes, "reserve",
			 (json_int_t)niwa_admit_reserve(e), "swap", (json_int_t)e->memory.swap_bytes, "swap_free",
			 (json_int_t)e->memory.swap_free_bytes, "scarcity", (json_int_t)e->pressure.scarcity, "wanted",
			 (json_int_t)e->pressure.wanted_bytes, "pagings", (json_int_t)e->pagings, "paging_us",
			 (json_int_t)e->page_us);
}

static void answer_status(struct niwa_engine *e, void *arg)
{
	struct niwa_call *call = arg;
	struct rlimit files = {0};
	json_t *r;

	(void)getrlimit(RLIMIT_NOFILE, &files);
	r = json_pack("{s:I,s:I,s:I,s:o,s:o,s:I,s:{s:I,s:I,s:I,s:I,s:I,s:I,s:I,s:I},s:o,s:o,s:o,s:o}", "apps",
		      (json_int_t)(niwa_map_count(e->apps_by_id) - e->templates), "instances",
		      (json_int_t)niwa_map_count(e->instances), "frozen", (json_int_t)e->frozen, "service_range",
		      network(e->config.service_net, e->config.service_bits), "private_range",
		      network(e->config.private_net, e->config.private_bits), "open_files_limit",
		      (json_int_t)files.rlim_cur, "counts", "wakes", (json_int_t)e->counts.wakes, "thaws",
		      (json_int_t)e->counts.thaws, "starts", (json_int_t)e->counts.starts, "failures",
		      (json_int_t)e->counts.failures, "crashes", (json_int_t)e->counts.crashes, "leftovers",
		      (json_int_t)e->counts.leftovers, "repairs", (json_int_t)e->counts.repairs, "overflows",
		      (json_int_t)e->counts.overflows, "conntrack", conntrack_status(), "starts", starts_status(e),
		      "names", names_status(e), "relay", relay_status(e));
	(void)json_object_update_new(json_object_get(r, "counts"),
				     json_pack("{s:I,s:I,s:I,s:I,s:I}", "dumps", (json_int_t)e->counts.dumps,
					       "restores", (json_int_t)e->counts.restores, "failed_restores",
					       (json_int_t)e->counts.failed_restores, "refused_starts",
					       (json_int_t)e->counts.refusals, "limit_hits",
					       (json_int_t)e->counts.limit_hits));
	(void)json_object_set_new(r, "memory", memory_status(e));
	(void)json_object_set_new(r, "config", configuration(&e->config));
	niwa_call_answer(call, r);
}

void niwa_rpc_host_status(struct niwa_call *call)
{
	niwa_relay_stats_then(call->engine, answer_status, call);
}

static int build_host_image(void *arg, struct niwa_error *err)
{
	const struct niwa_call *call = arg;

	return niwa_image_prepare_host(call->engine->config.state_dir, err);
}

static void on_image_built(int r, const struct niwa_error *err, void *arg)
{
	struct niwa_call *call = arg;

	if (r < 0) {
		niwa_call_fail(call, NIWA_RPC_FAILED, err);
		return;
	}
	niwa_images_forget(call->engine);
	niwa_rebuild_begin(call->engine);
	niwa_call_answer(call, json_object());
}

void niwa_rpc_image_prepare(struct niwa_call *call)
{
	struct niwa_error err;

	if (niwa_background_run(call->engine->event, build_host_image, on_image_built, call, &err) < 0)
		niwa_call_fail(call, NIWA_RPC_FAILED, &err);
}

/* What an instance has written outside its volumes. A layer in memory is seen only from inside: an overlay says how
 * full its layer is. */
static struct niwa_outside written_outside(const struct niwa_engine *e, const struct niwa_instance *i)
{
	struct niwa_outside sum = {0};
	struct statfs fs;
	char path[PATH_MAX];

	(void)snprintf(path, sizeof(path), "%s/layers/%" PRIu64 "/upper", e->config.state_dir, i->id);
	if (access(path, F_OK) == 0) {
		niwa_outside_add(path, OUTSIDE_LOOKS, &sum);
		return sum;
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/root", (int)i->pid);
	if (i->pid > 0 && statfs(path, &fs) == 0)
		sum.bytes = (fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
	return sum;
}

json_t *niwa_rpc_warnings(struct niwa_engine *e, struct niwa_app *app)
{
	json_t *list = json_array();
	char size[32], text[200];
	struct niwa_outside outside;

	if (!app->current)
		return list;
	if (app->current->generation != app->generation)
		(void)json_array_append_new(list, json_string("the record has changed since this instance was made"));
	outside = written_outside(e, app->current);
	if (outside.bytes > OUTSIDE_WARN_BYTES) {
		(void)niwa_format_size(outside.bytes / 1024 * 1024, size, sizeof(size));
		(void)snprintf(text, sizeof(text),
			       "%s%s were written outside volumes; they are gone when the instance ends: declare a "
			       "volume for what must stay",
			       outside.cut ? "more than " : "", size);
		(void)json_array_append_new(list, json_string(text));
	}
	return list;
}
