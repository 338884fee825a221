/* SPDX-License-Identifier: MIT
 *
 * Where an app file declares what somebody else complains about: the engine knows apps and keys, people look at files
 * and lines.
 */
#ifndef NIWA_SPEC_FILE_PLACE_H
#define NIWA_SPEC_FILE_PLACE_H

#include <stddef.h>
#include <stdint.h>

#include <jansson.h>

#define NIWA_PLACE_MAX 160

struct niwa_file_places; /* opaque */

/* Reads the file again; NULL when that is not possible (standard input, it has changed). */
struct niwa_file_places *niwa_file_places_open(const char *path);
void niwa_file_places_free(struct niwa_file_places **places);

/* record: the app as niwa_file_load gave it, key: of the record ("volumes[0].from"). Returns the line and the key as
 * the file has it ("apps[2].volumes[1].from"), or 0. */
uint32_t niwa_file_places_find(const struct niwa_file_places *places, const json_t *record, const char *key,
			       char ret_key[NIWA_PLACE_MAX]);

#endif
