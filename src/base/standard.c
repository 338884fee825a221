/* SPDX-License-Identifier: MIT
 *
 * Holds the numbers of the standard streams. niwa-init links it without the rest: libc only.
 */
#include "base/standard.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int niwa_standard_hold(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) >= 0)
			continue;
		/* Children inherit it as they would inherit a stream. The lowest free number is this one. */
		if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) < 0)
			return -errno;
	}
	return 0;
}
