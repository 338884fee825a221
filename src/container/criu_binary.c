/* SPDX-License-Identifier: MIT
 *
 * The one thing that has to be known of CRIU's file: that it loads nothing. A program that names an interpreter would
 * get the one of the instance it runs in, which is the tenant's, with the rights of the host's root.
 */
#include "container/instance_snapshot.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <string.h>
#include <unistd.h>

#include "base/fd.h"

#define SEGMENTS_MAX 64

/* 0: static; -ENOEXEC: something else. */
static int look(int fd)
{
	ElfW(Phdr) segments[SEGMENTS_MAX];
	ElfW(Ehdr) head;
	ssize_t len;

	if (pread(fd, &head, sizeof(head), 0) != (ssize_t)sizeof(head) || memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 ||
	    head.e_phentsize != sizeof(segments[0]) || head.e_phnum == 0 || head.e_phnum > SEGMENTS_MAX)
		return -ENOEXEC;
	len = (ssize_t)(head.e_phnum * sizeof(segments[0]));
	if (pread(fd, segments, (size_t)len, (off_t)head.e_phoff) != len)
		return -ENOEXEC;
	for (unsigned i = 0; i < head.e_phnum; i++)
		if (segments[i].p_type == PT_INTERP)
			return -ENOEXEC;
	return 0;
}

int niwa_criu_open(const char *path, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);

	if (fd < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open '%s'", path);
	if (look(fd) < 0)
		return niwa_fail(err, NIWA_PERMANENT, ENOEXEC,
				 "'%s' is no statically linked program (scripts/build-criu makes one)", path);
	return NIWA_TAKE_FD(fd);
}
