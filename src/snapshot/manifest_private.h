/* SPDX-License-Identifier: MIT
 *
 * Foreign text in the small text files of a snapshot: blanks, control characters, backslashes and what is not ASCII are
 * written as \xNN.
 */
#ifndef NIWA_SNAPSHOT_MANIFEST_PRIVATE_H
#define NIWA_SNAPSHOT_MANIFEST_PRIVATE_H

#include <stddef.h>

#include "base/text.h"

void manifest_add_escaped(struct niwa_text *out, const char *s);
/* -EBADMSG for what the other does not write, or too long a text. */
int manifest_unescape(const char *s, char *ret, size_t size);

#endif
