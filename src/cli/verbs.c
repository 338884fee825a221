/* SPDX-License-Identifier: MIT
 *
 * The table of verbs: dispatch, help, completion and the manual's list of verbs come from here.
 */
#include <string.h>

#include "cli/verb_list.h"

const struct niwa_option niwa_options_none[] = {{0}};

const struct niwa_option niwa_options_global[] = {
	{0, "socket", "PATH", "the engine's socket (default: $NIWA_SOCKET, else " NIWA_RUN_DIR_DEFAULT "/niwad.sock)"},
	{0, "json", NULL, "print JSON instead of text"},
	{'q', "quiet", NULL, "say less: listings print names only"},
	{0, "version", NULL, "the same as the verb version"},
	{'h', "help", NULL, "explain the verb"},
	{0},
};

const struct niwa_verb niwa_verbs[] = {
	{
		.name = "apply",
		.usage = "[--dry-run] FILE...",
		.summary = "declare or change apps",
		.help = "Checks all files first and shows every mistake with its line; then applies them in one\n"
			"transaction: one bad app refuses all. Applying twice changes nothing. An app that is\n"
			"awake and was changed is rotated. Apps that no file names stay as they are. FILE may be -.\n"
			"An image, command, user or volume source that is not there is a warning: it may come later.",
		.options = niwa_options_apply,
		.run = niwa_verb_apply,
		.words_min = 1,
		.words_max = -1,
		.word = NIWA_WORD_FILE,
	},
	{
		.name = "ls",
		.usage = "[--state STATE] [--tenant TENANT] [--label KEY[=VALUE]] [PATTERN]",
		.summary = "list apps, their sleep states, addresses, last wake",
		.help = "PATTERN is a shell pattern over the name: niwa ls '*.example.com'. Exits with 1 when no app\n"
			"matches it.",
		.options = niwa_options_ls,
		.run = niwa_verb_ls,
		.words_max = 1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "show",
		.usage = "APP",
		.summary = "everything about one app",
		.help = "Its record, instances, history, the stages of its last wake, why it is awake or asleep,\n"
			"warnings.",
		.options = niwa_options_none,
		.run = niwa_verb_show,
		.words_min = 1,
		.words_max = 1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "wake",
		.usage = "APP...",
		.summary = "wake apps, as a connection would",
		.help = "Returns when each is ready, and says what it took.",
		.options = niwa_options_none,
		.run = niwa_verb_wake,
		.words_min = 1,
		.words_max = -1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "freeze",
		.usage = "APP...",
		.summary = "freeze running apps now",
		.help = "The next connection, or the next byte on an open one, thaws them.\n"
			"An app in which a command of niwa exec runs is not frozen.",
		.options = niwa_options_none,
		.run = niwa_verb_freeze,
		.words_min = 1,
		.words_max = -1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "stop",
		.usage = "APP...",
		.summary = "stop apps now",
		.help = "Open connections end. The app stays declared: the next connection starts it again,\n"
			"as do those that wait for it now. That is so for a resident app too; niwad starts it when\n"
			"it is started itself.",
		.options = niwa_options_none,
		.run = niwa_verb_stop,
		.words_min = 1,
		.words_max = -1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "restart",
		.usage = "APP...",
		.summary = "replace the instances of apps by fresh ones",
		.help = "Memory that is kept of one that sleeps, and its image, are thrown away: its next wake is a "
			"start.\n"
			"As at the end of a lifetime: with rotate: overlap no request fails, with handover new\n"
			"connections are held meanwhile.",
		.options = niwa_options_none,
		.run = niwa_verb_restart,
		.words_min = 1,
		.words_max = -1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "set",
		.usage = "APP KEY=VALUE...",
		.summary = "widen or narrow the limits of an app at once",
		.help = "KEY is cpu or memory, VALUE as in limits of the app file, also none; instances that run have\n"
			"it at once. It wins over the record, also when that is applied again and when niwad starts,\n"
			"until it is taken back: niwa set APP cpu=. Memory below what its processes use is refused,\n"
			"after the kernel was asked to take back what it can; nothing is killed.",
		.options = niwa_options_none,
		.run = niwa_verb_set,
		.words_min = 2,
		.words_max = -1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "logs",
		.usage = "[-f] [-n N] APP",
		.summary = "what an app printed",
		.help = "The last 100 lines, or N, or all; with -f goes on with what comes. On a terminal control\n"
			"characters are shown as \\xNN; in a pipe or file all bytes are as the app wrote them.",
		.options = niwa_options_logs,
		.run = niwa_verb_logs,
		.text_only = true,
		.words_min = 1,
		.words_max = 1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "exec",
		.usage = "[-t|-T] APP [--] COMMAND [ARG...]",
		.summary = "run a command inside an app",
		.help = "Wakes the app if it sleeps. With a terminal on both sides the command gets one of its own.\n"
			"It never gets ours: lines typed where only its input is a terminal are passed on while it "
			"runs.\n"
			"Without, what it has printed by its end is waited for; what processes print that it leaves\n"
			"behind is lost.\n"
			"Exits with the command's exit status, 128 and the number of the signal that ended it,\n"
			"127 if there is no such command, 126 if it cannot be executed.",
		.options = niwa_options_exec,
		.run = niwa_verb_exec,
		.words_min = 2,
		.words_max = -1,
		.word = NIWA_WORD_APP,
		.stops_at_word = true,
	},
	{
		.name = "rm",
		.usage = "[--yes] APP... | --tenant TENANT | --label KEY[=VALUE]",
		.summary = "forget apps",
		.help = "Their instances are stopped, their addresses refuse. Volumes stay as they are. Asks first "
			"when\n"
			"a terminal is there to ask. With --tenant and --label it shows what it would remove, and "
			"without a\n"
			"terminal it needs --yes. All of them go or none.",
		.options = niwa_options_rm,
		.run = niwa_verb_rm,
		.words_max = -1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "top",
		.usage = "[--once] [--sort KEY] [--delay DURATION] [--tenants] [--tenant TENANT] [--state STATE] "
			 "[--limit N]",
		.summary = "apps by CPU, memory, connections and wakes, live",
		.help = "Shows apps that have an instance; those that are stopped or saved use nothing. CPU is of one\n"
			"CPU, since the picture before; connections are the established ones in the app's network;\n"
			"wakes count since niwad started. Keys: c m w o s n sort by CPU, memory, wakes, connections,\n"
			"state, name; t changes between apps and tenants; q ends. In a pipe one table is printed,\n"
			"with --json its rows.",
		.options = niwa_options_top,
		.run = niwa_verb_top,
	},
	{
		.name = "import",
		.usage = "[--tenant TENANT] [-o FILE] COMPOSE-FILE",
		.summary = "make a first app file from a Compose file",
		.help = "Prints what could not be carried over on standard error. Read the result before applying it.",
		.options = niwa_options_import,
		.run = niwa_verb_import,
		.text_only = true,
		.words_min = 1,
		.words_max = 1,
		.word = NIWA_WORD_FILE,
	},
	{
		.name = "image",
		.usage = "ls | import [--replace] NAME SOURCE | rm [--force] NAME... | prepare",
		.summary = "images that apps can use",
		.help = "import copies and unpacks an OCI image in a child that has no rights. SOURCE is "
			"oci:DIR[:TAG],\n"
			"docker-archive:FILE[:REF] or docker://REF. ls, import and rm need root: they work on the "
			"folders\n"
			"below state_dir. prepare builds or refreshes the image `host` after the packages of this "
			"host\n"
			"have changed.",
		.options = niwa_options_image,
		.run = niwa_verb_image,
		.words_min = 1,
		.words_max = -1,
		.word = NIWA_WORD_IMAGE,
	},
	{
		.name = "snapshot",
		.usage = "ls | take APP... | rm [--all] APP... | verify APP...",
		.summary = "images of processes that apps are woken from",
		.help = "ls shows what there is, what it is worth, and which apps have none and why. take makes one of "
			"a\n"
			"fresh start, but not of an app whose memory is kept when it sleeps. rm drops all that an app "
			"has,\n"
			"verify reads all of it and drops one that is damaged. An image that others share stays for "
			"them:\n"
			"rm then has the app started once; with --all it goes. An image is a cache: without it the app "
			"is\n"
			"started.",
		.options = niwa_options_snapshot,
		.run = niwa_verb_snapshot,
		.words_min = 1,
		.words_max = -1,
		.word = NIWA_WORD_APP,
	},
	{
		.name = "doctor",
		.usage = "[--all] [PROBE...]",
		.summary = "what this host can and cannot do, and how to mend it",
		.help = "Run it as root: without, some questions stay open. --all shows also what is well.\n"
			"Exits with 1 when something that niwa needs is missing.",
		.options = niwa_options_doctor,
		.run = niwa_verb_doctor,
		.words_max = -1,
	},
	{
		.name = "status",
		.usage = "",
		.summary = "the engine and its counters",
		.help = "Version, apps by state, relay, ranges, limits, conntrack.",
		.options = niwa_options_none,
		.run = niwa_verb_status,
	},
	{
		.name = "version",
		.usage = "",
		.summary = "version of this program and of the running engine",
		.help = "",
		.options = niwa_options_none,
		.run = niwa_verb_version,
	},
	{
		.name = "help",
		.usage = "[VERB]",
		.summary = "explain niwa or a verb",
		.help = "",
		.options = niwa_options_help,
		.run = niwa_verb_help,
		.words_max = 1,
		.word = NIWA_WORD_VERB,
	},
	{0},
};

const struct niwa_verb *niwa_verb_find(const char *name)
{
	for (const struct niwa_verb *v = niwa_verbs; v->name; v++)
		if (!strcmp(v->name, name))
			return v;
	return NULL;
}
