/* SPDX-License-Identifier: MIT
 *
 * A store in a folder of its own, and snapshots in it that look like real ones: the small files are CRIU's, the pages
 * are made up.
 */
#ifndef NIWA_SNAPSHOT_TEST_FIXTURE_H
#define NIWA_SNAPSHOT_TEST_FIXTURE_H

#include <setjmp.h>
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "snapshot/store.h"

struct fixture {
	char dir[64];
	struct niwa_store store;
	struct niwa_store_limits limits;
};
void fixture_init(struct fixture *f);
void fixture_init_in(struct fixture *f, const char *parent);
void fixture_open(struct fixture *f, const char *dir); /* in a folder that is there */
void fixture_fini(struct fixture *f);

/* A key of 64 times the same digit. */
struct niwa_snapshot_key fixture_key(char digit);
/* What is in corpus/image/NAME without its first byte. To be freed. */
uint8_t *fixture_sample(const char *name, size_t *ret_len);
int fixture_try_file(int dir, const char *name, const void *data, size_t len); /* 0 or -errno */
void fixture_file(int dir, const char *name, const void *data, size_t len);
/* Begun, with a dump in it of so many bytes of pages, a layer and a file in shared memory. 0 or -errno. */
int fixture_begin(struct fixture *f, size_t page_bytes, struct niwa_store_new *ret, struct niwa_error *err);
int fixture_commit(struct fixture *f, struct niwa_store_new *s, char digit, struct niwa_error *err);
/* Both. */
int fixture_put(struct fixture *f, char digit, size_t page_bytes, struct niwa_error *err);
/* Files and folders of the store itself, "." and ".." not counted; prefix "": all. */
unsigned fixture_count(const struct fixture *f, const char *prefix);
bool fixture_has(const struct fixture *f, char digit, enum niwa_store_check check);

#endif
