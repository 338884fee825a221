/* SPDX-License-Identifier: MIT
 *
 * kill -9 and failing commits: a child (this program again, with a fault in its environment) works on the store,
 * the parent looks at what is left.
 */
#include "test_fixture.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/memory.h"

#define NET    "10.64.0.0"
#define FIRST  UINT32_C(0x0a400010) /* 10.64.0.16 */
#define GROUP  5                    /* apps in a transaction of the storm */
#define ROUNDS 20
#define ACKS   20000

/* ---- what children do ---- */

#define CHECK_CHILD(x)                                                                                                 \
	do {                                                                                                           \
		if (!(x)) {                                                                                            \
			(void)fprintf(stderr, "child: line %d: %s\n", __LINE__, #x);                                   \
			_exit(1);                                                                                      \
		}                                                                                                      \
	} while (0)

static void second_commit_fails(struct fixture *f, unsigned round)
{
	fixture_open(f, NET, 24);
	CHECK_CHILD(fixture_put(f, "a", "t", "{\"v\":1}"));
	CHECK_CHILD(!fixture_put(f, "a", "t", "{\"v\":2}"));
	CHECK_CHILD(f->out.err.kind == NIWA_TEMPORARY && f->out.err.code == ENOSPC && f->out.count == 0);
	CHECK_CHILD(fixture_put(f, "a", "t", "{\"v\":1}")->kind == NIWA_CMDB_UNCHANGED);
	CHECK_CHILD(fixture_put(f, "b", "t", "{}")->addr == FIRST + 1);
}

static void put_three(struct fixture *f, unsigned round)
{
	fixture_open(f, NET, 24);
	(void)fixture_put(f, "a", "t", "{}");
	(void)fixture_put(f, "b", "t", "{}");
	(void)fixture_put(f, "c", "t", "{}");
}

/* Works as far as it can while allocations fail from the n-th on; round 1: the memory store. */
static void short_of_memory(struct fixture *f, unsigned round)
{
	struct niwa_cmdb_txn *txn;
	struct niwa_error err = {0};

	if (round == 1)
		(void)snprintf(f->path, sizeof(f->path), ":memory:");
	if (fixture_try_open(f, NET, 24, &err) < 0) {
		CHECK_CHILD(err.code == ENOMEM);
		return;
	}
	for (int i = 0; i < 2; i++) {
		txn = niwa_cmdb_txn_new(f->db);
		if (!txn)
			continue;
		if (niwa_cmdb_txn_put(txn, "a", "t", i ? "{}" : "{\"v\":1}", i ? 2 : 7) < 0 ||
		    niwa_cmdb_txn_put(txn, "b", "t", "{}", 2) < 0 || niwa_cmdb_txn_remove(txn, "b") < 0) {
			niwa_cmdb_txn_free(&txn);
			continue;
		}
		(void)fixture_commit(f, txn);
		CHECK_CHILD(f->out.refused ? f->out.err.code == ENOMEM : f->out.count == 3);
	}
	fixture_close(f);
}

struct acknowledged {
	uint32_t round, number, addr;
	uint64_t id;
};

struct storm {
	struct fixture *f;
	uint32_t round, number;
};

static void storm_next(struct storm *s);

static void storm_done(const struct niwa_cmdb_change *changes, size_t count, bool last, const struct niwa_error *err,
		       void *arg)
{
	struct storm *s = arg;
	struct acknowledged ack = {s->round, s->number, 0, 0};

	CHECK_CHILD(!err && last && count == GROUP);
	ack.addr = ntohl(changes[0].app.service_addr);
	ack.id = changes[0].app.id;
	CHECK_CHILD(write(STDOUT_FILENO, &ack, sizeof(ack)) == sizeof(ack));
	s->number++;
	storm_next(s);
}

static void storm_next(struct storm *s)
{
	struct niwa_cmdb_txn *txn = niwa_cmdb_txn_new(s->f->db);
	char name[64];

	for (int i = 0; i < GROUP; i++) {
		(void)snprintf(name, sizeof(name), "%u-%u-%d", s->round, s->number, i);
		CHECK_CHILD(niwa_cmdb_txn_put(txn, name, "t", "{}", 2) == 0);
	}
	niwa_cmdb_txn_commit(txn, storm_done, s);
}

static void storm(struct fixture *f, unsigned round)
{
	struct storm s = {f, round, 0};

	fixture_open(f, NET, 12);
	storm_next(&s);
	for (;;)
		CHECK_CHILD(sd_event_run(f->event, UINT64_MAX) >= 0);
}

static const struct {
	const char *name;
	void (*run)(struct fixture *f, unsigned round);
} jobs[] = {{"second_commit_fails", second_commit_fails},
	    {"put_three", put_three},
	    {"storm", storm},
	    {"short_of_memory", short_of_memory}};

static int child(const char *job, const char *dir, const char *round)
{
	struct fixture f;

	fixture_init(&f, "sqlite", dir);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(jobs); i++)
		if (strcmp(jobs[i].name, job) == 0)
			jobs[i].run(&f, (unsigned)atoi(round));
	fixture_close(&f);
	(void)sd_event_unref(f.event);
	return 0; /* the folder is the parent's */
}

/* ---- what the parent sees ---- */

static int setup(void **state)
{
	struct fixture *f = niwa_zalloc(sizeof(*f));

	fixture_init(f, "sqlite", NULL);
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	fixture_fini(*state);
	free(*state);
	return 0;
}

static pid_t start(const struct fixture *f, const char *job, const char *fault, unsigned round, int out)
{
	char number[16];
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid > 0)
		return pid;
	(void)snprintf(number, sizeof(number), "%u", round);
	if (fault)
		(void)setenv("NIWA_FAULT", fault, 1);
	if (out >= 0)
		(void)dup2(out, STDOUT_FILENO);
	(void)execl("/proc/self/exe", "test_crash", job, f->dir, number, NULL);
	_exit(127);
}

static int run(const struct fixture *f, const char *job, const char *fault)
{
	pid_t pid = start(f, job, fault, 0, -1);
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void a_commit_that_fails_changes_nothing_and_the_store_goes_on(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(run(f, "second_commit_fails", "cmdb.commit:ENOSPC@2"), 0);
	fixture_open(f, NET, 24);
	assert_int_equal(fixture_count(f), 2);
}

static void a_kill_before_the_commit_loses_only_that_one_and_after_it_none(void **state)
{
	static const struct {
		const char *fault;
		size_t left;
	} cases[] = {{"cmdb.commit:kill@1", 0},
		     {"cmdb.commit:kill@3", 2},
		     {"cmdb.committed:kill@1", 1},
		     {"cmdb.committed:kill@3", 3},
		     {NULL, 3}};
	struct fixture *f = *state;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		int status = run(f, "put_three", cases[i].fault);

		assert_true(cases[i].fault ? WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL : status == 0);
		fixture_open(f, NET, 24); /* repairs by itself */
		assert_int_equal(fixture_count(f), cases[i].left);
		fixture_close(f);
		assert_int_equal(unlink(f->path), 0);
	}
}

static void an_allocation_that_fails_is_an_answer_and_never_a_crash(void **state)
{
	struct fixture *f = *state;
	char n[16];

	for (unsigned round = 0; round < 2; round++) {
		for (unsigned i = 1; i <= 40; i++) {
			int status;

			(void)snprintf(n, sizeof(n), "%u", i);
			assert_int_equal(setenv("NIWA_FAIL_ALLOC", n, 1), 0);
			assert_int_equal(waitpid(start(f, "short_of_memory", NULL, round, -1), &status, 0) > 0, 1);
			assert_int_equal(unsetenv("NIWA_FAIL_ALLOC"), 0);
			if (status != 0)
				fail_msg("allocation %u, round %u: status %x", i, round, (unsigned)status);
			(void)unlink(f->path);
		}
	}
}

struct tally {
	size_t count, found;
	unsigned char groups[ROUNDS][ACKS]; /* apps found of each transaction */
	uint32_t addr[ROUNDS][ACKS];        /* acknowledged, of its first app */
	uint64_t id[ROUNDS][ACKS];
};

static int tally_one(const struct niwa_cmdb_app *app, void *arg)
{
	struct tally *t = arg;
	unsigned round, number, i;

	assert_int_equal(sscanf(app->name, "%u-%u-%u", &round, &number, &i), 3);
	assert_true(round < ROUNDS && number < ACKS);
	t->groups[round][number]++;
	if (i != 0 || !t->addr[round][number])
		return 0;
	assert_int_equal(ntohl(app->service_addr), t->addr[round][number]);
	assert_int_equal(app->id, t->id[round][number]);
	t->found++;
	return 0;
}

static void kill_one(struct fixture *f, struct tally *t, unsigned round, unsigned after_us)
{
	struct timespec pause = {.tv_nsec = after_us * 1000L};
	struct acknowledged ack;
	int p[2], status;
	pid_t pid;

	assert_int_equal(pipe2(p, O_CLOEXEC), 0);
	(void)fcntl(p[1], F_SETPIPE_SZ, 1 << 20); /* the child should not have to wait for us */
	pid = start(f, "storm", NULL, round, p[1]);
	assert_int_equal(close(p[1]), 0);
	(void)nanosleep(&pause, NULL);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
	while (read(p[0], &ack, sizeof(ack)) == sizeof(ack)) {
		assert_true(ack.round == round && ack.number < ACKS);
		t->addr[round][ack.number] = ack.addr;
		t->id[round][ack.number] = ack.id;
		t->count++;
	}
	assert_int_equal(close(p[0]), 0);
}

static void kill_9_at_any_moment_loses_nothing_acknowledged_and_halves_nothing(void **state)
{
	struct fixture *f = *state;
	struct tally *t = niwa_zalloc(sizeof(*t));

	srandom((unsigned)time(NULL));
	for (unsigned round = 0; round < ROUNDS; round++)
		kill_one(f, t, round, 5000 + (unsigned)random() % 45000);
	fixture_open(f, NET, 12);
	assert_int_equal(niwa_cmdb_each(f->db, false, tally_one, t, NULL), 0);
	assert_int_equal(t->found, t->count);
	for (size_t round = 0; round < ROUNDS; round++)
		for (size_t n = 0; n < ACKS; n++)
			assert_true(t->groups[round][n] == 0 || t->groups[round][n] == GROUP);
	print_message("%zu acknowledged transactions, %d kills\n", t->count, ROUNDS);
	assert_true(t->count > ROUNDS);
	free(t);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		TEST(a_commit_that_fails_changes_nothing_and_the_store_goes_on),
		TEST(a_kill_before_the_commit_loses_only_that_one_and_after_it_none),
		TEST(an_allocation_that_fails_is_an_answer_and_never_a_crash),
		TEST(kill_9_at_any_moment_loses_nothing_acknowledged_and_halves_nothing),
	};

	if (argc == 4)
		return child(argv[1], argv[2], argv[3]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
