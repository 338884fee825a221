/* SPDX-License-Identifier: MIT
 *
 * Tables: cells are copied, widths are decided once at printing.
 */
#include "cli/table.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/memory.h"
#include "base/text.h"

#define GAP 2 /* blanks between columns */

struct niwa_table {
	const struct niwa_column *columns;
	size_t count, rows, room;
	char **cells; /* rows * count */
	bool failed;
};

struct niwa_table *niwa_table_new(const struct niwa_column *columns, size_t count)
{
	struct niwa_table *t = niwa_zalloc(sizeof(*t));

	if (t) {
		t->columns = columns;
		t->count = count;
	}
	return t;
}

void niwa_table_free(struct niwa_table **table)
{
	struct niwa_table *t = *table;

	if (!t)
		return;
	for (size_t i = 0; i < t->rows * t->count; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
	*table = NULL;
}

size_t niwa_table_rows(const struct niwa_table *table)
{
	return table->rows;
}

static char *clean_copy(const char *cell)
{
	char *copy = niwa_strdup(cell && *cell ? cell : "-");

	for (char *p = copy; p && *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return copy;
}

static bool make_room(struct niwa_table *t)
{
	size_t room = t->room ? t->room * 2 : 32;
	char **cells;

	if (t->rows < t->room)
		return true;
	cells = reallocarray(t->cells, room * t->count, sizeof(*cells));
	if (!cells)
		return false;
	t->cells = cells;
	t->room = room;
	return true;
}

void niwa_table_row(struct niwa_table *table, const char *const *cells)
{
	char **row;

	if (table->failed || !make_room(table)) {
		table->failed = true;
		return;
	}
	row = table->cells + table->rows * table->count;
	for (size_t i = 0; i < table->count; i++) {
		row[i] = clean_copy(cells[i]);
		if (!row[i])
			table->failed = true;
	}
	table->rows++;
}

/* Characters, not bytes: continuation bytes of UTF-8 take no room. */
static unsigned text_width(const char *s)
{
	unsigned n = 0;

	for (; *s; s++)
		n += ((unsigned char)*s & 0xc0) != 0x80;
	return n;
}

static unsigned total_width(const struct niwa_table *t, const unsigned *width)
{
	unsigned total = 0;

	for (size_t i = 0; i < t->count; i++)
		if (width[i])
			total += width[i] + (total ? GAP : 0);
	return total;
}

static void natural_widths(const struct niwa_table *t, unsigned *width)
{
	for (size_t c = 0; c < t->count; c++)
		width[c] = text_width(t->columns[c].title);
	for (size_t i = 0; i < t->rows * t->count; i++) {
		unsigned w = text_width(t->cells[i]);

		if (w > width[i % t->count])
			width[i % t->count] = w;
	}
}

/* Takes what is too much from the widest column that may shrink. False: nothing can shrink any more. */
static bool shrink_one(const struct niwa_table *t, unsigned *width, unsigned excess)
{
	size_t best = t->count;
	unsigned room;

	for (size_t c = 0; c < t->count; c++)
		if (t->columns[c].shrink_to && width[c] > t->columns[c].shrink_to &&
		    (best == t->count || width[c] > width[best]))
			best = c;
	if (best == t->count)
		return false;
	room = width[best] - t->columns[best].shrink_to;
	width[best] -= room < excess ? room : excess;
	return true;
}

static bool drop_one(const struct niwa_table *t, unsigned *width)
{
	size_t worst = t->count;

	for (size_t c = 0; c < t->count; c++)
		if (width[c] && t->columns[c].importance &&
		    (worst == t->count || t->columns[c].importance > t->columns[worst].importance))
			worst = c;
	if (worst == t->count)
		return false;
	width[worst] = 0;
	return true;
}

static void fit(const struct niwa_table *t, unsigned *width, unsigned limit)
{
	unsigned natural[NIWA_COLUMNS_MAX];

	for (;;) {
		memcpy(natural, width, sizeof(natural));
		while (total_width(t, width) > limit)
			if (!shrink_one(t, width, total_width(t, width) - limit))
				break;
		if (total_width(t, width) <= limit)
			return;
		memcpy(width, natural, sizeof(natural)); /* leave a column out before cutting the others */
		if (!drop_one(t, width))
			break;
	}
	while (total_width(t, width) > limit && shrink_one(t, width, total_width(t, width) - limit))
		;
}

static void add_cell(struct niwa_text *line, const char *cell, unsigned width, bool right, bool last)
{
	unsigned have = text_width(cell), pad = have < width ? width - have : 0;

	if (right)
		niwa_text_addf(line, "%*s", (int)pad, "");
	if (have <= width) {
		niwa_text_add(line, cell);
	} else {
		size_t bytes = 0;

		for (unsigned n = 0; cell[bytes]; bytes++) {
			n += ((unsigned char)cell[bytes] & 0xc0) != 0x80;
			if (n >= width)
				break;
		}
		niwa_text_add_bytes(line, cell, bytes);
		niwa_text_add(line, "~");
	}
	if (!right && !last)
		niwa_text_addf(line, "%*s", (int)pad, "");
}

static void add_line(struct niwa_text *out, const struct niwa_table *t, const unsigned *width, char *const *cells)
{
	bool first = true;
	size_t last = 0;

	for (size_t c = 0; c < t->count; c++)
		if (width[c])
			last = c;
	for (size_t c = 0; c < t->count; c++) {
		const char *cell = cells ? cells[c] : t->columns[c].title;

		if (!width[c])
			continue;
		if (!first)
			niwa_text_addf(out, "%*s", GAP, "");
		first = false;
		add_cell(out, cell, width[c], t->columns[c].right, c == last);
	}
	niwa_text_add(out, "\n");
}

int niwa_table_print(const struct niwa_table *table, FILE *out, unsigned width)
{
	unsigned widths[NIWA_COLUMNS_MAX] = {0};
	struct niwa_text text = {0};
	int r = 0;

	if (table->failed || table->count > NIWA_COLUMNS_MAX)
		return -ENOMEM;
	natural_widths(table, widths);
	if (width)
		fit(table, widths, width);
	add_line(&text, table, widths, NULL);
	for (size_t i = 0; i < table->rows; i++)
		add_line(&text, table, widths, table->cells + i * table->count);
	if (text.failed)
		r = -ENOMEM;
	else
		(void)fwrite(text.data, 1, text.len, out); /* checked once when standard output is closed */
	niwa_text_fini(&text);
	return r;
}

static unsigned from_environment(const char *name)
{
	const char *value = getenv(name);
	uint64_t n;

	return value && niwa_parse_u64(value, 100000, &n) == 0 ? (unsigned)n : 0;
}

unsigned niwa_terminal_width(int fd)
{
	struct winsize size;
	unsigned width = from_environment("COLUMNS");

	if (width)
		return width;
	return ioctl(fd, TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

unsigned niwa_terminal_height(int fd)
{
	struct winsize size;
	unsigned height = from_environment("LINES");

	if (height)
		return height;
	return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_row ? size.ws_row : 24;
}
