/* SPDX-License-Identifier: MIT
 *
 * niwa exec: a command inside an app, with our own input (never a terminal: a pipe from it) and pipes to our own
 * output, or with a terminal of its own. Ends with the command's exit status.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "cli/answer.h"
#include "cli/client.h"
#include "cli/console.h"
#include "cli/inflow.h"
#include "cli/outflow.h"
#include "cli/signals.h"
#include "cli/verb_list.h"

#define CONSOLE_WAIT_MS 10000u
#define EXIT_WAIT_MS    10000u /* for the exit status once the terminal is closed */
#define UNREAD_WAIT_MS  1000   /* for whoever reads what an interrupted command has printed */
#define NO_END          (-2)

enum { OPT_TERMINAL, OPT_NO_TERMINAL };
const struct niwa_option niwa_options_exec[] = {
	{'t', "terminal", NULL, "give the command a terminal (default when there is one on both sides)"},
	{'T', "no-terminal", NULL, "give it our own input (from a terminal whole lines), and pipes to our own output"},
	{0},
};

struct run {
	struct niwa_client *client;
	json_int_t exec; /* the engine's number of this command */
	int signal_fd;
	struct niwa_inflow *in; /* NULL: the command has our input itself */
	struct niwa_error err;
};

static json_t *request(struct niwa_cli *cli, bool terminal)
{
	json_t *argv = json_array();
	struct winsize size = {0};

	for (int i = 1; i < cli->word_count; i++)
		(void)json_array_append_new(argv, json_string(cli->words[i])); /* NULL for bad UTF-8: counted below */
	if (json_array_size(argv) != (size_t)cli->word_count - 1) {
		json_decref(argv);
		return NULL;
	}
	if (terminal) /* before the command begins, not after its first look */
		(void)niwa_console_size(&size);
	return json_pack("{s:s, s:o, s:b, s:i, s:i}", "name", cli->words[0], "argv", argv, "terminal", (int)terminal,
			 "rows", size.ws_row, "columns", size.ws_col);
}

static int start(struct run *run, struct niwa_cli *cli, bool terminal, const struct niwa_client_fds *fds)
{
	json_t *params = request(cli, terminal), *result = NULL;
	int r;

	if (!params)
		return niwa_fail(&run->err, NIWA_CALLER, EILSEQ, "the command has an argument that is not UTF-8");
	r = niwa_client_call_fds(run->client, "app.exec", params, fds, &result, &run->err);
	if (r == 0)
		run->exec = json_integer_value(json_object_get(result, "exec"));
	json_decref(result);
	return r;
}

/* The exit status that a note tells, NO_END when it is about something else, -1 (err) when there was no start. */
static int read_note(struct run *run, const json_t *note)
{
	const char *error = niwa_answer_text(json_object_get(note, "params"), "error");
	const json_t *params = json_object_get(note, "params");
	int status = (int)niwa_answer_number(params, "status");

	if (strcmp(niwa_answer_text(note, "method"), "exec.exited") != 0 ||
	    json_integer_value(json_object_get(params, "exec")) != run->exec)
		return NO_END;
	if (*error) {
		(void)niwa_fail(&run->err, NIWA_PERMANENT, 0, "%s", error);
		if (status == 0)
			return -1;
		(void)niwa_cli_fail(&run->err);
		return status & 0xff;
	}
	return niwa_answer_number(params, "code") == CLD_EXITED ? status & 0xff : (128 + status) & 0xff;
}

/* Waits up to timeout_ms for the end. The exit status, NO_END, or -1 (err). */
static int wait_end(struct run *run, unsigned timeout_ms)
{
	for (;;) {
		json_t *note = NULL;
		int status, r = niwa_client_next(run->client, timeout_ms, &note, &run->err);

		if (r == -EAGAIN)
			return NO_END;
		if (r < 0)
			return -1;
		status = read_note(run, note);
		json_decref(note);
		if (status != NO_END)
			return status;
	}
}

/* Until the console comes (NO_END) or the command has ended without one: its exit status, or -1 (err). */
static int wait_console(struct run *run, int sock)
{
	for (;;) {
		struct pollfd p[] = {{.fd = sock, .events = POLLIN},
				     {.fd = niwa_client_fd(run->client), .events = POLLIN}};
		int n, status = wait_end(run, 0); /* a note may have come with the answer */

		if (status != NO_END)
			return status;
		n = poll(p, 2, CONSOLE_WAIT_MS);
		if (n == 0 || (p[0].revents & POLLIN))
			return NO_END;
		if ((p[0].revents & POLLHUP) && !(p[1].revents & POLLIN)) { /* given up: the reason is on its way */
			status = wait_end(run, CONSOLE_WAIT_MS);
			return status;
		}
	}
}

static int with_terminal(struct run *run, struct niwa_cli *cli)
{
	int pair[2], r;
	NIWA_AUTO_FD ours = -1;
	NIWA_AUTO_FD theirs = -1;
	NIWA_AUTO_FD master = -1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0) {
		(void)niwa_fail(&run->err, NIWA_TEMPORARY, errno, "make a console socket");
		return niwa_cli_fail(&run->err);
	}
	ours = pair[0];
	theirs = pair[1];
	if (start(run, cli, true, &(struct niwa_client_fds){&theirs, 1}) < 0)
		return niwa_cli_fail(&run->err);
	niwa_fd_close(&theirs);
	r = wait_console(run, ours);
	if (r == NO_END)
		master = niwa_console_receive(ours, CONSOLE_WAIT_MS, &run->err);
	else if (r >= 0)
		return r;
	if (master < 0)
		return niwa_cli_fail(&run->err);
	r = niwa_console_run(master, run->signal_fd, &run->err);
	niwa_fd_close(&master); /* the command's terminal hangs up */
	if (r > 0)
		return 128 + r;
	if (r < 0)
		return niwa_cli_fail(&run->err);
	r = wait_end(run, EXIT_WAIT_MS);
	if (r == NO_END)
		(void)niwa_fail(&run->err, NIWA_TEMPORARY, 0,
				"the command closed its terminal and still runs; its exit status is not known");
	return r < 0 ? niwa_cli_fail(&run->err) : r;
}

/* Passes a signal on; one that cannot be passed on ends us. Ctrl-Z stops only us. */
static int pass_signal(struct run *run, int sig)
{
	struct niwa_error ignored = {0};

	if (sig == SIGTSTP)
		(void)raise(SIGSTOP);
	if (sig == SIGWINCH || sig == SIGCONT || sig == SIGTSTP)
		return 0;
	return niwa_client_call(run->client, "exec.signal", json_pack("{s:I, s:i}", "exec", run->exec, "signal", sig),
				NIWA_RPC_DEADLINE_MS, NULL, &ignored);
}

/* Waits for news of the engine, of signals, of what is printed; moves that. 0: none in time. */
static int wait_and_move(struct run *run, struct niwa_outflow *flow, int timeout_ms)
{
	struct pollfd p[3 + NIWA_OUTFLOW_STREAMS] = {{.fd = niwa_client_fd(run->client), .events = POLLIN},
						     {.fd = run->signal_fd, .events = POLLIN}};
	int again_ms = niwa_inflow_poll(run->in, p + 2), n;
	bool sooner = again_ms >= 0 && (timeout_ms < 0 || again_ms < timeout_ms);

	niwa_outflow_poll(flow, p + 3);
	n = poll(p, NIWA_ARRAY_LEN(p), sooner ? again_ms : timeout_ms);
	if (n < 0 && errno != EINTR)
		return niwa_fail(&run->err, NIWA_TEMPORARY, errno, "wait for the command");
	niwa_inflow_move(run->in);
	niwa_outflow_move(flow);
	return n != 0 || sooner;
}

/* Until the end of the command and of what it has printed: its exit status, or -1 (err). Who has been told to end does
 * not wait for a reader that does not read. */
static int wait_with_signals(struct run *run, struct niwa_outflow *flow)
{
	int sig, status = NO_END, r;
	bool told = false;

	for (;;) {
		/* first: notes may have come with an answer and are in the client's memory by now */
		if (status == NO_END && (status = wait_end(run, 0)) != NO_END) {
			niwa_inflow_free(&run->in); /* what is typed from here on is for others */
			niwa_outflow_end(flow);
		}
		if (status != NO_END && niwa_outflow_done(flow))
			return status;
		r = wait_and_move(run, flow, told && status != NO_END ? UNREAD_WAIT_MS : -1);
		if (r <= 0)
			return r < 0 ? -1 : status;
		while ((sig = niwa_signals_next(run->signal_fd))) {
			if (pass_signal(run, sig) < 0)
				return 128 + sig;
			told = told || (sig != SIGWINCH && sig != SIGCONT && sig != SIGTSTP);
		}
	}
}

/* The command may open its input by name, too: whoever made the pipe that we were given may allow it. A pipe with a
 * name is a file of somebody's and left alone. */
static void open_input(void)
{
	struct statfs fs;

	if (fstatfs(STDIN_FILENO, &fs) == 0 && fs.f_type == PIPEFS_MAGIC)
		(void)fchmod(STDIN_FILENO, 0666); /* else it can only be read from */
}

/* What we were started with has passed an exec; what we open does not. Nothing of ours is given away, such as the
 * engine's socket: whoever has that is root. */
static int check_input(struct niwa_error *err)
{
	int flags = fcntl(STDIN_FILENO, F_GETFD);

	if (flags < 0 || (flags & FD_CLOEXEC))
		return niwa_fail(err, NIWA_CALLER, 0, "standard input is closed");
	return 0;
}

static int with_pipes(struct run *run, struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_outflow_free) struct niwa_outflow *flow = NULL;
	int fds[] = {STDIN_FILENO, -1, -1}, status;
	NIWA_AUTO_FD in = -1;
	NIWA_AUTO_FD out = -1;
	NIWA_AUTO_FD error = -1;

	(void)signal(SIGPIPE, SIG_IGN); /* the command shall get it */
	if (check_input(&run->err) < 0)
		return niwa_cli_fail(&run->err);
	open_input();
	if (isatty(STDIN_FILENO)) {
		if (niwa_inflow_new(&run->in, &in, &run->err) < 0)
			return niwa_cli_fail(&run->err);
		fds[0] = in;
	}
	if (niwa_outflow_new(&flow, fds + 1, &run->err) < 0)
		return niwa_cli_fail(&run->err);
	out = fds[1];
	error = fds[2];
	if (start(run, cli, false, &(struct niwa_client_fds){fds, 3}) < 0)
		return niwa_cli_fail(&run->err);
	niwa_fd_close(&in);
	niwa_fd_close(&out);
	niwa_fd_close(&error);
	status = wait_with_signals(run, flow);
	if (status >= 0 && niwa_outflow_error(flow, &run->err) < 0)
		status = -1;
	return status < 0 ? niwa_cli_fail(&run->err) : status;
}

int niwa_verb_exec(struct niwa_cli *cli)
{
	NIWA_AUTO(niwa_client_free) struct niwa_client *client = NULL;
	NIWA_AUTO_FD signal_fd = -1;
	struct run run = {0};
	int status;
	bool terminal = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);

	if (cli->word_count > 1 && !strcmp(cli->words[1], "--")) { /* APP -- COMMAND */
		cli->words[1] = cli->words[0];
		cli->words++;
		cli->word_count--;
	}
	if (cli->word_count < 2)
		return niwa_cli_usage(cli, "which command?");
	if (cli->option[OPT_TERMINAL] && cli->option[OPT_NO_TERMINAL])
		return niwa_cli_usage(cli, "-t and -T exclude each other");
	terminal = cli->option[OPT_TERMINAL] || (terminal && !cli->option[OPT_NO_TERMINAL]);
	if (niwa_cli_connect(cli, &client) < 0)
		return NIWA_EXIT_FAILED;
	run.client = client;
	run.signal_fd = signal_fd = niwa_signals_open(niwa_console_signals);
	if (signal_fd < 0) {
		(void)niwa_fail(&run.err, NIWA_TEMPORARY, -signal_fd, "watch signals");
		return niwa_cli_fail(&run.err);
	}
	status = terminal ? with_terminal(&run, cli) : with_pipes(&run, cli);
	niwa_inflow_free(&run.in);
	return status;
}
