/* SPDX-License-Identifier: MIT
 *
 * What a child does not inherit of keep's memory. Each mapping costs at the clone, where it is copied, and again at the
 * exec, where it is taken down; libsystemd, with which keep logs, brings seven libraries of five mappings each.
 * Children call the C library alone. Only what is named here is left out: anything unknown (a sanitizer's) stays.
 */
#include "keep/child.h"

#include <link.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/memory.h"

static bool is_needless(const char *path)
{
	static const char *const names[] = {"libsystemd.so", "libcap.so", "libgcrypt.so",   "liblzma.so",
					    "libzstd.so",    "liblz4.so", "libgpg-error.so"};
	const char *slash = strrchr(path, '/');

	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++)
		if (strncmp(slash ? slash + 1 : path, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static int leave_out(struct dl_phdr_info *info, size_t size, void *arg)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

	(void)size, (void)arg;
	for (int i = 0; is_needless(info->dlpi_name) && i < info->dlpi_phnum; i++) {
		const ElfW(Phdr) *h = &info->dlpi_phdr[i];
		uintptr_t from = (info->dlpi_addr + h->p_vaddr) & ~(page - 1);
		uintptr_t to = (info->dlpi_addr + h->p_vaddr + h->p_memsz + page - 1) & ~(page - 1);

		if (h->p_type == PT_LOAD)
			(void)madvise((void *)from, to - from, MADV_DONTFORK); /* it only saves time */
	}
	return 0;
}

void keep_child_init_memory(void)
{
	(void)dl_iterate_phdr(leave_out, NULL);
}
