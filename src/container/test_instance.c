/* SPDX-License-Identifier: MIT
 *
 * Plans as text, compared with src/container/golden/NAME.txt. NIWA_GOLDEN=write writes those files anew; then read
 * the difference. Length and hash of the system call filter are left out, they belong to the library's version.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>
#include <linux/netlink.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/instance.h"
#include "container/instance_snapshot.h"
#include "container/rtnl.h"

#define TEXT(s) ((char *)(uintptr_t)(s))
/* Lives on behind the function that names it. */
#define LIST(...)                                                                                                      \
	({                                                                                                             \
		static char *list_[] = {__VA_ARGS__, NULL};                                                            \
		list_;                                                                                                 \
	})

/* Everything that a case can change. */
struct setting {
	struct niwa_host host;
	struct niwa_image image;
	struct niwa_app_spec spec;
	struct niwa_instance_params params;
	struct niwa_volume volumes[NIWA_VOLUMES_MAX + 1];
};

static void defaults(struct setting *s)
{
	static char *no_env[] = {NULL};

	*s = (struct setting){
		.host = {.cgroup_layout = NIWA_CGROUP_UNIFIED,
			 .cgroup_v2 = "/sys/fs/cgroup/niwa.slice",
			 .run_dir = "/run/niwa",
			 .state_dir = "/var/lib/niwa",
			 .dev_dir = "/var/lib/niwa/dev",
			 .init_path = "/usr/libexec/niwa/niwa-init",
			 .gateway_addr = inet_addr("10.80.0.1"),
			 .veth_group = 77,
			 .host_mac = {2, 0, 0, 0, 0, 1},
			 .domain = "niwa.internal"},
		.image = {.name = TEXT("host"),
			  .root = TEXT("/var/lib/niwa/images/host.1/rootfs"),
			  .bind_usr = true,
			  .prepared = true,
			  .command = no_env,
			  .env = no_env},
		.spec = {.name = TEXT("blog.example.com"),
			 .tenant = TEXT("example"),
			 .image = TEXT("host"),
			 .command = LIST(TEXT("apache2"), TEXT("-DFOREGROUND")),
			 .env = no_env},
		.params = {.id = 7,
			   .id_base = 0x10000000,
			   .tenant_id_base = 500000,
			   .private_addr = inet_addr("10.80.0.9"),
			   .service_addr = inet_addr("10.64.3.4"),
			   .veth = "nw7",
			   .layer_dir = "/var/lib/niwa/layers/7",
			   .tenant_dir = "/run/niwa/tenants/example"},
	};
	s->spec.volumes = s->volumes;
	s->params.spec = &s->spec;
	s->params.image = &s->image;
}

static void hybrid(struct setting *s)
{
	s->host.cgroup_layout = NIWA_CGROUP_HYBRID;
	s->host.cgroup_v2 = "/sys/fs/cgroup/unified/niwa";
	s->host.cgroup_memory = "/sys/fs/cgroup/memory/niwa";
	s->host.cgroup_cpu = "/sys/fs/cgroup/cpu/niwa";
	s->host.cgroup_pids = "/sys/fs/cgroup/pids/niwa";
}

static void limits(struct setting *s)
{
	s->spec.limits = (struct niwa_limits){
		.memory_bytes = 256 << 20, .cpu_centi = 5000, .processes = 64, .io_weight = 200, .open_files = 1024};
}

static void plain(struct setting *s)
{
}

static void limited_unified(struct setting *s)
{
	s->host.cgroup_swap = true;
	limits(s);
}

static void limited_hybrid(struct setting *s)
{
	hybrid(s);
	limits(s);
	s->host.cgroup_swap = true;
	s->host.cgroup_blkio = "/sys/fs/cgroup/blkio/niwa";
}

static void on_disk(struct setting *s)
{
	s->host.layer_on_disk = true;
}

static void disk(struct setting *s)
{
	s->spec.limits.disk_bytes = 100 << 20;
}

static void full(struct setting *s)
{
	s->image.name = TEXT("/srv/image");
	s->image.root = TEXT("/srv/image");
	s->image.bind_usr = s->image.prepared = false;
	s->image.command = LIST(TEXT("/start"), TEXT("--now"));
	s->image.env = LIST(TEXT("PATH=/bin"), TEXT("COLOUR=red"), TEXT("not-a-variable"));
	s->image.workdir = TEXT("/work");
	s->spec.command = NULL;
	s->spec.env = LIST(TEXT("COLOUR=green"), TEXT("container=docker"), TEXT("EMPTY="));
	s->spec.init = true;
	s->spec.ready.kind = NIWA_READY_NOTIFY;
	s->spec.volume_count = 3;
	s->volumes[0] = (struct niwa_volume){.from = TEXT("/srv/blog"), .to = TEXT("/srv/blog")};
	s->volumes[1] = (struct niwa_volume){.from = TEXT("/home/anna/www"),
					     .to = TEXT("/var/www"),
					     .owner = NIWA_OWNER_USER,
					     .owner_user = TEXT("anna"),
					     .read_only = true};
	s->volumes[2] = (struct niwa_volume){.from = TEXT("/srv/site.conf"), .to = TEXT("/etc/app/site.conf")};
	s->params.volume_ids[1] = (struct niwa_volume_ids){1000, 1001, 33, 34, false};
	s->params.volume_ids[2].is_file = true;
	s->params.uid = 33;
	s->params.gid = 34;
	s->params.groups[0] = 4;
	s->params.group_count = 1;
	s->params.home = "/var/www";
	s->host.no_ipv6 = true;
}

static void long_name(struct setting *s)
{
	s->spec.name = TEXT("a-very-long-name-of-an-app.that-goes-on-and-on.and-is-cut-here--.example.com");
}

static void dumpable(struct setting *s)
{
	s->params.init = true;
}

static void shared(struct setting *s)
{
	s->params.init = true;
	s->spec.snapshot = NIWA_SNAPSHOT_SHARED;
	s->spec.env = LIST(TEXT("COLOUR=green"), TEXT("EMPTY="), TEXT("LINES=one\ntwo=2"));
}

static void restored(struct setting *s)
{
	static const struct niwa_instance_restore restore = {
		.pid = 2,
		.last_pid = 4200,
		.monotonic_ns = -1500000000, /* it was dumped when the host had been up for less */
		.boottime_ns = 250000000,
		.layer = "/var/lib/niwa/snapshots/0123/layer",
		.shm = "/var/lib/niwa/snapshots/0123/shm",
	};

	full(s);
	s->params.restore = &restore;
}

/* The dump without what depends on the library. */
static void dump(const struct niwa_plan *plan, struct niwa_text *out)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text all = {0};

	niwa_plan_dump(plan->buf.data, plan->buf.len, &all);
	assert_false(all.failed);
	for (const char *line = all.data; *line;) {
		size_t len = strcspn(line, "\n"), keep = len;
		const char *filter = memmem(line, len, "seccomp filters=", 16);

		if (filter)
			keep = (size_t)(filter + 7 - line);
		niwa_text_add_bytes(out, line, keep);
		niwa_text_add(out, "\n");
		line += len + (line[len] == '\n');
	}
}

static void compare(const char *name, const struct niwa_plan *plan)
{
	static char want[256 * 1024];
	NIWA_AUTO(niwa_text_fini) struct niwa_text got = {0};
	struct niwa_error err;
	char path[512];

	if (niwa_plan_check(plan->buf.data, plan->buf.len, &err) < 0)
		fail_msg("%s: %s", name, err.msg);
	dump(plan, &got);
	(void)snprintf(path, sizeof(path), "%s/%s.txt", getenv("NIWA_GOLDEN_DIR"), name);
	if (getenv("NIWA_GOLDEN") && niwa_file_replace(path, got.data, got.len, 0644, &err) < 0)
		fail_msg("%s", err.msg);
	if (niwa_file_read(path, want, sizeof(want)) < 0)
		fail_msg("no %s", path);
	if (strcmp(got.data, want) == 0)
		return;
	for (const char *g = got.data, *w = want; *g || *w;) {
		size_t gl = strcspn(g, "\n"), wl = strcspn(w, "\n");

		if (gl != wl || strncmp(g, w, gl) != 0)
			fail_msg("%s differs\n  is:     %.*s\n  wanted: %.*s", name, (int)gl, g, (int)wl, w);
		g += gl + (g[gl] == '\n');
		w += wl + (w[wl] == '\n');
	}
}

static void plans_of_instances_are_what_they_were(void **state)
{
	static const struct {
		const char *name;
		void (*change)(struct setting *s);
	} cases[] = {
		{"unified", plain},
		{"hybrid", hybrid},
		{"unified-limits", limited_unified},
		{"hybrid-limits", limited_hybrid},
		{"disk", disk},
		{"on-disk", on_disk},
		{"full", full},
		{"long-name", long_name},
		{"dumpable", dumpable},
		{"restored", restored},
		{"shared", shared},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
		struct niwa_error err;
		struct setting s;

		defaults(&s);
		cases[i].change(&s);
		if (niwa_instance_plan(&s.host, &s.params, &plan, &err) < 0)
			fail_msg("%s: %s", cases[i].name, err.msg);
		compare(cases[i].name, &plan);
	}
}

static void plans_of_execs_and_programs_are_what_they_were(void **state)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan exec = {0};
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan terminal = {0};
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan program = {0};
	static char *const list[] = {TEXT("ls"), TEXT("-l"), NULL};
	static char *const relay[] = {TEXT("/usr/libexec/niwa/niwa-relay"), NULL}, *const env[] = {TEXT("PATH=/bin"),
												   NULL};
	struct niwa_exec_params e = {.id = 8, .instance = 7, .argv = list, .uid = 33, .gid = 33};
	struct niwa_program_params p = {
		.argv = relay, .env = env, .uid = 990, .gid = 990, .caps = 1 << 10, .fd_count = 2, .nofile = 20000};
	struct niwa_error err;
	struct setting s;

	defaults(&s);
	hybrid(&s);
	e.spec = &s.spec;
	assert_int_equal(niwa_exec_plan(&s.host, &e, &exec, &err), 0);
	compare("exec", &exec);
	e.terminal = true;
	e.image = &s.image;
	s.image.env = LIST(TEXT("COLOUR=red"));
	assert_int_equal(niwa_exec_plan(&s.host, &e, &terminal, &err), 0);
	compare("exec-terminal", &terminal);
	assert_int_equal(niwa_program_plan(&p, &program, &err), 0);
	compare("program", &program);
}

static void plans_of_dumps_and_restores_are_what_they_were(void **state)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan dumped = {0};
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan restore = {0};
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan check = {0};
	struct niwa_dump_params d = {.instance = 7, .pid = NIWA_INIT_COMMAND_PID, .then = NIWA_DUMP_STOP};
	struct niwa_criu_restore_params r = {.instance = 8, .init_pid = 4711, .log_inode = 815};
	struct niwa_error err;
	struct setting s;

	defaults(&s);
	limited_hybrid(&s);
	d.spec = r.spec = &s.spec;
	assert_int_equal(niwa_dump_plan(&s.host, &d, &dumped, &err), 0);
	compare("criu-dump", &dumped);
	assert_int_equal(niwa_criu_restore_plan(&s.host, &r, &restore, &err), 0);
	compare("criu-restore", &restore);
	assert_int_equal(niwa_criu_check_plan(&check, &err), 0);
	compare("criu-check", &check);
}

static void bad_root_volume(struct setting *s)
{
	s->spec.volume_count = 1;
	s->volumes[0] = (struct niwa_volume){.from = TEXT("/srv"), .to = TEXT("//")};
}

static void bad_proc_volume(struct setting *s)
{
	s->spec.volume_count = 1;
	s->volumes[0] = (struct niwa_volume){.from = TEXT("/srv"), .to = TEXT("/proc/sys")};
}

static void bad_dots_volume(struct setting *s)
{
	s->spec.volume_count = 1;
	s->volumes[0] = (struct niwa_volume){.from = TEXT("/srv"), .to = TEXT("/srv/../proc")};
}

static void bad_owner(struct setting *s)
{
	s->spec.volume_count = 1;
	s->volumes[0] = (struct niwa_volume){
		.from = TEXT("/srv"), .to = TEXT("/srv"), .owner = NIWA_OWNER_USER, .owner_user = TEXT("root")};
}

static void bad_tenant_base(struct setting *s)
{
	s->spec.volume_count = 1;
	s->volumes[0] = (struct niwa_volume){.from = TEXT("/srv"), .to = TEXT("/srv")};
	s->params.tenant_id_base = 0;
}

static void bad_many_volumes(struct setting *s)
{
	s->spec.volume_count = NIWA_VOLUMES_MAX + 1;
}

static void bad_command(struct setting *s)
{
	s->spec.command = NULL;
}

static void bad_memory(struct setting *s)
{
	hybrid(s);
	limits(s);
	s->host.cgroup_memory = NULL;
}

static void bad_files(struct setting *s)
{
	s->host.nofile_max = 20000;
	s->spec.limits.open_files = 20001;
}

static void bad_lease(struct setting *s)
{
	s->params.id_base = 1000;
}

static void bad_restored_pid(struct setting *s)
{
	static const struct niwa_instance_restore restore = {.pid = 1, .last_pid = 100};

	s->params.restore = &restore;
}

static void bad_saved_layer(struct setting *s)
{
	static const struct niwa_instance_restore restore = {.pid = 2, .last_pid = 100, .layer = "layer"};

	s->params.restore = &restore;
}

static void bad_run_dir(struct setting *s)
{
	s->host.run_dir = "/run/ni:wa";
}

static void bad_user(struct setting *s)
{
	s->params.uid = 70000;
}

static void bad_environment(struct setting *s)
{
	static char *many[2000];
	static char text[2000][16];

	for (size_t i = 0; i + 1 < NIWA_ARRAY_LEN(many); i++) {
		(void)snprintf(text[i], sizeof(text[i]), "V%zu=1", i);
		many[i] = text[i];
	}
	s->spec.env = many;
}

static void what_cannot_be_planned_is_refused_with_its_key(void **state)
{
	static const struct {
		void (*change)(struct setting *s);
		const char *says;
	} cases[] = {
		{bad_root_volume, "volumes[0]"},
		{bad_proc_volume, "volumes[0].to: '/proc/sys': /proc belongs to niwa"},
		{bad_dots_volume, "volumes[0].to"},
		{bad_owner, "volumes[0].owner: 'root'"},
		{bad_tenant_base, "tenant id base"},
		{bad_many_volumes, "volumes: 17, at most 16"},
		{bad_command, "command: image 'host'"},
		{bad_memory, "limits.memory"},
		{bad_files, "limits.open-files: 20001"},
		{bad_lease, "lacks its id range"},
		{bad_restored_pid, "restore: pid 1"},
		{bad_saved_layer, "restore: 'layer' is not an absolute path"},
		{bad_run_dir, "run folder"},
		{bad_user, "user: 70000"},
		{bad_environment, "variables of the environment"},
	};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_plan plan = {0};
		struct niwa_error err = {0};
		struct setting s;

		defaults(&s);
		cases[i].change(&s);
		assert_true(niwa_instance_plan(&s.host, &s.params, &plan, &err) < 0);
		if (!strstr(err.msg, cases[i].says))
			fail_msg("'%s' does not say '%s'", err.msg, cases[i].says);
		assert_null(plan.buf.data);
	}
}

static void small_shares_of_a_processor_have_a_longer_period(void **state)
{
	static const struct {
		uint32_t centi;
		const char *want;
	} cases[] = {{5000, "\"50000 100000\""},
		     {20000, "\"200000 100000\""},
		     {100, "\"1000 100000\""},
		     {50, "\"5000 1000000\""},
		     {1, "\"1000 1000000\""}};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
		NIWA_AUTO(niwa_text_fini) struct niwa_text text = {0};
		struct setting s;

		defaults(&s);
		s.spec.limits.cpu_centi = cases[i].centi;
		assert_int_equal(niwa_instance_plan(&s.host, &s.params, &plan, NULL), 0);
		dump(&plan, &text);
		if (!strstr(text.data, cases[i].want))
			fail_msg("%u: no %s", cases[i].centi, cases[i].want);
	}
}

static void names_of_an_instance_are_unique_and_fit(void **state)
{
	static const char *const others[] = {"",       "nw",   "eth0",   "nw-1",           "nw 1",
					     "nw0100", "nw1A", "nwweb!", "nwzzzzzzzzzzzzz"};
	char a[16], b[16];
	uint8_t x[6], y[6];
	uint64_t id;

	niwa_instance_veth_name(1, a);
	assert_string_equal(a, "nw1");
	niwa_instance_veth_name(UINT64_MAX, a);
	assert_string_equal(a, "nw3w5e11264sgsf");
	niwa_instance_veth_name(36 * 36, b);
	assert_string_equal(b, "nw100");
	assert_true(niwa_instance_of_veth(a, &id));
	assert_int_equal(id, UINT64_MAX);
	assert_true(niwa_instance_of_veth("nw100", &id));
	assert_int_equal(id, 36 * 36);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(others); i++)
		assert_false(niwa_instance_of_veth(others[i], &id));
	niwa_instance_mac(1, x);
	niwa_instance_mac(256, y);
	assert_memory_equal(x, ((uint8_t[]){2, 0, 0, 0, 0, 1}), 6);
	assert_memory_equal(y, ((uint8_t[]){2, 0, 0, 0, 1, 0}), 6);
	assert_int_not_equal(niwa_instance_ifindex(1), niwa_instance_ifindex(2));
	assert_true(niwa_instance_ifindex(UINT64_MAX) <= INT32_MAX);
}

static void netlink_batches_are_whole_messages(void **state)
{
	static const uint8_t six[16] = {0xfd};
	struct niwa_rtnl_link link = {.veth = "nw3w5e11264sgsf",
				      .host_index = 0x20000007,
				      .host_has_ipv6 = true,
				      .service_addr = 1,
				      .private6 = six,
				      .service6 = six,
				      .gateway6 = six};
	struct niwa_rtnl host, child, settle;
	const struct niwa_rtnl *all[] = {&host, &child, &settle};

	niwa_rtnl_host(&link, &host);
	niwa_rtnl_child(&link, &child);
	niwa_rtnl_settle(&link, &settle);
	assert_true(host.pid_offset % 4 == 0 && host.pid_offset + 4 <= host.len);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(all); i++) {
		uint32_t count = 0, at = 0;

		for (; at < all[i]->len; count++) {
			const struct nlmsghdr *m = (const void *)(all[i]->data + at);

			assert_int_equal(m->nlmsg_seq, count + 1);
			assert_int_equal(m->nlmsg_flags & (NLM_F_ACK | NLM_F_REQUEST), NLM_F_ACK | NLM_F_REQUEST);
			at += NLMSG_ALIGN(m->nlmsg_len);
		}
		assert_int_equal(at, all[i]->len);
		assert_int_equal(count, all[i]->count);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(plans_of_instances_are_what_they_were),
		cmocka_unit_test(plans_of_execs_and_programs_are_what_they_were),
		cmocka_unit_test(plans_of_dumps_and_restores_are_what_they_were),
		cmocka_unit_test(what_cannot_be_planned_is_refused_with_its_key),
		cmocka_unit_test(small_shares_of_a_processor_have_a_longer_period),
		cmocka_unit_test(names_of_an_instance_are_unique_and_fit),
		cmocka_unit_test(netlink_batches_are_whole_messages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
