/* SPDX-License-Identifier: MIT
 *
 * apply.begin, apply.put in bounded pieces, apply.remove, apply.commit.
 */
#include "cli/transaction.h"

#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/answer.h"
#include "spec/file.h"

#define PUT_BYTES_MAX      (3 * 1024) /* of apps in one call: meanwhile, some 0.2 ms, nobody is woken */
#define TENANTS_A_CALL     16
#define COMMIT_DEADLINE_MS (10u * 60 * 1000)

struct run {
	const struct niwa_cli *cli;
	struct niwa_client *client;
	struct niwa_error *err;
	json_int_t txn;
	size_t done, total;
	uint64_t since_us;
	bool shown;
};

static void progress(struct run *run)
{
	if (run->cli->quiet || !isatty(STDERR_FILENO) || niwa_now_us() - run->since_us < NIWA_SEC)
		return;
	(void)fprintf(stderr, "\rniwa: %zu of %zu apps sent", run->done, run->total);
	run->shown = true;
}

static int begin(struct run *run)
{
	json_t *result = NULL;
	int r = niwa_client_call(run->client, "apply.begin", NULL, NIWA_RPC_DEADLINE_MS, &result, run->err);

	if (r == 0)
		run->txn = json_integer_value(json_object_get(result, "txn"));
	json_decref(result);
	return r;
}

/* Takes chunk. */
static int put(struct run *run, json_t *chunk)
{
	size_t count = json_array_size(chunk);
	int r;

	if (!count) {
		json_decref(chunk);
		return 0;
	}
	r = niwa_client_call(run->client, "apply.put", json_pack("{s:I, s:o}", "txn", run->txn, "apps", chunk),
			     NIWA_RPC_DEADLINE_MS, NULL, run->err);
	run->done += count;
	progress(run);
	return r;
}

static int put_all(struct run *run, const json_t *apps)
{
	json_t *chunk = json_array(), *app;
	size_t i, bytes = 0;
	int r = 0;

	json_array_foreach(apps, i, app)
	{
		size_t size = json_dumpb(app, NULL, 0, JSON_COMPACT) + 1;

		if (bytes && bytes + size > PUT_BYTES_MAX) {
			r = put(run, chunk);
			if (r < 0)
				return r;
			chunk = json_array();
			bytes = 0;
		}
		if (!chunk || json_array_append(chunk, app) < 0) {
			json_decref(chunk);
			return niwa_fail(run->err, NIWA_TEMPORARY, ENOMEM, "send the apps");
		}
		bytes += size;
	}
	return put(run, chunk);
}

static int remove_all(struct run *run, char *const *names)
{
	int r = 0;

	for (; names && *names && r == 0; names++)
		r = niwa_client_call(run->client, "apply.remove",
				     json_pack("{s:I, s:s}", "txn", run->txn, "name", *names), NIWA_RPC_DEADLINE_MS,
				     NULL, run->err);
	return r;
}

/* In calls of bounded size, as apps. */
static int put_tenants(struct run *run, const json_t *tenants)
{
	size_t total = json_array_size(tenants);
	int r = 0;

	for (size_t from = 0; from < total && r == 0; from += TENANTS_A_CALL) {
		json_t *some = json_array();

		for (size_t i = from; i < total && i < from + TENANTS_A_CALL; i++)
			(void)json_array_append(some, json_array_get(tenants, i)); /* some is NULL: the call says so */
		r = niwa_client_call(run->client, "apply.put",
				     json_pack("{s:I, s:[], s:o}", "txn", run->txn, "apps", "tenants", some),
				     NIWA_RPC_DEADLINE_MS, NULL, run->err);
	}
	return r;
}

static int run_all(struct run *run, const struct niwa_file_records *records, char *const *remove, json_t **ret)
{
	int r = begin(run);

	if (r == 0)
		r = put_tenants(run, records->tenants);
	if (r == 0)
		r = put_all(run, records->apps);
	if (r == 0)
		r = remove_all(run, remove);
	if (r == 0)
		r = niwa_client_call(run->client, "apply.commit", json_pack("{s:I}", "txn", run->txn),
				     COMMIT_DEADLINE_MS, ret, run->err);
	if (run->shown)
		(void)fputc('\n', stderr);
	return r;
}

int niwa_transaction_put(const struct niwa_cli *cli, struct niwa_client *client,
			 const struct niwa_file_records *records, json_t **ret, struct niwa_error *err)
{
	struct run run = {.cli = cli,
			  .client = client,
			  .err = err,
			  .total = json_array_size(records->apps),
			  .since_us = niwa_now_us()};

	return run_all(&run, records, NULL, ret);
}

int niwa_transaction_run(const struct niwa_cli *cli, struct niwa_client *client, const json_t *apps,
			 char *const *remove, json_t **ret, struct niwa_error *err)
{
	const struct niwa_file_records records = {.apps = (json_t *)(uintptr_t)apps};
	struct run run = {
		.cli = cli, .client = client, .err = err, .total = json_array_size(apps), .since_us = niwa_now_us()};

	return run_all(&run, &records, remove, ret);
}
