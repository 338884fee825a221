/* SPDX-License-Identifier: MIT
 *
 * The pure parts of the engine: the transition table against a second, explicit one; the configuration's table, its
 * errors included; the queue of a channel.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/ipc.h"
#include "base/memory.h"
#include "engine/channel.h"
#include "engine/config.h"
#include "engine/state.h"

/* ---- states ---- */

/* Rows: from, columns: to, in the order of the enum. Written a second time on purpose: a change of the table has to be
 * meant. */
static const char *const legal[NIWA_STATE_COUNT] = {
	/*                  stopped, starting, running, freezing, frozen, paged, saving, saved, restoring, stopping */
	[NIWA_STOPPED] = ". x . . . . . x . .",   [NIWA_STARTING] = "x . x . . . . . . x",
	[NIWA_RUNNING] = "x x . x . . x . . x",   [NIWA_FREEZING] = "x . x . x . . . . x",
	[NIWA_FROZEN] = "x . x . . x x . . x",    [NIWA_PAGED] = "x . x . . . x . . x",
	[NIWA_SAVING] = "x . x . . . . x . x",    [NIWA_SAVED] = "x x . . . . . . x .",
	[NIWA_RESTORING] = "x x x . . . . . . x", [NIWA_STOPPING] = "x x . . . . . x . .",
};

static void every_move_is_as_the_table_of_the_test_says(void **state)
{
	for (enum niwa_state from = 0; from < NIWA_STATE_COUNT; from++)
		for (enum niwa_state to = 0; to < NIWA_STATE_COUNT; to++) {
			bool want = legal[from][2 * to] == 'x';

			if (niwa_state_may_follow(from, to) != want)
				fail_msg("%s -> %s is %s", niwa_state_name(from), niwa_state_name(to),
					 want ? "refused" : "allowed");
		}
}

static void every_state_has_a_name_of_its_own(void **state)
{
	for (enum niwa_state a = 0; a < NIWA_STATE_COUNT; a++) {
		assert_non_null(niwa_state_name(a));
		for (enum niwa_state b = 0; b < a; b++)
			assert_string_not_equal(niwa_state_name(a), niwa_state_name(b));
	}
}

static void every_state_but_stopped_can_be_left_for_stopped(void **state)
{
	for (enum niwa_state s = 0; s < NIWA_STATE_COUNT; s++)
		assert_int_equal(niwa_state_may_follow(s, NIWA_STOPPED), s != NIWA_STOPPED);
}

static void awake_are_the_states_in_which_connections_go_to_the_instance(void **state)
{
	static const bool awake[NIWA_STATE_COUNT] = {
		[NIWA_RUNNING] = true, [NIWA_FREEZING] = true, [NIWA_FROZEN] = true, [NIWA_PAGED] = true};

	for (enum niwa_state s = 0; s < NIWA_STATE_COUNT; s++)
		assert_int_equal(niwa_state_is_awake(s), awake[s]);
}

static void down_are_stopped_and_saved(void **state)
{
	for (enum niwa_state s = 0; s < NIWA_STATE_COUNT; s++)
		assert_int_equal(niwa_state_is_down(s), s == NIWA_STOPPED || s == NIWA_SAVED);
}

/* ---- configuration ---- */

static int load(const char *text, struct niwa_config *c, struct niwa_error *err)
{
	char path[] = "/tmp/niwa-test-conf.XXXXXX";
	int fd = mkstemp(path), r;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	niwa_fd_close(&fd);
	r = niwa_config_load(path, c, err);
	(void)unlink(path);
	return r;
}

static void without_a_file_the_presets_hold(void **state)
{
	struct niwa_config c;
	struct niwa_error err;

	assert_int_equal(niwa_config_load(NULL, &c, &err), 0);
	assert_string_equal(c.run_dir, "/run/niwa");
	assert_int_equal(c.service_bits, 12);
	assert_int_equal(c.relay_port, 9999);
	assert_int_equal(c.drain_us, 30 * 1000000);
	assert_int_equal(c.log_max_bytes, 8 << 20);
}

static void values_are_read_with_their_units(void **state)
{
	struct niwa_config c;
	struct niwa_error err;

	assert_int_equal(load("# a comment\n"
			      "\n"
			      "  run_dir=/run/other   # behind a value too\n"
			      "drain = 1500ms\n"
			      "log_max\t=\t64K\n"
			      "private_range = 192.168.0.0/16\n"
			      "relay_port = 1\n"
			      "relay_port = 2\n"
			      "cgroup = auto", /* without a newline */
			      &c, &err),
			 0);
	assert_string_equal(c.run_dir, "/run/other");
	assert_int_equal(c.drain_us, 1500000);
	assert_int_equal(c.log_max_bytes, 65536);
	assert_int_equal(c.private_bits, 16);
	assert_memory_equal(&c.private_net, "\xc0\xa8\0\0", 4);
	assert_memory_equal(&c.gateway_addr, "\xc0\xa8\0\1", 4); /* the first one */
	assert_int_equal(c.relay_port, 2);                       /* the last one counts */
	assert_string_equal(c.cgroup, "auto");
}

static void what_print_config_prints_is_a_configuration_with_the_same_values(void **state)
{
	struct niwa_config a, b;
	struct niwa_error err;
	char *text = NULL;
	size_t size;
	FILE *out = open_memstream(&text, &size);

	assert_int_equal(load("drain = 90s\nservice_range = 10.128.0.0/9\nprivate_range = 10.64.0.0/12\nlog_max = 1K\n",
			      &a, &err),
			 0);
	niwa_config_print(&a, out);
	assert_int_equal(fclose(out), 0);
	assert_int_equal(load(text, &b, &err), 0);
	assert_memory_equal(&a, &b, sizeof(a));
	free(text);
}

static void each_mistake_is_named_with_its_line(void **state)
{
	static char long_line[2100] = "domain = ";
	const struct {
		const char *text, *says;
	} cases[] = {
		{"drain 30s\n", ":1: 'drain 30s' is not of the form: key = value"},
		{"\n\ndrian = 30s\n", ":3: unknown key 'drian'"},
		{" = 30s\n", ":1: unknown key ''"},
		{"drain =\n", ":1: drain = : must be a duration"},
		{"drain = 30\n", ":1: drain = 30: must be a duration such as 500ms, 30s, 5m"},
		{"drain = -1s\n", ":1: drain = -1s: must be a duration"},
		{"drain = soon\n", ":1: drain = soon: must be a duration"},
		{"log_max = 8Q\n", ":1: log_max = 8Q: must be a size"},
		{"log_max = 99999999999999999999\n", "must be a size"},
		{"relay_held_bytes = 8G\n", "must be a size"},
		{"relay_port = 65536\n", ":1: relay_port = 65536: must be a number from 0 to 65535"},
		{"relay_port = 80x\n", "must be a number from 0 to 65535"},
		{"relay_port = 0\n", "must not be 0"},
		{"wake_queue = 0\n", "must not be 0"},
		{"run_dir = run\n", ":1: run_dir = run: must be an absolute path"},
		{"run_dir =\n", "must be an absolute path"},
		{"cgroup =\n", "must be a word"},
		{"service_range = 10.64.0.0\n", "must be a network"},
		{"service_range = 10.64.0.0/7\n", "must be a network"},
		{"service_range = 10.64.0.0/25\n", "must be a network"},
		{"service_range = 10.64.0.1/12\n", "must be a network such as 10.64.0.0/12, with the host bits zero"},
		{"service_range = ten/12\n", "must be a network"},
		{"service_range = 10.64.0.0/12/12\n", "must be a network"},
		{"service_range = 10.0.0.0/8\n", "service_range and private_range overlap"},
		{"private_range = 10.64.0.0/16\n", "service_range and private_range overlap"},
		{"lease_base = 65535\n", "leave the range of user ids"},
		{"lease_base = 4294901760\nlease_count = 2\n", "leave the range of user ids"},
		{"lease_base = 1342111744\nlease_count = 2\n", "where the ids of tenants begin"},
		{long_line, ":1: longer than"},
	};

	(void)memset(long_line + 9, 'x', 2000);
	(void)memcpy(long_line + 2009, "\nrelay_port = 1\n", 17);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_config c = {.relay_port = 4711};
		struct niwa_error err = {0};
		int r = load(cases[i].text, &c, &err);

		if (r >= 0 || !strstr(err.msg, cases[i].says))
			fail_msg("%.40s: %d, '%s' instead of '%s'", cases[i].text, r, r < 0 ? err.msg : "",
				 cases[i].says);
		assert_int_equal(err.kind, NIWA_CALLER);
		assert_int_equal(c.relay_port, 4711); /* nothing was written */
	}
}

static void a_file_that_cannot_be_opened_is_named(void **state)
{
	struct niwa_config c;
	struct niwa_error err;

	assert_true(niwa_config_load("/nonexistent/niwad.conf", &c, &err) < 0);
	assert_non_null(strstr(err.msg, "/nonexistent/niwad.conf"));
}

/* ---- channel ---- */

#define NUMBERS 5000
#define BIG     2000 /* bytes of a message: the kernel takes a few hundred of them */

static struct world {
	sd_event *event;
	struct niwa_channel *channel;
	int other;
	unsigned got, closed;
	bool free_in_message, free_in_closed;
	int error;
} world;

static void on_message(const void *data, size_t len, int *fds, size_t nfds, void *arg)
{
	struct world *w = arg;
	unsigned number;

	assert_true(len >= sizeof(number));
	memcpy(&number, data, sizeof(number));
	assert_int_equal(number, w->got);
	for (size_t i = 0; i < nfds; i++)
		niwa_fd_close(&fds[i]);
	w->got++;
	if (w->free_in_message)
		niwa_channel_free(&w->channel);
}

static void on_closed(int error, void *arg)
{
	struct world *w = arg;

	w->closed++;
	w->error = error;
	if (w->free_in_closed)
		niwa_channel_free(&w->channel);
}

static int set_up(void **state)
{
	int pair[2];

	world = (struct world){.other = -1};
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	assert_true(sd_event_new(&world.event) >= 0);
	world.other = pair[1];
	return niwa_channel_new(pair[0], BIG, world.event, on_message, on_closed, &world, &world.channel);
}

static int tear_down(void **state)
{
	niwa_channel_free(&world.channel);
	niwa_fd_close(&world.other);
	(void)sd_event_unref(world.event);
	return 0;
}

static void turn(void)
{
	assert_true(sd_event_run(world.event, 0) >= 0);
}

static unsigned receive_number(bool with_fd)
{
	char buf[BIG];
	int fds[NIWA_IPC_FDS_MAX];
	unsigned number;
	size_t nfds;

	assert_int_equal(niwa_ipc_recv(world.other, buf, sizeof(buf), fds, &nfds), BIG);
	assert_int_equal(nfds, with_fd);
	for (size_t i = 0; i < nfds; i++)
		niwa_fd_close(&fds[i]);
	memcpy(&number, buf, sizeof(number));
	return number;
}

static void send_number(unsigned number, int fd)
{
	char buf[BIG] = "";

	memcpy(buf, &number, sizeof(number));
	assert_int_equal(niwa_channel_send(world.channel, buf, sizeof(buf), &fd, fd >= 0), 0);
}

static void what_the_kernel_does_not_take_is_sent_later_in_order(void **state)
{
	unsigned number = 0, got = 0, next = 0;

	while (niwa_channel_queued(world.channel) < 100)
		send_number(number++, -1);
	while (got < number) {
		if (niwa_channel_queued(world.channel))
			send_number(number++, -1); /* behind those that wait */
		for (int i = 0; i < 50 && got < number - niwa_channel_queued(world.channel); i++, got++)
			assert_int_equal(receive_number(false), next++);
		turn();
	}
	assert_int_equal(niwa_channel_queued(world.channel), 0);
	assert_true(number > 100);
}

static unsigned count_fds(void)
{
	unsigned n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void queued_descriptors_are_copies_and_are_closed_with_the_channel(void **state)
{
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	unsigned before, number = 0;

	while (niwa_channel_queued(world.channel) == 0)
		send_number(number++, -1);
	before = count_fds();
	send_number(number++, null);
	niwa_fd_close(&null); /* the caller's own */
	assert_int_equal(count_fds(), before);
	for (unsigned i = 0; i < number; i++) {
		assert_int_equal(receive_number(i == number - 1), i);
		turn();
	}
	assert_int_equal(count_fds(), before - 1); /* sent, the copy closed */
	number = 0;
	while (niwa_channel_queued(world.channel) == 0)
		send_number(number++, -1);
	null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	before = count_fds();
	send_number(number, null);
	assert_int_equal(count_fds(), before + 1);
	niwa_channel_free(&world.channel);
	assert_int_equal(count_fds(), before - 1); /* the copy and the socket */
	niwa_fd_close(&null);
}

static void a_full_queue_refuses(void **state)
{
	char byte = 0;
	unsigned sent = 0;
	int r;

	while ((r = niwa_channel_send(world.channel, &byte, 1, NULL, 0)) == 0)
		sent++;
	assert_int_equal(r, -ENOBUFS);
	assert_int_equal(niwa_channel_queued(world.channel), 65536);
	assert_true(sent >= 65536);
}

static void messages_are_handed_over_whole_and_in_order(void **state)
{
	char buf[BIG] = "";
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (unsigned i = 0; i < NUMBERS;) {
		memcpy(buf, &i, sizeof(i));
		if (niwa_ipc_send(world.other, buf, 4 + i % 1000, &null, i % 2) == 0)
			i++;
		else
			turn();
	}
	while (world.got < NUMBERS)
		turn();
	niwa_fd_close(&null);
	assert_int_equal(world.closed, 0);
}

static void the_end_is_told_once_after_what_came_before_it(void **state)
{
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(niwa_ipc_send(world.other, &i, sizeof(i), NULL, 0), 0);
	niwa_fd_close(&world.other);
	for (int i = 0; i < 10; i++)
		turn();
	assert_int_equal(world.got, 100);
	assert_int_equal(world.closed, 1);
	assert_true(world.error < 0);
}

static void a_channel_may_be_freed_in_its_own_callbacks(void **state)
{
	unsigned number = 0;

	world.free_in_message = true;
	assert_int_equal(niwa_ipc_send(world.other, &number, sizeof(number), NULL, 0), 0);
	assert_int_equal(niwa_ipc_send(world.other, &number, sizeof(number), NULL, 0), 0);
	turn();
	assert_null(world.channel);
	assert_int_equal(world.got, 1);
	(void)tear_down(state);
	assert_int_equal(set_up(state), 0);
	world.free_in_closed = true;
	niwa_fd_close(&world.other);
	turn();
	assert_null(world.channel);
	assert_int_equal(world.closed, 1);
}

#define CHANNEL(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_move_is_as_the_table_of_the_test_says),
		cmocka_unit_test(every_state_has_a_name_of_its_own),
		cmocka_unit_test(every_state_but_stopped_can_be_left_for_stopped),
		cmocka_unit_test(down_are_stopped_and_saved),
		cmocka_unit_test(awake_are_the_states_in_which_connections_go_to_the_instance),
		cmocka_unit_test(without_a_file_the_presets_hold),
		cmocka_unit_test(values_are_read_with_their_units),
		cmocka_unit_test(what_print_config_prints_is_a_configuration_with_the_same_values),
		cmocka_unit_test(each_mistake_is_named_with_its_line),
		cmocka_unit_test(a_file_that_cannot_be_opened_is_named),
		CHANNEL(what_the_kernel_does_not_take_is_sent_later_in_order),
		CHANNEL(queued_descriptors_are_copies_and_are_closed_with_the_channel),
		CHANNEL(a_full_queue_refuses),
		CHANNEL(messages_are_handed_over_whole_and_in_order),
		CHANNEL(the_end_is_told_once_after_what_came_before_it),
		CHANNEL(a_channel_may_be_freed_in_its_own_callbacks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
