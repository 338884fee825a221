/* SPDX-License-Identifier: MIT
 *
 * How fast elements change and what they cost, printed; the bounds are wide, they only catch a change of kind. Needs
 * root; everything happens in network namespaces of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/clock.h"
#include "base/fd.h"
#include "net/net_private.h"
#include "net/test_world.h"

#define RUNS     500
#define DECLARED 50000

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static uint64_t report(const char *what, uint64_t *us, size_t count)
{
	qsort(us, count, sizeof(*us), compare);
	print_message("%s: p50 %llu us, p99 %llu us\n", what, (unsigned long long)us[count / 2],
		      (unsigned long long)us[count * 99 / 100]);
	return us[count / 2];
}

static void fill(struct world *w, enum niwa_change c)
{
	struct niwa_net_txn *t = txn(w);

	for (uint32_t i = 0; i < DECLARED; i++)
		niwa_net_declared(t, c, htonl(ntohl(ip("10.64.8.0")) + i), 80, CLASS);
	commit(t);
}

/* Bytes of unreclaimable slab; 0 where it cannot be read. */
static uint64_t slab(void)
{
	char buf[8192];
	const char *p;

	if (niwa_file_read("/proc/meminfo", buf, sizeof(buf)) <= 0 || !(p = strstr(buf, "SUnreclaim:")))
		return 0;
	return strtoull(p + strlen("SUnreclaim:"), NULL, 10) * 1024;
}

static void fifty_thousand_declared_ports_are_loaded_at_once(void **state)
{
	struct world *w = *state;
	uint64_t start, before, after;
	struct niwa_error err;

	before = slab();
	start = niwa_now_us();
	fill(w, NIWA_ADD);
	after = slab();
	print_message(
		"load %d declared: %llu ms; slab right after it: %lld bytes an element (64 and the buckets stay)\n",
		DECLARED, (unsigned long long)((niwa_now_us() - start) / 1000), (long long)(after - before) / DECLARED);
	assert_true(niwa_now_us() - start < 5 * NIWA_SEC);
	start = niwa_now_us();
	fill(w, NIWA_ADD);
	print_message("load them again: %llu ms\n", (unsigned long long)((niwa_now_us() - start) / 1000));
	start = niwa_now_us();
	assert_int_equal(count_set(w, NIWA_NET_DECLARED, NULL), DECLARED);
	print_message("read them: %llu ms\n", (unsigned long long)((niwa_now_us() - start) / 1000));
	start = niwa_now_us();
	niwa_net_close(&w->net);
	assert_int_equal(world_open(w, &err), 0);
	print_message("restart with them: %llu ms\n", (unsigned long long)((niwa_now_us() - start) / 1000));
	start = niwa_now_us();
	fill(w, NIWA_DEL);
	print_message("delete them: %llu ms\n", (unsigned long long)((niwa_now_us() - start) / 1000));
	assert_int_equal(count_set(w, NIWA_NET_DECLARED, NULL), 0);
}

static void changes_take_microseconds(void **state)
{
	struct world *w = *state;
	static uint64_t one[RUNS], waking[RUNS], frozen[RUNS], del[RUNS], flush[RUNS], bytes[RUNS], check[RUNS];
	struct niwa_error err;
	uint64_t t0, rx, tx;

	int l = tcp_listen(w, WEB, WEB_PRIVATE, 80), c = tcp_connect(w, HOST, WEB_PRIVATE, 80);

	assert_true(c >= 0); /* with an entry in conntrack its whole table is walked */
	fill(w, NIWA_ADD);
	for (uint32_t i = 0; i < RUNS; i++) {
		const uint32_t service = ip("10.64.8.0") | htonl(i), private = ip("10.80.8.0") | htonl(i);
		struct niwa_net_txn *t;

		t0 = niwa_now_us();
		t = txn(w);
		niwa_net_mark(t, NIWA_ADD, private, i + 1);
		commit(t);
		one[i] = niwa_now_us() - t0;
		t0 = niwa_now_us();
		t = txn(w);
		niwa_net_awake(t, NIWA_ADD, service, 80, private, 80);
		niwa_net_mark(t, NIWA_ADD, private, i + 1);
		niwa_net_may(t, NIWA_ADD, private, CLASS);
		commit(t);
		waking[i] = niwa_now_us() - t0;
		t0 = niwa_now_us();
		t = txn(w);
		niwa_net_frozen(t, NIWA_ADD, private);
		commit(t);
		frozen[i] = niwa_now_us() - t0;
		t0 = niwa_now_us();
		t = txn(w);
		niwa_net_awake(t, NIWA_DEL, service, 80, 0, 0);
		commit(t);
		del[i] = niwa_now_us() - t0;
		t0 = niwa_now_us();
		assert_int_equal(niwa_net_flush_unreplied(w->net, i + 1, &err), 0);
		flush[i] = niwa_now_us() - t0;
		t0 = niwa_now_us();
		assert_int_equal(niwa_net_veth_bytes(w->net, "nwweb", &rx, &tx), 0);
		bytes[i] = niwa_now_us() - t0;
		t0 = niwa_now_us();
		assert_int_equal(niwa_net_check(w->net, &err), 1);
		check[i] = niwa_now_us() - t0;
	}
	assert_true(report("one element", one, RUNS) < 2000);
	assert_true(report("awake + mark + may", waking, RUNS) < 2000);
	(void)report("frozen", frozen, RUNS);
	(void)report("delete from awake", del, RUNS);
	(void)report("flush of unreplied connections", flush, RUNS);
	(void)report("bytes of a veth", bytes, RUNS);
	(void)report("check", check, RUNS);
	close(c);
	close(l);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_set_up, world_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(fifty_thousand_declared_ports_are_loaded_at_once),
		T(changes_take_microseconds),
	};

	return cmocka_run_group_tests(tests, world_group, NULL);
}
