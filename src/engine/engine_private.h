/* SPDX-License-Identifier: MIT
 *
 * The engine's objects, for the files of this folder only. One thread, one loop, no locks.
 * Ownership: the engine owns apps, tenants and instances; an app has at most one `current` instance (the one
 * that serves or will) and any number of older ones that drain or stop. Dead objects are put on a list and freed
 * once per turn of the loop (niwa_engine_bury), never inside a callback of their own.
 */
#ifndef NIWA_ENGINE_ENGINE_PRIVATE_H
#define NIWA_ENGINE_ENGINE_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>
#include <netinet/in.h>
#include <sys/queue.h>
#include <time.h>

#include <jansson.h>
#include <systemd/sd-event.h>

#include "base/error.h"
#include "base/log.h"
#include "base/map.h"
#include "base/order.h"
#include "base/relay_protocol.h"
#include "base/text.h"
#include "cmdb/cmdb.h"
#include "container/image.h"
#include "container/instance.h"
#include "container/keep_protocol.h"
#include "container/lease.h"
#include "engine/channel.h"
#include "engine/config.h"
#include "engine/scale_plan.h"
#include "engine/metrics.h"
#include "engine/state.h"
#include "engine/wake_queue.h"
#include "governor/gaps.h"
#include "governor/pressure.h"
#include "net/wake.h"
#include "snapshot/key.h"
#include "spec/app.h"
#include "spec/tenant.h"

struct niwa_engine;
struct niwa_app;
struct niwa_app_snapshot;
struct niwa_instance;
struct niwa_instance_snapshot;
struct niwa_start;
struct niwa_limit_hit;
struct niwa_limit_watch;
TAILQ_HEAD(niwa_limit_hits, niwa_limit_hit);
struct niwa_app_folder;
struct niwa_schedule;
struct niwa_wake_policy;
struct niwa_folder_claims;
struct niwa_applog;
struct niwa_template;

/* The stages of a wake; CLOCK_MONOTONIC microseconds, 0: did not happen. */
struct niwa_stages {
	uint64_t accepted_us, decided_us, cloned_us, executed_us, ready_us, connected_us, first_byte_us;
	bool measured; /* counted and compared, once */
};

struct niwa_tenant {
	uint32_t id;
	uint32_t files;     /* number of its ids on volumes; 0: it has no volume */
	unsigned apps;      /* declared ones */
	unsigned users;     /* apps and instances that point here */
	bool hosts_dirty;   /* the tenant's hosts file does not say what is declared */
	bool hosts_queued;  /* in engine.tenants_dirty */
	uint32_t resolvers; /* which name servers its resolv.conf says, as a sum */
	struct niwa_wake_flow starts;
	LIST_HEAD(, niwa_app) app_list; /* apps that point here */
	LIST_HEAD(, niwa_instance) instance_list;
	TAILQ_ENTRY(niwa_tenant) dirty_link;
	unsigned instances;                      /* in that list: of its apps, those that end too */
	uint64_t reclaimed_us;                   /* something of it was to be put to sleep for a start */
	const struct niwa_tenant_limits *limits; /* tenant_limit.c; NULL: none */
	/* group_tenant.c */
	unsigned grouped;                   /* instances in its control groups */
	bool limits_written, limits_due;    /* into these; to be written once more */
	uint64_t memory_bytes, memory_turn; /* admit.c: what they cannot do without; when that was read */
	bool limits_busy;                   /* that is under way: in engine.tenants_unwritten, or a job's */
	TAILQ_ENTRY(niwa_tenant) unwritten_link;
	struct niwa_tenant_watch *watch; /* limit_hit.c */
	char name[];
};

/* Somebody who waits for an app to be ready. */
struct niwa_waiter {
	TAILQ_ENTRY(niwa_waiter) link;
	struct niwa_app *app;
	uint64_t ticket;      /* of the relay, or 0 */
	uint16_t port;        /* host order; 0 for a waiter of the socket */
	uint32_t client;      /* network order */
	unsigned attempts;    /* READY answers that could not be connected */
	struct in6_addr from; /* IPv4 mapped; client is 0 where it came by IPv6 and is no instance */
	bool client6;         /* came by IPv6 */
	bool answered;        /* not in the app's list any more: the relay connects */
	uint64_t since_us;
	const char *why;                                       /* static text; NULL: a connection, or somebody asked */
	void (*done)(const struct niwa_error *err, void *arg); /* instead of the relay; err NULL: ready */
	void *arg;
};
TAILQ_HEAD(niwa_waiters, niwa_waiter);

struct niwa_app_port {
	uint16_t number;
	uint8_t protocol, speaks, proxy;
	uint32_t class_id;
	struct niwa_publish publish;
	struct niwa_wake_policy *wake; /* NULL: everybody may wake the app by it, as often as they like */
};

#define NIWA_HISTORY 8

struct niwa_move {
	uint64_t realtime_us; /* 0: none */
	const char *why;      /* past.c keeps it */
	uint32_t client;      /* that it ends with; 0: none */
	uint8_t from, to;
};

/* What is only kept of apps that were awake at least once since niwad started. */
struct niwa_app_past {
	struct niwa_app *app;
	TAILQ_ENTRY(niwa_app_past) touched_link; /* in engine.pasts.touched: */
	bool touched;
	struct niwa_stages now, last; /* of the wake under way, of the last one that was done */
	char path[12];                /* start, restore, thaw */
	uint64_t last_wake_realtime_us, last_took_us;
	struct in6_addr last_from; /* IPv4 mapped; all 0: no visitor */
	uint16_t last_port;        /* of the service; 0: none */
	const char *last_by;       /* who woke it: static text */
	uint64_t last_ticket;      /* of the relay: the connection of the last wake */
	uint64_t wakes, failures;
	uint64_t usage_round;               /* usage.c: the last one in which it had a row, */
	uint32_t usage_row;                 /* at this place */
	uint64_t needs_bytes;               /* memory, when it left last; 0: not known */
	uint64_t visited_us, woke_us;       /* the last visit; the last wake that was no thaw took so long */
	struct niwa_gaps gaps;              /* between visits */
	uint64_t backoff_us, not_before_us; /* after a failed start */
	char *last_error;                   /* NULL: there was none */
	struct niwa_limit_hits hits;        /* limit_hit.h; */
	unsigned hit_count;                 /* 0: not initialized */
	struct niwa_move history[NIWA_HISTORY];
	unsigned history_next;
};

/* past_store.c */
struct niwa_pasts {
	TAILQ_HEAD(, niwa_app_past) touched; /* to be written */
	size_t count, due;                   /* of them; of these, now: the first ones */
	uint32_t boot;                       /* of the host */
	bool writing, closed;
	sd_event_source *timer;
	struct niwa_log_limit refusals_logged;
};

struct niwa_app {
	struct niwa_engine *engine;
	uint64_t id, generation;
	struct niwa_tenant *tenant;
	uint32_t service_addr;
	uint32_t wake_deadline_ms, max_waiting, waiting;
	uint32_t answered; /* waiters that are in its list no more, and that the relay connects */
	uint32_t silent;   /* connections whose client has to speak first and did not yet; bounded by max_waiting too */
	uint8_t state;     /* enum niwa_state; only niwa_app_set_state writes it */
	bool removed;      /* from the store; freed when nothing of it lives */
	bool declared;     /* its elements are in `declared` */
	bool rotate_wanted;       /* the current instance is to be replaced when it is ready */
	bool counted;             /* in metrics.apps: it is declared */
	bool shares, share_known; /* share.h: has an image together with others; it is known which */
	bool resident;            /* resident.h */
	bool resident_queued;     /* in engine.resident_queue */
	bool stays_down;          /* resident, stopped on request: until somebody wants it */
	bool start_once;          /* not woken from its image next time */
	bool lived;               /* under this niwad */
	uint8_t port_count;
	struct niwa_app_port *ports;
	struct niwa_instance *current;
	struct niwa_instance *fresh;        /* overlap: the one that is to replace `current` */
	struct niwa_app_snapshot *snapshot; /* snapshot.h; NULL: nothing is known of an image */
	struct niwa_waiters waiters;
	LIST_HEAD(, niwa_app_watch) watches;
	LIST_ENTRY(niwa_app) tenant_link;
	struct niwa_start *start; /* start.c: it is to start, and that has not begun; else NULL */
	TAILQ_ENTRY(niwa_app) resident_link;
	sd_event_source *retry; /* restart policy */
	struct niwa_app_past *past;
	struct niwa_app_scale *scale;    /* scale.h; NULL: it never ran, or may not grow */
	struct niwa_limit_set *set;      /* limit_set.h; NULL: nothing was ever set over the record */
	struct niwa_schedule *schedule;  /* schedule.h; NULL: none */
	struct niwa_app_folder *folders; /* that its record lets it write to; folder_claim.c */
	struct niwa_applog *log;         /* while it has instances; applog.c */
	char *labels;                    /* "key=value" one after the other, an empty one ends them; NULL: none */
	LIST_HEAD(, niwa_instance) instance_list;
	unsigned instance_count;        /* in that list */
	struct niwa_app_names *names;   /* of its routes; names.c; NULL: it has none */
	struct niwa_template *template; /* template.h: no app of anybody, but what an image is taken of; else NULL */
	char name[];
};
TAILQ_HEAD(niwa_app_queue, niwa_app);

/* What a start holds while it costs; start.h. */
struct niwa_place {
	struct niwa_wake_flow *flow; /* NULL: it holds none */
	uint64_t rank, charged_us, since_us, looked_us, cpu_us, needs_bytes;
};

enum niwa_phase_of_life {
	NIWA_LIFE_CLONING, /* keep has the plan */
	NIWA_LIFE_STARTED, /* exec done, not ready */
	NIWA_LIFE_SERVING,
	NIWA_LIFE_DRAINING, /* replaced; open connections end */
	NIWA_LIFE_STOPPING, /* the stop signal was sent */
	NIWA_LIFE_GONE,     /* exited; leftovers are being collected */
};

/* Something of the host that an instance may write to. */
struct niwa_folder {
	uint64_t dev, ino;
};
#define NIWA_FOLDER_PLACES 4096 /* a power of two */
LIST_HEAD(niwa_folder_holds, niwa_folder_hold);

/* The record that keep holds for an instance of ours: what a new niwad needs to adopt it, after an upgrade as well.
 * Members stay where they are; new ones are added at the end and are 0 in the tags of an older niwad, so 0 has to mean
 * "as before". The version is raised only where that is not enough; each niwad reads all versions up to its own.
 */
struct niwa_tag {
	uint32_t version; /* NIWA_TAG_VERSION */
	uint32_t kind;    /* enum niwa_tag_kind */
	uint64_t app_id, generation, instance;
	uint32_t private_addr, lease, mark;
	uint32_t life; /* enum niwa_phase_of_life when last written: CLONING, SERVING, DRAINING, STOPPING */
	uint32_t tenant;
	uint32_t follow; /* STOPPING: a fresh instance is to be started when this one has ended */
	uint64_t began_realtime_us;
	/* CLOCK_MONOTONIC: keep does not outlive the boot. stop_deadline_us: STOPPING, when the grace ends */
	uint64_t began_us, stop_deadline_us, stop_grace_us;
	uint32_t stop_signal; /* 0: not known */
	uint32_t record;      /* enum niwa_tag_record */
	uint32_t folder_count, folders_shared;
	struct niwa_folder folders[NIWA_VOLUMES_MAX];
	char name[NIWA_NAME_MAX + 3]; /* of the app, should it be removed */
	uint64_t target;              /* CRIU: the instance that it works on */
	uint32_t work;                /* CRIU: enum niwa_criu_work */
	uint32_t restored; /* an instance made from an image: while it is not SERVING, half of it may be there */
	/* dumpable.h. dump_pid 0: no image of it can be made. Times: what its clocks are ahead of the host's */
	uint32_t dump_pid, group_tenant; /* group_tenant.h; 0: its groups are in no tenant's */
	int64_t dump_monotonic_ns, dump_boottime_ns;
	uint64_t ready_us; /* CLOCK_MONOTONIC; 0: not yet, or not known */
	struct niwa_snapshot_key start_key;
	char restored_from[NIWA_KEY_HEX + 1]; /* the image of which it has the layer mounted; "": none */
	uint64_t aged_us;                     /* as below */
	uint32_t limits_changed;              /* its control groups may not say what its record says */
	uint32_t copy;                        /* enum niwa_tag_copy */
	uint64_t busy_until_us;               /* the lease that it was told of; CLOCK_MONOTONIC */
	uint64_t program;                     /* RELAY: which file it was started from, see relay_peer.h */
};
#define NIWA_TAG_VERSION 1
/* What the record said that the instance was made from, bit by bit. */
enum niwa_tag_record {
	NIWA_TAG_RECORD_KNOWN = 1,    /* and the folders are */
	NIWA_TAG_RECORD_OVERLAPS = 2, /* another instance may live beside it */
};
enum niwa_tag_copy { NIWA_TAG_NO_COPY, NIWA_TAG_COPY, NIWA_TAG_COPY_TO_BE };
enum niwa_tag_kind { NIWA_TAG_INSTANCE = 1, NIWA_TAG_EXEC, NIWA_TAG_RELAY, NIWA_TAG_CRIU };

/* Of usage.c: what was read last. */
struct niwa_instance_usage {
	uint64_t at_us, cpu_us, memory_bytes;
	uint32_t cpu_centi, connections;
	uint8_t state, looks; /* of the app then; rounds since, while it stands still */
};

/* busy.h; all 0: none. CLOCK_MONOTONIC */
struct niwa_busy {
	uint64_t file_until_us, told_until_us, tagged_until_us;
	struct timespec changed; /* the file as it was at the last look */
	uint64_t inode;
	int64_t size;
};

struct niwa_instance {
	struct niwa_engine *engine;
	uint64_t id;
	struct niwa_app *app;
	struct niwa_tenant *tenant; /* when it was made; NULL: of a template; or adopted, and its tenant has no app */
	struct niwa_app_spec *spec;
	uint64_t generation;
	enum niwa_phase_of_life life;
	uint32_t private_addr, lease, mark;
	char veth[16];
	pid_t pid;
	uint32_t withheld; /* ports (bit: position in the record) that refuse connections: not in `awake` */
	uint32_t guarded;  /* the same: not in `awake` while it is frozen, visit.h */
	int plan_fd;       /* until it is carried out: to name the operation that failed */
	int pidfd, log_fd, diag_fd, notify_fd, layer_fd, cgroup_events_fd;
	struct niwa_instance_snapshot *snapshot; /* snapshot.h; NULL: it is not dumped */
	bool restored;
	bool in_awake, in_frozen, notified, net_ready, killed, deaf;
	bool left_quiet;       /* it was put to sleep: nobody has anything to get from it */
	bool bids_farewell;    /* farewell.h: its connections outlive it */
	bool lost;             /* it served, then nothing listened any more */
	bool watched;          /* adoption: it is in the kernel's `frozen` set, so what came has knocked */
	bool adopting, follow; /* not resumed yet; as in its tag */
	bool limits_changed;   /* as in its tag */
	bool copy, old;        /* scale.h: one of several, not the first; to be replaced */
	bool copy_to_be;       /* made to be one, not ready yet */
	LIST_ENTRY(niwa_instance) copy_link;
	struct niwa_scale_load load; /* at the last look */
	uint64_t load_at_us, load_cpu_us, cpu_idle_since_us;
	uint32_t cpu_centi;       /* between the last two looks */
	uint32_t cpu_limit_centi; /* widened to this; 0: as its record, or what was set, says */
	sd_event_source *log_source, *log_pause, *notify_source, *notify_pause, *timer, *freeze_source, *life_timer;
	struct niwa_applog *log; /* the app's; NULL: what it prints is lost */
	struct niwa_stages stages;
	uint64_t began_us, ready_deadline_us, stop_deadline_us, drain_deadline_us;
	uint64_t aged_us;                         /* the life that its memory had before it began: hibernation */
	uint64_t ready_pause_us, others_until_us; /* others: see ready.c */
	struct niwa_busy busy;
	/* the governor's last look */
	uint64_t seen_bytes, seen_cpu_us, looked_us, active_us;
	uint64_t held_bytes;             /* measured when it was frozen; 0: not yet */
	bool page_failed;                /* it is not tried again as long as it is frozen */
	uint64_t bytes_at_us, cpu_at_us; /* when it was seen that bytes had crossed, that it used its CPU; 0: never */
	uint64_t check_ticket;
	unsigned check_status; /* what the last HTTP ready check got instead of 2xx or 3xx; 0: no answer */
	unsigned cleanup_tries;
	uint32_t record;                       /* enum niwa_tag_record */
	uint32_t folder_count, folders_shared; /* that it writes to; shared: bit a folder */
	struct niwa_folder folders[NIWA_VOLUMES_MAX];
	struct niwa_folder_hold *holds; /* folder.c: one each; NULL: none */
	unsigned name_server_count;
	struct in6_addr name_servers[3]; /* that it may ask; IPv4 is mapped */
	struct niwa_place place;
	LIST_ENTRY(niwa_instance) place_link; /* in engine.places */
	struct niwa_instance_usage usage;
	uint32_t group_tenant;          /* as in its tag */
	struct niwa_limit_watch *watch; /* limit_hit.c; NULL: none */
	unsigned execs;                 /* processes of `niwa exec` in it: as long as there are any it is not quiet */
	uint64_t tried_us;              /* reclaim.c: it was to be put away, and could not be; 0: never */
	LIST_ENTRY(niwa_instance) link; /* in engine.instance_list */
	LIST_ENTRY(niwa_instance) app_link, tenant_link;
	SLIST_ENTRY(niwa_instance) dead_link; /* in engine.dead */
};

struct niwa_classes;
struct niwa_app_scale;
struct niwa_limit_set;
struct niwa_rpc;
struct niwa_trash;
struct niwa_deferred; /* adopt.c */
struct niwa_snapshots;
struct paging; /* paging.c */
struct niwa_ended;
struct niwa_metrics_disk;
struct niwa_relay_asks;
struct niwa_usage;
struct niwa_schedules;

struct niwa_engine {
	struct niwa_config config;
	sd_event *event;
	struct niwa_cmdb *cmdb;
	struct niwa_net *net;
	struct niwa_host host;
	char host_paths[6][256], init_path[300];
	struct niwa_channel *keep, *relay;  /* relay: that of relay_peer */
	struct niwa_relay_peer *relay_peer; /* relay_peer.h: the one that accepts; NULL: none does */
	LIST_HEAD(, niwa_relay_peer) relay_peers;
	uint64_t relay_serial;
	struct niwa_rpc *rpc;
	struct niwa_trash *trash;
	struct niwa_ended *ended;         /* ended.c; NULL: none has ended yet */
	struct niwa_snapshots *snapshots; /* NULL: CRIU cannot be used, for this reason: */
	char no_snapshots[200];
	bool snapshots_collecting, snapshots_collect_again;
	unsigned dumping;         /* dumps under way, from their folder to their name */
	sd_event_source *rebuild; /* rebuild.c */
	uint64_t rebuilding, rebuild_began_us, rebuild_cpu_us, rebuild_pause_us;
	bool rebuild_compares; /* a thread looks at an image */
	/* The search under way: the last app that was looked at, the best one so far, what is searched for. */
	char rebuild_after[NIWA_NAME_MAX + 3];
	uint64_t rebuild_best;
	bool rebuild_anew;
	struct niwa_map *whys;    /* past.c: the texts themselves */
	struct niwa_map *shares;  /* share.c: key → struct niwa_app_snapshot */
	sd_event_source *sharing; /* the next turn of the walk over apps that share */
	size_t share_pos;
	bool share_again;
	unsigned templates; /* in apps_by_id too */
	uint64_t next_template;
	struct niwa_order *apps_in_order; /* those of apps_by_name */
	struct niwa_map *apps_by_id, *apps_by_name, *apps_by_addr, *tenants, *tenant_limits;
	struct niwa_map *instances, *instances_by_addr, *images, *waiters_by_ticket, *silent, *checks, *execs, *criu;
	LIST_HEAD(, niwa_instance) instance_list;
	LIST_HEAD(, niwa_farewell) farewells;
	unsigned farewell_count;
	struct niwa_classes *classes;
	TAILQ_HEAD(, niwa_tenant) tenants_dirty;     /* tenant.c: names have come or gone */
	TAILQ_HEAD(, niwa_tenant) tenants_unwritten; /* group_tenant.c: limits that are to be written */
	unsigned tenants_writing;                    /* jobs that do */
	struct in6_addr name_servers[3];             /* tenant.c: as they were read in this turn of the loop */
	unsigned name_server_count;
	uint64_t name_servers_turn;
	SLIST_HEAD(, niwa_instance) dead;
	STAILQ_HEAD(, niwa_deferred) deferred; /* what keep told before adoption was complete */
	struct niwa_wake_queue starts;
	TAILQ_HEAD(, niwa_start) starts_held;         /* until another instance lets go of a folder */
	TAILQ_HEAD(, niwa_start) starts_short;        /* until there is memory for them */
	TAILQ_HEAD(, niwa_start) starts_beside;       /* of instances beside others, until some of them have begun */
	unsigned held_count, short_count, full_count; /* full: in starts_short for their tenant's limit */
	unsigned beside_waiting, beside_under_way;    /* in starts_beside; let out of it, and not begun yet */
	unsigned residents_queued;                    /* starts for no visitor that wait for a place */
	uint64_t memory_available, memory_total, memory_read_us; /* admit.c */
	LIST_HEAD(, niwa_instance) places;                       /* instances that hold one */
	sd_event_source *start_source, *places_timer, *short_timer;
	struct niwa_log_limit refusals_logged;
	struct niwa_limit_hits hits; /* of all apps, oldest first */
	LIST_HEAD(, niwa_limit_watch) limits_muted;
	unsigned hit_count, limit_round;
	uint64_t refusal_listed_us;
	struct niwa_app_queue resident_queue; /* resident apps that may have no instance: looked at one a turn */
	sd_event_source *resident_source, *resident_pause;
	struct niwa_lease_pool *leases;
	struct niwa_addr_pool *addresses;
	sd_event_source *bury_source, *second, *tenant_source;
	uint64_t next_instance, next_check, started_us;
	bool folders_changed;      /* starts_held are tried again at the end of this turn */
	bool redeclare;            /* a change of what is declared failed: the kernel may have something else */
	unsigned frozen, seconds;  /* frozen: and paged */
	struct niwa_memory memory; /* pressure.c */
	struct niwa_pressure pressure;
	uint64_t memory_sampled_us, reclaim_part;
	sd_event_source *pressure_step;
	struct paging *paging; /* paging.c: the one that is under way */
	uint64_t page_budget_left, page_budget_us, page_us, pagings;
	pid_t keep_pid;
	int relay_listener, relay_listener6, relay_engine_end;
	gid_t log_group; /* may read the logs; 0: root alone */
	bool adopted, leftover_groups, guarded;
	struct niwa_map *claims;       /* published ports of commits under way → struct claim of publish_claim.c */
	struct niwa_map *routes;       /* DOMAIN.PROTOCOL → struct niwa_app_name of names.c */
	struct niwa_map *route_claims; /* of commits under way → struct claim of route_claim.c */
	LIST_HEAD(, niwa_names_watch) names_watches;
	json_t *names_set, *names_gone, *names_held; /* noted, not told yet; NULL: none */
	bool names_lost;                             /* something could not be noted: who watches starts again */
	struct niwa_folder_holds folder_holds[NIWA_FOLDER_PLACES]; /* folder.c */
	struct niwa_map *folders;                                  /* path → struct folder of folder_claim.c */
	SLIST_HEAD(, niwa_folder_claims) folder_claims;            /* of commits under way */
	struct niwa_text stale_marks;                              /* adoption: of instances that are gone */
	struct niwa_map *published;                                /* "ADDR:PORT" → struct niwa_published */
	LIST_HEAD(, niwa_published) unpublished;                   /* of these, which no app claims */
	struct {
		uint64_t wakes, thaws, starts, restores, dumps, failed_restores, failures, crashes, leftovers, repairs,
			overflows, failed_dumps, failed_commits, refusals, limit_hits;
	} counts;
	struct niwa_metrics metrics;
	struct niwa_metrics_disk *metrics_disk; /* rpc_metrics.c */
	struct niwa_relay_asks *relay_asks;     /* relay_stats.c */
	struct niwa_usage *usage;               /* usage.c; NULL: nobody has asked */
	struct niwa_schedules *schedules;
	struct niwa_pasts pasts;
	uint64_t relay_counters[8];
};

#endif
