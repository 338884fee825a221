/* SPDX-License-Identifier: MIT
 *
 * Allocation that can be made to fail in tests, and cleanup attributes. Small allocations
 * return NULL when memory is out; callers answer -ENOMEM.
 */
#ifndef NIWA_BASE_MEMORY_H
#define NIWA_BASE_MEMORY_H

#include <stddef.h>

/* Zeroed memory, free with free(). Fails on purpose at the n-th call when the environment
 * variable NIWA_FAIL_ALLOC=n was set at the first call (tests). */
void *niwa_zalloc(size_t size);
char *niwa_strdup(const char *text); /* NULL stays NULL */
char *niwa_asprintf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* NIWA_AUTO(fn) T *x: calls fn(&x) at the end of the scope; fn takes T ** and accepts NULL in it. */
#define NIWA_AUTO(fn) __attribute__((cleanup(fn)))
/* Takes a pointer out of an owning variable, leaving NULL. */
#define NIWA_TAKE(p)                                                                                                   \
	({                                                                                                             \
		__typeof__(p) *from_ = &(p);                                                                           \
		__typeof__(p) taken_ = *from_;                                                                         \
		*from_ = NULL;                                                                                         \
		taken_;                                                                                                \
	})

void niwa_free_ptr(void *pp); /* cleanup for malloc'd memory: NIWA_AUTO(niwa_free_ptr) char *s */

#define NIWA_ARRAY_LEN(a)                    (sizeof(a) / sizeof((a)[0]))
#define NIWA_CONTAINER_OF(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

#endif
