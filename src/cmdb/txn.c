/* SPDX-License-Identifier: MIT
 *
 * Transactions in memory: a list of changes whose records and strings live in chunks that are freed whole.
 * Large chunks come straight from the kernel and go straight back, so that one big apply does not leave the
 * engine's heap grown for ever.
 */
#include "cmdb_private.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/memory.h"
#include "spec/app.h"

#define CHUNK_FIRST    (4 * 1024)
#define CHUNK_LARGE    (512 * 1024) /* this size and above: mmap */
#define CHUNKS_AT_ONCE 6            /* freed: some 0.3 ms */

struct niwa_cmdb_chunk {
	struct niwa_cmdb_chunk *next;
	size_t size, used;
	_Alignas(16) char data[];
};

static struct niwa_cmdb_chunk *chunk_new(size_t size)
{
	struct niwa_cmdb_chunk *c;

	if (size < CHUNK_LARGE) {
		c = niwa_zalloc(size);
	} else {
		c = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (c == MAP_FAILED)
			c = NULL;
	}
	if (c) {
		c->size = size;
		c->used = sizeof(*c);
	}
	return c;
}

static void chunk_free(struct niwa_cmdb_chunk *c)
{
	if (c->size < CHUNK_LARGE)
		free(c);
	else
		(void)munmap(c, c->size); /* a whole mapping of ours: cannot fail */
}

/* Room for len bytes in the newest chunk; -E2BIG, -ENOMEM. A later take() of as much in all cannot fail. */
static int reserve(struct niwa_cmdb_txn *txn, size_t len)
{
	struct niwa_cmdb_chunk *c = txn->chunks;
	size_t size;

	if (c && c->size - c->used >= len)
		return 0;
	size = !c ? CHUNK_FIRST : c->size * 4;
	if (size > CHUNK_LARGE)
		size = CHUNK_LARGE;
	while (size - sizeof(*c) < len)
		size *= 2;
	if (txn->bytes + size > NIWA_CMDB_TXN_BYTES_MAX)
		return -E2BIG;
	c = chunk_new(size);
	if (!c)
		return -ENOMEM;
	c->next = txn->chunks;
	txn->chunks = c;
	txn->bytes += size;
	return 0;
}

static size_t aligned(size_t len)
{
	return (len + 15) & ~(size_t)15;
}

static void *take(struct niwa_cmdb_txn *txn, size_t len)
{
	struct niwa_cmdb_chunk *c = txn->chunks;
	void *p = (char *)c + c->used;

	c->used += aligned(len);
	return p;
}

static const char *copy(struct niwa_cmdb_txn *txn, const char *data, size_t len)
{
	char *p = take(txn, len + 1);

	memcpy(p, data, len);
	p[len] = '\0';
	return p;
}

const char *niwa_cmdb_txn_copy(struct niwa_cmdb_txn *txn, const char *data, size_t len)
{
	return reserve(txn, aligned(len + 1)) < 0 ? NULL : copy(txn, data, len);
}

struct niwa_cmdb_txn *niwa_cmdb_txn_new(struct niwa_cmdb *db)
{
	struct niwa_cmdb_txn *txn = niwa_zalloc(sizeof(*txn));

	if (!txn)
		return NULL;
	txn->db = db;
	STAILQ_INIT(&txn->ops);
	return txn;
}

void niwa_cmdb_txn_free(struct niwa_cmdb_txn **txn)
{
	struct niwa_cmdb_chunk *next;

	if (!*txn)
		return;
	for (struct niwa_cmdb_chunk *c = (*txn)->chunks; c; c = next) {
		next = c->next;
		chunk_free(c);
	}
	free(*txn);
	*txn = NULL;
}

/* Copies what is wanted. */
void niwa_cmdb_txn_free_some(struct niwa_cmdb_txn **txn)
{
	struct niwa_cmdb_chunk *c;

	for (int n = 0; n < CHUNKS_AT_ONCE && (c = (*txn)->chunks); n++) {
		(*txn)->chunks = c->next;
		chunk_free(c);
	}
	if (!(*txn)->chunks)
		niwa_cmdb_txn_free(txn);
}

static int add(struct niwa_cmdb_txn *txn, const struct niwa_cmdb_op *wanted)
{
	size_t name_len = strlen(wanted->name), tenant_len = wanted->tenant ? strlen(wanted->tenant) : 0;
	struct niwa_cmdb_op *op;
	int r;

	if ((name_len == 0 && !wanted->of_past) || name_len > NIWA_NAME_MAX || tenant_len > NIWA_NAME_MAX)
		return -EINVAL;
	if (txn->count >= NIWA_CMDB_TXN_MAX)
		return -E2BIG;
	r = reserve(txn, aligned(sizeof(*op)) + aligned(name_len + 1) + aligned(tenant_len + 1) +
				 aligned(wanted->json_len + 1));
	if (r < 0)
		return r;
	op = take(txn, sizeof(*op));
	*op = (struct niwa_cmdb_op){.name = copy(txn, wanted->name, name_len),
				    .overrides = wanted->overrides,
				    .of_tenant = wanted->of_tenant,
				    .of_past = wanted->of_past,
				    .id = wanted->id};
	if (wanted->tenant)
		op->tenant = copy(txn, wanted->tenant, tenant_len);
	if (wanted->json) {
		op->json = copy(txn, wanted->json, wanted->json_len);
		op->json_len = wanted->json_len;
	}
	STAILQ_INSERT_TAIL(&txn->ops, op, link);
	txn->count++;
	return 0;
}

int niwa_cmdb_txn_put(struct niwa_cmdb_txn *txn, const char *name, const char *tenant, const char *json,
		      size_t json_len)
{
	if (!tenant[0] || json_len == 0 || json_len > NIWA_APP_JSON_MAX || memchr(json, '\0', json_len))
		return -EINVAL;
	return add(txn, &(struct niwa_cmdb_op){.name = name, .tenant = tenant, .json = json, .json_len = json_len});
}

int niwa_cmdb_txn_remove(struct niwa_cmdb_txn *txn, const char *name)
{
	return add(txn, &(struct niwa_cmdb_op){.name = name});
}

int niwa_cmdb_txn_override(struct niwa_cmdb_txn *txn, const char *name, const char *text)
{
	if (text && (!*text || strlen(text) > NIWA_CMDB_OVERRIDE_MAX))
		return -EINVAL;
	return add(txn, &(struct niwa_cmdb_op){
				.name = name, .json = text, .json_len = text ? strlen(text) : 0, .overrides = true});
}

int niwa_cmdb_txn_tenant(struct niwa_cmdb_txn *txn, const char *tenant, const char *text)
{
	if (text && (!*text || strlen(text) > NIWA_CMDB_OVERRIDE_MAX))
		return -EINVAL;
	return add(txn, &(struct niwa_cmdb_op){
				.name = tenant, .json = text, .json_len = text ? strlen(text) : 0, .of_tenant = true});
}

int niwa_cmdb_txn_past(struct niwa_cmdb_txn *txn, uint64_t id, const void *data, size_t len)
{
	if (len == 0 || len > NIWA_CMDB_PAST_MAX)
		return -EINVAL;
	return add(txn, &(struct niwa_cmdb_op){.name = "", .id = id, .json = data, .json_len = len, .of_past = true});
}
