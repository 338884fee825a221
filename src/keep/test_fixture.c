/* SPDX-License-Identifier: MIT
 *
 * Fixture of the tests of niwa-keep. Whatever fails here fails the running test.
 */
#include "keep/test_fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>

#include <cmocka.h>
#include <libmnl/libmnl.h>

#include "base/fd.h"

#define CHECK(x)                                                                                                       \
	do {                                                                                                           \
		if ((x) < 0)                                                                                           \
			fail_msg("%s: %s", #x, strerror(errno));                                                       \
	} while (0)

static void copy_file(const char *from, const char *to)
{
	static char buf[1 << 20];
	int in = open(from, O_RDONLY | O_CLOEXEC), out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
	ssize_t n;

	CHECK(in);
	CHECK(out);
	while ((n = read(in, buf, sizeof(buf))) > 0)
		assert_int_equal(write(out, buf, (size_t)n), n);
	(void)close(in);
	(void)close(out);
}

static void make_dir(struct keep_test *t, const char *name)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/%s", t->dir, name);
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		fail_msg("mkdir %s: %s", path, strerror(errno));
}

static void make_node(struct keep_test *t, const char *name, unsigned minor)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/dev/%s", t->dir, name);
	CHECK(mknod(path, S_IFCHR | 0666, makedev(1, minor)));
	CHECK(chmod(path, 0666));
}

static void find_cgroup(struct keep_test *t)
{
	char line[1024], where[512];
	FILE *f = fopen("/proc/self/mountinfo", "re");

	t->cgroup[0] = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (strstr(line, " - cgroup2 ") && sscanf(line, "%*s %*s %*s %*s %511s", where) == 1)
			(void)snprintf(t->cgroup, sizeof(t->cgroup), "%.90s/niwa-test-%d", where, (int)getpid());
	if (f)
		(void)fclose(f);
	if (!t->cgroup[0])
		fail_msg("no cgroup2 is mounted");
	CHECK(mkdir(t->cgroup, 0755));
}

static void make_image(struct keep_test *t)
{
	static const char *const dirs[] = {
		"image",  "image/bin", "image/proc", "image/dev", "image/etc", "image/run", "image/tmp", "image/srv",
		"layers", "mnt",       "mnt/lower",  "mnt/layer", "mnt/root",  "dev",       "dev/pts",   "dev/shm"};
	char path[256];

	for (size_t i = 0; i < sizeof(dirs) / sizeof(dirs[0]); i++)
		make_dir(t, dirs[i]);
	make_node(t, "null", 3);
	make_node(t, "zero", 5);
	(void)snprintf(path, sizeof(path), "%s/dev/ptmx", t->dir);
	CHECK(symlink("pts/ptmx", path));
	(void)snprintf(path, sizeof(path), "%s/image/bin/probe", t->dir);
	copy_file(getenv("NIWA_TEST_PROBE"), path);
	(void)snprintf(path, sizeof(path), "%s/image/bin/init", t->dir);
	copy_file(getenv("NIWA_TEST_INIT"), path);
	(void)snprintf(path, sizeof(path), "%s/image/etc/secret", t->dir);
	copy_file("/etc/hostname", path);
	CHECK(chmod(path, 0600));
}

void keep_test_world(struct keep_test *t)
{
	CHECK(unshare(CLONE_NEWNET | CLONE_NEWNS));
	CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL));
	(void)umask(022);
	(void)snprintf(t->dir, sizeof(t->dir), "/tmp/niwa-keep-XXXXXX");
	if (!mkdtemp(t->dir))
		fail_msg("mkdtemp: %s", strerror(errno));
	CHECK(chmod(t->dir, 0755));
	find_cgroup(t);
	make_image(t);
	t->sock = -1;
	t->next_id = 1;
}

void keep_test_start_keep(struct keep_test *t, const char *fault, const char *timeout)
{
	struct keep_reply reply;
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/keep.sock", t->dir);
	(void)unlink(path); /* of the last one: nobody should connect to that */
	t->keep = fork();
	CHECK(t->keep);
	if (t->keep == 0) {
		if (fault)
			(void)setenv("NIWA_FAULT", fault, 1);
		(void)execl(getenv("NIWA_TEST_KEEP"), "niwa-keep", "--run-dir", t->dir, "--start-timeout",
			    timeout ? timeout : "30s", NULL);
		_exit(127);
	}
	keep_test_connect(t);
	keep_test_send(t, &(struct niwa_keep_msg){.type = NIWA_KEEP_LIST}, NULL, 0);
	keep_test_expect(t, NIWA_KEEP_END, 0, &reply); /* it has accepted us, and what it holds can be counted */
}

bool keep_test_has_ended(struct keep_test *t, unsigned tries)
{
	for (unsigned i = 0; i < tries && t->keep > 0; i++) {
		if (waitpid(t->keep, NULL, WNOHANG) == t->keep)
			t->keep = 0;
		else
			(void)usleep(10000);
	}
	return t->keep == 0;
}

static void remove_group(const char *path)
{
	for (int i = 0; i < 200 && rmdir(path) < 0 && errno == EBUSY; i++)
		(void)usleep(10000); /* its processes are just leaving */
}

static void remove_groups(struct keep_test *t)
{
	char path[256];

	for (uint64_t id = 1; id < t->next_id; id++) {
		(void)snprintf(path, sizeof(path), "%s/i%llu", t->cgroup, (unsigned long long)id);
		remove_group(path);
		(void)snprintf(path, sizeof(path), "%s/layers/%llu", t->dir, (unsigned long long)id);
		(void)niwa_remove_tree(path, NULL); /* the world's end looks at errors */
	}
}

void keep_test_world_end(struct keep_test *t)
{
	struct niwa_error err;

	if (niwa_remove_tree(t->dir, &err) < 0)
		fail_msg("%s", err.msg);
	remove_group(t->cgroup);
}

static void kill_groups(struct keep_test *t)
{
	char path[256];

	(void)snprintf(path, sizeof(path), "%s/cgroup.kill", t->cgroup);
	(void)niwa_file_write(path, "1");
}

void keep_test_stop_keep(struct keep_test *t)
{
	niwa_fd_close(&t->sock);
	kill_groups(t);
	if (t->keep > 0) {
		(void)kill(t->keep, SIGKILL);
		(void)waitpid(t->keep, NULL, 0);
	}
	remove_groups(t);
}

void keep_test_connect(struct keep_test *t)
{
	char path[128];

	niwa_fd_close(&t->sock);
	(void)snprintf(path, sizeof(path), "%s/keep.sock", t->dir);
	for (int i = 0; i < 500; i++) {
		t->sock = niwa_ipc_connect(path, SOCK_SEQPACKET);
		if (t->sock >= 0)
			return;
		(void)usleep(10000);
	}
	fail_msg("niwa-keep does not answer on %s", path);
}

void keep_test_send(struct keep_test *t, const struct niwa_keep_msg *msg, const int *fds, size_t nfds)
{
	struct niwa_keep_msg m = *msg;
	int r;

	m.version = NIWA_KEEP_VERSION;
	for (int i = 0; (r = niwa_ipc_send(t->sock, &m, sizeof(m), fds, nfds)) == -EAGAIN && i < 1000; i++)
		(void)usleep(1000);
	assert_int_equal(r, 0);
}

int keep_test_slow(int n)
{
	const char *slowness = getenv("NIWA_TEST_SLOWNESS");

	return slowness ? n * atoi(slowness) : n;
}

void keep_test_receive(struct keep_test *t, struct keep_reply *ret)
{
	struct pollfd p = {.fd = t->sock, .events = POLLIN};

	if (poll(&p, 1, keep_test_slow(10000)) != 1)
		fail_msg("niwa-keep does not answer");
	assert_int_equal(niwa_ipc_recv(t->sock, &ret->msg, sizeof(ret->msg), ret->fds, &ret->nfds), sizeof(ret->msg));
	assert_int_equal(ret->msg.version, NIWA_KEEP_VERSION);
}

void keep_test_expect(struct keep_test *t, enum niwa_keep_type type, uint64_t id, struct keep_reply *ret)
{
	keep_test_receive(t, ret);
	if (ret->msg.type != type || ret->msg.id != id)
		fail_msg("expected type %d of %llu, got type %u of %llu (op %d, error %d %s, message %d)", (int)type,
			 (unsigned long long)id, ret->msg.type, (unsigned long long)ret->msg.id, ret->msg.op,
			 ret->msg.error, strerror(ret->msg.error), ret->msg.status);
}

void keep_reply_close(struct keep_reply *reply)
{
	for (size_t i = 0; i < reply->nfds; i++)
		niwa_fd_close(&reply->fds[i]);
	reply->nfds = 0;
}

uint64_t keep_test_start(struct keep_test *t, struct niwa_plan *plan, const int *fds, size_t nfds)
{
	struct niwa_keep_msg msg = {.type = NIWA_KEEP_START, .id = t->next_id++};
	int all[NIWA_IPC_FDS_MAX];
	struct niwa_error err;

	all[0] = niwa_plan_to_memfd(plan, &err);
	if (all[0] < 0)
		fail_msg("%s", err.msg);
	niwa_plan_fini(plan);
	for (size_t i = 0; i < nfds; i++)
		all[i + 1] = fds[i];
	keep_test_send(t, &msg, all, nfds + 1);
	niwa_fd_close(&all[0]);
	return msg.id;
}

void keep_test_started(struct keep_test *t, struct niwa_plan *plan, struct keep_reply *ret)
{
	uint64_t id = keep_test_start(t, plan, NULL, 0);

	keep_test_expect(t, NIWA_KEEP_STARTED, id, ret);
}

void keep_test_failed(struct keep_test *t, struct niwa_plan *plan, int op, int error, struct keep_reply *ret)
{
	uint64_t id = keep_test_start(t, plan, NULL, 0);

	keep_test_expect(t, NIWA_KEEP_FAILED, id, ret);
	assert_int_equal(ret->msg.op, op);
	assert_string_equal(strerror(ret->msg.error), strerror(error));
}

void keep_test_exited(struct keep_test *t, uint64_t id, int code, int status)
{
	struct keep_reply reply;

	keep_test_expect(t, NIWA_KEEP_EXITED, id, &reply);
	assert_int_equal(reply.msg.code, code);
	assert_int_equal(reply.msg.status, status);
}

void keep_test_forget(struct keep_test *t, uint64_t id)
{
	struct keep_reply reply;

	keep_test_send(t, &(struct niwa_keep_msg){.type = NIWA_KEEP_FORGET, .id = id}, NULL, 0);
	keep_test_expect(t, NIWA_KEEP_OK, id, &reply);
}

unsigned keep_test_count_fds(const struct keep_test *t)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)t->keep);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		(void)closedir(dir);
	return n;
}

unsigned keep_test_count_children(const struct keep_test *t, pid_t *ret_first)
{
	char path[64], text[65536], *save = NULL;
	unsigned n = 0;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)t->keep, (int)t->keep);
	if (niwa_file_read(path, text, sizeof(text)) < 0)
		return 0;
	for (char *w = strtok_r(text, " ", &save); w; w = strtok_r(NULL, " ", &save))
		if (n++ == 0 && ret_first)
			*ret_first = (pid_t)atoi(w);
	return n;
}

void keep_test_expect_held(const struct keep_test *t, unsigned fds, unsigned children)
{
	for (int i = 0; i < 500; i++) {
		if (keep_test_count_fds(t) == fds && keep_test_count_children(t, NULL) == children)
			return;
		(void)usleep(10000);
	}
	fail_msg("keep holds %u descriptors and %u children, expected %u and %u", keep_test_count_fds(t),
		 keep_test_count_children(t, NULL), fds, children);
}

void keep_test_read_log(int fd, char *buf, size_t size)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	size_t used = 0;

	for (;;) {
		ssize_t n;

		if (poll(&p, 1, keep_test_slow(10000)) != 1)
			fail_msg("the log does not end");
		n = read(fd, buf + used, size - 1 - used);
		if (n < 0)
			fail_msg("read the log: %s", strerror(errno));
		if (n == 0)
			break;
		used += (size_t)n;
	}
	buf[used] = '\0';
}

/* ---- plans ---- */

static struct nlmsghdr *new_message(char *buf, uint16_t type, uint16_t flags)
{
	struct nlmsghdr *m = mnl_nlmsg_put_header(buf);

	m->nlmsg_type = type;
	m->nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK | flags;
	return m;
}

static void add_link_up(struct niwa_text *batch, int index)
{
	char buf[512];
	struct nlmsghdr *m = new_message(buf, RTM_NEWLINK, 0);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(m, sizeof(*i));

	i->ifi_index = index;
	i->ifi_flags = i->ifi_change = IFF_UP;
	niwa_text_add_bytes(batch, m, m->nlmsg_len);
}

static void add_address(struct niwa_text *batch, int index, uint32_t addr)
{
	char buf[512];
	struct nlmsghdr *m = new_message(buf, RTM_NEWADDR, NLM_F_CREATE | NLM_F_EXCL);
	struct ifaddrmsg *a = mnl_nlmsg_put_extra_header(m, sizeof(*a));

	a->ifa_family = AF_INET;
	a->ifa_prefixlen = 32;
	a->ifa_index = (unsigned)index;
	mnl_attr_put_u32(m, IFA_LOCAL, addr);
	niwa_text_add_bytes(batch, m, m->nlmsg_len);
}

static void add_neighbour(struct niwa_text *batch, int index, uint32_t addr, const uint8_t mac[6])
{
	char buf[512];
	struct nlmsghdr *m = new_message(buf, RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
	struct ndmsg *n = mnl_nlmsg_put_extra_header(m, sizeof(*n));

	n->ndm_family = AF_INET;
	n->ndm_ifindex = index;
	n->ndm_state = NUD_PERMANENT;
	mnl_attr_put_u32(m, NDA_DST, addr);
	mnl_attr_put(m, NDA_LLADDR, 6, mac);
	niwa_text_add_bytes(batch, m, m->nlmsg_len);
}

/* via: 0: the destination is on the link. */
static void add_route(struct niwa_text *batch, int index, uint32_t dst, unsigned len, uint32_t via)
{
	char buf[512];
	struct nlmsghdr *m = new_message(buf, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL);
	struct rtmsg *r = mnl_nlmsg_put_extra_header(m, sizeof(*r));

	r->rtm_family = AF_INET;
	r->rtm_dst_len = (unsigned char)len;
	r->rtm_table = RT_TABLE_MAIN;
	r->rtm_protocol = RTPROT_STATIC;
	r->rtm_scope = via ? RT_SCOPE_UNIVERSE : RT_SCOPE_LINK;
	r->rtm_type = RTN_UNICAST;
	r->rtm_flags = via ? RTNH_F_ONLINK : 0;
	if (len)
		mnl_attr_put_u32(m, RTA_DST, dst);
	if (via)
		mnl_attr_put_u32(m, RTA_GATEWAY, via);
	mnl_attr_put_u32(m, RTA_OIF, (uint32_t)index);
	niwa_text_add_bytes(batch, m, m->nlmsg_len);
}

static const uint8_t host_mac[6] = {2, 0, 0, 0, 0, 1};
static const uint8_t own_mac[6] = {2, 0, 0, 0, 0, 2};

/* Returns where the peer's pid goes. */
static unsigned add_veth(struct niwa_text *batch, int index, uint64_t id)
{
	char buf[1024], name[16];
	struct nlmsghdr *m = new_message(buf, RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
	struct ifinfomsg *i = mnl_nlmsg_put_extra_header(m, sizeof(*i));
	struct nlattr *info, *data, *peer;
	unsigned offset;

	(void)snprintf(name, sizeof(name), "nw%llu", (unsigned long long)id);
	i->ifi_index = index;
	mnl_attr_put_u32(m, IFLA_NUM_TX_QUEUES, 1);
	mnl_attr_put_u32(m, IFLA_NUM_RX_QUEUES, 1);
	mnl_attr_put_strz(m, IFLA_IFNAME, name);
	mnl_attr_put(m, IFLA_ADDRESS, 6, host_mac);
	info = mnl_attr_nest_start(m, IFLA_LINKINFO);
	mnl_attr_put_strz(m, IFLA_INFO_KIND, "veth");
	data = mnl_attr_nest_start(m, IFLA_INFO_DATA);
	peer = mnl_attr_nest_start(m, VETH_INFO_PEER);
	i = mnl_nlmsg_put_extra_header(m, sizeof(*i));
	i->ifi_index = 2;
	mnl_attr_put_u32(m, IFLA_NUM_TX_QUEUES, 1);
	mnl_attr_put_u32(m, IFLA_NUM_RX_QUEUES, 1);
	mnl_attr_put_strz(m, IFLA_IFNAME, "eth0");
	mnl_attr_put(m, IFLA_ADDRESS, 6, own_mac);
	mnl_attr_put_u32(m, IFLA_NET_NS_PID, 0);
	offset = m->nlmsg_len - 4;
	mnl_attr_nest_end(m, peer);
	mnl_attr_nest_end(m, data);
	mnl_attr_nest_end(m, info);
	niwa_text_add_bytes(batch, m, m->nlmsg_len);
	return offset;
}

static void add_host_network(struct niwa_plan *plan, uint64_t id)
{
	int index = 0x100000 + (int)id;
	uint32_t addr = htonl(0x0a500000u + (uint32_t)id);
	struct niwa_text batch = {0};
	char offsets[16];

	(void)snprintf(offsets, sizeof(offsets), "%u", add_veth(&batch, index, id));
	add_link_up(&batch, index);
	add_neighbour(&batch, index, addr, own_mac);
	add_route(&batch, index, addr, 32, 0);
	T_ADD(plan, .op = NIWA_OP_NETLINK, .a = 1, .s = offsets, .bytes = batch.data, .bytes_len = (uint32_t)batch.len);
	niwa_text_fini(&batch);
}

static void add_inner_network(struct niwa_plan *plan, uint64_t id)
{
	uint32_t addr = htonl(0x0a500000u + (uint32_t)id), gateway = htonl(0xa9fe0101);
	struct niwa_text batch = {0};

	add_link_up(&batch, 1);
	add_address(&batch, 2, addr);
	add_link_up(&batch, 2);
	add_neighbour(&batch, 2, gateway, host_mac);
	add_route(&batch, 2, 0, 0, gateway);
	T_ADD(plan, .op = NIWA_OP_NETLINK, .b = 1, .bytes = batch.data, .bytes_len = (uint32_t)batch.len);
	niwa_text_fini(&batch);
}

void keep_test_mount(struct niwa_plan *plan, const char *type, const char *target, unsigned long flags,
		     const char *data)
{
	char bytes[1024];
	int n = snprintf(bytes, sizeof(bytes), "%s%c%s", type, 0, data);

	T_ADD(plan, .op = NIWA_OP_MOUNT, .s = type, .t = target, .a = (int64_t)flags, .bytes = bytes,
	      .bytes_len = (uint32_t)n + 1);
}

static void add_before(struct keep_test *t, struct niwa_plan *plan, uint64_t id, unsigned parts)
{
	int64_t flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS |
			CLONE_NEWCGROUP;
	char path[256], layer[128], work[256];

	(void)snprintf(path, sizeof(path), "%s/i%llu", t->cgroup, (unsigned long long)id);
	if (parts & T_WITH_CGROUP) {
		T_ADD(plan, .op = NIWA_OP_MKDIR, .s = path, .a = 0755);
		T_ADD(plan, .op = NIWA_OP_OPEN, .a = T_CGROUP, .s = path, .b = O_DIRECTORY | O_PATH);
	}
	T_ADD(plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END);
	(void)snprintf(layer, sizeof(layer), "%s/layers/%llu", t->dir, (unsigned long long)id);
	(void)snprintf(path, sizeof(path), "%s/upper", layer);
	(void)snprintf(work, sizeof(work), "%s/work", layer);
	if (parts & T_WITH_DISK) {
		T_ADD(plan, .op = NIWA_OP_MKDIR, .s = path, .a = 0755);
		T_ADD(plan, .op = NIWA_OP_MKDIR, .s = work, .a = 0755);
		T_ADD(plan, .op = NIWA_OP_OPEN_TREE, .a = T_LAYER, .s = layer);
	}
	(void)snprintf(path, sizeof(path), "%s/image", t->dir);
	T_ADD(plan, .op = NIWA_OP_OPEN_TREE, .a = T_ROOT, .s = path);
	(void)snprintf(path, sizeof(path), "%s/dev", t->dir);
	T_ADD(plan, .op = NIWA_OP_OPEN_TREE, .a = T_DEV, .s = path);
	T_ADD(plan, .op = NIWA_OP_CLONE, .a = flags, .b = parts & T_WITH_CGROUP ? T_CGROUP : -1);
}

static void add_layer(struct niwa_plan *plan, const char *layer, unsigned parts)
{
	char path[256];

	if (parts & T_WITH_DISK) {
		T_ADD(plan, .op = NIWA_OP_MOVE_MOUNT, .a = T_LAYER, .s = layer);
		return;
	}
	keep_test_mount(plan, "tmpfs", layer, MS_NOSUID | MS_NODEV, "mode=0755,size=64m");
	(void)snprintf(path, sizeof(path), "%s/upper", layer);
	T_ADD(plan, .op = NIWA_OP_DIR, .s = path, .a = 0755);
	(void)snprintf(path, sizeof(path), "%s/work", layer);
	T_ADD(plan, .op = NIWA_OP_DIR, .s = path, .a = 0755);
}

static void add_root(struct keep_test *t, struct niwa_plan *plan, unsigned parts)
{
	char lower[256], layer[128], root[256], data[1024];

	(void)snprintf(lower, sizeof(lower), "%s/mnt/lower", t->dir);
	(void)snprintf(layer, sizeof(layer), "%s/mnt/layer", t->dir);
	(void)snprintf(root, sizeof(root), "%s/mnt/root", t->dir);
	T_ADD(plan, .op = NIWA_OP_MOVE_MOUNT, .a = T_ROOT, .s = lower);
	add_layer(plan, layer, parts);
	(void)snprintf(data, sizeof(data), "userxattr,lowerdir=%s,upperdir=%s/upper,workdir=%s/work", lower, layer,
		       layer);
	keep_test_mount(plan, "overlay", root, 0, data);
	T_ADD(plan, .op = NIWA_OP_PIVOT, .s = root, .a = 1);
	keep_test_mount(plan, "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	T_ADD(plan, .op = NIWA_OP_DETACH);
	T_ADD(plan, .op = NIWA_OP_MOVE_MOUNT, .a = T_DEV, .s = "/dev");
	keep_test_mount(plan, "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620");
	keep_test_mount(plan, "tmpfs", "/run", MS_NOSUID | MS_NODEV, "mode=0755");
}

void keep_test_plan_head(struct keep_test *t, struct niwa_plan *plan, uint64_t id, unsigned parts)
{
	char map[64];

	(void)snprintf(map, sizeof(map), "0 %d 65536", T_ID_BASE);
	add_before(t, plan, id, parts);
	T_ADD(plan, .op = NIWA_OP_ID_MAP, .s = map, .t = map);
	T_ADD(plan, .op = NIWA_OP_IDMAP, .a = T_ROOT, .c = MOUNT_ATTR_RDONLY);
	if (parts & T_WITH_DISK)
		T_ADD(plan, .op = NIWA_OP_IDMAP, .a = T_LAYER);
	T_ADD(plan, .op = NIWA_OP_IDMAP, .a = T_DEV, .b = 1,
	      .c = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	T_ADD(plan, .op = NIWA_OP_RELEASE, .a = 1);
	if (parts & T_WITH_VETH) {
		T_ADD(plan, .op = NIWA_OP_WRITE, .b = 1, .s = "/proc/sys/net/ipv4/ip_unprivileged_port_start",
		      .t = "0");
		add_host_network(plan, id);
		add_inner_network(plan, id);
	}
	T_ADD(plan, .op = NIWA_OP_RELEASE, .a = 2);
	T_ADD(plan, .op = NIWA_OP_PRIVATE);
	T_ADD(plan, .op = NIWA_OP_SESSION);
	T_ADD(plan, .op = NIWA_OP_AWAIT, .a = 1);
	T_ADD(plan, .op = NIWA_OP_USER);
	add_root(t, plan, parts);
	T_ADD(plan, .op = NIWA_OP_HOST_NAME, .s = "blog");
	T_ADD(plan, .op = NIWA_OP_DIAG, .a = T_DIAG);
	T_ADD(plan, .op = NIWA_OP_AWAIT, .a = 2);
}

void keep_test_plan_exec(struct niwa_plan *plan, int file, const char *command)
{
	static const char env[] = "PATH=/bin\0NIWA=test";
	struct niwa_text bytes = {0};
	char copy[1024], *save = NULL;
	uint32_t argc = 0, envc = 2;

	(void)snprintf(copy, sizeof(copy), "%s", command);
	for (const char *p = command; *p; p++)
		argc += *p == ' ';
	argc++;
	niwa_text_add_bytes(&bytes, &argc, sizeof(argc));
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		niwa_text_add_bytes(&bytes, w, strlen(w) + 1);
	niwa_text_add_bytes(&bytes, &envc, sizeof(envc));
	niwa_text_add_bytes(&bytes, env, sizeof(env));
	T_ADD(plan, .op = NIWA_OP_EXEC, .a = file, .bytes = bytes.data, .bytes_len = (uint32_t)bytes.len);
	niwa_text_fini(&bytes);
}

void keep_test_plan_tail(struct niwa_plan *plan, const char *command)
{
	T_ADD(plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	T_ADD(plan, .op = NIWA_OP_BOUNDING, .a = 0x1ff);
	T_ADD(plan, .op = NIWA_OP_NO_NEW_PRIVS);
	keep_test_plan_exec(plan, -1, command);
}

void keep_test_plan(struct keep_test *t, struct niwa_plan *plan, uint64_t id, unsigned parts, const char *command)
{
	keep_test_plan_head(t, plan, id, parts);
	keep_test_plan_tail(plan, command);
}

void keep_test_plan_plain(struct niwa_plan *plan, const char *command)
{
	T_ADD(plan, .op = NIWA_OP_PIPE, .a = T_LOG, .b = T_LOG_END);
	T_ADD(plan, .op = NIWA_OP_OPEN, .a = T_FILE, .s = getenv("NIWA_TEST_PROBE"), .b = O_PATH);
	T_ADD(plan, .op = NIWA_OP_CLONE, .b = -1);
	T_ADD(plan, .op = NIWA_OP_STDIO, .a = -1, .b = T_LOG_END, .c = T_LOG_END);
	keep_test_plan_exec(plan, T_FILE, command);
}
