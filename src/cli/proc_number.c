/* SPDX-License-Identifier: MIT
 *
 * Numbers in /proc and /sys.
 */
#include "cli/proc_number.h"

#include <string.h>

#include "base/fd.h"
#include "base/text.h"

uint64_t niwa_proc_number(const char *path, uint64_t preset)
{
	char text[128];
	uint64_t value;

	if (niwa_file_read(path, text, sizeof(text)) <= 0)
		return preset;
	text[strcspn(text, " \t\n")] = '\0';
	if (!strcmp(text, "max"))
		return UINT64_MAX;
	return niwa_parse_u64(text, UINT64_MAX, &value) == 0 ? value : preset;
}
