/* SPDX-License-Identifier: MIT
 *
 * niwa doctor: runs the probes, prints what they found and how to mend it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "base/memory.h"
#include "cli/answer.h"
#include "cli/doctor.h"
#include "cli/verb_list.h"

enum { OPT_ALL, OPT_CONFIG };
const struct niwa_option niwa_options_doctor[] = {
	{'a', "all", NULL, "show also what is well"},
	{'c', "config", "FILE", "ask for the ranges and folders of this niwad.conf, not for the engine's"},
	{0},
};

struct visit {
	struct niwa_cli *cli;
	unsigned counts[NIWA_PROBE_COUNT];
	const char *section; /* the last one printed */
	json_t *list;
};

static bool is_wanted(const struct niwa_cli *cli, const char *id)
{
	for (int i = 0; i < cli->word_count; i++)
		if (!strcmp(cli->words[i], id))
			return true;
	return cli->word_count == 0;
}

static const char *mend_of(const struct niwa_probe *probe, const struct niwa_probe_report *report)
{
	if (report->result == NIWA_PROBE_OK || report->result == NIWA_PROBE_UNKNOWN)
		return "";
	return *report->mend ? report->mend : probe->mend;
}

static void print_report(struct visit *v, const struct niwa_probe *probe, const struct niwa_probe_report *report)
{
	const char *mend = mend_of(probe, report);

	if (report->result == NIWA_PROBE_OK && !v->cli->option[OPT_ALL] && !v->cli->word_count)
		return;
	if (v->section != probe->section)
		(void)printf("%s%s\n", v->section ? "\n" : "", probe->section);
	v->section = probe->section;
	(void)printf("  %-8s %s (%s): %s\n", niwa_probe_result_name(report->result), probe->what, probe->id,
		     report->found);
	for (const char *line = mend; *line;) {
		size_t len = strcspn(line, "\n");

		(void)printf("           > %.*s\n", (int)len, line);
		line += len + (line[len] == '\n');
	}
}

static void add_json(struct visit *v, const struct niwa_probe *probe, const struct niwa_probe_report *report)
{
	(void)json_array_append_new(v->list, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "id", probe->id, "section",
						       probe->section, "what", probe->what, "result",
						       niwa_probe_result_name(report->result), "found", report->found,
						       "mend", mend_of(probe, report)));
}

static bool words_are_probes(const struct niwa_cli *cli)
{
	for (int i = 0; i < cli->word_count; i++) {
		const struct niwa_probe *p = niwa_probes;

		while (p->id && strcmp(p->id, cli->words[i]) != 0)
			p++;
		if (p->id)
			continue;
		(void)fprintf(stderr, "niwa doctor: there is no probe '%.60s'; there are:", cli->words[i]);
		for (p = niwa_probes; p->id; p++)
			(void)fprintf(stderr, " %s", p->id);
		(void)fputc('\n', stderr);
		return false;
	}
	return true;
}

static void sum_up(const struct visit *v)
{
	(void)printf("%s%u ok, %u to look at, %u missing, %u not checked\n", v->section ? "\n" : "",
		     v->counts[NIWA_PROBE_OK], v->counts[NIWA_PROBE_WARN], v->counts[NIWA_PROBE_FAIL],
		     v->counts[NIWA_PROBE_UNKNOWN]);
	if (geteuid() != 0)
		niwa_cli_note(v->cli, "run 'sudo niwa doctor' for what needs root");
}

int niwa_verb_doctor(struct niwa_cli *cli)
{
	struct visit v = {.cli = cli, .list = json_array()};
	struct niwa_probe_host host;

	if (!words_are_probes(cli)) {
		json_decref(v.list);
		return NIWA_EXIT_USAGE;
	}
	if (niwa_probe_host_find(&host, cli->socket, cli->option[OPT_CONFIG]) < 0)
		niwa_cli_note(cli, "'niwad --print-config' gave no answer: assuming the defaults of niwad.conf(5)");
	for (const struct niwa_probe *p = niwa_probes; p->id; p++) {
		struct niwa_probe_report report;

		if (!is_wanted(cli, p->id))
			continue;
		niwa_probe_run(p, &host, &report);
		v.counts[report.result]++;
		if (cli->json)
			add_json(&v, p, &report);
		else
			print_report(&v, p, &report);
	}
	if (cli->json)
		(void)niwa_answer_print(v.list);
	else if (!cli->quiet)
		sum_up(&v);
	json_decref(v.list);
	return v.counts[NIWA_PROBE_FAIL] ? NIWA_EXIT_FAILED : NIWA_EXIT_DONE;
}
