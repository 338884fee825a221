/* SPDX-License-Identifier: MIT
 *
 * mm-PID.img: which files a process has mapped so that what it writes to memory is written to the file. The tables are
 * those of CRIU 4.2.
 */
#include "snapshot/image_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"

#define STATUS_FILE_SHARED (1u << 7) /* VMA_FILE_SHARED of CRIU's image.h */

#define LARGE(n)                                                                                                       \
	{                                                                                                              \
		.name = (n), .wire = WIRE_NUMBER, .flags = FIELD_REQUIRED, .max = UINT64_MAX                           \
	}
#define REQUIRED(n)                                                                                                    \
	{                                                                                                              \
		.name = (n), .wire = WIRE_NUMBER, .flags = FIELD_REQUIRED                                              \
	}

static const uint32_t memory_magic[2] = {0x54564319, 0x57492820};

enum { MEMORY_AREAS = 14 };
static const struct criu_field memory_fields[] = {
	[1] = LARGE("mm_start_code"),
	[2] = LARGE("mm_end_code"),
	[3] = LARGE("mm_start_data"),
	[4] = LARGE("mm_end_data"),
	[5] = LARGE("mm_start_stack"),
	[6] = LARGE("mm_start_brk"),
	[7] = LARGE("mm_brk"),
	[8] = LARGE("mm_arg_start"),
	[9] = LARGE("mm_arg_end"),
	[10] = LARGE("mm_env_start"),
	[11] = LARGE("mm_env_end"),
	[12] = REQUIRED("exe_file_id"),
	[13] = {.name = "mm_saved_auxv", .wire = WIRE_NUMBER, .flags = FIELD_REPEATED, .max = UINT64_MAX},
	[MEMORY_AREAS] = {.name = "vmas", .wire = WIRE_BYTES, .flags = FIELD_REPEATED},
	[15] = {.name = "dumpable", .wire = WIRE_NUMBER, .max = UINT64_MAX},
	[16] = {.name = "aios", .wire = WIRE_BYTES, .flags = FIELD_REPEATED},
	[17] = {.name = "thp_disabled", .wire = WIRE_NUMBER},
};

enum { AREA_FILE = 4, AREA_PROT = 5, AREA_STATUS = 7, AREA_FDFLAGS = 10 };
static const struct criu_field area_fields[] = {
	[1] = LARGE("start"),
	[2] = LARGE("end"),
	[3] = LARGE("pgoff"),
	[AREA_FILE] = LARGE("shmid"),
	[AREA_PROT] = REQUIRED("prot"),
	[6] = REQUIRED("flags"),
	[AREA_STATUS] = REQUIRED("status"),
	[8] = LARGE("fd"),
	[9] = {.name = "madv", .wire = WIRE_NUMBER, .max = UINT64_MAX},
	[AREA_FDFLAGS] = {.name = "fdflags", .wire = WIRE_NUMBER},
};

static const struct criu_message memory_message = {.name = "memory",
						   .fields = memory_fields,
						   .count = NIWA_ARRAY_LEN(memory_fields)},
				 area_message = {.name = "mapping",
						 .fields = area_fields,
						 .count = NIWA_ARRAY_LEN(area_fields)};

static int read_area(struct criu_bytes message, struct niwa_criu_files *files, struct niwa_error *err)
{
	struct criu_value area[CRIU_FIELDS_MAX];
	int r = criu_read_message(&area_message, message, area, err);

	if (r < 0 || !(area[AREA_STATUS].number & STATUS_FILE_SHARED))
		return r;
	/* what was opened for writing can be made writable at any time */
	if (!(area[AREA_PROT].number & PROT_WRITE) && (area[AREA_FDFLAGS].number & O_ACCMODE) != O_RDWR)
		return 0;
	for (size_t i = 0; i < files->count; i++)
		if (files->file[i].id == area[AREA_FILE].number)
			files->file[i].written_in_memory = true;
	return 0;
}

static int read_areas(struct criu_bytes message, struct niwa_criu_files *files, struct niwa_error *err)
{
	int r = 0, wire;

	while (r == 0 && message.p < message.end) {
		struct criu_value value = {0};
		uint32_t number;

		r = criu_next_field(&message, &number, &wire, &value); /* it was read before */
		if (r == 0 && number == MEMORY_AREAS)
			r = read_area(value.bytes, files, err);
	}
	return r;
}

int niwa_criu_read_memory(const void *data, size_t len, struct niwa_criu_files *files, struct niwa_error *err)
{
	struct criu_bytes file = {data, (const uint8_t *)data + len}, message;
	struct criu_value memory[CRIU_FIELDS_MAX];
	int r = criu_read_single(file, memory_magic, &memory_message, memory, err);

	if (r == 0)
		r = criu_read_magic(&file, "memory", memory_magic, err);
	if (r == 0)
		r = criu_next_message(&file, "memory", &message, err);
	return r <= 0 ? r : read_areas(message, files, err);
}

static bool is_memory(const char *name)
{
	char digits[16];
	int n = 0;

	return sscanf(name, "mm-%15[0-9].img%n", digits, &n) == 1 && n > 0 && name[n] == '\0';
}

static int look_at(int images, const char *name, struct niwa_criu_files *files, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *data = NULL;
	size_t len;
	int r = criu_load(images, name, &data, &len, err);

	if (r == 0)
		r = niwa_criu_read_memory(data, len, files, err);
	return r < 0 ? niwa_fail_in(err, r, "%s", name) : 0;
}

int criu_look_at_memory(int images, struct niwa_criu_files *files, struct niwa_error *err)
{
	int fd = openat(images, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), r = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *entry;

	if (!dir) {
		niwa_fd_close(&fd);
		return niwa_fail(err, NIWA_TEMPORARY, errno, "read a folder of images");
	}
	while (r == 0 && (errno = 0, entry = readdir(dir)))
		if (is_memory(entry->d_name))
			r = look_at(images, entry->d_name, files, err);
	if (r == 0 && errno)
		r = niwa_fail(err, NIWA_TEMPORARY, errno, "read a folder of images");
	(void)closedir(dir);
	return r;
}
