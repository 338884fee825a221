/* SPDX-License-Identifier: MIT
 *
 * Ids, address, layer, groups, elements of an instance that has ended are given back.
 */
#include "engine/collect.h"

#include <errno.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "engine/applog.h"
#include "engine/ended.h"
#include "engine/farewell.h"
#include "engine/folder.h"
#include "engine/group.h"
#include "engine/instance.h"
#include "engine/keep_client.h"
#include "engine/limit_hit.h"
#include "engine/ready.h"
#include "engine/sleep.h"
#include "engine/snapshot.h"
#include "engine/snapshot_start.h"
#include "engine/start.h"
#include "engine/trash.h"

#define AGAIN_US  (5 * NIWA_MS)
#define TRIES_MAX 200

static void give_back(struct niwa_engine *e, struct niwa_instance *i)
{
	if (i->private_addr && niwa_map_get(e->instances_by_addr, i->private_addr) == i)
		(void)niwa_map_del(e->instances_by_addr, i->private_addr);
	if (i->lease)
		(void)niwa_lease_return(e->leases, i->lease);
	if (i->bids_farewell)
		niwa_farewell_begin(e, i);
	else if (i->private_addr)
		(void)niwa_addr_return(e->addresses, niwa_now_us(), i->private_addr); /* -ENOENT: adopted twice */
	i->private_addr = i->lease = 0;
}

/* Who may still wait for bytes of it is told at once that there will be none. */
static void end_connections(struct niwa_engine *e, const struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app->name, .instance = i->id, .doing = "collect"};
	struct niwa_error err;

	if (i->stages.executed_us && !i->left_quiet && niwa_net_flush_all(e->net, i->mark, &err) < 0)
		niwa_log(NIWA_LOG_WARN, &ctx, "%s", err.msg);
	niwa_ended_put(e, i->private_addr, i->mark);
}

/* Nothing new comes to it or from it. Its connections go as well, unless they have a farewell. */
static void leave_kernel(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_log_ctx ctx = {.app = i->app ? i->app->name : NULL, .instance = i->id, .doing = "collect"};
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	struct niwa_error err;

	if (!txn || !i->net_ready || !i->app)
		goto out;
	i->bids_farewell = niwa_farewell_is_due(e, i);
	niwa_instance_elements_gone(e, i, txn);
	if (niwa_net_commit(&txn, &err) < 0)
		niwa_log(NIWA_LOG_ERR, &ctx, "%s", err.msg);
	if (!i->bids_farewell)
		end_connections(e, i);
	i->net_ready = i->in_frozen = false;
out:
	niwa_net_txn_free(&txn);
}

/* May be called again by its timer while groups still have dying processes. */
static void collect(struct niwa_engine *e, struct niwa_instance *i);

static int on_collect(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_instance *i = arg;

	(void)s, (void)usec;
	collect(i->engine, i);
	return 0;
}

static void collect(struct niwa_engine *e, struct niwa_instance *i)
{
	char layer[512];

	i->life = NIWA_LIFE_GONE;
	niwa_folder_release(i);
	if (niwa_group_remove(e, i->id) == -EBUSY && i->cleanup_tries++ < TRIES_MAX) {
		niwa_group_kill(e, i->id);
		i->timer = sd_event_source_disable_unref(i->timer);
		if (sd_event_add_time_relative(e->event, &i->timer, CLOCK_MONOTONIC, AGAIN_US, NIWA_MS, on_collect,
					       i) >= 0)
			return;
	}
	(void)niwa_fault("niwad.collecting");
	if (e->host.layer_on_disk) {
		niwa_instance_layer_path(e, i->id, layer, sizeof(layer));
		niwa_trash_put(e->trash, layer);
	}
	give_back(e, i);
	niwa_keep_forget(e, i->id);
	(void)niwa_fault("niwad.collected");
	niwa_instance_bury(e, i);
}

void niwa_instance_end(struct niwa_engine *e, struct niwa_instance *i)
{
	niwa_sleep_unwatch(i);
	niwa_start_give_back(i);
	niwa_limit_unwatch(i);
	if (i->restored)
		niwa_snapshot_let_go(e, i);
	niwa_snapshot_instance_gone(e, i);
	niwa_ready_forget(e, i);
	niwa_applog_drain(e, i);
	niwa_fd_close(&i->layer_fd); /* it pins memory */
	leave_kernel(e, i);
	(void)niwa_fault("niwad.left-kernel");
	collect(e, i);
}
