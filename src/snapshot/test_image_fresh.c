/* SPDX-License-Identifier: MIT
 *
 * Files that the CRIU of this machine writes: what niwa reads of them is still where its tables say. Needs root.
 * Skipped (77) only where niwa doctor says that there is no CRIU that works.
 */
#include "test_fixture.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/close_range.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "snapshot/image.h"

#define SKIPPED 77

static char criu[PATH_MAX], dir[] = "/tmp/niwa-criu-XXXXXX";

/* What niwa doctor found, or false. */
static bool find_criu(void)
{
	NIWA_AUTO(niwa_free_ptr)
	char *command = niwa_asprintf("'%s' doctor --json criu criu-works 2>/dev/null", getenv("NIWA_TEST_NIWA"));
	char said[8192] = "", *path;
	FILE *f = popen(command, "re");
	size_t n = f ? fread(said, 1, sizeof(said) - 1, f) : 0;

	said[n] = '\0';
	if (f)
		(void)pclose(f);
	path = strstr(said, ", /");
	if (!path || !strstr(said, "is dumped in"))
		return false;
	(void)snprintf(criu, sizeof(criu), "%.*s", (int)strcspn(path + 2, " \""), path + 2);
	return true;
}

/* A session of two processes in a pid namespace of its own, whose end takes everything along. It execs after the mounts
 * were made, and keeps a log open. Leaves the first one's pid in `pid`. */
static int dump(void **state)
{
	static const char inside[] =
		"mount -t tmpfs tmpfs /run; ip link set lo up; touch /run/log; "
		"setsid sh -c 'sleep 601 & exec sleep 600' </dev/null >>/run/log 2>&1 & pid=$!; "
		"until grep -q sleep /proc/$pid/comm; do sleep 0.01; done; echo $pid >$0/pid; "
		"$1 dump -t $pid -D $0 --network-lock skip --manage-cgroups=ignore -v1 -o dump.log || "
		"{ cat $0/dump.log; exit 1; }";
	NIWA_AUTO(niwa_free_ptr) char *command = NULL;

	assert_non_null(mkdtemp(dir));
	command = niwa_asprintf("unshare --mount --pid --net --fork --kill-child --mount-proc --propagation private "
				"sh -euc \"$NIWA_TEST_INSIDE\" %s %s",
				dir, criu);
	/* what we inherited lies on mounts that CRIU does not see */
	assert_int_equal(close_range(3, ~0u, CLOSE_RANGE_CLOEXEC), 0);
	assert_int_equal(setenv("NIWA_TEST_INSIDE", inside, 1), 0);
	return system(command) == 0 ? 0 : -1;
}

static int clean(void **state)
{
	return niwa_remove_tree(dir, NULL);
}

static uint32_t root_pid(void)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/pid", dir);
	char text[32];
	uint64_t pid = 0;

	assert_true(niwa_file_read(path, text, sizeof(text)) > 0);
	text[strcspn(text, "\n")] = '\0';
	assert_int_equal(niwa_parse_u64(text, UINT32_MAX, &pid), 0);
	return (uint32_t)pid;
}

static void its_processes_and_files_are_found(void **state)
{
	NIWA_AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct niwa_criu_files files;
	struct niwa_criu_tasks tasks;
	struct niwa_error err = {0};
	unsigned programs = 0, logs = 0;

	if (niwa_criu_look(fd, &files, &tasks, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(tasks.root_pid, root_pid());
	assert_int_equal(tasks.processes, 2);
	assert_int_equal(tasks.threads, 2);
	assert_int_equal(tasks.free_pid, 300);
	for (size_t i = 0; i < files.count; i++) {
		const char *name = strrchr(files.file[i].path, '/');

		programs += strcmp(name, "/sleep") == 0 || strstr(name, "busybox") || strstr(name, "coreutils");
		logs += strcmp(files.file[i].path, "/run/log") == 0 && (files.file[i].flags & O_APPEND) &&
			(files.file[i].flags & O_ACCMODE) == O_WRONLY;
	}
	assert_true(programs > 0 && logs > 0);
	niwa_criu_files_fini(&files);
}

static void its_inventory_can_be_edited(void **state)
{
	NIWA_AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD inventory = openat(fd, "inventory.img", O_RDWR | O_CLOEXEC);
	struct niwa_error err = {0};
	uint8_t data[4096], edited[4096], other = 77;
	size_t offset = 0;
	ssize_t len = pread(inventory, data, sizeof(data), 0);

	assert_true(len > 0);
	if (niwa_criu_find_user_ns(data, (size_t)len, &offset, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(pwrite(inventory, &other, 1, (off_t)offset), 1);
	if (niwa_criu_edit(fd, root_pid(), &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(pread(inventory, edited, sizeof(edited), 0), len);
	assert_memory_equal(edited, data, len); /* here both are CRIU's own user namespace */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(its_processes_and_files_are_found),
		cmocka_unit_test(its_inventory_can_be_edited),
	};

	if (!find_criu())
		return SKIPPED;
	return cmocka_run_group_tests(tests, dump, clean);
}
