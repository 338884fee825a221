/* SPDX-License-Identifier: MIT
 *
 * A checked app record: what an app file declares, with defaults filled in, in plain C. Made from
 * YAML (spec/file.h) by the command line or from JSON (the store, the engine's socket). Whoever
 * holds one may rely on every rule of niwa.yaml(5). Owns all it points to.
 */
#ifndef NIWA_SPEC_APP_H
#define NIWA_SPEC_APP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#include "base/error.h"
#include "spec/publish.h"

#define NIWA_NAME_MAX     253 /* an app's name is a DNS name, RFC 1035 */
#define NIWA_PORTS_MAX    16
#define NIWA_VOLUMES_MAX  16
#define NIWA_ALLOW_MAX    32
#define NIWA_EGRESS_MAX   64
#define NIWA_ROUTES_MAX   256
#define NIWA_TIMES_MAX    16 /* of awake, of wake */
#define NIWA_FROM_MAX     64
#define NIWA_LABELS_MAX   16
#define NIWA_LABEL_MAX    63          /* bytes of a key, and of a value */
#define NIWA_SCALE_MAX    16          /* instances of an app */
#define NIWA_APP_JSON_MAX (64 * 1024) /* bytes of one app record as JSON */

enum niwa_protocol {
	NIWA_PROTO_TCP,
	NIWA_PROTO_HTTP,
	NIWA_PROTO_SMTP,
	NIWA_PROTO_IMAP,
	NIWA_PROTO_LMTP,
	NIWA_PROTO_POP3,
	NIWA_PROTO_POSTGRES,
	NIWA_PROTO_MYSQL,
	NIWA_PROTO_REDIS,
	NIWA_PROTO_COUNT,
};
enum niwa_speaks { NIWA_SPEAKS_CLIENT, NIWA_SPEAKS_SERVER };
enum niwa_proxy { NIWA_PORT_PROXY_NONE, NIWA_PORT_PROXY_V1, NIWA_PORT_PROXY_V2 };
enum niwa_egress { NIWA_EGRESS_INTERNET, NIWA_EGRESS_NONE, NIWA_EGRESS_LIST };
enum niwa_rotate { NIWA_ROTATE_OVERLAP, NIWA_ROTATE_HANDOVER };
enum niwa_ready { NIWA_READY_LISTEN, NIWA_READY_HTTP, NIWA_READY_NOTIFY };
enum niwa_restart { NIWA_RESTART_ON_WAKE, NIWA_RESTART_ALWAYS, NIWA_RESTART_ON_FAILURE };
enum niwa_snapshot { NIWA_SNAPSHOT_AUTO, NIWA_SNAPSHOT_OFF, NIWA_SNAPSHOT_READY, NIWA_SNAPSHOT_SHARED };
enum niwa_sleep_keep { NIWA_SLEEP_KEEPS_NOTHING, NIWA_SLEEP_KEEPS_MEMORY };
enum niwa_owner { NIWA_OWNER_TENANT, NIWA_OWNER_USER };

struct niwa_rate {
	uint32_t count, per_s; /* so many in so many seconds; 0: any number */
};

struct niwa_port {
	uint16_t number; /* host order, what the app listens on and the service address offers */
	enum niwa_protocol protocol;
	enum niwa_speaks speaks;
	enum niwa_proxy proxy; /* the header before each connection's first byte */
	struct niwa_publish publish;
	bool allow_any;     /* allow: any */
	size_t allow_count; /* up to NIWA_ALLOW_MAX */
	char **allow;       /* tenant names; NULL when there are none */
	char **wake_from;   /* who may wake the app through it, spec/source.h; NULL: everybody; empty: nobody */
	struct niwa_rate wakes;
};

/* The app answers for this domain, in this protocol: DOMAIN.PROTOCOL.niwa.internal leads to it. */
struct niwa_route {
	enum niwa_protocol protocol;
	char *domain; /* a DNS name in lower case */
};

struct niwa_volume {
	char *from; /* absolute path on the host */
	char *to;   /* absolute path in the container */
	enum niwa_owner owner;
	char *owner_user; /* host user name or number, for NIWA_OWNER_USER */
	bool read_only, shared;
};

struct niwa_limits { /* 0: no limit; processes has 1024 by default, the others none */
	uint64_t memory_bytes;
	uint32_t cpu_centi; /* hundredths of a percent of one CPU */
	uint32_t processes;
	uint32_t io_weight; /* 1 to 10000, 0: default */
	uint32_t open_files;
	uint64_t disk_bytes; /* writable layer */
};

struct niwa_app_spec {
	char *name;     /* unique in the cell */
	char *tenant;   /* never NULL; defaults to the name */
	char *image;    /* "host", an absolute path of a directory, or the name of an imported image */
	char **command; /* NULL-terminated, never NULL; empty: the image's own */
	char *user;     /* of the container, name or number[:number]; NULL: the image's own, else root */
	char *workdir;  /* NULL: the image's own, else "/" */
	char **env;     /* NULL-terminated "KEY=value", sorted, never NULL; env files are read at apply */
	char **labels;  /* NULL-terminated "key=value", sorted; NULL: none */
	bool init;      /* niwa-init as pid 1: reaps zombies, forwards signals */
	size_t port_count, volume_count, route_count;
	struct niwa_port *ports;     /* port_count of them, 1 to NIWA_PORTS_MAX, no number twice */
	struct niwa_volume *volumes; /* volume_count of them, outer ones before inner ones; NULL when there are none */
	struct niwa_route *routes;   /* route_count of them, none twice; NULL when there are none */
	enum niwa_egress egress;
	char **egress_list; /* NULL-terminated "ADDRESS[/BITS]" for NIWA_EGRESS_LIST, else NULL; none in another */
	struct niwa_limits limits;
	uint64_t lifetime_us; /* 0: no end */
	struct {
		uint32_t max;           /* instances; 1: no more than one */
		uint32_t connections;   /* of an instance that is full; 0: not counted */
		uint32_t cpu_centi;     /* the same; 0: not counted */
		uint64_t quiet_us;      /* what there is fits in one instance less for so long, then it is one less */
		uint64_t drain_us;      /* how long that one may finish its connections */
		uint32_t cpu_max_centi; /* limits.cpu is widened up to this; 0: never */
	} scale;
	bool resident;           /* always an instance: it does not sleep, and is started without a visitor */
	enum niwa_rotate rotate; /* default: handover with a writable volume that is not shared, else overlap */
	struct {
		/* Of quiet; 0: never; those that are not 0 ascend. Defaults 10 s, 60 s, 5 m, moved where they would
		 * collide with what was given. */
		uint64_t freeze_us, page_us, save_us;
		uint64_t answer_us;     /* an unanswered request keeps the app from freezing so long, default 1 min */
		uint64_t connection_us; /* a connection silent for longer does not count, default 1 h */
		uint32_t cpu_centi;     /* below this the CPU counts as quiet, default 100 = 1 % of one CPU */
		enum niwa_sleep_keep keep; /* of what is saved */
	} sleep;
	struct {              /* hours of the week, spec/times.h */
		char **times; /* NULL-terminated; NULL: none */
		char *zone;   /* NULL: the host's */
	} awake;
	struct {           /* times of cron */
		char **at; /* NULL-terminated; NULL: none */
		uint64_t for_us;
		char *zone;
	} wake;
	struct {
		enum niwa_ready kind;
		uint16_t port;        /* listen, http; default: the first (of protocol http); 0 with notify */
		char *path;           /* http */
		uint64_t deadline_us; /* default 30 s */
	} ready;
	struct {
		int signal;        /* default SIGTERM */
		uint64_t grace_us; /* default 10 s, then SIGKILL */
	} stop;
	struct {
		enum niwa_restart policy; /* default on-wake: a crashed app waits for the next connection */
		/* First pause 100 ms, doubled up to 30 s; reset after a minute of health. */
		uint64_t backoff_us, backoff_max_us;
	} restart;
	enum niwa_snapshot snapshot;
	char **warm;               /* NULL-terminated paths, or NULL */
	int restore_signal;        /* 0: none */
	uint64_t wake_deadline_us; /* how long a connection is held, default 25 s */
	uint32_t max_waiting;      /* held connections of this app, default 1024 */
};

void niwa_app_spec_free(struct niwa_app_spec **spec);

/* Checks json (an object as niwa_app_to_json writes it, or as the file reader builds it) against the
 * schema table and makes a record. err->msg begins with the key, e.g.
 * "ports[0].protocol: found 'htp'; allowed: tcp, http, smtp, ...; did you mean 'http'?". If ret_key is not NULL it gets
 * the path of the offending key ("ports[0].protocol", 128 bytes). */
int niwa_app_from_json(const json_t *json, struct niwa_app_spec **ret, char *ret_key, struct niwa_error *err);
/* The canonical form: every key that differs from its default, keys sorted; niwa_app_from_json reads it
 * back to an equal record. New reference, NULL when out of memory. */
json_t *niwa_app_to_json(const struct niwa_app_spec *spec);

/* One key of limits, "200%" or "none", as an app file has it; the others stay. -EINVAL with what is allowed. */
int niwa_limit_parse(const char *name, const char *text, struct niwa_limits *limits, struct niwa_error *err);
json_t *niwa_limit_write(const char *name, const struct niwa_limits *limits); /* NULL: out of memory, or no such */

const char *niwa_protocol_name(enum niwa_protocol p);
/* True when the app has a writable volume that is not `shared`. */
bool niwa_app_has_own_data(const struct niwa_app_spec *spec);

/* True when it has a writable volume at all. */
bool niwa_app_writes_volumes(const struct niwa_app_spec *spec);

#endif
