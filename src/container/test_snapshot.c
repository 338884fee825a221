/* SPDX-License-Identifier: MIT
 *
 * Instances that are dumped and restored: real plans, the real niwa-keep, the real CRIU. Skipped (77) only where niwa
 * doctor says that CRIU does not work.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "container/instance_snapshot.h"
#include "container/test_run_fixture.h"

#define TEXT(s)    ((char *)(uintptr_t)(s))
#define HOUR_NS    (INT64_C(3600) * 1000000000)
#define LAST_PID   1000
#define ANSWER     "sum 5059600 pid 2 sid 2 ppid 1 uid 33 child 3 alive on blog.example.com\n"
#define FILES      "layer 'in the layer' shm 'in shared memory' mapped 'in shared memory' unlinked 'still here' gone gone\n"
#define NAMESPACES 8

/* One CRIU for all tests: its binary, what it knows of the kernel, an empty folder. */
static struct world world;
static char criu_path[PATH_MAX];
static int criu = -1, cache = -1, empty = -1;
static struct started check;

/* A sleeper, its images, and what has to be known of it for a restore. */
struct dumped {
	struct app app;
	char images[160], layer[160], shm[160];
	uint64_t log_inode;
	struct niwa_instance_restore restore;
};

static void run(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void run(const char *fmt, ...)
{
	char command[1024];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("'%s' failed", command);
}

/* What niwa doctor found, or false. */
static bool find_criu(void)
{
	char command[PATH_MAX], said[8192] = "", *path;
	size_t n;
	FILE *f;

	(void)snprintf(command, sizeof(command), "'%s' doctor --json criu criu-works 2>/dev/null",
		       getenv("NIWA_TEST_NIWA"));
	f = popen(command, "re");
	n = f ? fread(said, 1, sizeof(said) - 1, f) : 0;
	said[n] = '\0';
	if (f)
		(void)pclose(f);
	path = strstr(said, ", /");
	if (!path || !strstr(said, "is dumped in"))
		return false;
	(void)snprintf(criu_path, sizeof(criu_path), "%.*s", (int)strcspn(path + 2, " \""), path + 2);
	return true;
}

static void log_of(int fd, char *ret, size_t size)
{
	ssize_t n = pread(fd, ret, size - 1, 0);

	ret[n > 0 ? n : 0] = '\0';
}

static void look_at_kernel(void)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
	int log = memfd_create("log", MFD_CLOEXEC), status;
	const char *op = "";
	char said[4096];
	struct niwa_error err;

	assert_int_equal(niwa_criu_check_plan(&plan, &err), 0);
	status = plan_try(&world, &plan, (int[]){criu, log}, 2, &check, &op);
	if (status)
		fail_msg("criu check failed in %s: %s", op, strerror(status));
	cache = NIWA_TAKE_FD(check.log);
	assert_true(cache >= 0);
	status = started_status(&world, &check);
	log_of(log, said, sizeof(said));
	if (status != 0)
		fail_msg("criu check ended with %d: %s", status, said);
	assert_int_equal(faccessat(cache, "criu.kdat", R_OK, 0), 0);
	assert_int_equal(mkdirat(cache, "empty", 0700), 0);
	empty = openat(cache, "empty", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(empty >= 0);
	(void)close(log);
}

static int open_world(void **state)
{
	struct niwa_error err;

	world_open(&world);
	/* a tenant's own settings of CRIU, which would stop every one of these tests */
	run("cd %s/plain && cp '%s' bin/sleeper && mkdir -p data etc/criu && touch data/gone && chmod 777 data && "
	    "echo no-such-option > etc/criu/default.conf",
	    world.dir, getenv("NIWA_TEST_SLEEPER"));
	criu = niwa_criu_open(criu_path, &err);
	if (criu < 0)
		fail_msg("%s", err.msg);
	look_at_kernel();
	return 0;
}

static int close_world(void **state)
{
	niwa_fd_close(&criu);
	niwa_fd_close(&cache);
	niwa_fd_close(&empty);
	world_close(&world);
	return 0;
}

static void said(const struct started *s, const char *word, char *ret, size_t size)
{
	ask(s, 80, word, ret, size);
}

static void expect(const struct started *s, const char *word, const char *wanted)
{
	char got[1024];

	said(s, word, got, sizeof(got));
	assert_string_equal(got, wanted);
}

static void start_program(struct dumped *d, char **argv, struct started *ret)
{
	app_init(&world, &d->app, "plain", argv);
	d->app.params.uid = d->app.params.gid = 33;
	d->app.params.init = true;
	d->app.spec.limits = (struct niwa_limits){.memory_bytes = 256 << 20, .processes = 64, .open_files = 2000};
	app_start(&world, &d->app, ret);
}

static void start_sleeper(struct dumped *d, struct started *ret)
{
	static char *argv[] = {TEXT("/bin/sleeper"), NULL};

	start_program(d, argv, ret);
	expect(ret, "who", "asked 1 " ANSWER);
}

static void criu_begins(struct niwa_plan *plan, const struct started *s, const char *images, int log,
			struct started *ret)
{
	NIWA_AUTO_FD folder = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	const char *op = "";
	int status;

	assert_true(folder >= 0);
	status = plan_try(&world, plan, (int[]){s->pidfd, criu, folder, cache, empty, log},
			  NIWA_CRIU_GIVEN_END - NIWA_SLOT_FIRST_FREE, ret, &op);
	if (status)
		fail_msg("CRIU failed in %s: %s", op, strerror(status));
}

/* Runs CRIU to its end; its status, what it said. */
static int criu_ends(struct niwa_plan *plan, const struct started *s, const char *images, char *ret, size_t size)
{
	NIWA_AUTO_FD log = memfd_create("log", MFD_CLOEXEC);
	struct started c;
	int status;

	criu_begins(plan, s, images, log, &c);
	status = started_status(&world, &c);
	log_of(log, ret, size);
	return status;
}

/* The one edit of the images, see docs/adr/007: the last of the ids of namespaces, field 10 behind field 9. */
static void same_user_namespace(const char *images)
{
	unsigned char inventory[4096], ids[256], *to, *from;
	char path[PATH_MAX], of[PATH_MAX];
	ssize_t n, m;
	int fd;

	(void)snprintf(path, sizeof(path), "%s/inventory.img", images);
	(void)snprintf(of, sizeof(of), "%s/ids-%d.img", images, NIWA_INIT_COMMAND_PID);
	fd = open(path, O_RDWR | O_CLOEXEC);
	n = read(fd, inventory, sizeof(inventory));
	m = open(of, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && n > 24 && m >= 0);
	m = read((int)m, ids, sizeof(ids));
	assert_true(m > 16);
	to = memchr(inventory + 24, 0x48, (size_t)n - 24);
	from = memchr(ids + 16, 0x48, (size_t)m - 16);
	assert_true(to && from && to[2] == 0x50 && from[2] == 0x50);
	assert_int_equal(pwrite(fd, from + 3, 1, to + 3 - inventory), 1);
	(void)close(fd);
}

static void dump(struct dumped *d, const struct started *s, enum niwa_dump_then then)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
	struct niwa_dump_params params = {
		.instance = s->id, .spec = &d->app.spec, .pid = NIWA_INIT_COMMAND_PID, .then = then};
	struct niwa_error err;
	char log[4096];
	struct stat st;
	int status;

	assert_int_equal(fstat(s->log, &st), 0);
	d->log_inode = st.st_ino;
	(void)snprintf(d->images, sizeof(d->images), "%s/images-%llu", world.dir, (unsigned long long)s->id);
	assert_int_equal(mkdir(d->images, 0711), 0);
	assert_int_equal(niwa_dump_plan(&world.host, &params, &plan, &err), 0);
	status = criu_ends(&plan, s, d->images, log, sizeof(log));
	if (status != 0)
		fail_msg("dump ended with %d: %s", status, log);
	same_user_namespace(d->images);
}

/* Pids of the instance's group, its pid 1 first. */
static size_t pids_of(const struct started *s, pid_t *ret, size_t max)
{
	char path[200], text[4096];
	size_t n = 0;
	char *at = text;

	(void)snprintf(path, sizeof(path), "%s/i%llu/cgroup.procs", world.groups[0], (unsigned long long)s->id);
	assert_true(niwa_file_read(path, text, sizeof(text)) >= 0);
	for (char *end; n < max; at = end) {
		ret[n] = (pid_t)strtol(at, &end, 10);
		if (end == at)
			break;
		if (ret[n] == s->pid) {
			ret[n] = ret[0];
			ret[0] = s->pid;
		}
		n++;
	}
	return n;
}

static uint32_t saved_base;

static int to_own_ids(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	return lchown(path, st->st_uid - saved_base, st->st_gid - saved_base);
}

/* A folder of the instance becomes one with ids of its own. */
static void save(const struct dumped *d, const char *from, char *ret, size_t size, const char *name)
{
	(void)snprintf(ret, size, "%.100s-%s", d->images, name);
	run("cp -a '%s' '%s'", from, ret);
	saved_base = d->app.params.id_base;
	assert_int_equal(nftw(ret, to_own_ids, 16, FTW_PHYS), 0);
}

/* What is not in the images, from a stopped instance. */
static void save_files(struct dumped *d, const struct started *s)
{
	char from[64];

	(void)snprintf(from, sizeof(from), "/proc/%d/fd/%d/upper", (int)getpid(), s->layer);
	save(d, from, d->layer, sizeof(d->layer), "layer");
	(void)snprintf(from, sizeof(from), "/proc/%d/root/dev/shm", (int)s->pid);
	save(d, from, d->shm, sizeof(d->shm), "shm");
	d->restore = (struct niwa_instance_restore){
		.pid = NIWA_INIT_COMMAND_PID, .last_pid = LAST_PID, .layer = d->layer, .shm = d->shm};
}

static void go_on(const struct started *s)
{
	pid_t pids[16];
	size_t n = pids_of(s, pids, NIWA_ARRAY_LEN(pids));

	for (size_t i = 1; i < n; i++)
		assert_int_equal(kill(pids[i], SIGCONT), 0);
}

static void dump_whole(struct dumped *d, struct started *s)
{
	start_sleeper(d, s);
	dump(d, s, NIWA_DUMP_STOP);
	save_files(d, s);
	go_on(s);
}

/* A new instance of the app, whose niwa-init waits. */
static void start_empty(struct dumped *d, struct started *ret)
{
	d->app.params.restore = &d->restore;
	app_start(&world, &d->app, ret);
}

static void restore_plan(const struct dumped *d, const struct started *s, struct niwa_plan *ret)
{
	struct niwa_criu_restore_params params = {
		.instance = s->id, .spec = &d->app.spec, .init_pid = s->pid, .log_inode = d->log_inode};
	struct niwa_error err;

	assert_int_equal(niwa_criu_restore_plan(&world.host, &params, ret, &err), 0);
}

static void restore_into(struct dumped *d, const struct started *s)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
	char log[4096];
	int status;

	restore_plan(d, s, &plan);
	status = criu_ends(&plan, s, d->images, log, sizeof(log));
	if (status != 0)
		fail_msg("restore ended with %d: %s", status, log);
}

static void status_line(pid_t pid, pid_t tid, const char *key, char *ret, size_t size)
{
	char path[64], text[8192], *at;

	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/status", (int)pid, (int)tid);
	assert_true(niwa_file_read(path, text, sizeof(text)) > 0);
	at = strstr(text, key);
	assert_non_null(at);
	(void)snprintf(ret, size, "%.*s", (int)strcspn(at, "\n"), at);
}

static void namespaces_of(pid_t pid, char ret[NAMESPACES][64])
{
	static const char *const names[NAMESPACES] = {"user", "mnt", "pid", "net", "ipc", "uts", "cgroup", "time"};

	for (int i = 0; i < NAMESPACES; i++) {
		char path[64];
		ssize_t n;

		(void)snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, names[i]);
		n = readlink(path, ret[i], 63);
		assert_true(n > 0);
		ret[i][n] = '\0';
	}
}

/* Lines of /proc/PID/status that a restore keeps, and the descriptors: none of CRIU's, which could be the host's. */
static void state_of(pid_t pid, pid_t tid, struct niwa_text *out)
{
	static const char *const keys[] = {
		"Groups:", "Threads:", "SigBlk:", "SigIgn:",     "SigCgt:",  "CapInh:", "CapPrm:",
		"CapEff:", "CapBnd:",  "CapAmb:", "NoNewPrivs:", "Seccomp:", "Umask:"};
	char path[64], line[256], text[8192];
	struct dirent *e;
	DIR *fds;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(keys); i++) {
		status_line(pid, tid, keys[i], line, sizeof(line));
		niwa_text_addf(out, "%s\n", line);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/limits", (int)pid);
	assert_true(niwa_file_read(path, text, sizeof(text)) > 0);
	niwa_text_add(out, text);
	(void)snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	fds = opendir(path);
	assert_non_null(fds);
	while ((e = readdir(fds)))
		niwa_text_addf(out, " %s", e->d_name);
	niwa_text_add(out, "\n");
	(void)closedir(fds);
}

/* Every thread but those of niwa-init. */
static void state_of_all(const struct started *s, struct niwa_text *out)
{
	pid_t pids[16];
	size_t n = pids_of(s, pids, NIWA_ARRAY_LEN(pids));

	assert_int_equal(n, 3); /* niwa-init, the sleeper, its child */
	for (size_t i = 1; i < n; i++) {
		char path[64];
		struct dirent *e;
		DIR *tasks;

		(void)snprintf(path, sizeof(path), "/proc/%d/task", (int)pids[i]);
		tasks = opendir(path);
		assert_non_null(tasks);
		while ((e = readdir(tasks)))
			if (e->d_name[0] != '.')
				state_of(pids[i], (pid_t)atoi(e->d_name), out);
		(void)closedir(tasks);
	}
	assert_false(out->failed);
	assert_non_null(strstr(out->data, "Seccomp:\t2"));
	assert_non_null(strstr(out->data, "NoNewPrivs:\t1"));
	assert_non_null(strstr(out->data, "CapBnd:\t00000000800405fb"));
}

static void expect_same_file(pid_t a, pid_t b, const char *name)
{
	char path[64], of_a[4096], of_b[4096];

	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)a, name);
	assert_true(niwa_file_read(path, of_a, sizeof(of_a)) > 0);
	(void)snprintf(path, sizeof(path), "/proc/%d/%s", (int)b, name);
	assert_true(niwa_file_read(path, of_b, sizeof(of_b)) > 0);
	assert_string_equal(of_a, of_b);
}

/* Groups, namespaces and ids of the instance. */
static void expect_inside(const struct started *s, uint32_t id_base)
{
	char wanted[NAMESPACES][64], got[NAMESPACES][64], uids[64], line[256];
	pid_t pids[16];
	size_t n = pids_of(s, pids, NIWA_ARRAY_LEN(pids));
	uint32_t uid = id_base + 33;

	namespaces_of(s->pid, wanted);
	(void)snprintf(uids, sizeof(uids), "Uid:\t%u\t%u\t%u\t%u", uid, uid, uid, uid);
	for (size_t i = 1; i < n; i++) {
		namespaces_of(pids[i], got);
		for (int k = 0; k < NAMESPACES; k++)
			assert_string_equal(got[k], wanted[k]);
		status_line(pids[i], pids[i], "Uid:", line, sizeof(line));
		assert_string_equal(line, uids);
		expect_same_file(pids[i], s->pid, "cgroup");
		expect_same_file(pids[i], s->pid, "timens_offsets");
	}
}

static void read_log(const struct started *s, char *ret, size_t size)
{
	ssize_t n = read(s->log, ret, size - 1);

	ret[n > 0 ? n : 0] = '\0';
}

static void a_restored_instance_goes_on_where_the_dumped_one_was(void **state)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text before = {0};
	NIWA_AUTO(niwa_text_fini) struct niwa_text after = {0};
	char log[256];
	struct started a, b;
	struct dumped d;
	uint32_t first_base;

	dump_whole(&d, &a);
	state_of_all(&a, &before);
	first_base = d.app.params.id_base;
	expect(&a, "who", "asked 2 " ANSWER);
	started_kill(&world, &a);
	start_empty(&d, &b);
	assert_int_not_equal(d.app.params.id_base, first_base);
	restore_into(&d, &b);
	expect(&b, "who", "asked 2 " ANSWER); /* memory of the dump: asked once, then this time */
	expect(&b, "files", FILES);
	expect_inside(&b, d.app.params.id_base);
	state_of_all(&b, &after);
	assert_string_equal(after.data, before.data);
	expect(&b, "log", "done\n");
	read_log(&b, log, sizeof(log));
	assert_string_equal(log, "a line of the log\n");
	ask(&b, 80, "exit 7", log, sizeof(log));
	assert_int_equal(started_end(&world, &b, NULL, 0), 7);
	app_fini(&d.app);
}

static int64_t clock_of(const struct started *s)
{
	char got[64];

	said(s, "clock", got, sizeof(got));
	return strtoll(got, NULL, 10);
}

static void a_criu_that_would_load_something_is_refused(void **state)
{
	char path[160];
	struct niwa_error err;

	(void)snprintf(path, sizeof(path), "%s/script", world.dir);
	run("printf '#!/bin/sh\\nexit 0\\n' > %s && chmod 755 %s", path, path);
	assert_int_equal(niwa_criu_open(path, &err), -ENOEXEC);
	assert_int_equal(niwa_criu_open("/proc/self/exe", &err), -ENOEXEC);
	assert_non_null(strstr(err.msg, "no statically linked program"));
	(void)snprintf(path, sizeof(path), "%s/none", world.dir);
	assert_int_equal(niwa_criu_open(path, &err), -ENOENT);
}

static void clocks_go_on_for_restored_processes_and_who_joins_them(void **state)
{
	const int64_t hour_ms = 3600 * 1000;
	char uptime[64];
	int64_t before, ahead;
	struct started a, b;
	struct dumped d;

	dump_whole(&d, &a);
	started_kill(&world, &a);
	d.restore.monotonic_ns = HOUR_NS + 1;
	d.restore.boottime_ns = 2 * HOUR_NS;
	start_empty(&d, &b);
	restore_into(&d, &b);
	before = (int64_t)niwa_now_us() / 1000;
	ahead = clock_of(&b) - before;
	assert_in_range(ahead, hour_ms - 1, hour_ms + 5000);
	expect_inside(&b, d.app.params.id_base);
	before = (int64_t)niwa_now_us() / 1000;
	assert_int_equal(exec_in(&world, &d.app, &b,
				 (char *[]){TEXT("/bin/guest"), TEXT("show"), TEXT("/proc/uptime"), NULL}, uptime,
				 sizeof(uptime)),
			 0);
	assert_in_range((int64_t)(strtod(uptime, NULL) * 1000) - before, 2 * hour_ms - 100, 3 * hour_ms);
	started_kill(&world, &b);
	app_fini(&d.app);
}

/* CRIU reads what no other process shares in another way. */
static void memory_of_a_process_that_never_forked_is_as_it_was(void **state)
{
	static char *argv[] = {TEXT("/bin/sleeper"), TEXT("alone"), NULL};
	char before[256], after[256];
	struct started a, b;
	struct dumped d;

	start_program(&d, argv, &a);
	said(&a, "who", before, sizeof(before)); /* it is there */
	dump(&d, &a, NIWA_DUMP_STOP);
	save_files(&d, &a);
	go_on(&a);
	said(&a, "who", before, sizeof(before));
	started_kill(&world, &a);
	start_empty(&d, &b);
	restore_into(&d, &b);
	said(&b, "who", after, sizeof(after));
	assert_string_equal(after, before);
	assert_non_null(strstr(after, "asked 2 sum 5059600 "));
	started_kill(&world, &b);
	app_fini(&d.app);
}

static void a_restored_instance_is_dumped_again(void **state)
{
	struct started a, b, c;
	struct dumped d;

	dump_whole(&d, &a);
	started_kill(&world, &a);
	d.restore.monotonic_ns = d.restore.boottime_ns = HOUR_NS;
	start_empty(&d, &b);
	restore_into(&d, &b);
	expect(&b, "who", "asked 2 " ANSWER);
	dump(&d, &b, NIWA_DUMP_STOP);
	started_kill(&world, &b);
	start_empty(&d, &c);
	restore_into(&d, &c);
	expect(&c, "who", "asked 3 " ANSWER);
	started_kill(&world, &c);
	app_fini(&d.app);
}

static void signals_reach_an_adopted_process_and_none_before(void **state)
{
	struct started a, b;
	struct dumped d;

	dump_whole(&d, &a);
	started_kill(&world, &a);
	start_empty(&d, &b);
	assert_int_equal(pidfd_send_signal(b.pidfd, SIGTERM, NULL, 0), 0);
	restore_into(&d, &b);
	expect(&b, "who", "asked 2 " ANSWER);
	assert_int_equal(pidfd_send_signal(b.pidfd, SIGTERM, NULL, 0), 0);
	assert_int_equal(started_end(&world, &b, NULL, 0), 128 + SIGTERM);
	app_fini(&d.app);
}

static void kill_group(const struct started *s)
{
	char path[200];

	(void)snprintf(path, sizeof(path), "%s/i%llu/cgroup.kill", world.groups[0], (unsigned long long)s->id);
	assert_int_equal(niwa_file_write(path, "1"), 0);
}

static void expect_nothing_of(const struct started *s)
{
	char path[200], text[256];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(world.groups); i++) {
		(void)snprintf(path, sizeof(path), "%s/i%llu", world.groups[i], (unsigned long long)s->id);
		assert_int_equal(access(path, F_OK), -1);
	}
	(void)snprintf(path, sizeof(path), "/proc/%d/task/%d/children", (int)world.keep, (int)world.keep);
	for (int i = 0; niwa_file_read(path, text, sizeof(text)) != 0; i++) { /* it is about to be reaped */
		assert_true(i < 500);
		(void)usleep(10000);
	}
}

/* Killed after some time; half-restored processes may be anywhere. */
static int try_killed(struct dumped *d, unsigned after_us)
{
	NIWA_AUTO(niwa_plan_fini) struct niwa_plan plan = {0};
	NIWA_AUTO_FD log = memfd_create("log", MFD_CLOEXEC);
	struct started b, c;
	int status;

	start_empty(d, &b);
	restore_plan(d, &b, &plan);
	criu_begins(&plan, &b, d->images, log, &c);
	(void)usleep(after_us);
	(void)pidfd_send_signal(c.pidfd, SIGKILL, NULL, 0); /* it may be done already */
	status = started_status(&world, &c);
	kill_group(&b);
	assert_int_equal(started_end(&world, &b, NULL, 0), 128 + SIGKILL);
	expect_nothing_of(&b);
	return status;
}

static void nothing_is_left_of_a_restore_whose_criu_is_killed(void **state)
{
	struct started a, b;
	struct dumped d;
	unsigned killed = 0;

	dump_whole(&d, &a);
	started_kill(&world, &a);
	for (unsigned us = 0; us <= 30000; us += 1500)
		killed += try_killed(&d, us) == 128 + SIGKILL;
	assert_true(killed > 3);
	start_empty(&d, &b);
	restore_into(&d, &b);
	expect(&b, "who", "asked 2 " ANSWER);
	started_kill(&world, &b);
	app_fini(&d.app);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_criu_that_would_load_something_is_refused),
		cmocka_unit_test(clocks_go_on_for_restored_processes_and_who_joins_them),
		cmocka_unit_test(memory_of_a_process_that_never_forked_is_as_it_was),
		cmocka_unit_test(a_restored_instance_is_dumped_again),
		cmocka_unit_test(signals_reach_an_adopted_process_and_none_before),
		cmocka_unit_test(nothing_is_left_of_a_restore_whose_criu_is_killed),
		cmocka_unit_test(a_restored_instance_goes_on_where_the_dumped_one_was),
	};

	if (!find_criu()) {
		(void)fprintf(stderr, "niwa doctor: CRIU does not work here\n");
		return 77;
	}
	return cmocka_run_group_tests(tests, open_world, close_world);
}
