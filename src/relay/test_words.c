/* SPDX-License-Identifier: MIT
 *
 * What is said to clients, and the two parsers of foreign bytes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "relay/answer.h"
#include "relay/http.h"
#include "relay/postgres.h"

/* ---- answers ---- */

struct answer_case {
	const char *name;
	enum niwa_protocol protocol;
	enum niwa_error_kind kind;
	const char *text;
	const char *want;
	size_t want_len; /* 0: strlen */
};

static const struct answer_case answers[] = {
	{"tcp has no words", NIWA_PROTO_TCP, NIWA_TEMPORARY, "x", ""},
	{"an unknown protocol has no words", NIWA_PROTO_COUNT, NIWA_TEMPORARY, "x", ""},
	{"smtp tries later", NIWA_PROTO_SMTP, NIWA_TEMPORARY, "asleep", "421 4.3.2 asleep\r\n"},
	{"smtp gives up", NIWA_PROTO_SMTP, NIWA_PERMANENT, "broken", "554 5.3.0 broken\r\n"},
	{"lmtp is as smtp", NIWA_PROTO_LMTP, NIWA_TEMPORARY, "asleep", "421 4.3.2 asleep\r\n"},
	{"imap says bye", NIWA_PROTO_IMAP, NIWA_TEMPORARY, "asleep", "* BYE [UNAVAILABLE] asleep\r\n"},
	{"pop3", NIWA_PROTO_POP3, NIWA_TEMPORARY, "asleep", "-ERR [SYS/TEMP] asleep\r\n"},
	{"pop3 for good", NIWA_PROTO_POP3, NIWA_PERMANENT, "asleep", "-ERR [SYS/PERM] asleep\r\n"},
	{"redis", NIWA_PROTO_REDIS, NIWA_TEMPORARY, "asleep", "-ERR asleep\r\n"},
	{"a line stays one line", NIWA_PROTO_REDIS, NIWA_TEMPORARY, "a\r\nb\001c\xff", "-ERR a??b?c?\r\n"},
	{"postgres", NIWA_PROTO_POSTGRES, NIWA_TEMPORARY, "hm", "E\0\0\0\036SFATAL\0VFATAL\0C57P03\0Mhm\0\0", 31},
	{"mysql", NIWA_PROTO_MYSQL, NIWA_TEMPORARY, "hm", "\005\0\0\0\377\035\004hm", 9},
	{"http for the caller", NIWA_PROTO_HTTP, NIWA_CALLER, "<a&b>",
	 "HTTP/1.1 403 Forbidden\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 87\r\n"
	 "Cache-Control: no-store\r\nConnection: close\r\n\r\n<!DOCTYPE html>\n<title>403 Forbidden</title>\n"
	 "<h1>Forbidden</h1>\n<p>&lt;a&amp;b&gt;</p>\n"},
};

static void each_protocol_has_its_own_words(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(answers); i++) {
		const struct answer_case *c = &answers[i];
		const struct niwa_answer a = {.protocol = c->protocol, .kind = c->kind, .text = c->text};
		size_t want = c->want_len ? c->want_len : strlen(c->want);
		char buf[NIWA_ANSWER_MAX];
		size_t len = niwa_answer_format(&a, buf, sizeof(buf));

		if (len != want || memcmp(buf, c->want, want) != 0)
			fail_msg("%s: %zu bytes: %.*s", c->name, len, (int)len, buf);
	}
}

static void an_http_answer_has_the_length_of_its_body(void **state)
{
	char text[300], buf[NIWA_ANSWER_MAX], *body, *length;

	memset(text, '&', sizeof(text));
	text[299] = '\0';
	for (size_t cut = 0; cut < 300; cut += 13) {
		const struct niwa_answer a = {.protocol = NIWA_PROTO_HTTP, .text = text + cut, .retry_after_s = 11};
		size_t len = niwa_answer_format(&a, buf, sizeof(buf));

		buf[len] = '\0';
		assert_non_null(strstr(buf, "Retry-After: 11\r\n"));
		assert_memory_equal(buf, "HTTP/1.1 503 ", 13);
		body = strstr(buf, "\r\n\r\n") + 4;
		length = strstr(buf, "Content-Length: ") + 16;
		assert_int_equal(strlen(body), strtoul(length, NULL, 10));
	}
}

static void every_answer_fits_with_the_longest_text(void **state)
{
	char text[5000], buf[NIWA_ANSWER_MAX];

	memset(text, '<', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	for (int p = 0; p < NIWA_PROTO_COUNT; p++)
		for (int k = NIWA_NONE; k <= NIWA_CALLER; k++) {
			const struct niwa_answer a = {
				.protocol = p, .kind = k, .text = text, .retry_after_s = UINT32_MAX};

			assert_true((niwa_answer_format(&a, buf, sizeof(buf)) == 0) == (p == NIWA_PROTO_TCP));
		}
}

/* ---- PostgreSQL ---- */

struct startup_case {
	const char *name, *bytes;
	size_t len;
	const char *said; /* a letter each */
	size_t used;
};

#define STARTUP "\0\0\0\022\0\003\0\0user\0me\0\0\0"
#define SSL     "\0\0\0\010\004\322\026\057"
#define GSS     "\0\0\0\010\004\322\026\060"

static const struct startup_case startups[] = {
	{"a startup message", STARTUP, 18, "S", 18},
	{"bytes after it are left", STARTUP "more", 22, "S", 18},
	{"encryption is asked for first", SSL STARTUP, 26, "ES", 26},
	{"both kinds", GSS SSL STARTUP, 34, "EES", 34},
	{"twice the same kind", SSL SSL, 16, "EB", 16},
	{"a long request", "\0\0\0\011\004\322\026\057x", 9, "B", 8},
	{"cancel", "\0\0\0\020\004\322\026\056aaaabbbb", 16, "C", 8},
	{"version 2", "\0\0\0\012\0\002\0\0xx", 10, "S", 10},
	{"an empty startup message", "\0\0\0\010\0\003\0\0", 8, "S", 8},
	{"too short", "\0\0\0\007\0\003\0\0", 8, "B", 8},
	{"length 0", "\0\0\0\0\0\003\0\0", 8, "B", 8},
	{"too long", "\0\0\047\021\0\003\0\0", 8, "B", 8},
	{"the longest", "\0\0\047\020\0\003\0\0", 8, "M", 8},
	{"length 4 GiB", "\377\377\377\377\0\003\0\0", 8, "B", 8},
	{"http", "GET / HTTP/1.1\r\n", 16, "B", 8},
	{"tls", "\026\003\001\002\0\001\0\001", 8, "B", 8},
	{"nothing", "", 0, "M", 0},
	{"seven bytes", SSL, 7, "M", 7},
};

/* Feeds pieces of `piece` bytes, gathers what was said. */
static size_t feed_postgres(const struct startup_case *c, size_t piece, char *said)
{
	static const char letters[] = {[NIWA_POSTGRES_MORE] = 'M',
				       [NIWA_POSTGRES_ENCRYPT] = 'E',
				       [NIWA_POSTGRES_STARTUP] = 'S',
				       [NIWA_POSTGRES_CANCEL] = 'C',
				       [NIWA_POSTGRES_BAD] = 'B'};
	struct niwa_postgres p = {0};
	size_t at = 0, count = 0;

	said[0] = '\0';
	while (at < c->len) {
		size_t n = c->len - at < piece ? c->len - at : piece, used;
		uint8_t *exact = malloc(n); /* the sanitizers see an overread */
		enum niwa_postgres_said s;

		memcpy(exact, c->bytes + at, n);
		s = niwa_postgres_feed(&p, exact, n, &used);
		free(exact);
		at += used;
		if (s != NIWA_POSTGRES_MORE) {
			said[count++] = letters[s];
			said[count] = '\0';
		}
		if (s != NIWA_POSTGRES_MORE && s != NIWA_POSTGRES_ENCRYPT)
			break;
	}
	if (!count)
		(void)strcpy(said, "M");
	return at;
}

static void the_start_of_a_postgres_connection_is_understood_in_any_pieces(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(startups); i++) {
		for (size_t piece = 1; piece <= 40; piece++) {
			char said[16];
			size_t used = feed_postgres(&startups[i], piece, said);

			if (strcmp(said, startups[i].said) != 0 || used != startups[i].used)
				fail_msg("%s, in pieces of %zu: said %s, used %zu", startups[i].name, piece, said,
					 used);
		}
	}
}

/* ---- HTTP ---- */

static const struct {
	const char *line;
	enum niwa_http_said said;
	unsigned code;
} lines[] = {
	{"HTTP/1.1 200 OK\r\n", NIWA_HTTP_DONE, 200},
	{"HTTP/1.0 302 \r\n", NIWA_HTTP_DONE, 302},
	{"HTTP/1.1 503\r\n", NIWA_HTTP_DONE, 503},
	{"HTTP/1.1 503\n", NIWA_HTTP_DONE, 503},
	{"HTTP/1.1 100 Continue", NIWA_HTTP_DONE, 100},
	{"HTTP/1.1 2000 OK", NIWA_HTTP_BAD, 0},
	{"HTTP/1.1 20 OK", NIWA_HTTP_BAD, 0},
	{"HTTP/1.1 099 x", NIWA_HTTP_BAD, 0},
	{"HTTP/1.1 600 x", NIWA_HTTP_BAD, 0},
	{"HTTP/2 200", NIWA_HTTP_BAD, 0},
	{"HTTP/1.x 200 x", NIWA_HTTP_BAD, 0},
	{"http/1.1 200 x", NIWA_HTTP_BAD, 0},
	{"HTTP/1.1  200", NIWA_HTTP_BAD, 0},
	{"SSH-2.0-OpenSSH", NIWA_HTTP_BAD, 0},
	{"\r\n", NIWA_HTTP_BAD, 0},
	{"HTTP/1.1 20", NIWA_HTTP_MORE, 0},
	{"", NIWA_HTTP_MORE, 0},
};

static void a_status_line_is_understood_in_any_pieces(void **state)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(lines); i++) {
		size_t len = strlen(lines[i].line);

		for (size_t piece = 1; piece <= 20; piece++) {
			struct niwa_http_status s = {0};
			enum niwa_http_said said = NIWA_HTTP_MORE;

			for (size_t at = 0; at < len && said == NIWA_HTTP_MORE; at += piece)
				said = niwa_http_feed(&s, (const uint8_t *)lines[i].line + at,
						      len - at < piece ? len - at : piece);
			if (said != lines[i].said || (said == NIWA_HTTP_DONE && s.code != lines[i].code))
				fail_msg("'%s' in pieces of %zu: said %d, code %u", lines[i].line, piece, said, s.code);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_protocol_has_its_own_words),
		cmocka_unit_test(an_http_answer_has_the_length_of_its_body),
		cmocka_unit_test(every_answer_fits_with_the_longest_text),
		cmocka_unit_test(the_start_of_a_postgres_connection_is_understood_in_any_pieces),
		cmocka_unit_test(a_status_line_is_understood_in_any_pieces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
