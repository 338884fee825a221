/* SPDX-License-Identifier: MIT
 *
 * Failure answers, one row a protocol.
 */
#include "relay/answer.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define TEXT_MAX 256 /* of the engine's text in an answer, before escaping */

/* What an error kind is called in each protocol. */
struct words {
	const char *http;                   /* status line's end */
	const char *smtp;                   /* reply code and enhanced status */
	const char *imap, *pop3, *sqlstate; /* response codes */
	unsigned mysql;                     /* error number */
};
static const struct words words[] = {
	[NIWA_TEMPORARY] = {"503 Service Unavailable", "421 4.3.2", "UNAVAILABLE", "SYS/TEMP", "57P03", 1053},
	[NIWA_PERMANENT] = {"500 Internal Server Error", "554 5.3.0", "CONTACTADMIN", "SYS/PERM", "58000", 1105},
	[NIWA_CALLER] = {"403 Forbidden", "554 5.7.1", "NOPERM", "SYS/PERM", "28000", 1130},
};

struct context {
	const struct niwa_answer *answer;
	const struct words *words;
	const char *text; /* cleaned */
	char *buf;
	size_t size;
};

static void clean(const char *text, char *buf, size_t size)
{
	size_t n = 0;

	for (; text && *text && n + 1 < size; text++)
		buf[n++] = *text >= ' ' && *text < 0x7f ? *text : '?';
	buf[n] = '\0';
}

static void escape_html(const char *text, char *buf, size_t size)
{
	size_t n = 0;

	for (; *text; text++) {
		char one[2] = {*text, '\0'};
		const char *s = one;

		if (*text == '<')
			s = "&lt;";
		else if (*text == '>')
			s = "&gt;";
		else if (*text == '&')
			s = "&amp;";
		if (n + strlen(s) >= size)
			break;
		memcpy(buf + n, s, strlen(s));
		n += strlen(s);
	}
	buf[n] = '\0';
}

static int http(const struct context *c)
{
	char text[TEXT_MAX * 5], body[TEXT_MAX * 6 + 256], retry[64] = "";
	unsigned after = c->answer->retry_after_s ? c->answer->retry_after_s : 5;

	escape_html(c->text, text, sizeof(text));
	(void)snprintf(body, sizeof(body), "<!DOCTYPE html>\n<title>%s</title>\n<h1>%s</h1>\n<p>%s</p>\n",
		       c->words->http, c->words->http + 4, text);
	if (c->words == &words[NIWA_TEMPORARY])
		(void)snprintf(retry, sizeof(retry), "Retry-After: %u\r\n", after);
	return snprintf(c->buf, c->size,
			"HTTP/1.1 %s\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: %zu\r\n"
			"Cache-Control: no-store\r\n%sConnection: close\r\n\r\n%s",
			c->words->http, strlen(body), retry, body);
}

static int smtp(const struct context *c)
{
	return snprintf(c->buf, c->size, "%s %s\r\n", c->words->smtp, c->text);
}

static int imap(const struct context *c)
{
	return snprintf(c->buf, c->size, "* BYE [%s] %s\r\n", c->words->imap, c->text);
}

static int pop3(const struct context *c)
{
	return snprintf(c->buf, c->size, "-ERR [%s] %s\r\n", c->words->pop3, c->text);
}

static int redis(const struct context *c)
{
	return snprintf(c->buf, c->size, "-ERR %s\r\n", c->text);
}

/* ErrorResponse: 'E', length (itself included), fields of a type byte and a terminated string, a zero byte. */
static int postgres(const struct context *c)
{
	const char *const fields[] = {"SFATAL", "VFATAL", NULL, NULL};
	char code[8], message[TEXT_MAX + 2];
	size_t n = 5;

	(void)snprintf(code, sizeof(code), "C%s", c->words->sqlstate);
	(void)snprintf(message, sizeof(message), "M%s", c->text);
	for (size_t i = 0; i < 4; i++) {
		const char *field = i < 2 ? fields[i] : i == 2 ? code : message;

		memcpy(c->buf + n, field, strlen(field) + 1);
		n += strlen(field) + 1;
	}
	c->buf[n++] = '\0';
	c->buf[0] = 'E';
	c->buf[1] = c->buf[2] = '\0';
	c->buf[3] = (char)((n - 1) >> 8);
	c->buf[4] = (char)(n - 1);
	return (int)n;
}

/* ERR packet in place of the handshake: length (3 bytes), sequence 0, 0xff, error number; no SQL state, because
 * the client has not said yet that it knows those. */
static int mysql(const struct context *c)
{
	size_t n = strlen(c->text) + 3;

	c->buf[0] = (char)n;
	c->buf[1] = (char)(n >> 8);
	c->buf[2] = c->buf[3] = '\0';
	c->buf[4] = (char)0xff;
	c->buf[5] = (char)c->words->mysql;
	c->buf[6] = (char)(c->words->mysql >> 8);
	memcpy(c->buf + 7, c->text, n - 3);
	return (int)n + 4;
}

static int (*const formats[NIWA_PROTO_COUNT])(const struct context *c) = {
	[NIWA_PROTO_TCP] = NULL,          [NIWA_PROTO_HTTP] = http,   [NIWA_PROTO_SMTP] = smtp,
	[NIWA_PROTO_IMAP] = imap,         [NIWA_PROTO_LMTP] = smtp,   [NIWA_PROTO_POP3] = pop3,
	[NIWA_PROTO_POSTGRES] = postgres, [NIWA_PROTO_MYSQL] = mysql, [NIWA_PROTO_REDIS] = redis,
};

size_t niwa_answer_format(const struct niwa_answer *a, char *buf, size_t size)
{
	char text[TEXT_MAX];
	struct context c = {.answer = a, .words = &words[NIWA_TEMPORARY], .text = text, .buf = buf, .size = size};
	int n;

	assert(size >= NIWA_ANSWER_MAX);
	if (a->protocol >= NIWA_PROTO_COUNT || !formats[a->protocol])
		return 0;
	if (a->kind == NIWA_PERMANENT || a->kind == NIWA_CALLER)
		c.words = &words[a->kind];
	clean(a->text && *a->text ? a->text : "The service is not available at the moment", text, sizeof(text));
	n = formats[a->protocol](&c);
	assert(n > 0 && (size_t)n < size);
	return (size_t)n;
}
