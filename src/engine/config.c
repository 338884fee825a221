/* SPDX-License-Identifier: MIT
 *
 * The configuration table and its reader.
 */
#include "engine/config.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"

#ifndef NIWA_LIBEXECDIR
#define NIWA_LIBEXECDIR "/usr/local/libexec/niwa"
#endif

#define LINE_MAX_BYTES 1024

enum kind { PATHNAME, WORD, NUMBER, DURATION, SIZE, NETWORK };

struct key {
	const char *name;
	enum kind kind;
	size_t offset, size; /* size: of the character array, or offset of the prefix length */
	const char *preset;
	uint64_t max;
	const char *doc;
};

#define TEXT(field) offsetof(struct niwa_config, field), sizeof(((struct niwa_config *)0)->field)
#define NUM(field)  offsetof(struct niwa_config, field), 0
#define NET(name)   offsetof(struct niwa_config, name##_net), offsetof(struct niwa_config, name##_bits)

static const struct key keys[] = {
	{"run_dir", PATHNAME, TEXT(run_dir), "/run/niwa", 0, "Sockets and what lives as long as the host is up."},
	{"state_dir", PATHNAME, TEXT(state_dir), "/var/lib/niwa", 0, "The store, images and writable layers."},
	{"log_dir", PATHNAME, TEXT(log_dir), "/var/log/niwa", 0, "What apps print, a file each."},
	{"libexec_dir", PATHNAME, TEXT(libexec_dir), NIWA_LIBEXECDIR, 0, "Where niwa-relay and niwa-init are."},
	{"cgroup", WORD, TEXT(cgroup), "niwa", 0,
	 "Control group of the instances, relative to the mount points; auto: a delegated group of niwa-keep's own."},
	{"domain", WORD, TEXT(domain), "niwa.internal", 0, "Domain of the names of apps."},
	{"relay_user", WORD, TEXT(relay_user), "niwa-relay", 0, "Unix user of niwa-relay."},
	{"service_range", NETWORK, NET(service), "10.64.0.0/12", 24, "Service addresses come from here. Must be free."},
	{"private_range", NETWORK, NET(private), "10.80.0.0/16", 24,
	 "Addresses of instances, seen by this host only. Must be free. The first one is the host's own; another one "
	 "rests a "
	 "minute before it is used again, so a /16 is enough for a thousand starts a second."},
	{"ula_prefix", WORD, TEXT(ula_prefix), "none", 0,
	 "A /48 of unique local IPv6 addresses, such as fd6e:6977:6100::/48, for apps and instances; none: no IPv6."},
	{"relay_port", NUMBER, NUM(relay_port), "9999", 65535, "TCP port of the transparent listener, on 127.0.0.1."},
	{"nflog_group", NUMBER, NUM(nflog_group), "6480", 65535, "NFLOG group of the wake events."},
	{"veth_group", NUMBER, NUM(veth_group), "6480", 1000000, "Interface group of the instances' host ends."},
	{"return_mark", NUMBER, NUM(return_mark), "1852405601", UINT32_MAX,
	 "Packet mark of what apps answer to their clients through niwa-relay. 0: apps see the host's address "
	 "instead."},
	{"return_table", NUMBER, NUM(return_table), "6480", UINT32_MAX,
	 "Table of routes that such packets are looked up in. Must be free."},
	{"return_rule", NUMBER, NUM(return_rule), "78", 32764,
	 "Priority of the routing rule that says so, and the next one, before those of VPNs."},
	{"lease_base", NUMBER, NUM(lease_base), "268435456", UINT32_MAX,
	 "First user id of the pool leased to instances."},
	{"lease_count", NUMBER, NUM(lease_count), "10000", 60000, "Ranges of 65,536 ids in that pool."},
	{"concurrent_starts", NUMBER, NUM(concurrent_starts), "0", 1024,
	 "Apps that start or are restored at the same time; 0: four a CPU, at least 8. One tenant may have all but one "
	 "of "
	 "them."},
	{"wake_queue", NUMBER, NUM(wake_queue), "16384", 1000000,
	 "Starts that wait for that; what comes beyond is refused. One tenant may have half of them."},
	{"start_hold", DURATION, NUM(start_hold_us), "5s", 0,
	 "How long a start counts as one of them before it is ready; a tenth of it when it uses no CPU."},
	{"start_wait", DURATION, NUM(start_wait_us), "10s", 0,
	 "How long a start may wait for memory while idle apps are put to sleep; then it is refused."},
	{"start_memory", SIZE, NUM(start_memory), "64M", UINT64_C(1) << 50,
	 "What an app is thought to need that was not seen awake yet, if limits.memory is not less."},
	{"memory_reserve", SIZE, NUM(memory_reserve), "0", UINT64_C(1) << 50,
	 "Memory of the host that starts leave available; 0: a twentieth of all, at most 1G."},
	{"wait_worth", DURATION, NUM(wait_worth_us), "1m", 0,
	 "What a visitor's waiting is worth: a second of it as much as holding 1 GiB of memory for so long. With it "
	 "and "
	 "the visits so far an app is put to sleep before its declared times where that costs less; 0: at these "
	 "times."},
	{"history_write", DURATION, NUM(history_write_us), "2m", 0,
	 "What is learnt of visits is written to disk so often; a crash loses as much. 0: never."},
	{"page_budget", SIZE, NUM(page_budget_bytes), "1G", UINT64_C(1) << 50,
	 "Memory of frozen apps that is moved to swap within a minute; 0: none."},
	{"page_deadline", DURATION, NUM(page_deadline_us), "2s", 0,
	 "How long that may take for one app. What is not moved by then stays where it is."},
	{"log_max", SIZE, NUM(log_max_bytes), "8M", UINT64_C(1) << 40,
	 "An app's log is renamed to .1 beyond this size."},
	{"drain", DURATION, NUM(drain_us), "30s", 0, "How long a replaced instance may finish its connections."},
	{"linger", DURATION, NUM(linger_us), "30s", 0,
	 "How long the clients of an instance that has ended may take what it had written for them; then they are "
	 "reset. 0: at once."},
	{"linger_instances", NUMBER, NUM(linger_instances), "1024", 4096,
	 "Ended instances that may be waited for so; what ends beyond that is not."},
	{"keep_wait", DURATION, NUM(keep_wait_us), "10s", 0, "How long niwad waits for niwa-keep at start."},
	{"relay_connections", NUMBER, NUM(relay_connections), "16384", 1000000,
	 "Connections through the relay, all kinds."},
	{"relay_waiting", NUMBER, NUM(relay_waiting), "12288", 1000000, "Connections held for apps that wake."},
	{"relay_waiting_per_source", NUMBER, NUM(relay_waiting_per_source), "12288", 1000000,
	 "Of those, from one client address."},
	{"relay_held_bytes", SIZE, NUM(relay_held_bytes), "64K", UINT32_MAX, "Bytes taken from a held connection."},
	{"relay_first_byte", DURATION, NUM(relay_first_byte_us), "20s", 0, "How long a client may stay silent."},
	{"relay_idle", DURATION, NUM(relay_idle_us), "0", 0, "Relayed connections without a byte end; 0: never."},
	{"relay_linger", DURATION, NUM(relay_linger_us), "2s", 0, "Lingering close after an answer of our own."},
	{"relay_linger_bytes", SIZE, NUM(relay_linger_bytes), "64K", UINT32_MAX, "Bytes discarded in that time."},
	{"held_rate", NUMBER, NUM(held_rate), "200", 1000000,
	 "New connections a second one remote address may bring to sleeping apps; more are told to try again. 0: any."},
	{"held_burst", NUMBER, NUM(held_burst), "2000", 1000000, "How many of them may come at once."},
	{"instance_connections", NUMBER, NUM(instance_connections), "1024", 1000000,
	 "Connections an instance may have open itself. 0: any."},
	{"conntrack_time_wait", DURATION, NUM(conntrack_time_wait_us), "20s", 0, "conntrack keeps TIME_WAIT so long."},
	{"conntrack_established", DURATION, NUM(conntrack_established_us), "1d", 0, "And silent established ones."},
	{"conntrack_max", NUMBER, NUM(conntrack_max), "0", UINT32_MAX, "conntrack entries; 0: left as it is."},
	{"rpc_connections", NUMBER, NUM(rpc_connections), "256", 65536, "Connections to the engine's socket."},
	{"api_user", WORD, TEXT(api_user), "niwa-api", 0, "Unix user of niwa-api; its group may use api.sock."},
	{"dns_listen", WORD, TEXT(dns_listen), "127.0.0.64:53", 0,
	 "Where niwa-api answers DNS for names of apps, ADDRESS:PORT. Not in service_range, whose addresses are apps."},
	{"dns_ttl", DURATION, NUM(dns_ttl_us), "1h", 0,
	 "How long the address of a name may be remembered. It changes only when a route moves to another app."},
	{"dns_negative_ttl", DURATION, NUM(dns_negative_ttl_us), "1s", 0,
	 "How long it may be remembered that there is no such name."},
	{"dns_connections", NUMBER, NUM(dns_connections), "64", 1024,
	 "TCP connections to niwa-api; with more the one that was silent longest ends."},
	{"dns_idle", DURATION, NUM(dns_idle_us), "10s", 0, "And how long each may be without a question."},
	{"dns_instances", WORD, TEXT(dns_instances), "169.254.64.53", 0,
	 "The name server of instances, which is niwa-api; off: they have the host's alone. No host has this address: "
	 "what "
	 "instances send to it, port 53, goes to dns_instances_port of the gateway."},
	{"dns_instances_port", NUMBER, NUM(dns_instances_port), "9453", 65535,
	 "Port of niwa-api for them, on the first address of private_range."},
	{"dns_instance_rate", NUMBER, NUM(dns_instance_rate), "1000", 1000000,
	 "Questions a second that an instance may ask by UDP; more are not answered."},
	{"metrics_listen", WORD, TEXT(metrics_listen), "127.0.0.64:9464", 0,
	 "Where niwa-api tells Prometheus what niwad counts, by HTTP at /metrics, ADDRESS:PORT; off: nowhere. Who can "
	 "reach it may read it."},
	{"criu", WORD, TEXT(criu), "auto", 0,
	 "The program that writes and restores images of processes, statically linked; auto: criu in libexec_dir. "
	 "Without it apps are always started."},
	{"snapshot_bytes", SIZE, NUM(snapshot_bytes), "10G", UINT64_C(1) << 50,
	 "All images together; beyond it the least valuable ones go."},
	{"snapshot_image_bytes", SIZE, NUM(snapshot_image_bytes), "1G", UINT64_C(1) << 40, "One image."},
	{"snapshot_free_bytes", SIZE, NUM(snapshot_free_bytes), "256M", UINT64_C(1) << 50,
	 "Room that images leave free on the file system of state_dir, where the store is too: for another one the "
	 "least "
	 "valuable ones go, or it is not made."},
	{"images_wait", DURATION, NUM(images_wait_us), "10s", 0,
	 "How long a niwad that starts waits until it knows what images there are, before it starts an app whose "
	 "memory may "
	 "be kept, or one that nobody asked for (restart, resident, awake, wake)."},
	{"dump_deadline", DURATION, NUM(dump_us), "5s", 0, "How long the writing of an image may take."},
	{"restore_deadline", DURATION, NUM(restore_us), "2s", 0,
	 "How long a restore may take. Then the app is started instead, for the same connections; the second time in a "
	 "row "
	 "its image is dropped."},
	{"template_deadline", DURATION, NUM(template_us), "1m", 0,
	 "How long an app without environment and volumes, of which a shared image is to be taken, may take until it "
	 "is "
	 "ready; its own ready.deadline when that is shorter. Others wait for their turn meanwhile."},
	{"lease_max", DURATION, NUM(lease_max_us), "1h", 0,
	 "How long an app may say at one time that it is busy and does not sleep; 0: not at all."},
	{"log_level", NUMBER, NUM(log_level), "6", 7, "3 errors, 4 warnings, 6 state changes, 7 everything."},
};

static int parse_network(const struct key *k, struct niwa_config *c, const char *value)
{
	char text[32], *slash;
	struct in_addr addr;
	uint64_t bits;
	uint32_t mask;

	if ((size_t)snprintf(text, sizeof(text), "%s", value) >= sizeof(text))
		return -EINVAL;
	slash = strchr(text, '/');
	if (!slash)
		return -EINVAL;
	*slash = '\0';
	if (inet_pton(AF_INET, text, &addr) != 1 || niwa_parse_u64(slash + 1, k->max, &bits) < 0 || bits < 8)
		return -EINVAL;
	mask = htonl(~UINT32_C(0) << (32 - bits));
	if (addr.s_addr & ~mask)
		return -EINVAL;
	memcpy((char *)c + k->offset, &addr.s_addr, sizeof(uint32_t));
	*(unsigned *)(void *)((char *)c + k->size) = (unsigned)bits;
	return 0;
}

static int parse_value(const struct key *k, struct niwa_config *c, const char *value)
{
	char *text = (char *)c + k->offset;
	uint64_t n;
	int r;

	switch (k->kind) {
	case PATHNAME:
		if (value[0] != '/')
			return -EINVAL;
		/* fall through */
	case WORD:
		if (!*value || strlen(value) >= k->size)
			return -EINVAL;
		memcpy(text, value, strlen(value) + 1);
		return 0;
	case NUMBER:
		r = niwa_parse_u64(value, k->max, &n);
		break;
	case DURATION:
		r = niwa_parse_duration(value, &n);
		break;
	case SIZE:
		r = niwa_parse_size(value, &n);
		if (r == 0 && n > k->max)
			r = -ERANGE;
		break;
	case NETWORK:
		return parse_network(k, c, value);
	default:
		return -EINVAL;
	}
	if (r == 0)
		memcpy((char *)c + k->offset, &n, sizeof(n));
	return r;
}

static const char *expected(const struct key *k, char *buf, size_t size)
{
	static const char *const what[] = {
		[PATHNAME] = "an absolute path",
		[WORD] = "a word",
		[DURATION] = "a duration such as 500ms, 30s, 5m",
		[SIZE] = "a size such as 64K, 8M",
		[NETWORK] = "a network such as 10.64.0.0/12, with the host bits zero",
	};

	if (k->kind != NUMBER)
		return what[k->kind];
	(void)snprintf(buf, size, "a number from 0 to %" PRIu64, k->max);
	return buf;
}

static char *trim(char *s)
{
	char *end;

	while (isspace((unsigned char)*s))
		s++;
	end = s + strlen(s);
	while (end > s && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return s;
}

static int parse_line(struct niwa_config *c, char *line, const char *path, unsigned no, struct niwa_error *err)
{
	char *hash = strchr(line, '#'), *eq, *name, *value, range[64];

	if (strlen(line) == LINE_MAX_BYTES - 1 && line[LINE_MAX_BYTES - 2] != '\n')
		return niwa_fail(err, NIWA_CALLER, 0, "%s:%u: longer than %d bytes", path, no, LINE_MAX_BYTES - 2);
	if (hash)
		*hash = '\0';
	line = trim(line);
	if (!*line)
		return 0;
	eq = strchr(line, '=');
	if (!eq)
		return niwa_fail(err, NIWA_CALLER, 0, "%s:%u: '%.60s' is not of the form: key = value", path, no, line);
	*eq = '\0';
	name = trim(line);
	value = trim(eq + 1);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++) {
		if (strcmp(keys[i].name, name) != 0)
			continue;
		if (parse_value(&keys[i], c, value) < 0)
			return niwa_fail(err, NIWA_CALLER, 0, "%s:%u: %s = %.60s: must be %s", path, no, name, value,
					 expected(&keys[i], range, sizeof(range)));
		return 0;
	}
	return niwa_fail(err, NIWA_CALLER, 0, "%s:%u: unknown key '%.60s' (see niwad.conf(5))", path, no, name);
}

/* This host, loopback, and what is no address of a host: the kernel would drop it, or niwa would take over the loopback
 * of the whole host. */
static bool is_special(uint32_t net)
{
	return net >> 24 == 0 || net >> 24 == 127 || net >> 28 >= 14;
}

/* The rest of the check is the kernel's, when niwa-api binds. */
static int parse_listen(const struct niwa_config *c, const char *path, const char *key, const char *value,
			uint32_t *ret_addr, uint16_t *ret_port, struct niwa_error *err)
{
	uint32_t mask = ~UINT32_C(0) << (32 - c->service_bits);
	char text[sizeof(c->dns_listen)], *colon;
	struct in_addr addr;
	uint64_t port = 0;

	(void)snprintf(text, sizeof(text), "%s", value);
	colon = strrchr(text, ':');
	if (colon)
		*colon = '\0';
	if (!colon || inet_pton(AF_INET, text, &addr) != 1 || niwa_parse_u64(colon + 1, UINT16_MAX, &port) < 0 || !port)
		return niwa_fail(err, NIWA_CALLER, 0, "%s: %s = %s: must be ADDRESS:PORT, such as 127.0.0.64:53", path,
				 key, value);
	if ((ntohl(addr.s_addr) & mask) == ntohl(c->service_net))
		return niwa_fail(err, NIWA_CALLER, 0,
				 "%s: %s = %s: is in service_range, where nothing but apps answers", path, key, value);
	*ret_addr = addr.s_addr;
	*ret_port = (uint16_t)port;
	return 0;
}

/* An address of nobody's: neither of an app nor of an instance. */
static int parse_dns_instances(struct niwa_config *c, const char *path, struct niwa_error *err)
{
	struct in_addr addr;
	uint32_t host;

	if (strcmp(c->dns_instances, "off") == 0)
		return 0;
	if (inet_pton(AF_INET, c->dns_instances, &addr) != 1 || is_special(host = ntohl(addr.s_addr)))
		return niwa_fail(
			err, NIWA_CALLER, 0,
			"%s: dns_instances = %s: must be off or an address such as 169.254.64.53, not of loopback",
			path, c->dns_instances);
	if ((host & ~UINT32_C(0) << (32 - c->service_bits)) == ntohl(c->service_net) ||
	    (host & ~UINT32_C(0) << (32 - c->private_bits)) == ntohl(c->private_net))
		return niwa_fail(err, NIWA_CALLER, 0, "%s: dns_instances = %s: is in service_range or private_range",
				 path, c->dns_instances);
	if (!c->dns_instances_port || !c->dns_instance_rate)
		return niwa_fail(err, NIWA_CALLER, 0, "%s: dns_instances_port and dns_instance_rate must not be 0",
				 path);
	c->dns_instances_addr = addr.s_addr;
	return 0;
}

static int parse_listens(struct niwa_config *c, const char *path, struct niwa_error *err)
{
	int r = parse_listen(c, path, "dns_listen", c->dns_listen, &c->dns_addr, &c->dns_port, err);

	if (r == 0)
		r = parse_dns_instances(c, path, err);
	if (r < 0 || strcmp(c->metrics_listen, "off") == 0)
		return r;
	return parse_listen(c, path, "metrics_listen", c->metrics_listen, &c->metrics_addr, &c->metrics_port, err);
}

static int check_whole(struct niwa_config *c, const char *path, struct niwa_error *err)
{
	uint32_t s = ntohl(c->service_net), p = ntohl(c->private_net);
	unsigned bits = c->service_bits < c->private_bits ? c->service_bits : c->private_bits;
	uint32_t mask = ~UINT32_C(0) << (32 - bits);

	if (is_special(s) || is_special(p))
		return niwa_fail(err, NIWA_CALLER, 0,
				 "%s: %s must not be in 0.0.0.0/8, 127.0.0.0/8 or from 224.0.0.0 on; a private network "
				 "such as 10.64.0.0/12 is meant",
				 path, is_special(s) ? "service_range" : "private_range");
	if ((s & mask) == (p & mask))
		return niwa_fail(err, NIWA_CALLER, 0, "%s: service_range and private_range overlap", path);
	if (c->lease_base < 65536 || c->lease_base + c->lease_count * 65536 > UINT32_MAX)
		return niwa_fail(err, NIWA_CALLER, 0, "%s: lease_base and lease_count leave the range of user ids",
				 path);
	if (c->lease_base + c->lease_count * 65536 > NIWA_TENANT_IDS_FIRST)
		return niwa_fail(err, NIWA_CALLER, 0,
				 "%s: lease_base and lease_count must end before %u, where the ids of tenants begin",
				 path, NIWA_TENANT_IDS_FIRST);
	if (niwa_ula_parse(c->ula_prefix, &c->ula) < 0)
		return niwa_fail(err, NIWA_CALLER, 0,
				 "%s: ula_prefix = %s: must be none, or a /48 of fc00::/7 such as "
				 "fd6e:6977:6100::/48",
				 path, c->ula_prefix);
	if (c->return_mark &&
	    (!c->return_rule || !c->return_table || (c->return_table >= 253 && c->return_table <= 255)))
		return niwa_fail(err, NIWA_CALLER, 0,
				 "%s: return_rule must not be 0, and return_table neither 0 nor 253 to 255, the "
				 "kernel's own tables",
				 path);
	if (!c->wake_queue || !c->relay_port || !c->rpc_connections || !c->lease_count)
		return niwa_fail(err, NIWA_CALLER, 0,
				 "%s: wake_queue, relay_port, rpc_connections and lease_count must not be 0", path);
	if (strcmp(c->criu, "auto") == 0 &&
	    (size_t)snprintf(c->criu, sizeof(c->criu), "%s/criu", c->libexec_dir) >= sizeof(c->criu))
		return niwa_fail(err, NIWA_CALLER, 0, "%s: libexec_dir is too long", path);
	c->gateway_addr = htonl(p + 1);
	return parse_listens(c, path, err);
}

int niwa_config_load(const char *path, struct niwa_config *ret, struct niwa_error *err)
{
	struct niwa_config c = {0};
	char line[LINE_MAX_BYTES];
	unsigned no = 0;
	int r = 0;
	FILE *f;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++)
		if (parse_value(&keys[i], &c, keys[i].preset) < 0)
			return niwa_fail(err, NIWA_PERMANENT, 0, "bad preset of %s", keys[i].name);
	if (path) {
		f = fopen(path, "re");
		if (!f)
			return niwa_fail(err, NIWA_CALLER, errno, "open '%s'", path);
		while (r == 0 && fgets(line, sizeof(line), f))
			r = parse_line(&c, line, path, ++no, err);
		(void)fclose(f); /* read only */
	}
	if (r == 0)
		r = check_whole(&c, path ? path : "built-in configuration", err);
	if (r == 0)
		*ret = c;
	return r;
}

static void format_value(const struct key *k, const struct niwa_config *c, char *buf, size_t size)
{
	const char *at = (const char *)c + k->offset;
	char addr[INET_ADDRSTRLEN];
	uint64_t n = 0;

	if (k->kind == NUMBER || k->kind == DURATION || k->kind == SIZE)
		memcpy(&n, at, sizeof(n));
	switch (k->kind) {
	case PATHNAME:
	case WORD:
		(void)snprintf(buf, size, "%s", at);
		break;
	case NUMBER:
		(void)snprintf(buf, size, "%" PRIu64, n);
		break;
	case DURATION:
		(void)niwa_format_duration(n, buf, size);
		break;
	case SIZE:
		(void)niwa_format_size(n, buf, size);
		break;
	case NETWORK:
		(void)inet_ntop(AF_INET, at, addr, sizeof(addr));
		(void)snprintf(buf, size, "%s/%u", addr, *(const unsigned *)(const void *)((const char *)c + k->size));
		break;
	}
}

void niwa_config_print(const struct niwa_config *config, FILE *out)
{
	char value[512];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++) {
		format_value(&keys[i], config, value, sizeof(value));
		(void)fprintf(out, "%s = %s\n", keys[i].name, value);
	}
}

/* mdoc wants each sentence on a line of its own. */
static void print_sentences(const char *text, FILE *out)
{
	for (; *text; text++) {
		if (text[0] == '.' && text[1] == ' ') {
			(void)fputs(".\n", out);
			text++;
		} else {
			(void)fputc(*text, out);
		}
	}
	(void)fputc('\n', out);
}

void niwa_config_man(FILE *out)
{
	char range[64];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++) {
		(void)fprintf(out, ".It Sy %s\n", keys[i].name);
		print_sentences(keys[i].doc, out);
		(void)fprintf(out, "Must be %s; default\n.Li %s .\n", expected(&keys[i], range, sizeof(range)),
			      keys[i].preset);
	}
}
