/* SPDX-License-Identifier: MIT
 *
 * niwa top: who uses the machine. The engine chooses and sorts, so that a host with 50,000 apps answers as fast as one
 * with ten; two of its rounds make a rate. The screen is plain ANSI, drawn in one write.
 */
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/top_view.h"
#include "cli/verb_list.h"

#define ROWS_MAX      200 /* what the engine tells at most */
#define ROWS          50
#define FIRST_LOOK_MS 500 /* between the two looks of the first picture */
#define DELAY_US      (2 * NIWA_SEC)
#define DELAY_MIN_US  (100 * NIWA_MS)

enum { OPT_ONCE, OPT_SORT, OPT_DELAY, OPT_TENANTS, OPT_TENANT, OPT_STATE, OPT_LIMIT };
const struct niwa_option niwa_options_top[] = {
	{'1', "once", NULL, "print one table and end"},
	{'s', "sort", "KEY", NIWA_TOP_SORT_NAMES " (default: cpu)"},
	{'d', "delay", "DURATION", "between two pictures (default: 2s)"},
	{'T', "tenants", NULL, "the sums of tenants instead of apps"},
	{'t', "tenant", "TENANT", "only this tenant"},
	{0, "state", "STATE", "only apps in this sleep state"},
	{'n', "limit", "N", "at most so many rows, up to 200 (default: 50, or what the screen holds)"},
	{0},
};

struct top {
	struct niwa_cli *cli;
	struct niwa_client *client; /* NULL: live, and there is no engine at the moment */
	json_t *answer, *rows;      /* rows: in answer; NULL: nothing yet */
	json_int_t round;
	enum niwa_top_sort sort;
	bool tenants;
	size_t limit; /* 0: not said */
	uint64_t delay_us;
	struct niwa_error err;
};

static json_t *question(const struct top *top, size_t limit)
{
	json_t *q = json_pack("{s:I,s:s,s:s,s:I}", "limit", (json_int_t)limit, "sort", niwa_top_sort_asked(top->sort),
			      "by", top->tenants ? "tenant" : "app", "after", top->round);

	if (top->cli->option[OPT_TENANT])
		(void)json_object_set_new(q, "tenant", json_string(top->cli->option[OPT_TENANT]));
	if (top->cli->option[OPT_STATE])
		(void)json_object_set_new(q, "state", json_string(top->cli->option[OPT_STATE]));
	return q;
}

/* The engine answers when it has looked anew since the last answer. */
static int look(struct top *top, size_t limit)
{
	json_t *answer;
	int r = niwa_client_call(top->client, "top", question(top, limit), NIWA_RPC_DEADLINE_MS, &answer, &top->err);

	if (r < 0)
		return r;
	json_decref(top->answer);
	top->answer = answer;
	top->round = (json_int_t)niwa_answer_number(answer, "round");
	top->rows = niwa_top_rows(answer, top->tenants, top->sort);
	return 0;
}

static int once(struct top *top)
{
	size_t limit = top->limit ? top->limit : ROWS;
	int r = look(top, 1);

	if (r == 0) {
		(void)poll(NULL, 0, FIRST_LOOK_MS);
		r = look(top, limit);
	}
	if (r < 0)
		return niwa_cli_fail(&top->err);
	if (top->cli->json)
		r = top->rows ? niwa_answer_print(top->rows) : -EPROTO;
	else
		r = niwa_top_print(top->rows, top->tenants, limit, stdout, niwa_terminal_width(STDOUT_FILENO));
	return r < 0 ? NIWA_EXIT_FAILED : NIWA_EXIT_DONE;
}

/* Live. */

/* What the screen holds, below two lines of head and one of titles. */
static size_t screen_rows(const struct top *top)
{
	unsigned height = niwa_terminal_height(STDOUT_FILENO);
	size_t rows = height > 4 ? height - 4 : 1;

	if (top->limit && rows > top->limit)
		rows = top->limit;
	return rows < ROWS_MAX ? rows : ROWS_MAX;
}

static void print_head(const struct top *top, FILE *out)
{
	char why[NIWA_ERROR_MAX * 4];

	if (top->client)
		niwa_top_print_sums(top->answer, out);
	else
		(void)fputs(niwa_quote(top->err.msg, strlen(top->err.msg), why, sizeof(why)), out);
	(void)fprintf(out, "\nsorted by %s   (c m w o s n: sort, t: %s, q: end)\n", niwa_top_sort_name(top->sort),
		      top->tenants ? "apps" : "tenants");
}

/* The whole screen as one text: drawn over the old one, each line cut to the width and cleared to its end. */
static int draw(struct top *top)
{
	unsigned width = niwa_terminal_width(STDOUT_FILENO);
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	struct niwa_text screen = {0};
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	print_head(top, out);
	(void)niwa_top_print(top->rows, top->tenants, screen_rows(top), out, width);
	if (fclose(out) != 0)
		return -ENOMEM;
	niwa_text_add(&screen, "\033[H");
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		size_t n = (size_t)(end - line);

		niwa_text_add_bytes(&screen, line, width && n > width ? width : n);
		niwa_text_add(&screen, "\033[K\n");
	}
	niwa_text_add(&screen, "\033[J");
	if (!screen.failed)
		(void)fwrite(screen.data, 1, screen.len, stdout);
	(void)fflush(stdout);
	niwa_text_fini(&screen);
	return 0;
}

enum heard { NOTHING, OTHER_ROWS, THE_END };

static enum heard read_keys(struct top *top)
{
	enum heard heard = NOTHING;
	char keys[16];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	for (ssize_t i = 0; i < n; i++) {
		int sort = niwa_top_sort_by_key(keys[i]);

		if (keys[i] == 'q' || keys[i] == 'Q')
			return THE_END;
		if (keys[i] == 't')
			top->tenants = !top->tenants;
		if (sort >= 0)
			top->sort = (enum niwa_top_sort)sort;
		if (keys[i] == 't' || sort >= 0)
			heard = OTHER_ROWS;
	}
	return n == 0 ? THE_END : heard;
}

static enum heard read_signals(int signal_fd)
{
	enum heard heard = NOTHING;
	int sig;

	while ((sig = niwa_signals_next(signal_fd))) {
		if (sig == SIGTSTP) {
			(void)fputs("\033[?25h\033[?1049l", stdout);
			(void)fflush(stdout);
			niwa_terminal_suspend();
			(void)fputs("\033[?1049h\033[?25l", stdout);
		} else if (sig == SIGWINCH) {
			heard = OTHER_ROWS; /* there may be room for more */
		} else if (sig != SIGCONT) {
			return THE_END;
		}
	}
	return heard;
}

/* Until the time is over or something is heard that changes the picture. */
static enum heard pause_and_listen(struct top *top, int signal_fd, uint64_t delay_us)
{
	uint64_t until = niwa_now_us() + delay_us, now;
	enum heard heard = NOTHING;

	while (heard == NOTHING && (now = niwa_now_us()) < until) {
		struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
		int n = poll(p, 2, (int)((until - now + 999) / NIWA_MS));

		heard = read_signals(signal_fd);
		if (heard != THE_END && p[0].revents) {
			enum heard typed = read_keys(top);

			heard = typed == NOTHING ? heard : typed;
		}
		if (n > 0 && heard == NOTHING)
			(void)draw(top);
	}
	return heard;
}

/* An engine that is restarted is waited for: the picture stays, and says why. */
static void look_or_wait(struct top *top, bool rows_only)
{
	json_int_t round = top->round;

	if (!top->client && niwa_client_open(top->cli->socket, &top->client, &top->err) < 0)
		return;
	if (rows_only && round > 0)
		top->round = round - 1; /* the same round answers at once */
	if (look(top, screen_rows(top)) < 0)
		niwa_client_free(&top->client);
}

static int live(struct top *top)
{
	static const int signals[] = {SIGWINCH, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, 0};
	NIWA_AUTO_FD signal_fd = niwa_signals_open(signals);
	uint64_t pause_us = FIRST_LOOK_MS * NIWA_MS;
	enum heard heard = NOTHING;
	int r = signal_fd < 0 ? signal_fd : look(top, screen_rows(top));

	if (r == 0)
		r = niwa_terminal_keys(STDIN_FILENO);
	if (r < 0)
		return niwa_cli_fail(&top->err);
	(void)fputs("\033[?1049h\033[?25l", stdout);
	while (heard != THE_END) {
		(void)draw(top);
		heard = pause_and_listen(top, signal_fd, pause_us);
		if (heard != THE_END)
			look_or_wait(top, heard == OTHER_ROWS);
		pause_us = top->delay_us;
	}
	(void)fputs("\033[?25h\033[?1049l", stdout);
	(void)fflush(stdout);
	niwa_terminal_restore();
	return NIWA_EXIT_DONE;
}

static int read_options(struct top *top)
{
	const char *sort = top->cli->option[OPT_SORT], *delay = top->cli->option[OPT_DELAY];
	const char *limit = top->cli->option[OPT_LIMIT];
	int key = sort ? niwa_top_sort_by_name(sort) : NIWA_TOP_CPU;
	uint64_t rows = 0;

	if (key < 0)
		return niwa_cli_usage(top->cli, "--sort '%s': " NIWA_TOP_SORT_NAMES, sort);
	if (delay && (niwa_parse_duration(delay, &top->delay_us) < 0 || top->delay_us < DELAY_MIN_US))
		return niwa_cli_usage(top->cli, "--delay '%s': a duration of at least 100ms, such as 2s", delay);
	if (limit && (niwa_parse_u64(limit, ROWS_MAX, &rows) < 0 || rows == 0))
		return niwa_cli_usage(top->cli, "--limit '%s': a number from 1 to %d", limit, ROWS_MAX);
	top->sort = (enum niwa_top_sort)key;
	top->limit = (size_t)rows;
	top->tenants = top->cli->option[OPT_TENANTS];
	return NIWA_EXIT_DONE;
}

int niwa_verb_top(struct niwa_cli *cli)
{
	struct top top = {.cli = cli, .delay_us = DELAY_US};
	int status = read_options(&top);

	if (status != NIWA_EXIT_DONE)
		return status;
	if (niwa_cli_connect(cli, &top.client) < 0)
		return NIWA_EXIT_FAILED;
	if (cli->option[OPT_ONCE] || cli->json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		status = once(&top);
	else
		status = live(&top);
	niwa_client_free(&top.client);
	json_decref(top.answer);
	return status;
}
