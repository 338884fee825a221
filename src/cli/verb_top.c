/* SPDX-License-Identifier: MIT
 *
 * niwa top: apps by CPU, memory and wakes. Two samples make a rate; the screen is plain ANSI, drawn in one write.
 */
#include <inttypes.h>
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
#include "cli/human.h"
#include "cli/signals.h"
#include "cli/table.h"
#include "cli/terminal.h"
#include "cli/verb_list.h"

#define ROWS_MAX      1000
#define FIRST_LOOK_MS 500 /* between the two samples of the first picture */
#define DELAY_US      (2 * NIWA_SEC)
#define DELAY_MIN_US  (100 * NIWA_MS)

enum { OPT_ONCE, OPT_SORT, OPT_DELAY };
const struct niwa_option niwa_options_top[] = {
	{'1', "once", NULL, "print one table and end"},
	{'s', "sort", "KEY", "cpu, memory, wakes or name (default: cpu)"},
	{'d', "delay", "DURATION", "between two pictures (default: 2s)"},
	{0},
};

enum sort { SORT_CPU, SORT_MEMORY, SORT_WAKES, SORT_NAME, SORT_COUNT };
static const char *const sort_names[SORT_COUNT] = {
	[SORT_CPU] = "cpu", [SORT_MEMORY] = "memory", [SORT_WAKES] = "wakes", [SORT_NAME] = "name"};

struct row {
	const char *name, *tenant, *state; /* in the sample's JSON */
	uint64_t cpu_us, memory, wakes;
	double percent; /* of one CPU since the sample before */
};

struct sample {
	json_t *json;
	uint64_t at_us;
	struct row *rows;
	size_t count;
};

struct top {
	struct niwa_cli *cli;
	struct niwa_client *client;
	struct sample before, now;
	enum sort sort;
	uint64_t delay_us;
	struct niwa_error err;
};

static void sample_fini(struct sample *s)
{
	json_decref(s->json);
	free(s->rows);
	*s = (struct sample){0};
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

static int by_number(double a, double b)
{
	return (a < b) - (a > b); /* the greatest first */
}

static int by_cpu(const void *a, const void *b)
{
	const struct row *x = a, *y = b;
	int r = by_number(x->percent, y->percent);

	return r ? r : by_name(a, b);
}

static int by_memory(const void *a, const void *b)
{
	int r = by_number((double)((const struct row *)a)->memory, (double)((const struct row *)b)->memory);

	return r ? r : by_name(a, b);
}

static int by_wakes(const void *a, const void *b)
{
	int r = by_number((double)((const struct row *)a)->wakes, (double)((const struct row *)b)->wakes);

	return r ? r : by_name(a, b);
}

/* Samples are kept by name, so that the next one finds its rows. */
static int look(struct top *top)
{
	struct sample s = {.at_us = niwa_now_us()};
	const json_t *app;
	json_t *apps;
	size_t i;
	int r = niwa_client_call(top->client, "top", json_pack("{s:i}", "limit", ROWS_MAX), NIWA_RPC_DEADLINE_MS,
				 &s.json, &top->err);

	if (r < 0)
		return r;
	apps = json_object_get(s.json, "apps");
	s.rows = niwa_zalloc(json_array_size(apps) * sizeof(*s.rows));
	if (!s.rows) {
		sample_fini(&s);
		return niwa_fail(&top->err, NIWA_TEMPORARY, ENOMEM, "list the apps");
	}
	json_array_foreach(apps, i, app) s.rows[s.count++] =
		(struct row){.name = niwa_answer_text(app, "name"),
			     .tenant = niwa_answer_text(app, "tenant"),
			     .state = niwa_answer_text(app, "state"),
			     .cpu_us = niwa_answer_number(app, "cpu_us"),
			     .memory = niwa_answer_number(app, "memory_bytes"),
			     .wakes = niwa_answer_number(app, "wakes")};
	qsort(s.rows, s.count, sizeof(*s.rows), by_name);
	sample_fini(&top->before);
	top->before = top->now;
	top->now = s;
	return 0;
}

static void compute_rates(struct top *top)
{
	double elapsed_us = (double)(top->now.at_us - top->before.at_us);

	for (size_t i = 0; i < top->now.count && top->before.count; i++) {
		struct row *row = &top->now.rows[i];
		const struct row *old = bsearch(row, top->before.rows, top->before.count, sizeof(*row), by_name);

		if (old && row->cpu_us > old->cpu_us && elapsed_us > 0)
			row->percent = (double)(row->cpu_us - old->cpu_us) * 100 / elapsed_us;
	}
}

/* A sorted copy, to be freed. */
static struct row *sorted(const struct top *top)
{
	static int (*const compare[SORT_COUNT])(const void *, const void *) = {
		[SORT_CPU] = by_cpu, [SORT_MEMORY] = by_memory, [SORT_WAKES] = by_wakes, [SORT_NAME] = by_name};
	struct row *rows = niwa_zalloc(top->now.count * sizeof(*rows));

	if (rows && top->now.count) {
		memcpy(rows, top->now.rows, top->now.count * sizeof(*rows));
		qsort(rows, top->now.count, sizeof(*rows), compare[top->sort]);
	}
	return rows;
}

static int print_table(const struct top *top, FILE *out, unsigned width, size_t limit)
{
	static const struct niwa_column columns[] = {
		{.title = "APP", .shrink_to = 16},
		{.title = "TENANT", .shrink_to = 8, .importance = 1},
		{.title = "STATE"},
		{.title = "CPU", .right = true},
		{.title = "MEMORY", .right = true},
		{.title = "WAKES", .right = true},
	};
	NIWA_AUTO(niwa_table_free) struct niwa_table *table = niwa_table_new(columns, NIWA_ARRAY_LEN(columns));
	NIWA_AUTO(niwa_free_ptr) struct row *rows = sorted(top);

	if (!table || !rows)
		return -ENOMEM;
	for (size_t i = 0; i < top->now.count && i < limit; i++) {
		char cpu[32], memory[32], wakes[32];
		const char *cells[] = {rows[i].name, rows[i].tenant, rows[i].state, cpu, memory, wakes};

		(void)snprintf(cpu, sizeof(cpu), "%.1f %%", rows[i].percent);
		(void)niwa_human_bytes(rows[i].memory, memory, sizeof(memory));
		(void)snprintf(wakes, sizeof(wakes), "%" PRIu64, rows[i].wakes);
		niwa_table_row(table, cells);
	}
	return niwa_table_print(table, out, width);
}

static int print_json(const struct top *top)
{
	NIWA_AUTO(niwa_free_ptr) struct row *rows = sorted(top);
	json_t *all = json_array();
	int r;

	for (size_t i = 0; rows && i < top->now.count; i++)
		(void)json_array_append_new(
			all, json_pack("{s:s, s:s, s:s, s:f, s:I, s:I}", "name", rows[i].name, "tenant", rows[i].tenant,
				       "state", rows[i].state, "cpu_percent", rows[i].percent, "memory_bytes",
				       (json_int_t)rows[i].memory, "wakes", (json_int_t)rows[i].wakes));
	r = niwa_answer_print(all);
	json_decref(all);
	return r;
}

static int once(struct top *top)
{
	int r = look(top);

	if (r == 0) {
		(void)poll(NULL, 0, FIRST_LOOK_MS);
		r = look(top);
	}
	if (r < 0)
		return niwa_cli_fail(&top->err);
	compute_rates(top);
	r = top->cli->json ? print_json(top) : print_table(top, stdout, niwa_terminal_width(STDOUT_FILENO), SIZE_MAX);
	return r < 0 ? NIWA_EXIT_FAILED : NIWA_EXIT_DONE;
}

static void add_summary(const struct top *top, FILE *out)
{
	unsigned running = 0, frozen = 0;
	uint64_t memory = 0;
	double percent = 0;
	char size[32];

	for (size_t i = 0; i < top->now.count; i++) {
		running += !strcmp(top->now.rows[i].state, "running");
		frozen += !strcmp(top->now.rows[i].state, "frozen");
		memory += top->now.rows[i].memory;
		percent += top->now.rows[i].percent;
	}
	(void)fprintf(out, "niwa: %u running, %u frozen, %.1f %% CPU, %s   (sorted by %s; c m w n: sort, q: end)\n\n",
		      running, frozen, percent, niwa_human_bytes(memory, size, sizeof(size)), sort_names[top->sort]);
}

/* The whole screen as one text: drawn over the old one, each line cleared to its end, then the rest. */
static int draw(struct top *top)
{
	unsigned height = niwa_terminal_height(STDOUT_FILENO);
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	struct niwa_text screen = {0};
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	if (!out)
		return -ENOMEM;
	add_summary(top, out);
	(void)print_table(top, out, niwa_terminal_width(STDOUT_FILENO), height > 4 ? height - 4 : 1);
	if (fclose(out) != 0)
		return -ENOMEM;
	niwa_text_add(&screen, "\033[H");
	for (char *line = text, *end; (end = strchr(line, '\n')); line = end + 1) {
		niwa_text_add_bytes(&screen, line, (size_t)(end - line));
		niwa_text_add(&screen, "\033[K\n");
	}
	niwa_text_add(&screen, "\033[J");
	if (!screen.failed)
		(void)fwrite(screen.data, 1, screen.len, stdout);
	(void)fflush(stdout);
	niwa_text_fini(&screen);
	return 0;
}

/* Returns true when a key ends the program. */
static bool read_keys(struct top *top)
{
	char keys[16];
	ssize_t n = read(STDIN_FILENO, keys, sizeof(keys));

	for (ssize_t i = 0; i < n; i++) {
		if (keys[i] == 'q' || keys[i] == 'Q')
			return true;
		for (int s = 0; s < SORT_COUNT; s++)
			if (keys[i] == sort_names[s][0])
				top->sort = (enum sort)s;
	}
	return n == 0;
}

/* Waits; draws anew for a key or a resized window. 1: the end was asked for; 0: time for the next look. */
static int pause_and_listen(struct top *top, int signal_fd, uint64_t delay_us)
{
	uint64_t until = niwa_now_us() + delay_us, now;

	while ((now = niwa_now_us()) < until) {
		struct pollfd p[] = {{.fd = STDIN_FILENO, .events = POLLIN}, {.fd = signal_fd, .events = POLLIN}};
		int sig, n = poll(p, 2, (int)((until - now + 999) / NIWA_MS));

		while ((sig = niwa_signals_next(signal_fd))) {
			if (sig == SIGTSTP) {
				(void)fputs("\033[?25h\033[?1049l", stdout);
				(void)fflush(stdout);
				niwa_terminal_suspend();
				(void)fputs("\033[?1049h\033[?25l", stdout);
			} else if (sig != SIGWINCH && sig != SIGCONT) {
				return 1;
			}
		}
		if (p[0].revents && read_keys(top))
			return 1;
		if (n > 0)
			(void)draw(top);
	}
	return 0;
}

static int live(struct top *top)
{
	static const int signals[] = {SIGWINCH, SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, 0};
	NIWA_AUTO_FD signal_fd = niwa_signals_open(signals);
	int r = signal_fd < 0 ? signal_fd : look(top);

	if (r < 0)
		return niwa_cli_fail(&top->err);
	r = niwa_terminal_keys(STDIN_FILENO);
	(void)fputs("\033[?1049h\033[?25l", stdout);
	while (r == 0) {
		(void)draw(top);
		r = pause_and_listen(top, signal_fd, top->before.count ? top->delay_us : FIRST_LOOK_MS * NIWA_MS);
		if (r == 0)
			r = look(top);
		if (r == 0)
			compute_rates(top);
	}
	(void)fputs("\033[?25h\033[?1049l", stdout);
	(void)fflush(stdout);
	niwa_terminal_restore();
	return r < 0 ? niwa_cli_fail(&top->err) : NIWA_EXIT_DONE;
}

static int read_options(struct top *top)
{
	const char *sort = top->cli->option[OPT_SORT], *delay = top->cli->option[OPT_DELAY];
	int found = 0;

	for (int s = 0; sort && s < SORT_COUNT; s++)
		if (!strcmp(sort, sort_names[s])) {
			top->sort = (enum sort)s;
			found = 1;
		}
	if (sort && !found)
		return niwa_cli_usage(top->cli, "--sort '%s': cpu, memory, wakes or name", sort);
	if (delay && (niwa_parse_duration(delay, &top->delay_us) < 0 || top->delay_us < DELAY_MIN_US))
		return niwa_cli_usage(top->cli, "--delay '%s': a duration of at least 100ms, such as 2s", delay);
	return NIWA_EXIT_DONE;
}

int niwa_verb_top(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	struct top top = {.cli = cli, .delay_us = DELAY_US};
	int status = read_options(&top);

	if (status != NIWA_EXIT_DONE)
		return status;
	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	top.client = client;
	if (cli->option[OPT_ONCE] || cli->json || !isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO))
		status = once(&top);
	else
		status = live(&top);
	sample_fini(&top.before);
	sample_fini(&top.now);
	return status;
}
