/* SPDX-License-Identifier: MIT
 *
 * Texts made from the tables of verbs and options: help, bash completion, the manual's list.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "base/text.h"
#include "cli/cli.h"

static void print_options(FILE *out, const struct niwa_option *options)
{
	for (const struct niwa_option *o = options; o->name; o++) {
		char left[64];

		(void)snprintf(left, sizeof(left), "%c%c%s--%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ',
			       o->letter ? ", " : "  ", o->name, o->arg ? " " : "", o->arg ? o->arg : "");
		(void)fprintf(out, "  %-24s %s\n", left, o->help);
	}
}

void niwa_help_overview(void *stream)
{
	FILE *out = stream;

	(void)fputs("usage: niwa [OPTION...] VERB [ARG...]\n\n"
		    "A data-center OS for containers that sleep.\n\n",
		    out);
	for (const struct niwa_verb *v = niwa_verbs; v->name; v++)
		(void)fprintf(out, "  %-9s %s\n", v->name, v->summary);
	(void)fputs("\noptions of all verbs:\n", out);
	print_options(out, niwa_options_global);
	(void)fputs("\n'niwa help VERB' explains one; niwa(1) is the manual.\n", out);
}

void niwa_help_verb(void *stream, const struct niwa_verb *verb)
{
	FILE *out = stream;

	(void)fprintf(out, "usage: niwa %s%s%s\n\n%s.\n", verb->name, *verb->usage ? " " : "", verb->usage,
		      verb->summary);
	if (*verb->help)
		(void)fprintf(out, "%s\n", verb->help);
	if (verb->options->name) {
		(void)fputs("\noptions:\n", out);
		print_options(out, verb->options);
	}
	(void)fputs("\noptions of all verbs:\n", out);
	print_options(out, niwa_options_global);
}

/* --- bash completion --- */

static void add_option_words(struct niwa_text *text, const struct niwa_option *options)
{
	for (const struct niwa_option *o = options; o->name; o++)
		niwa_text_addf(text, "%s--%s", text->len ? " " : "", o->name);
}

static const char *word_action(enum niwa_word word)
{
	switch (word) {
	case NIWA_WORD_APP:
		return "_niwa_names ls -q";
	case NIWA_WORD_IMAGE:
		return "COMPREPLY=($(compgen -W \"ls import rm prepare $(niwa image ls -q 2>/dev/null)\" -- \"$cur\"))";
	case NIWA_WORD_FILE:
		return "COMPREPLY=($(compgen -f -- \"$cur\"))";
	case NIWA_WORD_VERB:
		return "COMPREPLY=($(compgen -W \"$verbs\" -- \"$cur\"))";
	case NIWA_WORD_NONE:
		break;
	}
	return ":";
}

static void completion_arms(FILE *out)
{
	for (const struct niwa_verb *v = niwa_verbs; v->name; v++) {
		struct niwa_text words = {0};

		add_option_words(&words, v->options);
		(void)fprintf(out, "\t%s)\n\t\toptions=\"$global%s%s\"\n", v->name, words.len ? " " : "",
			      words.len ? words.data : "");
		(void)fprintf(out, "\t\tif [[ $cur != -* ]]; then %s; fi\n\t\t;;\n", word_action(v->word));
		niwa_text_fini(&words);
	}
}

void niwa_help_completion(void *stream)
{
	FILE *out = stream;
	struct niwa_text global = {0};

	add_option_words(&global, niwa_options_global);
	(void)fputs("# bash completion for niwa; made by `niwa help --completion`, do not edit\n"
		    "# shellcheck shell=bash disable=SC2207\n\n"
		    "_niwa_names() {\n"
		    "\tCOMPREPLY=($(compgen -W \"$(niwa \"$@\" \"$cur*\" 2>/dev/null)\" -- \"$cur\"))\n"
		    "}\n\n"
		    "_niwa() {\n"
		    "\tlocal cur=${COMP_WORDS[COMP_CWORD]} verb=\"\" options=\"\" word\n"
		    "\tlocal global=\"",
		    out);
	(void)fprintf(out, "%s\"\n\tlocal verbs=\"", global.data ? global.data : "");
	niwa_text_fini(&global);
	for (const struct niwa_verb *v = niwa_verbs; v->name; v++)
		(void)fprintf(out, "%s%s", v == niwa_verbs ? "" : " ", v->name);
	(void)fputs("\"\n"
		    "\tfor word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
		    "\t\tif [[ $word != -* && \" $verbs \" == *\" $word \"* ]]; then\n"
		    "\t\t\tverb=$word\n"
		    "\t\t\tbreak\n"
		    "\t\tfi\n"
		    "\tdone\n"
		    "\tCOMPREPLY=()\n"
		    "\tcase $verb in\n",
		    out);
	completion_arms(out);
	(void)fputs("\t*)\n"
		    "\t\toptions=$global\n"
		    "\t\tif [[ $cur != -* ]]; then COMPREPLY=($(compgen -W \"$verbs\" -- \"$cur\")); fi\n"
		    "\t\t;;\n"
		    "\tesac\n"
		    "\tif [[ $cur == -* ]]; then COMPREPLY=($(compgen -W \"$options\" -- \"$cur\")); fi\n"
		    "}\n"
		    "complete -F _niwa niwa\n",
		    out);
}

/* --- manual --- */

/* Text for mdoc: a dot or quote at the start of a line would be a request, a backslash an escape; each sentence
 * begins a line. */
static void man_text(FILE *out, const char *text)
{
	bool start = true;

	for (; *text; text++) {
		if (!strncmp(text, ". ", 2) && isupper((unsigned char)text[2])) {
			(void)fputs(".\n", out);
			text++;
			start = true;
			continue;
		}
		if (start && (*text == '.' || *text == '\''))
			(void)fputs("\\&", out);
		if (*text == '\\')
			(void)fputs("\\e", out);
		else if (*text == '-')
			(void)fputs("\\-", out);
		else
			(void)fputc(*text, out);
		start = *text == '\n';
	}
}

static void man_sentence(FILE *out, const char *text)
{
	(void)fputc(toupper((unsigned char)*text), out);
	man_text(out, text + 1);
	(void)fputs(".\n", out);
}

static void man_options(FILE *out, const struct niwa_option *options)
{
	(void)fputs(".Bl -tag -width indent -compact\n", out);
	for (const struct niwa_option *o = options; o->name; o++) {
		(void)fputs(".It ", out);
		if (o->letter)
			(void)fprintf(out, "Fl %c , ", o->letter);
		(void)fprintf(out, "Fl -%s", o->name);
		if (o->arg)
			(void)fprintf(out, " Ar %s", o->arg);
		(void)fputc('\n', out);
		man_sentence(out, o->help);
	}
	(void)fputs(".El\n", out);
}

void niwa_help_man(void *stream)
{
	FILE *out = stream;

	man_options(out, niwa_options_global);
	(void)fputs(".Pp\nThe verbs:\n.Bl -tag -width indent\n", out);
	for (const struct niwa_verb *v = niwa_verbs; v->name; v++) {
		(void)fprintf(out, ".It Cm %s", v->name);
		if (*v->usage) {
			(void)fputs(" No ", out);
			man_text(out, v->usage);
		}
		(void)fputc('\n', out);
		man_sentence(out, v->summary);
		if (*v->help) {
			man_text(out, v->help);
			(void)fputc('\n', out);
		}
		if (v->options->name)
			man_options(out, v->options);
	}
	(void)fputs(".El\n", out);
}
