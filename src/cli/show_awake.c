/* SPDX-License-Identifier: MIT
 *
 * Reasons in words.
 */
#include "cli/show_awake.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "cli/answer.h"
#include "cli/human.h"

static const struct {
	const char *why, *text;
} words[] = {
	{"resident", "it is resident"},    {"never sleeps", "it never sleeps (sleep)"},
	{"answer", "an answer is owed"},   {"commands", "a command runs in it"},
	{"waiting", "a connection waits"}, {"connections", "a connection is open"},
	{"bytes", "last bytes"},           {"cpu", "last busy"},
};

static void append(char *buf, size_t size, const char *text)
{
	size_t len = strlen(buf);

	(void)snprintf(buf + len, size - len, "%s%s", len ? "; " : "", text);
}

/* "4 min", of what is to come. */
static char *until(uint64_t at_us, uint64_t now_us, char *buf, size_t size)
{
	char *ago;

	(void)niwa_human_ago(now_us, at_us > now_us ? at_us : now_us, buf, size);
	ago = strstr(buf, " ago");
	if (ago)
		*ago = '\0';
	return buf;
}

static void describe(const json_t *reason, uint64_t now_us, char *buf, size_t size)
{
	const char *why = niwa_answer_text(reason, "why");
	uint64_t count = niwa_answer_number(reason, "count"), at = niwa_answer_number(reason, "at");
	char time[32];
	size_t n = 0;

	if (json_object_get(reason, "until")) {
		(void)snprintf(buf, size, "%.40s for %s", why,
			       until(niwa_answer_number(reason, "until"), now_us, time, sizeof(time)));
		return;
	}
	while (n < NIWA_ARRAY_LEN(words) && strcmp(words[n].why, why) != 0)
		n++;
	if (n == NIWA_ARRAY_LEN(words))
		(void)snprintf(buf, size, "%.40s", why); /* of an engine that is newer */
	else if (at)
		(void)snprintf(buf, size, "%s %s", words[n].text, niwa_human_ago(at, now_us, time, sizeof(time)));
	else if (count > 1 && strcmp(why, "commands") == 0)
		(void)snprintf(buf, size, "%" PRIu64 " commands run in it", count);
	else if (count > 1)
		(void)snprintf(buf, size, "%" PRIu64 " connections %s", count,
			       strcmp(why, "waiting") == 0 ? "wait" : "are open");
	else
		(void)snprintf(buf, size, "%s", words[n].text);
}

char *niwa_show_awake(const json_t *app, uint64_t now_us, char *buf, size_t size)
{
	const json_t *reason;
	char text[128];
	size_t i;

	*buf = '\0';
	json_array_foreach(json_object_get(app, "awake"), i, reason)
	{
		describe(reason, now_us, text, sizeof(text));
		append(buf, size, text);
	}
	return buf;
}

char *niwa_show_next_wake(const json_t *app, uint64_t now_us, char *buf, size_t size)
{
	uint64_t at = niwa_answer_number(app, "next_wake");
	char time[32];

	*buf = '\0';
	if (at)
		(void)snprintf(buf, size, "in %s, by its schedule", until(at, now_us, time, sizeof(time)));
	return buf;
}

char *niwa_show_refused(const json_t *app, char *buf, size_t size)
{
	const json_t *port;
	size_t i;

	*buf = '\0';
	json_array_foreach(json_object_get(app, "refused"), i, port)
	{
		uint64_t from = niwa_answer_number(port, "not_from_there"),
			 often = niwa_answer_number(port, "too_often");
		char text[160];

		(void)snprintf(text, sizeof(text),
			       "%" PRIu64 " at port %" PRIu64 " (%" PRIu64 " from where it may not be woken, %" PRIu64
			       " too often), last %.45s",
			       from + often, niwa_answer_number(port, "port"), from, often,
			       niwa_answer_text(port, "last"));
		append(buf, size, text);
	}
	return buf;
}
