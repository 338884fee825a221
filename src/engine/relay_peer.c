/* SPDX-License-Identifier: MIT
 *
 * The list of relays. At most one accepts, engine.relay_peer; its end is stored under a name of its own.
 */
#include "engine/relay_peer.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/stat.h>

#include "base/fd.h"
#include "base/log.h"
#include "base/memory.h"
#include "engine/keep_client.h"

#define SERIAL_SHIFT 48
#define SERIALS      0x7fffu /* the highest bit is that of checks */
#define NAME_FORMAT  "relay-draining:%" PRIu64

static const char *name_of(const struct niwa_relay_peer *p, char buf[static NIWA_KEEP_NAME_MAX])
{
	(void)snprintf(buf, NIWA_KEEP_NAME_MAX, NAME_FORMAT, p->instance);
	return buf;
}

struct niwa_relay_peer *niwa_relay_peer_new(struct niwa_engine *e, uint64_t instance)
{
	struct niwa_relay_peer *p = niwa_zalloc(sizeof(*p));

	if (!p)
		return NULL;
	p->engine = e;
	p->instance = instance;
	p->serial = (++e->relay_serial & SERIALS) << SERIAL_SHIFT;
	p->pidfd = p->end = -1;
	LIST_INSERT_HEAD(&e->relay_peers, p, link);
	return p;
}

void niwa_relay_peer_free(struct niwa_relay_peer **peer)
{
	struct niwa_relay_peer *p = NIWA_TAKE(*peer);
	char name[NIWA_KEEP_NAME_MAX];

	if (!p)
		return;
	if (p->drains && p->engine->keep)
		niwa_keep_unstore(p->engine, name_of(p, name));
	if (p->engine->relay_peer == p) {
		p->engine->relay_peer = NULL;
		p->engine->relay = NULL;
	}
	LIST_REMOVE(p, link);
	niwa_channel_free(&p->channel);
	niwa_fd_close(&p->pidfd);
	niwa_fd_close(&p->end);
	free(p);
}

struct niwa_relay_peer *niwa_relay_peer_find(const struct niwa_engine *e, uint64_t instance)
{
	struct niwa_relay_peer *p;

	LIST_FOREACH(p, &e->relay_peers, link)
	if (p->instance == instance)
		return p;
	return NULL;
}

struct niwa_relay_peer *niwa_relay_peer_of(const struct niwa_engine *e, uint64_t ticket)
{
	uint64_t serial = ticket >> SERIAL_SHIFT << SERIAL_SHIFT;
	struct niwa_relay_peer *p;

	LIST_FOREACH(p, &e->relay_peers, link)
	if (p->serial == serial)
		return p;
	return NULL;
}

uint64_t niwa_relay_peer_ticket(const struct niwa_relay_peer *peer, uint64_t ticket)
{
	return peer->serial | niwa_relay_peer_own(ticket);
}

uint64_t niwa_relay_peer_own(uint64_t ticket)
{
	return ticket & ((UINT64_C(1) << SERIAL_SHIFT) - 1);
}

/* Each costs its connections' memory only, but somebody may ask for another relay again and again. */
static void end_oldest(struct niwa_engine *e)
{
	struct niwa_relay_peer *p, *oldest = NULL;
	unsigned count = 0;

	LIST_FOREACH(p, &e->relay_peers, link)
	{
		count++;
		oldest = p;
	}
	if (count <= NIWA_RELAYS_MAX || !oldest->drains)
		return;
	niwa_log(NIWA_LOG_WARN, NULL, "%u relays have connections: the oldest is ended", count);
	if (oldest->pid > 0)
		(void)kill(oldest->pid, SIGKILL); /* niwa-keep has not been told to forget it: the number is its own */
}

void niwa_relay_peer_drains(struct niwa_relay_peer *p)
{
	struct niwa_engine *e = p->engine;
	char name[NIWA_KEEP_NAME_MAX];

	if (p->drains)
		return;
	p->drains = true;
	if (p->channel)
		niwa_keep_store(e, name_of(p, name), niwa_channel_fd(p->channel));
	if (e->relay_peer == p) {
		e->relay_peer = NULL;
		e->relay = NULL;
	}
	end_oldest(e);
}

uint64_t niwa_relay_program(const struct niwa_engine *e)
{
	uint64_t parts[5], hash = UINT64_C(14695981039346656037);
	char path[512];
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/niwa-relay", e->config.libexec_dir);
	if (stat(path, &st) < 0)
		return 0;
	parts[0] = (uint64_t)st.st_dev;
	parts[1] = (uint64_t)st.st_ino;
	parts[2] = (uint64_t)st.st_size;
	parts[3] = (uint64_t)st.st_mtim.tv_sec;
	parts[4] = (uint64_t)st.st_mtim.tv_nsec;
	for (size_t i = 0; i < sizeof(parts); i++) /* FNV-1a */
		hash = (hash ^ ((const uint8_t *)parts)[i]) * UINT64_C(1099511628211);
	return hash ? hash : 1;
}

void niwa_relay_peer_adopt(struct niwa_engine *e, const struct niwa_keep_msg *m, const struct niwa_tag *tag, int *fds,
			   size_t nfds)
{
	struct niwa_relay_peer *p = niwa_relay_peer_new(e, m->id);

	if (!p)
		return;
	p->pid = m->pid;
	p->program = tag->program;
	if (nfds)
		p->pidfd = NIWA_TAKE_FD(fds[0]);
	if (m->id >= e->next_instance)
		e->next_instance = m->id + 1;
}

void niwa_relay_peer_adopt_end(struct niwa_engine *e, const char *name, int fd)
{
	struct niwa_relay_peer *p = NULL;
	NIWA_AUTO_FD end = fd;
	uint64_t instance;

	if (sscanf(name, "relay-draining:%" SCNu64, &instance) == 1)
		p = niwa_relay_peer_find(e, instance);
	if (!p) { /* it has ended meanwhile */
		niwa_keep_unstore(e, name);
		return;
	}
	p->drains = true;
	p->end = NIWA_TAKE_FD(end);
}
