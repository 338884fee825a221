/* SPDX-License-Identifier: MIT
 *
 * The files of CRIU that niwa reads, as tables of fields. The tables are those of CRIU 4.2.
 */
#include "snapshot/image_private.h"
#include "snapshot/image.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/instance_snapshot.h"
#include "snapshot/refuse.h"

#define FREE_FROM 300   /* where a pid namespace starts again after its largest number */
#define FREE_TO   32768 /* the least pid_max that a kernel has */

#define NUMBER(n)                                                                                                      \
	{                                                                                                              \
		.name = (n), .wire = WIRE_NUMBER                                                                       \
	}
#define REQUIRED(n)                                                                                                    \
	{                                                                                                              \
		.name = (n), .wire = WIRE_NUMBER, .flags = FIELD_REQUIRED                                              \
	}
#define BYTES(n)                                                                                                       \
	{                                                                                                              \
		.name = (n), .wire = WIRE_BYTES                                                                        \
	}

_Static_assert(NIWA_CRIU_FREE_PIDS == NIWA_CRIU_PIDS, "as many as a restore asks for");

static const uint32_t inventory_magic[2] = {0x58313116}, ids_magic[2] = {0x54564319, 0x54432030},
		      files_magic[2] = {0x54564319, 0x56303138}, pstree_magic[2] = {0x54564319, 0x50273030};

enum { INVENTORY_ROOT_IDS = 3 };
static const struct criu_field inventory_fields[] = {
	[1] = REQUIRED("img_version"),
	[2] = NUMBER("fdinfo_per_id"),
	[INVENTORY_ROOT_IDS] = {.name = "root_ids", .wire = WIRE_BYTES, .flags = FIELD_REQUIRED},
	[4] = NUMBER("ns_per_id"),
	[5] = NUMBER("root_cg_set"),
	[6] = NUMBER("lsmtype"),
	[8] = {.name = "dump_uptime", .wire = WIRE_NUMBER, .max = UINT64_MAX},
	[9] = NUMBER("pre_dump_mode"),
	[10] = NUMBER("tcp_close"),
	[11] = NUMBER("network_lock_method"),
	[12] = BYTES("plugins_entry"),
	[13] = BYTES("dump_criu_run_id"),
	[14] = NUMBER("allow_uprobes"),
};

enum { IDS_USER_NS = 10 };
static const struct criu_field ids_fields[] = {
	[1] = REQUIRED("vm_id"),       [2] = REQUIRED("files_id"),
	[3] = REQUIRED("fs_id"),       [4] = REQUIRED("sighand_id"),
	[5] = NUMBER("pid_ns_id"),     [6] = NUMBER("net_ns_id"),
	[7] = NUMBER("ipc_ns_id"),     [8] = NUMBER("uts_ns_id"),
	[9] = NUMBER("mnt_ns_id"),     [IDS_USER_NS] = REQUIRED("user_ns_id"),
	[11] = NUMBER("cgroup_ns_id"), [12] = NUMBER("time_ns_id"),
};

enum { FILE_TYPE = 1, FILE_ID = 2, FILE_REG = 3, FILE_TYPE_REG = 1 };
static const struct criu_field file_fields[] = {
	[FILE_TYPE] = REQUIRED("type"),
	[FILE_ID] = REQUIRED("id"),
	[FILE_REG] = BYTES("reg"),
	[4] = BYTES("isk"),
	[5] = BYTES("nsf"),
	[6] = BYTES("psk"),
	[7] = BYTES("nlsk"),
	[8] = BYTES("efd"),
	[9] = BYTES("epfd"),
	[10] = BYTES("sgfd"),
	[11] = BYTES("tunf"),
	[12] = BYTES("tfd"),
	[13] = BYTES("ify"),
	[14] = BYTES("ffy"),
	[15] = BYTES("ext"),
	[16] = BYTES("usk"),
	[17] = BYTES("fifo"),
	[18] = BYTES("pipe"),
	[19] = BYTES("tty"),
	[20] = BYTES("memfd"),
	[21] = BYTES("bpf"),
	[22] = BYTES("pidfd"),
};

enum { REG_ID = 1, REG_FLAGS = 2, REG_NAME = 6, REG_SIZE = 8, REG_EXT = 9, REG_MODE = 10 };
static const struct criu_field reg_fields[] = {
	[REG_ID] = REQUIRED("id"),
	[REG_FLAGS] = REQUIRED("flags"),
	[3] = {.name = "pos", .wire = WIRE_NUMBER, .flags = FIELD_REQUIRED, .max = UINT64_MAX},
	[5] = {.name = "fown", .wire = WIRE_BYTES, .flags = FIELD_REQUIRED},
	[REG_NAME] = {.name = "name", .wire = WIRE_BYTES, .flags = FIELD_REQUIRED},
	[7] = NUMBER("mnt_id"),
	[REG_SIZE] = {.name = "size", .wire = WIRE_NUMBER, .max = UINT64_MAX},
	[REG_EXT] = NUMBER("ext"),
	[REG_MODE] = NUMBER("mode"),
	[11] = {.name = "build_id", .wire = WIRE_NUMBER, .flags = FIELD_REPEATED},
	[12] = NUMBER("checksum"),
	[13] = NUMBER("checksum_config"),
	[14] = NUMBER("checksum_parameter"),
};

enum { TASK_PID = 1, TASK_PPID, TASK_PGID, TASK_SID, TASK_THREADS };
static const struct criu_field task_fields[] = {
	[TASK_PID] = REQUIRED("pid"),
	[TASK_PPID] = REQUIRED("ppid"),
	[TASK_PGID] = REQUIRED("pgid"),
	[TASK_SID] = REQUIRED("sid"),
	[TASK_THREADS] = {.name = "threads", .wire = WIRE_NUMBER, .flags = FIELD_REPEATED},
};

#define MESSAGE(title, table)                                                                                          \
	{                                                                                                              \
		.name = (title), .fields = (table), .count = NIWA_ARRAY_LEN(table)                                     \
	}
static const struct criu_message inventory_message = MESSAGE("inventory", inventory_fields),
				 ids_message = MESSAGE("ids", ids_fields), file_message = MESSAGE("file", file_fields),
				 reg_message = MESSAGE("regular file", reg_fields),
				 task_message = MESSAGE("process", task_fields);

int criu_read_single(struct criu_bytes file, const uint32_t magics[2], const struct criu_message *kind,
		     struct criu_value *values, struct niwa_error *err)
{
	struct criu_bytes message;
	int r = criu_read_magic(&file, kind->name, magics, err);

	if (r == 0)
		r = criu_next_message(&file, kind->name, &message, err);
	if (r < 0)
		return r;
	if (r == 0 || file.p != file.end)
		return niwa_snapshot_refuse(err, EBADMSG, "%s: not exactly one message", kind->name);
	return criu_read_message(kind, message, values, err);
}

static int one_byte(const struct criu_value *id, struct niwa_error *err)
{
	return id->number < 0x80 ? 0
				 : niwa_snapshot_refuse(err, EBADMSG, "user_ns_id %u is longer than a byte",
							(unsigned)id->number);
}

int niwa_criu_find_user_ns(const void *data, size_t len, size_t *ret_offset, struct niwa_error *err)
{
	struct criu_bytes file = {data, (const uint8_t *)data + len};
	struct criu_value inventory[CRIU_FIELDS_MAX], ids[CRIU_FIELDS_MAX];
	int r = criu_read_single(file, inventory_magic, &inventory_message, inventory, err);

	if (r == 0)
		r = criu_read_message(&ids_message, inventory[INVENTORY_ROOT_IDS].bytes, ids, err);
	if (r == 0)
		r = one_byte(&ids[IDS_USER_NS], err);
	if (r == 0)
		*ret_offset = (size_t)(ids[IDS_USER_NS].at - (const uint8_t *)data);
	return r;
}

int niwa_criu_read_user_ns(const void *data, size_t len, uint32_t *ret, struct niwa_error *err)
{
	struct criu_bytes file = {data, (const uint8_t *)data + len};
	struct criu_value ids[CRIU_FIELDS_MAX];
	int r = criu_read_single(file, ids_magic, &ids_message, ids, err);

	if (r == 0)
		r = one_byte(&ids[IDS_USER_NS], err);
	if (r == 0)
		*ret = (uint32_t)ids[IDS_USER_NS].number;
	return r;
}

/* ---- files.img ---- */

void niwa_criu_files_fini(struct niwa_criu_files *files)
{
	if (!files)
		return;
	for (size_t i = 0; i < files->count; i++)
		free(files->file[i].path);
	free(files->file);
	*files = (struct niwa_criu_files){0};
}

static int add_file(struct niwa_criu_files *files, const struct criu_value *reg, struct niwa_error *err)
{
	const struct criu_bytes name = reg[REG_NAME].bytes;
	size_t len = (size_t)(name.end - name.p);
	struct niwa_criu_file *file;

	if (len == 0 || len >= PATH_MAX || name.p[0] != '/' || memchr(name.p, '\0', len))
		return niwa_snapshot_refuse(err, EBADMSG, "regular file %u: its name is no absolute path",
					    (unsigned)reg[REG_ID].number);
	if (files->count % 64 == 0) {
		void *more = reallocarray(files->file, files->count + 64, sizeof(*files->file));

		if (!more)
			return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list of open files");
		files->file = more;
	}
	file = &files->file[files->count];
	*file = (struct niwa_criu_file){
		.path = strndup((const char *)name.p, len),
		.id = (uint32_t)reg[REG_ID].number,
		.flags = (uint32_t)reg[REG_FLAGS].number,
		.mode = (uint32_t)reg[REG_MODE].number,
		.size = reg[REG_SIZE].number,
	};
	if (!file->path)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list of open files");
	files->count++;
	return 0;
}

/* An entry is of one type and has that type's message, and no other. */
static int read_file(struct criu_bytes entry, struct niwa_criu_files *files, struct niwa_error *err)
{
	struct criu_value values[CRIU_FIELDS_MAX], reg[CRIU_FIELDS_MAX];
	unsigned bodies = 0;
	int r = criu_read_message(&file_message, entry, values, err);

	if (r < 0)
		return r;
	for (size_t i = FILE_REG; i < NIWA_ARRAY_LEN(file_fields); i++)
		bodies += values[i].seen;
	if (bodies != 1 || (values[FILE_TYPE].number == FILE_TYPE_REG) != (values[FILE_REG].seen == 1))
		return niwa_snapshot_refuse(err, EBADMSG, "file %u: its type does not say what it is",
					    (unsigned)values[FILE_ID].number);
	if (!values[FILE_REG].seen)
		return 0;
	r = criu_read_message(&reg_message, values[FILE_REG].bytes, reg, err);
	if (r == 0 && reg[REG_ID].number != values[FILE_ID].number)
		r = niwa_snapshot_refuse(err, EBADMSG, "file %u: two numbers", (unsigned)values[FILE_ID].number);
	if (r < 0 || reg[REG_EXT].number)
		return r; /* of somebody outside: not a path */
	return add_file(files, reg, err);
}

int niwa_criu_read_files(const void *data, size_t len, struct niwa_criu_files *ret, struct niwa_error *err)
{
	struct criu_bytes file = {data, (const uint8_t *)data + len}, entry;
	struct niwa_criu_files files = {0};
	size_t entries = 0;
	int r = criu_read_magic(&file, "files.img", files_magic, err);

	while (r == 0) {
		r = criu_next_message(&file, "files.img", &entry, err);
		if (r <= 0)
			break;
		r = entries++ < NIWA_CRIU_FILES_MAX
			    ? read_file(entry, &files, err)
			    : niwa_snapshot_refuse(err, E2BIG, "more than %d open files", NIWA_CRIU_FILES_MAX);
	}
	if (r < 0)
		niwa_criu_files_fini(&files);
	else
		*ret = files;
	return r;
}

/* ---- pstree.img ---- */

/* Every number below FREE_TO that a restored process needs. */
struct tasks {
	struct niwa_criu_tasks sum;
	bool taken[FREE_TO];
};

static int take_number(struct tasks *t, uint64_t number, struct niwa_error *err)
{
	if (number > INT32_MAX)
		return niwa_snapshot_refuse(err, EBADMSG, "process: number %llu", (unsigned long long)number);
	if (number < FREE_TO)
		t->taken[number] = true;
	return 0;
}

static int take_threads(struct tasks *t, struct criu_bytes message, struct niwa_error *err)
{
	int r = 0, wire;

	while (r == 0 && message.p < message.end) {
		struct criu_value value = {0};
		uint32_t number;

		r = criu_next_field(&message, &number, &wire, &value);
		if (r < 0 || number != TASK_THREADS)
			continue;
		r = take_number(t, value.number, err);
		t->sum.threads++;
	}
	return r;
}

static int read_task(struct criu_bytes message, struct tasks *t, struct niwa_error *err)
{
	struct criu_value task[CRIU_FIELDS_MAX];
	int r = criu_read_message(&task_message, message, task, err);

	if (r < 0)
		return r;
	/* the parent of the first one is outside, and everybody else is below it */
	if (task[TASK_PID].number == 0 || (task[TASK_PPID].number == 0) != (t->sum.processes == 0))
		return niwa_snapshot_refuse(err, EBADMSG, "process %u: not one tree", (unsigned)task[TASK_PID].number);
	if (t->sum.processes++ == 0)
		t->sum.root_pid = (uint32_t)task[TASK_PID].number;
	for (int i = TASK_PID; r == 0 && i <= TASK_SID; i++)
		r = take_number(t, task[i].number, err);
	if (r == 0)
		r = take_threads(t, message, err);
	if (r == 0 && (t->sum.processes > NIWA_CRIU_TASKS_MAX || t->sum.threads > NIWA_CRIU_TASKS_MAX))
		r = niwa_snapshot_refuse(err, E2BIG, "more than %d processes and threads", NIWA_CRIU_TASKS_MAX);
	return r;
}

static int find_free(struct tasks *t, struct niwa_error *err)
{
	unsigned run = 0;

	for (uint32_t i = FREE_FROM; i < FREE_TO; i++) {
		run = t->taken[i] ? 0 : run + 1;
		if (run == NIWA_CRIU_FREE_PIDS) {
			t->sum.free_pid = i + 1 - NIWA_CRIU_FREE_PIDS;
			return 0;
		}
	}
	return niwa_snapshot_refuse(err, E2BIG, "no %d process numbers in a row are free", NIWA_CRIU_FREE_PIDS);
}

int niwa_criu_read_tasks(const void *data, size_t len, struct niwa_criu_tasks *ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) struct tasks *t = niwa_zalloc(sizeof(*t));
	struct criu_bytes file = {data, (const uint8_t *)data + len}, message;
	int r;

	if (!t)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list of processes");
	r = criu_read_magic(&file, "pstree.img", pstree_magic, err);
	while (r == 0) {
		r = criu_next_message(&file, "pstree.img", &message, err);
		if (r <= 0)
			break;
		r = read_task(message, t, err);
	}
	if (r == 0 && t->sum.processes == 0)
		r = niwa_snapshot_refuse(err, EBADMSG, "pstree.img: no process");
	if (r == 0)
		r = find_free(t, err);
	if (r == 0)
		*ret = t->sum;
	return r;
}

/* ---- on the folder ---- */

int criu_load(int images, const char *name, char **ret, size_t *ret_len, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = openat(images, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	NIWA_AUTO(niwa_free_ptr) char *data = NULL;
	struct stat st;
	ssize_t n;

	if (fd < 0 || fstat(fd, &st) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open %s", name);
	if (!S_ISREG(st.st_mode) || st.st_size > NIWA_CRIU_FILE_MAX)
		return niwa_fail(err, NIWA_PERMANENT, EFBIG, "%s: no file of at most %d bytes", name,
				 NIWA_CRIU_FILE_MAX);
	data = niwa_zalloc((size_t)st.st_size + 1);
	if (!data)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read %s", name);
	n = pread(fd, data, (size_t)st.st_size, 0);
	if (n != st.st_size)
		return niwa_fail(err, NIWA_PERMANENT, n < 0 ? errno : EBADMSG, "read %s", name);
	*ret = NIWA_TAKE(data);
	*ret_len = (size_t)n;
	return 0;
}

int niwa_criu_edit(int images, uint32_t root_pid, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *inventory = NULL, *ids = NULL;
	NIWA_AUTO_FD fd = -1;
	size_t inventory_len, ids_len, offset;
	uint32_t user_ns;
	char name[32], byte;
	int r;

	(void)snprintf(name, sizeof(name), "ids-%u.img", root_pid);
	r = criu_load(images, "inventory.img", &inventory, &inventory_len, err);
	if (r == 0)
		r = criu_load(images, name, &ids, &ids_len, err);
	if (r == 0)
		r = niwa_criu_find_user_ns(inventory, inventory_len, &offset, err);
	if (r == 0)
		r = niwa_criu_read_user_ns(ids, ids_len, &user_ns, err);
	if (r < 0)
		return r;
	byte = (char)user_ns;
	if (inventory[offset] == byte)
		return 0;
	fd = openat(images, "inventory.img", O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || pwrite(fd, &byte, 1, (off_t)offset) != 1)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "write inventory.img");
	return 0;
}

int niwa_criu_look(int images, struct niwa_criu_files *ret_files, struct niwa_criu_tasks *ret_tasks,
		   struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *files = NULL, *tasks = NULL;
	size_t files_len, tasks_len;
	int r = criu_load(images, "files.img", &files, &files_len, err);

	if (r == 0)
		r = criu_load(images, "pstree.img", &tasks, &tasks_len, err);
	if (r == 0)
		r = niwa_criu_read_tasks(tasks, tasks_len, ret_tasks, err);
	if (r == 0)
		r = niwa_criu_read_files(files, files_len, ret_files, err);
	if (r < 0)
		return r;
	r = criu_look_at_memory(images, ret_files, err);
	if (r < 0)
		niwa_criu_files_fini(ret_files);
	return r;
}
