/* SPDX-License-Identifier: MIT
 *
 * The client of the engine's socket, against answers written into the other end of a socket pair.
 */
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
#include "cli/client.h"

struct pair {
	struct niwa_client *client;
	int engine;
};

static void open_pair(struct pair *p)
{
	int ends[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	assert_int_equal(niwa_fd_nonblock(ends[0]), 0);
	assert_int_equal(niwa_client_take(&ends[0], &p->client), 0);
	p->engine = ends[1];
}

static void close_pair(struct pair *p)
{
	niwa_client_free(&p->client);
	niwa_fd_close(&p->engine);
}

static void engine_says(struct pair *p, const char *text)
{
	assert_int_equal(write(p->engine, text, strlen(text)), strlen(text));
}

static void a_call_returns_its_result(void **state)
{
	struct niwa_error err = {0};
	json_t *result = NULL;
	struct pair p;
	char line[256];
	ssize_t n;

	open_pair(&p);
	engine_says(&p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"txn\":7}}\n");
	assert_int_equal(niwa_client_call(p.client, "apply.begin", NULL, 1000, &result, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(result, "txn")), 7);
	json_decref(result);
	n = read(p.engine, line, sizeof(line) - 1);
	line[n > 0 ? n : 0] = '\0';
	assert_string_equal(line, "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"apply.begin\",\"params\":{}}\n");
	close_pair(&p);
}

static void an_error_answer_is_told(void **state)
{
	struct niwa_error err = {0};
	struct pair p;

	open_pair(&p);
	engine_says(&p, "{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32001,\"message\":\"no app 'x'\","
			"\"data\":{\"kind\":\"caller\"}}}\n");
	assert_int_equal(niwa_client_call(p.client, "app.show", NULL, 1000, NULL, &err), -EREMOTEIO);
	assert_int_equal(niwa_client_error_code(p.client), NIWA_RPC_NO_APP);
	assert_int_equal(err.kind, NIWA_CALLER);
	assert_string_equal(err.msg, "no app 'x'");
	close_pair(&p);
}

static void an_engine_that_is_silent_is_given_up(void **state)
{
	struct niwa_error err = {0};
	json_t *result = NULL;
	struct pair p;

	open_pair(&p);
	assert_int_equal(niwa_client_call(p.client, "ping", NULL, 20, NULL, &err), -ETIMEDOUT);
	/* the late answer is not taken for the next one's */
	engine_says(&p, "{\"id\":1,\"result\":{\"late\":1}}\n{\"id\":2,\"result\":{\"late\":0}}\n");
	assert_int_equal(niwa_client_call(p.client, "ping", NULL, 1000, &result, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(result, "late")), 0);
	json_decref(result);
	close_pair(&p);
}

static void notifications_between_answers_are_kept(void **state)
{
	struct niwa_error err = {0};
	json_t *note = NULL;
	struct pair p;

	open_pair(&p);
	engine_says(&p, "{\"method\":\"exec.exited\",\"params\":{\"exec\":3}}\n{\"id\":1,\"result\":{}}\n");
	assert_int_equal(niwa_client_call(p.client, "app.exec", NULL, 1000, NULL, &err), 0);
	assert_int_equal(niwa_client_next(p.client, 0, &note, &err), 0);
	assert_string_equal(json_string_value(json_object_get(note, "method")), "exec.exited");
	json_decref(note);
	assert_int_equal(niwa_client_next(p.client, 0, &note, &err), -EAGAIN);
	close_pair(&p);
}

static void a_closed_connection_is_told(void **state)
{
	struct niwa_error err = {0};
	struct pair p;

	open_pair(&p);
	niwa_fd_close(&p.engine);
	assert_int_equal(niwa_client_call(p.client, "ping", NULL, 1000, NULL, &err), -ECONNRESET);
	close_pair(&p);
}

static void garbage_is_refused(void **state)
{
	static const char *const garbage[] = {"HTTP/1.1 400 Bad Request\r\n", "[]\n", "{\"id\":1}\n", "\n",
					      "{\"id\":1,\"id\":1,\"result\":{}}\n"};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(garbage); i++) {
		struct niwa_error err = {0};
		struct pair p;

		open_pair(&p);
		engine_says(&p, garbage[i]);
		assert_int_equal(niwa_client_call(p.client, "ping", NULL, 1000, NULL, &err), -EPROTO);
		close_pair(&p);
	}
}

static void an_endless_line_is_refused(void **state)
{
	static char block[128 * 1024];
	struct niwa_error err = {0};
	json_t *note = NULL;
	struct pair p;
	int r = -EAGAIN;

	memset(block, 'x', sizeof(block));
	open_pair(&p);
	for (int i = 0; i < 20 && r == -EAGAIN; i++) {
		assert_true(send(p.engine, block, sizeof(block), MSG_DONTWAIT) > 0);
		r = niwa_client_next(p.client, 0, &note, &err);
	}
	assert_int_equal(r, -EPROTO);
	close_pair(&p);
}

static void descriptors_travel_with_the_first_byte(void **state)
{
	static const int own[] = {0, 1, 2};
	const struct niwa_client_fds send = {own, 3};
	int fds[NIWA_IPC_FDS_MAX];
	struct niwa_error err = {0};
	size_t nfds = 0;
	struct pair p;
	char byte;

	open_pair(&p);
	engine_says(&p, "{\"id\":1,\"result\":{\"exec\":1}}\n");
	assert_int_equal(niwa_client_call_fds(p.client, "app.exec", NULL, &send, NULL, &err), 0);
	assert_int_equal(niwa_ipc_recv(p.engine, &byte, 1, fds, &nfds), 1);
	assert_int_equal(byte, '{');
	assert_int_equal(nfds, 3);
	while (nfds)
		niwa_fd_close(&fds[--nfds]);
	close_pair(&p);
}

static void a_missing_engine_is_explained(void **state)
{
	struct niwa_client *client = NULL;
	struct niwa_error err = {0};

	assert_int_equal(niwa_client_open("/nonexistent/niwad.sock", &client, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "/nonexistent/niwad.sock"));
	assert_non_null(strstr(err.msg, "systemctl start niwad"));
	assert_null(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_returns_its_result),
		cmocka_unit_test(an_error_answer_is_told),
		cmocka_unit_test(an_engine_that_is_silent_is_given_up),
		cmocka_unit_test(notifications_between_answers_are_kept),
		cmocka_unit_test(a_closed_connection_is_told),
		cmocka_unit_test(garbage_is_refused),
		cmocka_unit_test(an_endless_line_is_refused),
		cmocka_unit_test(descriptors_travel_with_the_first_byte),
		cmocka_unit_test(a_missing_engine_is_explained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
