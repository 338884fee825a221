/* SPDX-License-Identifier: MIT
 *
 * What the verbs of `niwa` share: the context of one run, the tables of verbs and options, and exit
 * statuses. One table row makes dispatch, help, completion and the manual's list of verbs.
 */
#ifndef NIWA_CLI_CLI_H
#define NIWA_CLI_CLI_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct niwa_client;

enum niwa_exit { NIWA_EXIT_DONE = 0, NIWA_EXIT_FAILED = 1, NIWA_EXIT_USAGE = 2 };

#define NIWA_RUN_DIR_DEFAULT "/run/niwa"
#define NIWA_OPTIONS_MAX     12 /* of one verb */

/* One option: letter 0 when it has only a long name; arg NULL when it takes none. Ends with name NULL. */
struct niwa_option {
	char letter;
	const char *name, *arg, *help;
};

/* What a verb's words are, for completion. */
enum niwa_word { NIWA_WORD_NONE, NIWA_WORD_APP, NIWA_WORD_FILE, NIWA_WORD_VERB, NIWA_WORD_IMAGE };

struct niwa_verb;

/* One run. Values of the verb's options stand at their positions in the table: NULL not given, "" given
 * without an argument. words are what remains, NULL-terminated. */
struct niwa_cli {
	const struct niwa_verb *verb;
	char *socket; /* path of the engine's socket */
	bool json, quiet;
	const char *option[NIWA_OPTIONS_MAX];
	char **words;
	int word_count;
};

typedef int niwa_verb_fn(struct niwa_cli *cli); /* returns an exit status; 0 to 255 */

struct niwa_verb {
	const char *name;
	const char *usage;   /* what follows the name */
	const char *summary; /* one line, no full stop */
	const char *help;    /* more, plain text, lines of at most 76 characters */
	const struct niwa_option *options;
	niwa_verb_fn *run;
	int words_min, words_max; /* -1: no bound */
	enum niwa_word word;
	bool stops_at_word; /* options end at the first word (exec) */
	bool text_only;     /* what it prints is not the engine's answer: no --json */
};

extern const struct niwa_verb niwa_verbs[];               /* ends with name NULL */
extern const struct niwa_option niwa_options_global[];    /* ends with name NULL */
const struct niwa_verb *niwa_verb_find(const char *name); /* NULL: none */

/* Says on standard error what went wrong, returns NIWA_EXIT_FAILED. */
int niwa_cli_fail(const struct niwa_error *err);
/* The same for a mistake in the command line; names the verb's usage; returns NIWA_EXIT_USAGE. */
int niwa_cli_usage(const struct niwa_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A line on standard error unless -q was given. */
void niwa_cli_note(const struct niwa_cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Connects to the engine; says itself what is wrong. 0 or -errno. */
int niwa_cli_connect(struct niwa_cli *cli, struct niwa_client **ret);

/* Parses a whole command line. Returns 0, or an exit status + 1 when the run is over (usage error: said). */
int niwa_cli_parse(struct niwa_cli *cli, int argc, char **argv);
void niwa_cli_fini(struct niwa_cli *cli);

/* The texts made from the tables; they go to a stream. */
void niwa_help_overview(void *stream);
void niwa_help_verb(void *stream, const struct niwa_verb *verb);
void niwa_help_completion(void *stream); /* bash */
void niwa_help_man(void *stream);        /* the mdoc list of verbs */

#endif
