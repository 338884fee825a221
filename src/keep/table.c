/* SPDX-License-Identifier: MIT
 *
 * Instances and stored descriptors. The tables are one mapping that children do not inherit: a clone then costs the
 * same with ten thousand instances as with none, and no child ever has another's tag in its memory.
 */
#include "keep/keep.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "base/fd.h"

#define PIDS (4u * 1024 * 1024) /* PID_MAX_LIMIT of 64-bit Linux */

static struct {
	uint64_t ids[NIWA_KEEP_INSTANCES]; /* dense, because they are searched */
	uint8_t unsent[NIWA_KEEP_INSTANCES];
	uint16_t by_pid[PIDS]; /* index + 1; touched pages only are memory */
	struct keep_instance instances[NIWA_KEEP_INSTANCES];
	struct keep_stored stored[NIWA_KEEP_FDS];
	unsigned end, count, unsent_count;
} * table;

_Static_assert(NIWA_KEEP_INSTANCES < UINT16_MAX, "by_pid holds index + 1");

int keep_table_init(void)
{
	table = mmap(NULL, sizeof(*table), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (table == MAP_FAILED)
		return -errno;
	return madvise(table, sizeof(*table), MADV_DONTFORK) < 0 ? -errno : 0;
}

unsigned keep_table_end(void)
{
	return table->end;
}

unsigned keep_table_count(void)
{
	return table->count;
}

struct keep_instance *keep_instance_at(unsigned index)
{
	return &table->instances[index];
}

uint64_t keep_instance_id(unsigned index)
{
	return table->ids[index];
}

int keep_instance_find(uint64_t id)
{
	for (unsigned i = 0; i < table->end; i++)
		if (table->ids[i] == id)
			return (int)i;
	return -1;
}

int keep_instance_add(uint64_t id)
{
	int index = keep_instance_find(0);
	struct keep_instance *in;

	if (index < 0 && table->end == NIWA_KEEP_INSTANCES)
		return -ENOSPC;
	if (index < 0)
		index = (int)table->end++;
	table->ids[index] = id;
	table->count++;
	in = &table->instances[index];
	*in = (struct keep_instance){.state = KEEP_STARTING, .pidfd = -1};
	for (int i = 0; i < NIWA_PLAN_KEPT_MAX; i++)
		in->kept[i] = -1;
	return index;
}

void keep_instance_drop(unsigned index)
{
	struct keep_instance *in = &table->instances[index];

	niwa_fd_close(&in->pidfd);
	for (int i = 0; i < NIWA_PLAN_KEPT_MAX; i++)
		niwa_fd_close(&in->kept[i]);
	keep_told(index, UINT8_MAX);
	in->state = KEEP_FREE;
	table->ids[index] = 0;
	table->count--;
	while (table->end > 0 && table->ids[table->end - 1] == 0)
		table->end--;
}

void keep_pid_set(pid_t pid, int index)
{
	if (pid > 0 && (unsigned)pid < PIDS)
		table->by_pid[pid] = (uint16_t)(index + 1);
}

int keep_pid_find(pid_t pid)
{
	return pid > 0 && (unsigned)pid < PIDS ? (int)table->by_pid[pid] - 1 : -1;
}

void keep_tell(unsigned index, unsigned bits)
{
	if (!table->unsent[index])
		table->unsent_count++;
	table->unsent[index] |= (uint8_t)bits;
}

unsigned keep_unsent(unsigned index)
{
	return table->unsent[index];
}

void keep_told(unsigned index, unsigned bits)
{
	if (!table->unsent[index])
		return;
	table->unsent[index] &= (uint8_t)~bits;
	if (!table->unsent[index])
		table->unsent_count--;
}

bool keep_any_unsent(void)
{
	return table->unsent_count > 0;
}

struct keep_stored *keep_stored_at(unsigned index)
{
	return index < NIWA_KEEP_FDS ? &table->stored[index] : NULL;
}

void keep_fd_lift(int *fd)
{
	int high = fcntl(*fd, F_DUPFD_CLOEXEC, KEEP_OWN_FDS);

	if (high < 0)
		return; /* it works where it is, starts only get slower */
	niwa_fd_close(fd);
	*fd = high;
}

int keep_store(const char *name, int fd)
{
	struct keep_stored *free_one = NULL, *st = NULL;

	for (unsigned i = 0; i < NIWA_KEEP_FDS && !st; i++) {
		if (strcmp(table->stored[i].name, name) == 0)
			st = &table->stored[i];
		else if (!free_one && !table->stored[i].name[0])
			free_one = &table->stored[i];
	}
	if (st)
		niwa_fd_close(&st->fd);
	else
		st = free_one;
	if (!st) {
		niwa_fd_close(&fd);
		return -ENOSPC;
	}
	memcpy(st->name, name, strlen(name) + 1);
	keep_fd_lift(&fd);
	st->fd = fd;
	return 0;
}

void keep_unstore(const char *name)
{
	for (unsigned i = 0; i < NIWA_KEEP_FDS; i++) {
		struct keep_stored *st = &table->stored[i];

		if (strcmp(st->name, name) != 0)
			continue;
		niwa_fd_close(&st->fd);
		st->name[0] = '\0';
	}
}
