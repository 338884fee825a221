/* SPDX-License-Identifier: MIT
 *
 * Tables of text that fit the terminal: first shrinkable columns are cut, then the least important
 * columns are left out. In a pipe nothing is cut. Control bytes in cells become '?', so that nothing an app
 * or a peer said can steer a terminal.
 */
#ifndef NIWA_CLI_TABLE_H
#define NIWA_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define NIWA_COLUMNS_MAX 12

struct niwa_column {
	const char *title;
	bool right;          /* aligned to the right */
	unsigned shrink_to;  /* may be cut to this width; 0: never cut */
	unsigned importance; /* 0: never left out; else the highest goes first */
};

struct niwa_table; /* opaque */

struct niwa_table *niwa_table_new(const struct niwa_column *columns, size_t count); /* columns are borrowed */
void niwa_table_free(struct niwa_table **table);
/* Adds a row; NULL cells are "-". After a failure (memory) the table prints nothing and says so. */
void niwa_table_row(struct niwa_table *table, const char *const *cells);
size_t niwa_table_rows(const struct niwa_table *table);
/* width 0: unbounded. Returns 0 or -ENOMEM. */
int niwa_table_print(const struct niwa_table *table, FILE *out, unsigned width);

/* Width for tables on this descriptor: $COLUMNS when it is a positive number, else the terminal's, else 0. */
unsigned niwa_terminal_width(int fd);
unsigned niwa_terminal_height(int fd); /* $LINES, the terminal's, else 24 */

#endif
