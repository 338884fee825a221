/* SPDX-License-Identifier: MIT
 *
 * Farewells are looked at by asking the namespace for connections whose last bytes nobody has acknowledged. A reset
 * leaves no trace there, so the first look comes after a pause in which one has crossed.
 */
#include "engine/farewell.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fault.h"
#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/ended.h"
#include "engine/keep_client.h"
#include "net/diag.h"

#define FIRST_LOOK_US (100 * NIWA_MS)
#define LOOK_MAX_US   (2 * NIWA_SEC)
#define NAME_FORMAT   "farewell:%" PRIu64 ":%" PRIu32 ":%" PRIu32 /* instance, mark, address */

struct niwa_farewell {
	struct niwa_engine *engine;
	uint64_t instance, pause_us, deadline_us;
	uint32_t private_addr, mark;
	int diag_fd; /* holds the namespace */
	bool stored;
	char veth[16];
	sd_event_source *timer;
	LIST_ENTRY(niwa_farewell) link;
};

bool niwa_farewell_is_due(const struct niwa_engine *e, const struct niwa_instance *i)
{
	return e->config.linger_us && e->farewell_count < e->config.linger_instances && i->diag_fd >= 0 &&
	       i->stages.executed_us && !i->left_quiet && !i->app->template;
}

static const char *name_of(const struct niwa_farewell *f, char buf[static NIWA_KEEP_NAME_MAX])
{
	(void)snprintf(buf, NIWA_KEEP_NAME_MAX, NAME_FORMAT, f->instance, f->mark, f->private_addr);
	return buf;
}

static void farewell_free(struct niwa_farewell *f)
{
	LIST_REMOVE(f, link);
	f->engine->farewell_count--;
	(void)sd_event_source_disable_unref(f->timer);
	niwa_fd_close(&f->diag_fd);
	free(f);
}

/* Who has not taken everything by now gets a reset with his next packet. */
static void let_go(struct niwa_engine *e, uint32_t private_addr, uint32_t mark)
{
	niwa_ended_put(e, private_addr, mark);
	(void)niwa_addr_return(e->addresses, niwa_now_us(), private_addr); /* -ENOENT: adopted twice */
}

static void finish(struct niwa_farewell *f)
{
	char name[NIWA_KEEP_NAME_MAX];

	let_go(f->engine, f->private_addr, f->mark);
	if (f->stored)
		niwa_keep_unstore(f->engine, name_of(f, name));
	farewell_free(f);
}

static int on_look(sd_event_source *s, uint64_t usec, void *arg);

static void look_after(struct niwa_farewell *f, uint64_t pause_us)
{
	uint64_t now = niwa_now_us(), left = f->deadline_us > now ? f->deadline_us - now : 0;

	if (pause_us > left)
		pause_us = left;
	f->timer = sd_event_source_disable_unref(f->timer);
	if (sd_event_add_time_relative(f->engine->event, &f->timer, CLOCK_MONOTONIC, pause_us, NIWA_MS, on_look, f) < 0)
		finish(f); /* no memory to wait for anybody */
}

/* A niwad that comes meanwhile goes on with it. */
static void store(struct niwa_farewell *f)
{
	char name[NIWA_KEEP_NAME_MAX];

	if (f->stored)
		return;
	f->stored = true;
	niwa_keep_store(f->engine, name_of(f, name), f->diag_fd);
	(void)niwa_fault("niwad.farewell");
}

static int on_look(sd_event_source *s, uint64_t usec, void *arg)
{
	struct niwa_farewell *f = arg;
	struct niwa_log_ctx ctx = {.instance = f->instance, .doing = "farewell"};
	int unsent = niwa_diag_unsent(f->diag_fd);

	(void)s, (void)usec;
	if (unsent <= 0) {
		finish(f);
	} else if (niwa_now_us() >= f->deadline_us) {
		niwa_log(NIWA_LOG_INFO, &ctx, "%d connections have not taken what was written for them within linger",
			 unsent);
		finish(f);
	} else {
		store(f);
		f->pause_us = f->pause_us * 2 < LOOK_MAX_US ? f->pause_us * 2 : LOOK_MAX_US;
		look_after(f, f->pause_us);
	}
	return 0;
}

static struct niwa_farewell *farewell_new(struct niwa_engine *e, uint64_t instance, uint32_t private_addr,
					  uint32_t mark)
{
	struct niwa_farewell *f = niwa_zalloc(sizeof(*f));

	if (!f)
		return NULL;
	f->engine = e;
	f->instance = instance;
	f->private_addr = private_addr;
	f->mark = mark;
	f->pause_us = FIRST_LOOK_US;
	f->deadline_us = niwa_now_us() + e->config.linger_us;
	f->diag_fd = -1;
	niwa_instance_veth_name(instance, f->veth);
	LIST_INSERT_HEAD(&e->farewells, f, link);
	e->farewell_count++;
	return f;
}

void niwa_farewell_begin(struct niwa_engine *e, struct niwa_instance *i)
{
	struct niwa_farewell *f = farewell_new(e, i->id, i->private_addr, i->mark);

	if (!f) {
		let_go(e, i->private_addr, i->mark);
		return;
	}
	f->diag_fd = NIWA_TAKE_FD(i->diag_fd);
	look_after(f, FIRST_LOOK_US);
}

void niwa_farewell_adopt(struct niwa_engine *e, const char *name, int fd)
{
	struct niwa_farewell *f = NULL;
	uint32_t mark, private_addr;
	NIWA_AUTO_FD diag = fd;
	uint64_t instance;

	if (sscanf(name, "farewell:%" SCNu64 ":%" SCNu32 ":%" SCNu32, &instance, &mark, &private_addr) == 3)
		f = farewell_new(e, instance, private_addr, mark);
	if (!f) { /* its connections are found by their mark, as others that are left over */
		niwa_keep_unstore(e, name);
		return;
	}
	f->stored = true;
	f->diag_fd = NIWA_TAKE_FD(diag);
	(void)niwa_addr_mark(e->addresses, private_addr);
	if (instance >= e->next_instance)
		e->next_instance = instance + 1;
	look_after(f, FIRST_LOOK_US);
}

void niwa_farewell_elements(const struct niwa_engine *e, struct niwa_net_txn *txn)
{
	const struct niwa_farewell *f;

	LIST_FOREACH(f, &e->farewells, link)
	niwa_net_mark(txn, NIWA_ADD, f->private_addr, f->mark);
}

bool niwa_farewell_has_mark(const struct niwa_engine *e, uint32_t mark)
{
	const struct niwa_farewell *f;

	LIST_FOREACH(f, &e->farewells, link)
	if (f->mark == mark)
		return true;
	return false;
}

bool niwa_farewell_has_veth(const struct niwa_engine *e, const char *name)
{
	const struct niwa_farewell *f;

	LIST_FOREACH(f, &e->farewells, link)
	if (strcmp(f->veth, name) == 0)
		return true;
	return false;
}

void niwa_farewells_close(struct niwa_engine *e)
{
	while (!LIST_EMPTY(&e->farewells))
		farewell_free(LIST_FIRST(&e->farewells));
}
