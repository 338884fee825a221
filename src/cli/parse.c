/* SPDX-License-Identifier: MIT
 *
 * The command line: global options before the verb, both kinds after it. Built on getopt_long from the tables.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "cli/cli.h"

#define GLOBAL_BASE 1000 /* values of getopt_long: GLOBAL_BASE + position, VERB_BASE + position */
#define VERB_BASE   2000
#define LIST_MAX    (2 * NIWA_OPTIONS_MAX)

struct option_list {
	char letters[2 + 3 * LIST_MAX];
	struct option longs[LIST_MAX + 1];
	size_t count;
	int by_letter[256]; /* letter → value */
};

static void add_options(struct option_list *list, const struct niwa_option *options, int base)
{
	for (int i = 0; options[i].name; i++) {
		const struct niwa_option *o = &options[i];
		size_t len = strlen(list->letters);

		list->longs[list->count++] = (struct option){
			.name = o->name, .has_arg = o->arg ? required_argument : no_argument, .val = base + i};
		if (!o->letter)
			continue;
		(void)snprintf(list->letters + len, sizeof(list->letters) - len, "%c%s", o->letter, o->arg ? ":" : "");
		list->by_letter[(unsigned char)o->letter] = base + i;
	}
}

enum { ASKED_HELP = 1, ASKED_VERSION = 2 };

/* Which of the global options it was. Returns 0, or what was asked for in place of the verb. */
static int take_global(struct niwa_cli *cli, int position, const char *arg)
{
	switch (niwa_options_global[position].name[0]) {
	case 's':
		free(cli->socket);
		cli->socket = niwa_strdup(arg);
		break;
	case 'j':
		cli->json = true;
		break;
	case 'q':
		cli->quiet = true;
		break;
	case 'v':
		return ASKED_VERSION;
	default:
		return ASKED_HELP;
	}
	return 0;
}

/* Parses options from argv[optind]; 0, what was asked for in place of the verb, -1 for an error that was said. */
static int parse_options(struct niwa_cli *cli, int argc, char **argv, const char *mode)
{
	struct option_list list = {0};
	int c, asked = 0;

	(void)snprintf(list.letters, sizeof(list.letters), "%s", mode);
	add_options(&list, niwa_options_global, GLOBAL_BASE);
	if (cli->verb)
		add_options(&list, cli->verb->options, VERB_BASE);
	while ((c = getopt_long(argc, argv, list.letters, list.longs, NULL)) != -1) {
		if (c > 0 && c < 256 && list.by_letter[c])
			c = list.by_letter[c];
		if (c >= VERB_BASE)
			cli->option[c - VERB_BASE] = optarg ? optarg : "";
		else if (c >= GLOBAL_BASE)
			asked |= take_global(cli, c - GLOBAL_BASE, optarg);
		else
			return -1; /* getopt has said it */
	}
	return asked;
}

static int count_is_wrong(const struct niwa_cli *cli)
{
	return cli->word_count < cli->verb->words_min ||
	       (cli->verb->words_max >= 0 && cli->word_count > cli->verb->words_max);
}

/* Letters that differ at the same place, and the difference in length: enough to guess a typing mistake. */
static unsigned distance(const char *a, const char *b)
{
	unsigned n = 0;

	while (*a && *b)
		n += *a++ != *b++;
	return n + (unsigned)strlen(a) + (unsigned)strlen(b);
}

static int unknown_verb(const char *word)
{
	const struct niwa_verb *best = NULL;

	for (const struct niwa_verb *v = niwa_verbs; v->name; v++)
		if (distance(v->name, word) <= 2 && (!best || distance(v->name, word) < distance(best->name, word)))
			best = v;
	if (best)
		(void)fprintf(stderr, "niwa: there is no verb '%.60s'; did you mean '%s'?\n", word, best->name);
	else
		(void)fprintf(stderr, "niwa: there is no verb '%.60s'; 'niwa help' lists them\n", word);
	return NIWA_EXIT_USAGE + 1;
}

static int default_socket(struct niwa_cli *cli)
{
	const char *env = getenv("NIWA_SOCKET");

	if (!cli->socket)
		cli->socket = niwa_strdup(env && *env ? env : NIWA_RUN_DIR_DEFAULT "/niwad.sock");
	return cli->socket ? 0 : NIWA_EXIT_FAILED + 1;
}

/* The verb that was found, and all that follows it. Returns like niwa_cli_parse. */
static int parse_verb(struct niwa_cli *cli, int argc, char **argv)
{
	int asked;

	optind = 0;
	asked = parse_options(cli, argc, argv, cli->verb->stops_at_word ? "+" : "");
	if (asked < 0)
		return niwa_cli_usage(cli, NULL) + 1;
	if (asked & ASKED_HELP) {
		niwa_help_verb(stdout, cli->verb);
		return NIWA_EXIT_DONE + 1;
	}
	if (asked & ASKED_VERSION)
		cli->verb = niwa_verb_find("version");
	cli->words = argv + optind;
	cli->word_count = argc - optind;
	if (count_is_wrong(cli))
		return niwa_cli_usage(cli, "%s",
				      cli->word_count < cli->verb->words_min ? "something is missing"
									     : "there is too much") +
		       1;
	if (cli->json && cli->verb->text_only)
		return niwa_cli_usage(cli, "there is no --json") + 1;
	return default_socket(cli);
}

int niwa_cli_parse(struct niwa_cli *cli, int argc, char **argv)
{
	int asked;

	optind = 0; /* GNU: start anew */
	asked = parse_options(cli, argc, argv, "+");
	if (asked < 0)
		return NIWA_EXIT_USAGE + 1;
	if (asked == ASKED_VERSION) {
		argv[--optind] = (char *)(uintptr_t) "version"; /* in the place of the last option */
	} else if (asked || optind >= argc) {
		niwa_help_overview(asked ? stdout : stderr);
		return asked ? NIWA_EXIT_DONE + 1 : NIWA_EXIT_USAGE + 1;
	}
	cli->verb = niwa_verb_find(argv[optind]);
	if (!cli->verb)
		return unknown_verb(argv[optind]);
	return parse_verb(cli, argc - optind, argv + optind);
}

void niwa_cli_fini(struct niwa_cli *cli)
{
	free(cli->socket);
	cli->socket = NULL;
}

int niwa_cli_usage(const struct niwa_cli *cli, const char *fmt, ...)
{
	va_list ap;

	if (fmt) {
		(void)fprintf(stderr, "niwa %s: ", cli->verb->name);
		va_start(ap, fmt);
		(void)vfprintf(stderr, fmt, ap);
		va_end(ap);
		(void)fputc('\n', stderr);
	}
	(void)fprintf(stderr, "usage: niwa %s %s\n", cli->verb->name, cli->verb->usage);
	return NIWA_EXIT_USAGE;
}
