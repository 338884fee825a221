/* SPDX-License-Identifier: MIT
 *
 * Fixture of the tests that start instances. Whatever fails here fails the running test.
 */
#include "container/test_run_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/ipc.h"
#include "base/memory.h"
#include "container/plan.h"

#define CHECK(x)                                                                                                       \
	do {                                                                                                           \
		if ((x) < 0)                                                                                           \
			fail_msg("%s: %s", #x, strerror(errno));                                                       \
	} while (0)

/* The longest wait for what must come; longer where the processor is emulated. */
static int wait_ms(void)
{
	const char *slowness = getenv("NIWA_TEST_SLOWNESS");

	return 10000 * (slowness ? atoi(slowness) : 1);
}

static void run(const char *command)
{
	if (system(command) != 0)
		fail_msg("'%s' failed", command);
}

/* Where a hierarchy is mounted, or "". */
static void find_group(const char *type, const char *option, char *ret, size_t size)
{
	char line[1024], where[200], fstype[32], options[400];
	FILE *f = fopen("/proc/self/mountinfo", "re");

	ret[0] = '\0';
	while (f && fgets(line, sizeof(line), f)) {
		const char *dash = strstr(line, " - ");

		if (!dash || sscanf(line, "%*s %*s %*s %*s %199s", where) != 1 ||
		    sscanf(dash, " - %31s %*s %399s", fstype, options) != 2 || strcmp(fstype, type) != 0)
			continue;
		if (option && !strstr(options, option))
			continue;
		(void)snprintf(ret, size, "%.90s/niwa-run-%d", where, (int)getpid());
		break;
	}
	if (f)
		(void)fclose(f);
	if (ret[0])
		CHECK(mkdir(ret, 0755));
}

static void set_up_groups(struct world *w)
{
	static const char *const v1[] = {",memory", ",cpu", ",pids", ",blkio"};

	find_group("cgroup2", NULL, w->groups[0], sizeof(w->groups[0]));
	if (!w->groups[0][0])
		fail_msg("no cgroup2 is mounted");
	for (size_t i = 0; i < NIWA_ARRAY_LEN(v1); i++)
		find_group("cgroup", v1[i], w->groups[i + 1], sizeof(w->groups[0]));
	w->host.cgroup_layout = w->groups[1][0] ? NIWA_CGROUP_HYBRID : NIWA_CGROUP_UNIFIED;
	if (w->host.cgroup_layout == NIWA_CGROUP_UNIFIED) {
		char path[200];

		(void)snprintf(path, sizeof(path), "%s/cgroup.subtree_control", w->groups[0]);
		(void)niwa_file_write(path, "+memory +cpu +pids"); /* without them the tests of limits say so */
	}
	w->host.cgroup_v2 = w->groups[0];
	w->host.cgroup_memory = w->groups[1][0] ? w->groups[1] : NULL;
	w->host.cgroup_cpu = w->groups[2][0] ? w->groups[2] : NULL;
	w->host.cgroup_pids = w->groups[3][0] ? w->groups[3] : NULL;
	w->host.cgroup_blkio = w->groups[4][0] ? w->groups[4] : NULL;
}

/* A folder image with one static program in it, of which more names exist than /proc and /dev need. */
static void make_folder_image(struct world *w)
{
	char command[1024];

	(void)snprintf(command, sizeof(command),
		       "mkdir -p %s/plain/bin %s/plain/etc %s/plain/tmp && chmod 1777 %s/plain/tmp && cp '%s' "
		       "%s/plain/bin/guest && "
		       "printf 'root:x:0:0::/root:/bin/guest\\nweb:x:33:33::/srv:/bin/guest\\n' > %s/plain/etc/passwd",
		       w->dir, w->dir, w->dir, w->dir, getenv("NIWA_TEST_GUEST"), w->dir, w->dir);
	run(command);
}

static void connect_keep(struct world *w)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/keep.sock", w->run);
	for (int i = 0; i < 500; i++) {
		w->sock = niwa_ipc_connect(path, SOCK_SEQPACKET);
		if (w->sock >= 0)
			return;
		(void)usleep(10000);
	}
	fail_msg("niwa-keep does not listen at %s", path);
}

static void start_keep(struct world *w)
{
	w->keep = fork();
	CHECK(w->keep);
	if (w->keep == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that is killed leaves nothing behind */
		(void)execl(getenv("NIWA_TEST_KEEP"), "niwa-keep", "--run-dir", w->run, NULL);
		_exit(127);
	}
	connect_keep(w);
}

void world_open(struct world *w)
{
	static const uint8_t mac[6] = {2, 0, 0, 0, 0, 1};
	struct niwa_error err;

	*w = (struct world){.sock = -1, .next_id = 1};
	CHECK(unshare(CLONE_NEWNET | CLONE_NEWNS));
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	(void)umask(022);
	(void)snprintf(w->dir, sizeof(w->dir), "/tmp/niwa-run-XXXXXX");
	if (!mkdtemp(w->dir))
		fail_msg("mkdtemp: %s", strerror(errno));
	CHECK(chmod(w->dir, 0755));
	(void)snprintf(w->run, sizeof(w->run), "%s/run", w->dir);
	(void)snprintf(w->state, sizeof(w->state), "%s/state", w->dir);
	(void)snprintf(w->dev, sizeof(w->dev), "%s/dev", w->state);
	run("ip link set lo up && ip addr add 10.80.0.1/32 dev lo");
	set_up_groups(w);
	make_folder_image(w);
	if (niwa_image_prepare_host(w->state, &err) < 0)
		fail_msg("%s", err.msg);
	w->host.run_dir = w->run;
	w->host.state_dir = w->state;
	w->host.dev_dir = w->dev;
	w->host.init_path = getenv("NIWA_TEST_INIT");
	w->host.gateway_addr = inet_addr("10.80.0.1");
	w->host.veth_group = 77;
	w->host.domain = "niwa.internal";
	memcpy(w->host.host_mac, mac, sizeof(mac));
	start_keep(w);
}

static void remove_group(const char *group)
{
	for (int i = 0; group[0] && i < 200 && rmdir(group) < 0 && errno == EBUSY;
	     i++) /* processes may just be leaving */
		(void)usleep(10000);
}

void world_close(struct world *w)
{
	struct niwa_error err;
	int status;

	niwa_fd_close(&w->sock);
	(void)kill(w->keep, SIGKILL); /* ours; nothing of it may stay, tested or not */
	(void)waitpid(w->keep, &status, 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(w->groups); i++)
		remove_group(w->groups[i]);
	if (niwa_remove_tree(w->dir, &err) < 0)
		fail_msg("%s", err.msg);
}

static void receive_any(struct world *w, struct niwa_keep_msg *msg, int *fds, size_t *nfds)
{
	struct pollfd p = {.fd = w->sock, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, wait_ms()) != 1)
		fail_msg("niwa-keep does not answer");
	n = niwa_ipc_recv(w->sock, msg, sizeof(*msg), fds, nfds);
	if (n != (ssize_t)sizeof(*msg))
		fail_msg("niwa-keep: %zd", n);
}

/* An end is told when it happens: it may come before the answer to something else. */
static void note_end(struct world *w, const struct niwa_keep_msg *msg)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(w->ended); i++)
		if (w->ended[i].id == 0) {
			w->ended[i] =
				(struct ended){msg->id, msg->code == CLD_EXITED ? msg->status : 128 + msg->status};
			return;
		}
	fail_msg("too many ends that nobody waits for");
}

static void receive(struct world *w, struct niwa_keep_msg *msg, int *fds, size_t *nfds)
{
	for (;;) {
		receive_any(w, msg, fds, nfds);
		if (msg->type != NIWA_KEEP_EXITED)
			return;
		note_end(w, msg);
	}
}

static void forget(struct world *w, uint64_t id)
{
	struct niwa_keep_msg msg = {.version = NIWA_KEEP_VERSION, .type = NIWA_KEEP_FORGET, .id = id};
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds;

	CHECK(niwa_ipc_send(w->sock, &msg, sizeof(msg), NULL, 0));
	receive(w, &msg, fds, &nfds);
	assert_int_equal(msg.type, NIWA_KEEP_OK);
}

void app_init(struct world *w, struct app *a, const char *image, char **argv)
{
	static char *no_env[] = {NULL};
	char path[160], command[1024];
	struct niwa_error err;

	*a = (struct app){0};
	(void)snprintf(path, sizeof(path), "%s/%s", w->dir, image);
	if (niwa_image_open(w->state, access(path, F_OK) < 0 ? image : path, &a->image, &err) < 0)
		fail_msg("%s", err.msg);
	a->spec.name = (char *)(uintptr_t) "blog.example.com";
	a->spec.tenant = (char *)(uintptr_t) "example";
	a->spec.command = argv;
	a->spec.env = no_env;
	a->params.spec = &a->spec;
	a->params.image = a->image;
	a->params.tenant_id_base = 500000;
	a->params.service_addr = inet_addr("10.64.3.4");
	(void)snprintf(command, sizeof(command),
		       "mkdir -p %s/tenants/example && echo '10.64.3.4 blog.example.com' > %s/tenants/example/hosts && "
		       "echo 'nameserver 10.80.0.1' > %s/tenants/example/resolv.conf",
		       w->run, w->run, w->run);
	run(command);
}

void app_fini(struct app *a)
{
	niwa_image_free(&a->image);
}

static int send_plan(struct world *w, struct niwa_plan *plan, uint64_t id, const int *given, size_t count)
{
	struct niwa_keep_msg msg = {.version = NIWA_KEEP_VERSION, .type = NIWA_KEEP_START, .id = id};
	struct niwa_error err;
	int fds[NIWA_IPC_FDS_MAX];

	fds[0] = niwa_plan_to_memfd(plan, &err);
	if (fds[0] < 0)
		fail_msg("%s", err.msg);
	for (size_t i = 0; i < count; i++)
		fds[i + 1] = given[i];
	CHECK(niwa_ipc_send(w->sock, &msg, sizeof(msg), fds, count + 1));
	(void)close(fds[0]);
	return 0;
}

static const char *op_at(const struct niwa_plan *plan, int32_t index)
{
	struct niwa_op_view op = {0};
	size_t pos = 0;

	while (niwa_plan_next(plan->buf.data, plan->buf.len, &pos, &op))
		if ((int32_t)op.index == index)
			return niwa_op_name(op.op);
	return "?";
}

static void clean_up(struct world *w, struct started *s)
{
	char path[200];

	forget(w, s->id);
	niwa_fd_close(&s->pidfd);
	niwa_fd_close(&s->log);
	niwa_fd_close(&s->diag);
	niwa_fd_close(&s->notify);
	niwa_fd_close(&s->layer);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(w->groups); i++)
		if (w->groups[i][0]) {
			(void)snprintf(path, sizeof(path), "%s/i%llu", w->groups[i], (unsigned long long)s->id);
			remove_group(path);
		}
	(void)snprintf(path, sizeof(path), "%s/layers/%llu", w->state, (unsigned long long)s->id);
	(void)niwa_remove_tree(path, NULL); /* the world's end removes it else */
}

/* The answer to a START: descriptors by slot. */
static int answer(struct world *w, const struct niwa_plan *plan, struct started *ret, const char **ret_op)
{
	int fds[NIWA_IPC_FDS_MAX];
	int *slots[NIWA_SLOTS] = {
		[NIWA_SLOT_LOG] = &ret->log,
		[NIWA_SLOT_DIAG] = &ret->diag,
		[NIWA_SLOT_NOTIFY] = &ret->notify,
		[NIWA_SLOT_LAYER] = &ret->layer,
	};
	struct niwa_keep_msg msg;
	size_t nfds, used = 1;

	receive(w, &msg, fds, &nfds);
	if (msg.type == NIWA_KEEP_FAILED) {
		*ret_op = op_at(plan, msg.op);
		clean_up(w, ret);
		return msg.error;
	}
	assert_int_equal(msg.type, NIWA_KEEP_STARTED);
	ret->pid = msg.pid;
	ret->cloned_us = msg.cloned_us;
	ret->pidfd = fds[0];
	for (size_t i = 0; i < NIWA_ARRAY_LEN(slots); i++)
		if (slots[i] && msg.sent >> i & 1)
			*slots[i] = fds[used++];
	assert_int_equal(used, nfds);
	return 0;
}

int app_try(struct world *w, struct app *a, struct started *ret, const char **ret_op)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
	char layer[160], tenant[160];
	struct in_addr in;
	struct niwa_error err;
	uint64_t start_us;
	int r;

	*ret = (struct started){.id = w->next_id++, .pidfd = -1, .log = -1, .diag = -1, .notify = -1, .layer = -1};
	a->params.id = ret->id;
	a->params.id_base = 0x10000000u + (uint32_t)ret->id * 65536;
	a->params.private_addr = ret->addr = htonl(0x0a500001 + (uint32_t)ret->id);
	in.s_addr = ret->addr;
	(void)snprintf(ret->addr_text, sizeof(ret->addr_text), "%s", inet_ntoa(in));
	niwa_instance_veth_name(ret->id, a->params.veth);
	(void)snprintf(layer, sizeof(layer), "%s/layers/%llu", w->state, (unsigned long long)ret->id);
	(void)snprintf(tenant, sizeof(tenant), "%s/tenants/example", w->run);
	a->params.layer_dir = layer;
	a->params.tenant_dir = tenant;
	start_us = niwa_now_us();
	if (niwa_instance_plan(&w->host, &a->params, &plan, &err) < 0)
		fail_msg("%s", err.msg);
	(void)send_plan(w, &plan, ret->id, NULL, 0);
	ret->planned_us = niwa_now_us() - start_us;
	r = answer(w, &plan, ret, ret_op);
	ret->took_us = niwa_now_us() - start_us;
	ret->cloned_us = ret->cloned_us > start_us ? ret->cloned_us - start_us : 0;
	return r;
}

int plan_try(struct world *w, struct niwa_plan *plan, const int *given, size_t count, struct started *ret,
	     const char **ret_op)
{
	*ret = (struct started){.id = w->next_id++, .pidfd = -1, .log = -1, .diag = -1, .notify = -1, .layer = -1};
	(void)send_plan(w, plan, ret->id, given, count);
	return answer(w, plan, ret, ret_op);
}

void app_start(struct world *w, struct app *a, struct started *ret)
{
	const char *op = "";
	int r = app_try(w, a, ret, &op);

	if (r)
		fail_msg("start failed in %s: %s", op, strerror(r));
}

static void read_all(int fd, char *buf, size_t size)
{
	size_t used = 0;

	for (;;) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		char drop[4096];
		ssize_t n;

		if (poll(&p, 1, wait_ms()) != 1)
			fail_msg("the log does not end; so far: %.*s", (int)used, buf);
		n = used + 1 < size ? read(fd, buf + used, size - used - 1) : read(fd, drop, sizeof(drop));
		if (n < 0 && errno == EAGAIN)
			continue;
		if (n <= 0)
			break;
		used += used + 1 < size ? (size_t)n : 0;
	}
	buf[used] = '\0';
}

static bool take_end(struct world *w, uint64_t id, int *ret)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(w->ended); i++)
		if (w->ended[i].id == id) {
			*ret = w->ended[i].status;
			w->ended[i].id = 0;
			return true;
		}
	return false;
}

static int wait_exited(struct world *w, uint64_t id)
{
	int fds[NIWA_IPC_FDS_MAX], status;
	struct niwa_keep_msg msg;
	size_t nfds;

	while (!take_end(w, id, &status)) {
		receive_any(w, &msg, fds, &nfds);
		assert_int_equal(msg.type, NIWA_KEEP_EXITED);
		note_end(w, &msg);
	}
	return status;
}

int started_end(struct world *w, struct started *s, char *log, size_t size)
{
	char none[16];
	int status;

	read_all(s->log, log ? log : none, log ? size : sizeof(none));
	status = wait_exited(w, s->id);
	clean_up(w, s);
	return status;
}

int started_status(struct world *w, struct started *s)
{
	int status = wait_exited(w, s->id);

	clean_up(w, s);
	return status;
}

void started_kill(struct world *w, struct started *s)
{
	(void)kill(s->pid, SIGKILL);
	(void)started_end(w, s, NULL, 0);
}

int exec_in(struct world *w, struct app *a, const struct started *s, char **argv, char *out, size_t size)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
	struct started e = {.id = w->next_id++, .pidfd = -1, .log = -1, .diag = -1, .notify = -1, .layer = -1};
	struct niwa_exec_params params = {
		.id = e.id, .instance = s->id, .spec = &a->spec, .image = a->image, .argv = argv};
	int ends[2], null = open("/dev/null", O_RDWR | O_CLOEXEC), status;
	struct niwa_error err;
	const char *op = "";

	CHECK(pipe2(ends, O_CLOEXEC));
	if (niwa_exec_plan(&w->host, &params, &plan, &err) < 0)
		fail_msg("%s", err.msg);
	(void)send_plan(w, &plan, e.id, (int[]){s->pidfd, null, ends[1], ends[1]}, 4);
	(void)close(ends[1]);
	(void)close(null);
	status = answer(w, &plan, &e, &op);
	if (status)
		fail_msg("exec failed in %s: %s", op, strerror(status));
	read_all(ends[0], out, size);
	(void)close(ends[0]);
	status = wait_exited(w, e.id);
	forget(w, e.id);
	niwa_fd_close(&e.pidfd);
	return status;
}

static int try_connect(uint32_t addr, uint16_t port)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = addr};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&to, sizeof(to)) == 0)
		return fd;
	(void)close(fd);
	return -1;
}

void ask(const struct started *s, uint16_t port, const char *line, char *ret, size_t size)
{
	int fd = -1;

	for (int i = 0; fd < 0 && i < 5000; i++) {
		fd = try_connect(s->addr, port);
		if (fd < 0)
			(void)usleep(1000);
	}
	if (fd < 0)
		fail_msg("nobody answers at %s:%u: %s", s->addr_text, port, strerror(errno));
	assert_int_equal(write(fd, line, strlen(line)), (ssize_t)strlen(line));
	(void)shutdown(fd, SHUT_WR);
	read_all(fd, ret, size);
	(void)close(fd);
}
