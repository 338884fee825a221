/* SPDX-License-Identifier: MIT
 *
 * JSON printed for people: "key  value" lines, nested by indentation. Members whose name ends in _us or _bytes
 * are printed in human units under the shorter name.
 */
#ifndef NIWA_CLI_TREE_H
#define NIWA_CLI_TREE_H

#include <stdio.h>

#include <jansson.h>

/* An object or array, each line indented by `indent` blanks. Control bytes become '?'. */
void niwa_tree_print(FILE *out, const json_t *value, unsigned indent);

#endif
