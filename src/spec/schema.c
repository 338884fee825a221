/* SPDX-License-Identifier: MIT
 *
 * The table of keys. The order is the order in the manual. A sentence in `doc` is mdoc text: it may use no macros
 * and no backslashes, and ends with a full stop.
 */
#include "spec/schema_table.h"

#include <netinet/in.h>
#include <string.h>

#include "base/memory.h"
#include "spec/zone.h"

static const char *const protocols[] = {
	[NIWA_PROTO_TCP] = "tcp",           [NIWA_PROTO_HTTP] = "http",   [NIWA_PROTO_SMTP] = "smtp",
	[NIWA_PROTO_IMAP] = "imap",         [NIWA_PROTO_LMTP] = "lmtp",   [NIWA_PROTO_POP3] = "pop3",
	[NIWA_PROTO_POSTGRES] = "postgres", [NIWA_PROTO_MYSQL] = "mysql", [NIWA_PROTO_REDIS] = "redis",
	[NIWA_PROTO_COUNT] = NULL,
};
static const char *const speakers[] = {[NIWA_SPEAKS_CLIENT] = "client", [NIWA_SPEAKS_SERVER] = "server", NULL};
static const char *const proxies[] = {
	[NIWA_PORT_PROXY_NONE] = "none", [NIWA_PORT_PROXY_V1] = "v1", [NIWA_PORT_PROXY_V2] = "v2", NULL};
static const char *const rotations[] = {[NIWA_ROTATE_OVERLAP] = "overlap", [NIWA_ROTATE_HANDOVER] = "handover", NULL};
static const char *const restarts[] = {
	[NIWA_RESTART_ON_WAKE] = "on-wake",
	[NIWA_RESTART_ALWAYS] = "always",
	[NIWA_RESTART_ON_FAILURE] = "on-failure",
	NULL,
};

static const char *const snapshots[] = {
	[NIWA_SNAPSHOT_AUTO] = "auto",
	[NIWA_SNAPSHOT_OFF] = "off",
	[NIWA_SNAPSHOT_READY] = "ready",
	[NIWA_SNAPSHOT_SHARED] = "shared",
	NULL,
};
static const char *const keeps[] = {[NIWA_SLEEP_KEEPS_NOTHING] = "nothing", [NIWA_SLEEP_KEEPS_MEMORY] = "memory", NULL};

const char *niwa_protocol_name(enum niwa_protocol p)
{
	return p < NIWA_PROTO_COUNT ? protocols[p] : "?";
}

static bool speaks_is_derived(const struct niwa_app_spec *app, const void *base)
{
	const struct niwa_port *port = base;

	(void)app;
	return port->speaks == niwa_default_speaks(port->protocol);
}

static bool not_published(const struct niwa_app_spec *app, const void *base)
{
	(void)app;
	return ((const struct niwa_port *)base)->publish.port == 0;
}

static bool nobody_allowed(const struct niwa_app_spec *app, const void *base)
{
	const struct niwa_port *port = base;

	(void)app;
	return !port->allow_any && port->allow_count == 0;
}

static const struct niwa_key port_wake_keys[] = {
	{.name = "from",
	 .kind = &niwa_kind_sources,
	 FIELD(struct niwa_port, wake_from),
	 .max = NIWA_FROM_MAX,
	 .derived = "any",
	 .doc = "Who may wake the app by a connection to this port: addresses and networks, host (this host itself), "
		"tenant (apps of the same tenant); with none nobody may. Everybody else reaches the app only while it "
		"is awake; while it sleeps they are answered as when it cannot be woken. This is no firewall: what "
		"comes while the app is awake reaches it, and keeps it awake."},
	{.name = "wakes",
	 .kind = &niwa_kind_rate,
	 FIELD(struct niwa_port, wakes),
	 .min = 1,
	 .max = 100000,
	 .never = "any",
	 .fallback = "any",
	 .doc = "How often connections to this port may wake the app. So many wakes may come at once; each is given "
		"back evenly over the time. Beyond that a sleeping app stays asleep and its clients are told in the "
		"port's protocol to come back later, so that scanners and bots do not keep it up."},
};
static const struct niwa_group port_wake_group = {GROUP(port_wake_keys)};

static const struct niwa_key port_keys[] = {
	{.name = "port",
	 .kind = &niwa_kind_number,
	 FIELD(struct niwa_port, number),
	 .min = 1,
	 .max = 65535,
	 .required = true,
	 .doc = "The TCP port that the app listens on; the service address offers the same number."},
	{.name = "protocol",
	 .kind = &niwa_kind_word,
	 FIELD(struct niwa_port, protocol),
	 .words = protocols,
	 .fallback = "tcp",
	 .doc = "What is spoken on the port. It decides who speaks first, and in which words a client is answered when "
		"the app cannot be woken: HTTP 503, SMTP and LMTP 421, IMAP BYE and so on; for tcp the connection is "
		"reset. It is never used to look at what passes."},
	{.name = "speaks",
	 .kind = &niwa_kind_word,
	 FIELD(struct niwa_port, speaks),
	 .words = speakers,
	 .omit = speaks_is_derived,
	 .derived = "client for http, postgres and redis, server for the others",
	 .doc = "Who sends the first byte. With client, the app is woken by the first byte of a connection, so that a "
		"port scan or a bare TCP probe wakes nothing; with server, by the connection itself. A port of "
		"protocol tcp counts as server because that works for both; say client where it is known. Ports with "
		"TLS from the first byte (993, 465) are client."},
	{.name = "proxy",
	 .kind = &niwa_kind_word,
	 FIELD(struct niwa_port, proxy),
	 .words = proxies,
	 .fallback = "none",
	 .doc = "With v1 or v2, each connection begins with a header of the PROXY protocol that says who the client "
		"is, for "
		"apps that expect one. Without it an app sees its clients' own addresses too, as those of the "
		"connections "
		"themselves, so it is only for apps that want it. Every connection to such a port goes through "
		"niwa-relay, also while the app is awake, and comes from the host's own address, the first one of "
		"private_range, which is what the app has to trust."},
	{.name = "publish",
	 .kind = &niwa_kind_publish,
	 FIELD(struct niwa_port, publish),
	 .omit = not_published,
	 .derived = "not published",
	 .doc = "A port of the host that leads to this port, with the host's address in front where it is not "
		"127.0.0.1: 192.0.2.1:8080 or, in quotes, \"[2001:db8::1]:8080\". 0.0.0.0:8080 stands for all "
		"addresses "
		"of IPv4, \"[::]:8080\" or \":8080\" for all of both families (of IPv4, on a host that has no IPv6). "
		"By "
		"IPv6 it works without ula_prefix too; then the app sees the host's address in place of its clients'."},
	{.name = "allow",
	 .kind = &niwa_kind_allow,
	 .offset = 0,
	 .size = sizeof(struct niwa_port),
	 .omit = nobody_allowed,
	 .derived = "nobody else",
	 .doc = "Other tenants whose apps may connect to this port. Apps of the same tenant always may, and so may the "
		"host "
		"and every machine whose packets for the service range come to this host: allow is a rule between "
		"apps, not a firewall. Do not route the range to this host, or filter it there, see SECURITY.md."},
	{.name = "wake",
	 .kind = &niwa_kind_group,
	 .group = &port_wake_group,
	 .doc = "Which connections to this port may wake the app, and how often."},
};
static struct niwa_port port_defaults;
static bool port_filled;
static const struct niwa_group port_group = {
	GROUP(port_keys),       .size = sizeof(struct niwa_port), .defaults = &port_defaults,
	.filled = &port_filled, .finish = niwa_finish_port,
};

static const struct niwa_key route_keys[] = {
	{.name = "protocol",
	 .kind = &niwa_kind_word,
	 FIELD(struct niwa_route, protocol),
	 .words = protocols,
	 .fallback = "http",
	 .doc = "What is spoken to the domain; a name apart for each, so that a domain may have its site in one app "
		"and "
		"its mail in another."},
	{.name = "domain",
	 .kind = &niwa_kind_text,
	 FIELD(struct niwa_route, domain),
	 .check = niwa_is_route_domain,
	 .required = true,
	 .allowed = "a DNS name in lower case, as app names; one with other letters as punycode (xn--...), no wildcard",
	 .doc = "The domain. It belongs to one app of the host in each protocol."},
};
static struct niwa_route route_defaults;
static bool route_filled;
static const struct niwa_group route_group = {
	GROUP(route_keys),
	.size = sizeof(struct niwa_route),
	.defaults = &route_defaults,
	.filled = &route_filled,
};

static bool owner_is_tenant(const struct niwa_app_spec *app, const void *base)
{
	(void)app;
	return ((const struct niwa_volume *)base)->owner == NIWA_OWNER_TENANT;
}

static const struct niwa_key volume_keys[] = {
	{.name = "from",
	 .kind = &niwa_kind_path,
	 FIELD(struct niwa_volume, from),
	 .check = niwa_is_volume_source,
	 .required = true,
	 .allowed =
		 "an absolute path on the host, no . or .. in it, not / and not below /proc, /sys, /dev or /run/niwa",
	 .doc = "The folder or file on the host."},
	{.name = "to",
	 .kind = &niwa_kind_path,
	 FIELD(struct niwa_volume, to),
	 .check = niwa_is_volume_target,
	 .required = true,
	 .allowed = "an absolute path in the container, no . or .. in it, not / and not over /proc, /sys, /dev or "
		    "/run/niwa",
	 .doc = "Where it appears in the container."},
	{.name = "owner",
	 .kind = &niwa_kind_owner,
	 .offset = 0,
	 .size = sizeof(struct niwa_volume),
	 .omit = owner_is_tenant,
	 .fallback = "tenant",
	 .doc = "With tenant, files belong to the tenant's own range of ids. With a user of the host, the user that "
		"the app runs as and this host user are one: what hosting panels do with one Unix user a domain. The "
		"app "
		"can then leave programs there that are set-uid for this user: keep such a folder on a file system "
		"that "
		"the host mounts nosuid."},
	{.name = "read_only",
	 .kind = &niwa_kind_bool,
	 FIELD(struct niwa_volume, read_only),
	 .fallback = "false",
	 .doc = "The app cannot write there."},
	{.name = "shared",
	 .kind = &niwa_kind_bool,
	 FIELD(struct niwa_volume, shared),
	 .fallback = "false",
	 .doc = "Two instances may write there at the same time. Never say so for a database: locks of programs do not "
		"reach from one container to another."},
};
static struct niwa_volume volume_defaults;
static bool volume_filled;
static const struct niwa_group volume_group = {
	GROUP(volume_keys),       .size = sizeof(struct niwa_volume), .defaults = &volume_defaults,
	.filled = &volume_filled, .finish = niwa_finish_volume,
};

/* The three depend on each other: they are written all or none. */
static bool sleep_is_default(const struct niwa_app_spec *app, const void *base)
{
	const struct niwa_app_spec *d = niwa_group_defaults(&niwa_schema_app);

	(void)base;
	return app->sleep.freeze_us == d->sleep.freeze_us && app->sleep.page_us == d->sleep.page_us &&
	       app->sleep.save_us == d->sleep.save_us;
}

static const struct niwa_key sleep_keys[] = {
	{.name = "freeze",
	 .kind = &niwa_kind_duration,
	 APP(sleep.freeze_us),
	 .min = MS(100),
	 .max = DAY(30),
	 .never = "never",
	 .omit = sleep_is_default,
	 .fallback = "10s",
	 .derived = "10s, or half of page or save where these are shorter",
	 .doc = "After so much quiet the app is frozen: its processes stand still, connections stay open, waking takes "
		"less than a millisecond. Timers of a frozen app do not run."},
	{.name = "page",
	 .kind = &niwa_kind_duration,
	 APP(sleep.page_us),
	 .min = MS(100),
	 .max = DAY(30),
	 .never = "never",
	 .omit = sleep_is_default,
	 .fallback = "60s",
	 .derived = "60s, or six times freeze where that is longer; never where save is not longer than that or freeze "
		    "is never",
	 .doc = "After so much quiet, at the latest, the memory of the frozen app is moved to swap. Where there is "
		"none "
		"it stays frozen."},
	{.name = "save",
	 .kind = &niwa_kind_duration,
	 APP(sleep.save_us),
	 .min = MS(100),
	 .max = DAY(30),
	 .never = "never",
	 .omit = sleep_is_default,
	 .fallback = "5m",
	 .derived = "5m, or five times page (or freeze) where that is longer",
	 .doc = "After so much quiet, at the latest, the instance is ended; nothing is left of the app but a line in a "
		"table. The next "
		"connection starts it."},
	{.name = "connection",
	 .kind = &niwa_kind_duration,
	 APP(sleep.connection_us),
	 .min = SEC(1),
	 .max = DAY(30),
	 .fallback = "1h",
	 .doc = "An open connection that moved no byte for so long does not keep the app from being saved."},
	{.name = "answer",
	 .kind = &niwa_kind_duration,
	 APP(sleep.answer_us),
	 .min = 0,
	 .max = DAY(30),
	 .fallback = "1m",
	 .doc = "A connection whose last bytes came from the client waits for an answer, perhaps behind a slow disk or "
		"a timer: for so long it keeps the app from being frozen."},
	{.name = "cpu",
	 .kind = &niwa_kind_percent,
	 APP(sleep.cpu_centi),
	 .min = 1,
	 .max = 10000,
	 .fallback = "1%",
	 .doc = "Below this share of one CPU the app counts as quiet; no real program is ever at zero."},
	{.name = "keep",
	 .kind = &niwa_kind_word,
	 APP(sleep.keep),
	 .words = keeps,
	 .fallback = "nothing",
	 .doc = "What is kept of an app that is saved. With memory, its processes go on where they stopped: an image "
		"of "
		"this moment is written, used for one wake and then thrown away. When a volume was written meanwhile, "
		"by whomever, the image is void and the app is started afresh. Seen are the times of its files: not "
		"what a program outside writes into a file of a tmpfs that it has mapped, so give no such volume to "
		"an app that keeps memory. Not with snapshot: off."},
};
static const struct niwa_group sleep_group = {GROUP(sleep_keys), .finish = niwa_finish_sleep};

static const struct niwa_key awake_keys[] = {
	{.name = "times",
	 .kind = &niwa_kind_spans,
	 APP(awake.times),
	 .max = NIWA_TIMES_MAX,
	 .required = true,
	 .allowed = "days, hours or both, such as Mon-Fri 08:00-18:00, Sat,Sun or 22:00-06:00; at most 16 of them in "
		    "a list",
	 .doc = "When the app is awake: it is woken when they begin and does not sleep before they end. Hours that "
		"end before they begin end on the next day. Where clocks skip a beginning it is at the jump; where "
		"they show an end twice it is the second."},
	{.name = "zone",
	 .kind = &niwa_kind_text,
	 APP(awake.zone),
	 .check = niwa_is_zone_name,
	 .allowed = "a time zone such as Europe/Vienna or UTC",
	 .derived = "that of the host",
	 .doc = "Whose clocks count."},
};
static const struct niwa_group awake_group = {GROUP(awake_keys), .alone = "times"};

static const struct niwa_key wake_keys[] = {
	{.name = "at",
	 .kind = &niwa_kind_crons,
	 APP(wake.at),
	 .max = NIWA_TIMES_MAX,
	 .required = true,
	 .allowed = "minute, hour, day of the month, month and day of the week as in crontab(5), such as */15 * * * *; "
		    "or @hourly, @daily, @weekly, @monthly, @yearly; at most 16 of them in a list",
	 .doc = "When the app is woken without a connection. With both a day of the month and a day of the week, "
		"either "
		"is enough. A time that clocks skip comes when they jump, one that they show twice comes once; but "
		"with a minute or hour that begins with * it is what the clocks show that counts. Times that were "
		"missed because niwad or the host was down are made up for by one wake."},
	{.name = "for",
	 .kind = &niwa_kind_duration,
	 APP(wake.for_us),
	 .min = SEC(1),
	 .max = DAY(1),
	 .fallback = "1m",
	 .doc = "How long it does not sleep then, from when it is ready. Afterwards it sleeps when it is quiet."},
	{.name = "zone",
	 .kind = &niwa_kind_text,
	 APP(wake.zone),
	 .check = niwa_is_zone_name,
	 .allowed = "a time zone such as Europe/Vienna or UTC",
	 .derived = "that of the host",
	 .doc = "Whose clocks count."},
};
static const struct niwa_group wake_group = {GROUP(wake_keys), .alone = "at"};

static bool no_listen_written(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return app->ready.kind != NIWA_READY_LISTEN || app->ready.port == niwa_default_ready_port(app);
}

static bool no_http_written(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return app->ready.kind != NIWA_READY_HTTP;
}

static bool no_http_port_written(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return app->ready.kind != NIWA_READY_HTTP || app->ready.port == niwa_default_ready_port(app);
}

static bool no_notify_written(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return app->ready.kind != NIWA_READY_NOTIFY;
}

static const struct niwa_key ready_keys[] = {
	{.name = "listen",
	 .kind = &niwa_kind_number,
	 APP(ready.port),
	 .min = 1,
	 .max = 65535,
	 .omit = no_listen_written,
	 .derived = "the first port",
	 .doc = "The app is ready when it listens on this port. niwa looks; it does not connect."},
	{.name = "http",
	 .kind = &niwa_kind_text,
	 APP(ready.path),
	 .check = niwa_is_url_path,
	 .omit = no_http_written,
	 .derived = "no HTTP check",
	 .allowed = "a path such as /health, at most 200 printable ASCII characters without spaces",
	 .doc = "The app is ready when a GET of this path is answered with 2xx or 3xx."},
	{.name = "port",
	 .kind = &niwa_kind_number,
	 APP(ready.port),
	 .min = 1,
	 .max = 65535,
	 .omit = no_http_port_written,
	 .derived = "the first port of protocol http, else the first port",
	 .doc = "The port for http."},
	{.name = "notify",
	 .kind = &niwa_kind_flag,
	 .omit = no_notify_written,
	 .fallback = "false",
	 .doc = "The app says so itself: READY=1 to the socket in NOTIFY_SOCKET, see sd_notify(3)."},
	{.name = "deadline",
	 .kind = &niwa_kind_duration,
	 APP(ready.deadline_us),
	 .min = MS(100),
	 .max = SEC(3600),
	 .fallback = "30s",
	 .doc = "An instance that is not ready by then is ended, and the start counts as failed."},
};
static const struct niwa_group ready_group = {GROUP(ready_keys), .finish = niwa_finish_ready};

static const struct niwa_key stop_keys[] = {
	{.name = "signal",
	 .kind = &niwa_kind_signal,
	 APP(stop.signal),
	 .fallback = "SIGTERM",
	 .doc = "What asks the app to end. Apache ends gracefully on SIGWINCH, nginx and php-fpm on SIGQUIT."},
	{.name = "grace",
	 .kind = &niwa_kind_duration,
	 APP(stop.grace_us),
	 .min = 0,
	 .max = SEC(3600),
	 .fallback = "10s",
	 .doc = "So long it may take; then it is killed."},
};
static const struct niwa_group stop_group = {GROUP(stop_keys)};

static const struct niwa_key restart_keys[] = {
	{.name = "policy",
	 .kind = &niwa_kind_word,
	 APP(restart.policy),
	 .words = restarts,
	 .fallback = "on-wake",
	 .doc = "What happens when an app ends by itself: on-wake, it waits for the next connection; on-failure, it is "
		"started again unless it ended with status 0; always, it is started again."},
	{.name = "backoff",
	 .kind = &niwa_kind_duration,
	 APP(restart.backoff_us),
	 .min = MS(1),
	 .max = SEC(3600),
	 .fallback = "100ms",
	 .doc = "The pause before the first new start; doubled each time, forgotten after a minute of health."},
	{.name = "backoff_max",
	 .kind = &niwa_kind_duration,
	 APP(restart.backoff_max_us),
	 .min = MS(1),
	 .max = DAY(1),
	 .fallback = "30s",
	 .derived = "30s, or backoff where that is longer",
	 .doc = "The longest pause."},
};
static const struct niwa_group restart_group = {GROUP(restart_keys), .finish = niwa_finish_restart};

static bool no_restore_signal(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return app->restore_signal == 0;
}

static bool tenant_is_name(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return strcmp(app->tenant, app->name) == 0;
}

static bool rotate_is_derived(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return app->rotate == niwa_default_rotate(app);
}

static bool egress_is_internet(const struct niwa_app_spec *app, const void *base)
{
	(void)base;
	return app->egress == NIWA_EGRESS_INTERNET;
}

static const struct niwa_key app_keys[] = {
	{.name = "name",
	 .kind = &niwa_kind_text,
	 APP(name),
	 .check = niwa_is_dns_name,
	 .required = true,
	 .allowed = "a DNS name in lower case: labels of letters, digits and inner '-', at most 63 characters each and "
		    "253 in all",
	 .doc = "The name of the app, unique in the cell. It keeps its service address for ever."},
	{.name = "tenant",
	 .kind = &niwa_kind_text,
	 APP(tenant),
	 .check = niwa_is_tenant,
	 .omit = tenant_is_name,
	 .allowed = "lower case letters, digits and inner '-' and '.', at most 63 characters, not 'any'",
	 .derived = "the name",
	 .doc = "Who owns the app: apps of one tenant may talk to each other, others may not."},
	{.name = "labels",
	 .kind = &niwa_kind_labels,
	 APP(labels),
	 .max = NIWA_LABELS_MAX,
	 .derived = "none",
	 .doc = "Texts to find the app by, for the one who runs the host: niwa ls and niwa rm take --label KEY=value. "
		"A change "
		"of labels leaves the app's instances as they are."},
	{.name = "image",
	 .kind = &niwa_kind_text,
	 APP(image),
	 .check = niwa_is_image,
	 .required = true,
	 .allowed = "host, an absolute path of a folder, or the name of an imported image (letters, digits, '.', '_', "
		    "'-', at most 128)",
	 .doc = "What the app's files are: host is the programs of this host and nothing else of it; a folder with a "
		"root file system; or an image that was imported with niwa image import."},
	{.name = "command",
	 .kind = &niwa_kind_texts,
	 APP(command),
	 .max = 256,
	 .derived = "the image's own; image host has none",
	 .doc = "The program and its arguments. No shell looks at it."},
	{.name = "user",
	 .kind = &niwa_kind_text,
	 APP(user),
	 .check = niwa_is_user,
	 .allowed = "USER, USER:GROUP, names or numbers up to 65535",
	 .derived = "the image's own, else root",
	 .doc = "The user of the container that the app runs as. Its root is nobody on the host."},
	{.name = "workdir",
	 .kind = &niwa_kind_path,
	 APP(workdir),
	 .check = niwa_is_path,
	 .allowed = "an absolute path, no . or .. in it",
	 .derived = "the image's own, else /",
	 .doc = "The folder that the app starts in."},
	{.name = "env",
	 .kind = &niwa_kind_env,
	 APP(env),
	 .max = 512,
	 .derived = "none",
	 .doc = "Environment variables, over those of the image. A value is taken as it is written: 0x10, yes and 1.10 "
		"stay what they are."},
	{.name = "env_files",
	 .kind = &niwa_kind_texts,
	 .file_only = true,
	 .max = 16,
	 .derived = "none",
	 .doc = "Files with KEY=value lines, relative to the folder of the app file; read by niwa apply. Empty lines "
		"and lines that begin with # are skipped, quotes around a whole value are taken off, nothing is "
		"expanded. Later files win over earlier ones, env wins over all."},
	{.name = "init",
	 .kind = &niwa_kind_bool,
	 APP(init),
	 .fallback = "false",
	 .doc = "A small init is process 1: it reaps zombies and passes signals on."},
	{.name = "ports",
	 .kind = &niwa_kind_list,
	 APP(ports),
	 .max = NIWA_PORTS_MAX,
	 .count_offset = offsetof(struct niwa_app_spec, port_count),
	 .group = &port_group,
	 .required = true,
	 .doc = "The ports of the app; at least one, because connections are what wakes it."},
	{.name = "routes",
	 .kind = &niwa_kind_list,
	 APP(routes),
	 .max = NIWA_ROUTES_MAX,
	 .count_offset = offsetof(struct niwa_app_spec, route_count),
	 .group = &route_group,
	 .derived = "none",
	 .doc = "Domains that the app answers for. The name DOMAIN.PROTOCOL.niwa.internal leads to the app's service "
		"address, beside the app's own name; a web server in front finds the app of a domain by it, see "
		"niwa-api(8)."},
	{.name = "volumes",
	 .kind = &niwa_kind_list,
	 APP(volumes),
	 .max = NIWA_VOLUMES_MAX,
	 .count_offset = offsetof(struct niwa_app_spec, volume_count),
	 .group = &volume_group,
	 .derived = "none",
	 .doc = "What stays when an instance ends. Everything else that an app writes is gone with its instance."},
	{.name = "egress",
	 .kind = &niwa_kind_egress,
	 .offset = 0,
	 .size = sizeof(struct niwa_app_spec),
	 .omit = egress_is_internet,
	 .fallback = "internet",
	 .doc = "What the app may connect to beyond apps of its tenant: nothing, public addresses, or these networks. "
		"With internet, private networks (10.0.0.0/8, 100.64.0.0/10, 172.16.0.0/12, 192.168.0.0/16), "
		"link-local "
		"and other reserved addresses stay out of reach: list those that an app needs. By IPv6, which takes "
		"ula_prefix of niwad.conf(5), internet is 2000::/3 without 2001::/32 and 2002::/16, which are tunnels "
		"to "
		"IPv4."},
	{.name = "limits", .kind = &niwa_kind_group, .group = &niwa_schema_limits, .doc = "What an instance may take."},
	{.name = "lifetime",
	 .kind = &niwa_kind_duration,
	 APP(lifetime_us),
	 .min = SEC(1),
	 .max = DAY(3650),
	 .never = "none",
	 .fallback = "none",
	 .doc = "The longest life of an instance; then a fresh one takes its place. Memory that is kept while the app "
		"sleeps (keep: memory) ages on; from any other image an instance begins its life when it is woken."},
	{.name = "rotate",
	 .kind = &niwa_kind_word,
	 APP(rotate),
	 .words = rotations,
	 .omit = rotate_is_derived,
	 .derived = "handover with a writable volume that is not shared, else overlap",
	 .doc = "How a fresh instance takes over: overlap, it is made ready first, then the old one drains; handover, "
		"new connections are held, the old one ends, the fresh one starts. Overlap is refused with a "
		"writable volume that is not shared."},
	{.name = "resident",
	 .kind = &niwa_kind_bool,
	 APP(resident),
	 .fallback = "false",
	 .doc = "The app always has a ready instance: it is started when it is declared and when niwad starts, without "
		"a "
		"visitor, and again when it ends by itself, with the pauses of restart. It does not sleep: freeze, "
		"page "
		"and save are never, whatever sleep says, and snapshot: auto means off, for an image is made of an app "
		"that stands still. At the end of lifetime the fresh instance is ready before the old one drains; with "
		"rotate: handover there is a moment without one, in which connections are held."},
	{.name = "scale",
	 .kind = &niwa_kind_group,
	 .group = &niwa_schema_scale,
	 .doc = "More instances of an app, and wider limits, when it is full; fewer when it is not. New connections "
		"are spread over them in the kernel. Before it sleeps an app is one instance again."},
	{.name = "sleep",
	 .kind = &niwa_kind_group,
	 .group = &sleep_group,
	 .doc = "When the app sleeps, and how deeply. Quiet means that no byte crosses its network interface and that "
		"it uses hardly any CPU. Of an app that was visited a few times before niwad knows how likely the next "
		"visit is; then it may be paged and saved sooner than declared, but not before it is frozen, where "
		"holding its memory costs more than the waiting (wait_worth in niwad.conf(5)), or where memory is "
		"short. never stays never."},
	{.name = "awake",
	 .kind = &niwa_kind_group,
	 .group = &awake_group,
	 .whole = true,
	 .doc = "Hours in which the app does not sleep. A text or a list of texts stands for times alone."},
	{.name = "wake",
	 .kind = &niwa_kind_group,
	 .group = &wake_group,
	 .whole = true,
	 .doc = "Times at which the app is woken, for work that no connection begins: a program whose timers stood "
		"still goes on, one that was not there is started. A text or a list of texts stands for at alone."},
	{.name = "ready",
	 .kind = &niwa_kind_group,
	 .group = &ready_group,
	 .whole = true,
	 .doc = "How niwa knows that the app can answer; one of listen, http and notify."},
	{.name = "stop", .kind = &niwa_kind_group, .group = &stop_group, .doc = "How an instance is ended."},
	{.name = "restart", .kind = &niwa_kind_group, .group = &restart_group, .doc = "What happens after a crash."},
	{.name = "snapshot",
	 .kind = &niwa_kind_word,
	 APP(snapshot),
	 .words = snapshots,
	 .fallback = "auto",
	 .doc = "Whether the app is woken from an image of its processes at the moment they became ready, instead of "
		"being started. auto: when it starts slowly or has warm, and no volume of it is writable. ready: with "
		"writable "
		"volumes as well; say so only where nothing in the app's memory depends on what is in them, never for "
		"a database. shared: apps whose records are the same but for name, tenant, env, sources of "
		"volumes and the like have one image together, see SHARED IMAGES. off: never, nor with sleep: keep. "
		"Where an image would be wrong or not faster it is not used; niwa show tells the reason. It is made "
		"anew when something was "
		"written in a read-only volume, or in a folder that is the image, of up to 4096 files. Needs CRIU, see "
		"niwa doctor."},
	{.name = "warm",
	 .kind = &niwa_kind_texts,
	 APP(warm),
	 .check = niwa_is_url_path,
	 .max = 16,
	 .derived = "none",
	 .allowed = "a list of at most 16 paths such as /, each of at most 200 printable ASCII characters without "
		    "spaces",
	 .doc = "Paths that are asked for by GET before the image of an app is made, so that what the first request "
		"would load is in it. The port is that of ready, or the first one of protocol http."},
	{.name = "restore_signal",
	 .kind = &niwa_kind_signal,
	 APP(restore_signal),
	 .omit = no_restore_signal,
	 .derived = "none",
	 .doc = "Sent to the app's first process after it was woken from an image, for programs that make keys or "
		"random numbers afresh then. The file /run/niwa/generation holds another number after each wake, "
		"/run/niwa/random 64 other random hexadecimal digits, which every process of the app can read."},
	{.name = "wake_deadline",
	 .kind = &niwa_kind_duration,
	 APP(wake_deadline_us),
	 .min = MS(100),
	 .max = SEC(3600),
	 .fallback = "25s",
	 .doc = "So long a connection is held while the app wakes; then it is answered in its protocol. Keep it below "
		"the patience of what stands in front."},
	{.name = "max_waiting",
	 .kind = &niwa_kind_number,
	 APP(max_waiting),
	 .min = 1,
	 .max = 65536,
	 .fallback = "1024",
	 .doc = "So many connections are held for the app at one time; more are answered at once."},
};
static struct niwa_app_spec app_defaults;
static bool app_filled;
const struct niwa_group niwa_schema_app = {
	GROUP(app_keys),           .size = sizeof(struct niwa_app_spec),
	.defaults = &app_defaults, .filled = &app_filled,
	.finish = niwa_finish_app,
};
