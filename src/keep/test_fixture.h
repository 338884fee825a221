/* SPDX-License-Identifier: MIT
 *
 * For the tests of niwa-keep: a keep of one's own in a namespace of one's own, a connection to it, and the plan of an
 * instance with everything on. Needs root.
 */
#ifndef NIWA_KEEP_TEST_FIXTURE_H
#define NIWA_KEEP_TEST_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/ipc.h"
#include "container/keep_protocol.h"
#include "container/plan.h"

enum { T_LOG = 0, T_DIAG = 1, T_NOTIFY = 2, T_GIVEN = 3, T_CGROUP = 10, T_LOG_END, T_ROOT, T_LAYER, T_DEV, T_FILE };

#define T_ID_BASE 100000

struct keep_test {
	char dir[64];     /* run directory, image, layers */
	char cgroup[128]; /* our own v2 group */
	pid_t keep;
	int sock;
	uint64_t next_id;
};

/* A received message with its descriptors. */
struct keep_reply {
	struct niwa_keep_msg msg;
	int fds[NIWA_IPC_FDS_MAX];
	size_t nfds;
};

/* Once a test program: namespaces, folders, the cgroup. */
void keep_test_world(struct keep_test *t);
void keep_test_world_end(struct keep_test *t);
/* fault: value of NIWA_FAULT or NULL; timeout: of --start-timeout or NULL. */
void keep_test_start_keep(struct keep_test *t, const char *fault, const char *timeout);
void keep_test_stop_keep(struct keep_test *t);                 /* also removes groups and layers of instances */
bool keep_test_has_ended(struct keep_test *t, unsigned tries); /* looks every 10 ms */
void keep_test_connect(struct keep_test *t);
void keep_test_send(struct keep_test *t, const struct niwa_keep_msg *msg, const int *fds, size_t nfds);
int keep_test_slow(int n); /* times NIWA_TEST_SLOWNESS, for bounds of time where the processor is emulated */
void keep_test_receive(struct keep_test *t, struct keep_reply *ret); /* waits up to 10 s */
void keep_test_expect(struct keep_test *t, enum niwa_keep_type type, uint64_t id, struct keep_reply *ret);
void keep_reply_close(struct keep_reply *reply);

/* Sends a plan with descriptors for NIWA_SLOT_GIVEN...; ends the plan. Returns the id. */
uint64_t keep_test_start(struct keep_test *t, struct niwa_plan *plan, const int *fds, size_t nfds);
/* A start with its answer. */
void keep_test_started(struct keep_test *t, struct niwa_plan *plan, struct keep_reply *ret);
void keep_test_failed(struct keep_test *t, struct niwa_plan *plan, int op, int error, struct keep_reply *ret);
void keep_test_exited(struct keep_test *t, uint64_t id, int code, int status);
void keep_test_forget(struct keep_test *t, uint64_t id);
/* What keep holds: open descriptors, children (zombies too; the first one's pid). */
unsigned keep_test_count_fds(const struct keep_test *t);
unsigned keep_test_count_children(const struct keep_test *t, pid_t *ret_first);
/* Waits up to 5 s until keep holds so many again. */
void keep_test_expect_held(const struct keep_test *t, unsigned fds, unsigned children);
/* Reads a pipe until its end. */
void keep_test_read_log(int fd, char *buf, size_t size);

/* Parts of plans. */
#define T_ADD(plan, ...) niwa_plan_add(plan, &(struct niwa_op_view){__VA_ARGS__})
enum keep_test_part {
	T_WITH_VETH = 1,
	T_WITH_CGROUP = 2,
	T_WITH_DISK = 4,
	T_ALL = 7
}; /* disk: the layer is not a tmpfs */
void keep_test_plan_head(struct keep_test *t, struct niwa_plan *plan, uint64_t id, unsigned parts);
void keep_test_plan_tail(struct niwa_plan *plan, const char *command); /* words for test_probe, or a path */
void keep_test_plan_exec(struct niwa_plan *plan, int file, const char *command);
/* An instance with everything on. */
void keep_test_plan(struct keep_test *t, struct niwa_plan *plan, uint64_t id, unsigned parts, const char *command);
void keep_test_mount(struct niwa_plan *plan, const char *type, const char *target, unsigned long flags,
		     const char *data);
/* No namespaces: log pipe and exec of a program of the host. */
void keep_test_plan_plain(struct niwa_plan *plan, const char *command);

#endif
