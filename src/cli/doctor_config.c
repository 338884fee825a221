/* SPDX-License-Identifier: MIT
 *
 * What niwad is configured for: the running engine says it, else `niwad --print-config`, else the defaults of
 * niwad.conf(5).
 */
#include <arpa/inet.h>
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/doctor.h"

#define ASK_DEADLINE_MS 5000

enum kind { TEXT, NUMBER, NETWORK };

struct key {
	const char *name;
	enum kind kind;
	size_t offset, size; /* TEXT: size of the array; NETWORK: offset of the bits */
	const char *preset;
	bool since; /* an engine of before may not tell it */
};

#define TEXT_AT(f)    TEXT, offsetof(struct niwa_probe_host, f), sizeof(((struct niwa_probe_host *)0)->f)
#define NUMBER_AT(f)  NUMBER, offsetof(struct niwa_probe_host, f), 0
#define NETWORK_AT(f) NETWORK, offsetof(struct niwa_probe_host, f##_net), offsetof(struct niwa_probe_host, f##_bits)

static const struct key keys[] = {
	{"run_dir", TEXT_AT(run_dir), "/run/niwa"},
	{"state_dir", TEXT_AT(state_dir), "/var/lib/niwa"},
	{"log_dir", TEXT_AT(log_dir), "/var/log/niwa"},
	{"libexec_dir", TEXT_AT(libexec_dir), NIWA_LIBEXECDIR},
	{"criu", TEXT_AT(criu), "auto"},
	{"cgroup", TEXT_AT(cgroup), "niwa"},
	{"relay_user", TEXT_AT(relay_user), "niwa-relay"},
	{"domain", TEXT_AT(domain), "niwa.internal", true},
	{"dns_listen", TEXT_AT(dns_listen), "127.0.0.64:53", true},
	{"metrics_listen", TEXT_AT(metrics_listen), "127.0.0.64:9464", true},
	{"ula_prefix", TEXT_AT(ula_prefix), "none", true},
	{"service_range", NETWORK_AT(service), "10.64.0.0/12"},
	{"private_range", NETWORK_AT(private), "10.80.0.0/16"},
	{"veth_group", NUMBER_AT(veth_group), "6480"},
	{"lease_base", NUMBER_AT(lease_base), "268435456"},
	{"lease_count", NUMBER_AT(lease_count), "10000"},
};

static int set_network(struct niwa_probe_host *host, const struct key *key, const char *value)
{
	char addr[INET_ADDRSTRLEN + 1];
	const char *slash = strchr(value, '/');
	uint64_t bits;
	unsigned narrow;
	struct in_addr net;

	if (!slash || (size_t)(slash - value) >= sizeof(addr))
		return -EINVAL;
	(void)snprintf(addr, sizeof(addr), "%.*s", (int)(slash - value), value);
	if (inet_pton(AF_INET, addr, &net) != 1 || niwa_parse_u64(slash + 1, 32, &bits) < 0 || bits < 1)
		return -EINVAL;
	narrow = (unsigned)bits;
	memcpy((char *)host + key->offset, &net.s_addr, sizeof(net.s_addr));
	memcpy((char *)host + key->size, &narrow, sizeof(narrow));
	return 0;
}

static int set_value(struct niwa_probe_host *host, const struct key *key, const char *value)
{
	uint64_t n;

	switch (key->kind) {
	case TEXT:
		if (strlen(value) >= key->size)
			return -EINVAL;
		memcpy((char *)host + key->offset, value, strlen(value) + 1);
		return 0;
	case NUMBER:
		if (niwa_parse_u64(value, UINT64_MAX, &n) < 0)
			return -EINVAL;
		memcpy((char *)host + key->offset, &n, sizeof(n));
		return 0;
	case NETWORK:
		return set_network(host, key, value);
	}
	return -EINVAL;
}

void niwa_probe_host_defaults(struct niwa_probe_host *host)
{
	*host = (struct niwa_probe_host){0};
	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++)
		(void)set_value(host, &keys[i], keys[i].preset); /* a test reads the presets */
}

int niwa_probe_host_set(struct niwa_probe_host *host, const char *line)
{
	char name[64], value[512];

	if (sscanf(line, " %63[a-z_] = %511[^\n]", name, value) != 2)
		return 0;
	for (size_t len = strlen(value); len && isspace((unsigned char)value[len - 1]); len--)
		value[len - 1] = '\0';
	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++)
		if (!strcmp(keys[i].name, name))
			return set_value(host, &keys[i], value);
	return 0;
}

/* niwad is installed in bin or sbin beside us; in a build tree in another folder. "niwad": along PATH. */
static void find_niwad(char *path, size_t size)
{
	static const char *const places[] = {"niwad", "../sbin/niwad", "../engine/niwad"};
	char own[PATH_MAX], *slash;
	ssize_t n = readlink("/proc/self/exe", own, sizeof(own) - 1);

	(void)snprintf(path, size, "niwad");
	if (n <= 0)
		return;
	own[n] = '\0';
	slash = strrchr(own, '/');
	if (!slash)
		return;
	*slash = '\0';
	for (size_t i = 0; i < NIWA_ARRAY_LEN(places); i++) {
		char candidate[PATH_MAX + 32];

		(void)snprintf(candidate, sizeof(candidate), "%s/%s", own, places[i]);
		if (access(candidate, X_OK) == 0) {
			(void)snprintf(path, size, "%s", candidate);
			return;
		}
	}
}

static int spawn_niwad(const char *config_path, pid_t *ret_pid, int *ret_fd)
{
	char path[PATH_MAX + 32], *argv[] = {path, (char *)(uintptr_t) "--print-config", NULL, NULL, NULL};
	posix_spawn_file_actions_t actions;
	int ends[2], r;

	find_niwad(path, sizeof(path));
	if (config_path) {
		argv[2] = (char *)(uintptr_t) "--config";
		argv[3] = (char *)(uintptr_t)config_path;
	}
	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;
	r = posix_spawn_file_actions_init(&actions);
	if (r == 0)
		r = posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	if (r == 0)
		r = posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
	if (r == 0)
		r = posix_spawnp(ret_pid, path, &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	niwa_fd_close(&ends[1]);
	if (r)
		niwa_fd_close(&ends[0]);
	else
		*ret_fd = ends[0];
	return -r;
}

static int read_all(int fd, char *buf, size_t size)
{
	size_t used = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, ASK_DEADLINE_MS) <= 0)
			return -ETIMEDOUT;
		n = read(fd, buf + used, size - used - 1);
		if (n < 0)
			return -errno;
		if (n == 0 || used + (size_t)n + 1 >= size)
			break;
		used += (size_t)n;
	}
	buf[used] = '\0';
	return 0;
}

int niwa_probe_host_ask(struct niwa_probe_host *host, const char *config_path)
{
	struct niwa_probe_host asked = *host;
	NIWA_AUTO_FD fd = -1;
	char text[16384], *save = NULL;
	int status = 0, r;
	pid_t pid;

	r = spawn_niwad(config_path, &pid, &fd);
	if (r < 0)
		return r;
	r = read_all(fd, text, sizeof(text));
	if (r < 0)
		(void)kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0 || r < 0)
		return r < 0 ? r : -errno;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return -ENOEXEC;
	for (char *line = strtok_r(text, "\n", &save); line && r == 0; line = strtok_r(NULL, "\n", &save))
		r = niwa_probe_host_set(&asked, line);
	if (r < 0)
		return r;
	asked.from_niwad = true;
	*host = asked;
	return 0;
}

static int set_from_answer(struct niwa_probe_host *host, const struct key *key, const json_t *value)
{
	char text[32];

	if (json_is_string(value))
		return set_value(host, key, json_string_value(value));
	if (!json_is_integer(value))
		return key->since ? 0 : -ENODATA; /* an older engine */
	(void)snprintf(text, sizeof(text), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
	return set_value(host, key, text);
}

int niwa_probe_host_ask_engine(struct niwa_probe_host *host, const char *socket)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct niwa_probe_host asked = *host;
	struct niwa_error err;
	json_t *status = NULL;
	int r = niwa_client_open(socket, &client, &err);

	if (r == 0)
		r = niwa_client_call(client, "host.status", NULL, ASK_DEADLINE_MS, &status, &err);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys) && r == 0; i++)
		r = set_from_answer(&asked, &keys[i], json_object_get(json_object_get(status, "config"), keys[i].name));
	json_decref(status);
	if (r < 0)
		return r;
	asked.from_niwad = true;
	*host = asked;
	return 0;
}

int niwa_probe_host_find(struct niwa_probe_host *host, const char *socket, const char *config_path)
{
	int r = -ENOENT;

	niwa_probe_host_defaults(host);
	if (!config_path)
		r = niwa_probe_host_ask_engine(host, socket);
	if (r < 0)
		r = niwa_probe_host_ask(host, config_path);
	(void)snprintf(host->socket, sizeof(host->socket), "%s", socket);
	return r;
}
