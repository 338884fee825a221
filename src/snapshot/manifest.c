/* SPDX-License-Identifier: MIT
 *
 * The manifest as text. Its single values are a table, from which it is written and read, in that order.
 */
#include "snapshot/manifest.h"

#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nettle/sha2.h>

#include "base/memory.h"
#include "snapshot/manifest_private.h"
#include "snapshot/refuse.h"

#define FIRST_LINE "niwa-snapshot 2"
#define SUM_WORD   "sum "
#define SUM_LINE   (sizeof(SUM_WORD) - 1 + 2 * SHA256_DIGEST_SIZE + 1)

enum value_kind { VALUE_U32, VALUE_U64, VALUE_I64 };

#define VALUE(label, member, what)                                                                                     \
	{                                                                                                              \
		.name = (label), .kind = (what), .offset = offsetof(struct niwa_manifest, member)                      \
	}
#define OPTIONAL(label, member)                                                                                        \
	{                                                                                                              \
		.name = (label), .kind = VALUE_U64, .optional = true, .offset = offsetof(struct niwa_manifest, member) \
	}
static const struct {
	const char *name;
	enum value_kind kind;
	bool optional; /* VALUE_U64: not there when it is 0 */
	size_t offset;
} values[] = {
	VALUE("root-pid", root_pid, VALUE_U32),
	VALUE("free-pid", free_pid, VALUE_U32),
	VALUE("log-pipe", log_pipe, VALUE_U64),
	VALUE("monotonic-ns", monotonic_ns, VALUE_I64),
	VALUE("boottime-ns", boottime_ns, VALUE_I64),
	VALUE("taken-us", taken_us, VALUE_U64),
	VALUE("cold-us", cold_us, VALUE_U64),
	VALUE("still-us", still_us, VALUE_U64),
	VALUE("image-bytes", image_bytes, VALUE_U64),
	VALUE("layer-bytes", layer_bytes, VALUE_U64),
	VALUE("shm-bytes", shm_bytes, VALUE_U64),
	VALUE("layer-entries", layer_entries, VALUE_U32),
	VALUE("shm-entries", shm_entries, VALUE_U32),
	VALUE("app-id", app_id, VALUE_U64),
	VALUE("tenant-id", tenant_id, VALUE_U32),
	VALUE("trees", trees, VALUE_U64),
	VALUE("print", print[0], VALUE_U64),
	VALUE("print-too", print[1], VALUE_U64),
	OPTIONAL("age-us", age_us),
	OPTIONAL("host-us", host_us),
	OPTIONAL("boot", boot),
};
static const char *const kinds[] = {[NIWA_KIND_READY] = "ready", [NIWA_KIND_MOMENT] = "moment"};
static const char *const scopes[] = {[NIWA_SCOPE_APP] = "app", [NIWA_SCOPE_SHARED] = "shared"};

void niwa_manifest_fini(struct niwa_manifest *m)
{
	if (!m)
		return;
	for (size_t i = 0; i < m->file_count; i++)
		free(m->files[i].path);
	for (size_t i = 0; i < m->part_count; i++)
		free(m->parts[i].path);
	free(m->files);
	free(m->parts);
	*m = (struct niwa_manifest){0};
}

/* Room for one more, doubled as it grows. */
static int grow(void **array, size_t count, size_t size, size_t max, const char *what, struct niwa_error *err)
{
	void *more;

	if (count >= max)
		return niwa_snapshot_refuse(err, E2BIG, "snapshot: more than %zu %s", max, what);
	if (count >= 16 ? count & (count - 1) : count > 0)
		return 0;
	more = reallocarray(*array, count ? 2 * count : 16, size);
	if (!more)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "snapshot: list of %s", what);
	*array = more;
	return 0;
}

static int check_path(const char *path, bool absolute, struct niwa_error *err)
{
	size_t len = strnlen(path, PATH_MAX);

	if (len == 0 || len == PATH_MAX || (path[0] == '/') != absolute)
		return niwa_fail(err, NIWA_PERMANENT, EINVAL, "snapshot: a path that is empty, too long or not %s",
				 absolute ? "absolute" : "relative");
	return 0;
}

int niwa_manifest_add_file(struct niwa_manifest *m, const struct niwa_manifest_file *file, struct niwa_error *err)
{
	void *array = m->files;
	int r = check_path(file->path, true, err);

	if (r == 0)
		r = grow(&array, m->file_count, sizeof(*m->files), NIWA_MANIFEST_FILES_MAX, "open files", err);
	m->files = array;
	if (r < 0)
		return r;
	m->files[m->file_count] = *file;
	m->files[m->file_count].path = strdup(file->path);
	if (!m->files[m->file_count].path)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "snapshot: list of open files");
	m->file_count++;
	return 0;
}

int niwa_manifest_add_part(struct niwa_manifest *m, const struct niwa_manifest_part *part, struct niwa_error *err)
{
	void *array = m->parts;
	int r = check_path(part->path, false, err);

	if (r == 0)
		r = grow(&array, m->part_count, sizeof(*m->parts), NIWA_MANIFEST_PARTS_MAX, "files", err);
	m->parts = array;
	if (r < 0)
		return r;
	m->parts[m->part_count] = *part;
	m->parts[m->part_count].path = strdup(part->path);
	if (!m->parts[m->part_count].path)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "snapshot: list of files");
	m->part_count++;
	return 0;
}

/* ---- writing ---- */

void manifest_add_escaped(struct niwa_text *out, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c <= 0x20 || c >= 0x7f || c == '\\')
			niwa_text_addf(out, "\\x%02x", c);
		else
			niwa_text_add_bytes(out, s, 1);
	}
}

static void add_hex(struct niwa_text *out, const uint8_t digest[SHA256_DIGEST_SIZE])
{
	for (size_t i = 0; i < SHA256_DIGEST_SIZE; i++)
		niwa_text_addf(out, "%02x", digest[i]);
}

static void add_values(struct niwa_text *out, const struct niwa_manifest *m)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(values); i++) {
		const char *at = (const char *)m + values[i].offset;

		if (values[i].optional && *(const uint64_t *)(const void *)at == 0)
			continue;
		niwa_text_addf(out, "%s ", values[i].name);
		if (values[i].kind == VALUE_U32)
			niwa_text_addf(out, "%" PRIu32 "\n", *(const uint32_t *)(const void *)at);
		else if (values[i].kind == VALUE_U64)
			niwa_text_addf(out, "%" PRIu64 "\n", *(const uint64_t *)(const void *)at);
		else
			niwa_text_addf(out, "%" PRId64 "\n", *(const int64_t *)(const void *)at);
	}
}

static void add_lists(struct niwa_text *out, const struct niwa_manifest *m)
{
	for (size_t i = 0; i < m->file_count; i++) {
		const struct niwa_manifest_file *f = &m->files[i];

		niwa_text_addf(out, "file %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRId64 " %" PRId64 " ", f->device,
			       f->inode, f->size, f->mtime_ns, f->ctime_ns);
		manifest_add_escaped(out, f->path);
		niwa_text_add(out, "\n");
	}
	for (size_t i = 0; i < m->part_count; i++) {
		niwa_text_addf(out, "part %" PRIu64 " ", m->parts[i].size);
		add_hex(out, m->parts[i].sha256);
		niwa_text_add(out, " ");
		manifest_add_escaped(out, m->parts[i].path);
		niwa_text_add(out, "\n");
	}
}

static void digest_of(const char *data, size_t len, uint8_t ret[SHA256_DIGEST_SIZE])
{
	struct sha256_ctx hash;

	sha256_init(&hash);
	sha256_update(&hash, len, (const uint8_t *)data);
	sha256_digest(&hash, SHA256_DIGEST_SIZE, ret);
}

int niwa_manifest_write(const struct niwa_manifest *m, struct niwa_text *out, struct niwa_error *err)
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct niwa_snapshot_key key;
	size_t begin = out->len;
	int r = niwa_snapshot_key_parse(m->key.hex, &key, err);

	if (r < 0)
		return r;
	niwa_text_addf(out, FIRST_LINE "\nkey %s\nkind %s\nscope %s\napp ", m->key.hex, kinds[m->kind],
		       scopes[m->scope]);
	manifest_add_escaped(out, m->app);
	niwa_text_add(out, "\n");
	add_values(out, m);
	add_lists(out, m);
	if (out->failed)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "manifest");
	digest_of(out->data + begin, out->len - begin, digest);
	niwa_text_add(out, SUM_WORD);
	add_hex(out, digest);
	niwa_text_add(out, "\n");
	if (out->failed)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "manifest");
	if (out->len - begin > NIWA_MANIFEST_MAX)
		return niwa_snapshot_refuse(err, E2BIG, "manifest of %zu bytes", out->len - begin);
	return 0;
}

/* ---- reading ---- */

/* A line at a time; words are split off it. Points into a terminated copy. */
struct reader {
	char *next, *line;
	unsigned number;
	struct niwa_error *err;
};

static int bad(const struct reader *rd, const char *what)
{
	return niwa_snapshot_refuse(rd->err, EBADMSG, "manifest: line %u: %s", rd->number, what);
}

static int next_line(struct reader *rd)
{
	char *end = strchr(rd->next, '\n');

	rd->number++;
	if (!end)
		return bad(rd, "does not end");
	*end = '\0';
	rd->line = rd->next;
	rd->next = end + 1;
	return 0;
}

/* The next word of the line; "" when there is none. */
static const char *word(struct reader *rd)
{
	char *begin = rd->line, *end = strchrnul(begin, ' ');

	rd->line = *end ? end + 1 : end;
	*end = '\0';
	return begin;
}

static int expect(struct reader *rd, const char *name)
{
	return strcmp(word(rd), name) == 0 ? 0 : bad(rd, "another word is expected at its beginning");
}

static int read_u64(struct reader *rd, uint64_t max, uint64_t *ret)
{
	return niwa_parse_u64(word(rd), max, ret) < 0 ? bad(rd, "not a number, or too large") : 0;
}

static int read_i64(struct reader *rd, int64_t *ret)
{
	const char *text = word(rd);
	uint64_t n;
	bool minus = *text == '-';

	if (niwa_parse_u64(text + minus, INT64_MAX, &n) < 0)
		return bad(rd, "not a number, or too large");
	*ret = minus ? -(int64_t)n : (int64_t)n;
	return 0;
}

static int read_hex(const char *text, uint8_t *ret, size_t count)
{
	static const char digits[] = "0123456789abcdef";

	if (strlen(text) != 2 * count || strspn(text, digits) != 2 * count)
		return -EBADMSG;
	for (size_t i = 0; i < count; i++)
		ret[i] = (uint8_t)((strchr(digits, text[2 * i]) - digits) << 4 |
				   (strchr(digits, text[2 * i + 1]) - digits));
	return 0;
}

int manifest_unescape(const char *s, char *ret, size_t size)
{
	size_t n = 0;

	for (; *s; n++) {
		uint8_t byte = (uint8_t)*s;

		if (n + 1 >= size || byte <= 0x20 || byte >= 0x7f)
			return -EBADMSG;
		if (*s == '\\') {
			char hex[3] = {0};

			if (s[1] != 'x' || !s[2] || !s[3])
				return -EBADMSG;
			memcpy(hex, s + 2, 2);
			if (read_hex(hex, &byte, 1) < 0 || byte == 0)
				return -EBADMSG;
			s += 3;
		}
		ret[n] = (char)byte;
		s++;
	}
	ret[n] = '\0';
	return 0;
}

static int read_choice(struct reader *rd, const char *name, const char *const *names, size_t count, unsigned *ret)
{
	int r = next_line(rd);
	const char *found;

	if (r == 0)
		r = expect(rd, name);
	if (r < 0)
		return r;
	found = word(rd);
	for (unsigned i = 0; i < count; i++)
		if (strcmp(found, names[i]) == 0) {
			*ret = i;
			return *rd->line ? bad(rd, "more than one word") : 0;
		}
	return bad(rd, "a word that is not known");
}

static int read_head(struct reader *rd, struct niwa_manifest *m)
{
	unsigned kind = 0, scope = 0;
	int r = next_line(rd);

	if (r == 0 && strcmp(rd->line, FIRST_LINE) != 0)
		r = bad(rd, "not a manifest of this version");
	if (r == 0)
		r = next_line(rd);
	if (r == 0)
		r = expect(rd, "key");
	if (r == 0 && niwa_snapshot_key_parse(rd->line, &m->key, NULL) < 0)
		r = bad(rd, "not a key");
	if (r == 0)
		r = read_choice(rd, "kind", kinds, NIWA_ARRAY_LEN(kinds), &kind);
	if (r == 0)
		r = read_choice(rd, "scope", scopes, NIWA_ARRAY_LEN(scopes), &scope);
	m->kind = (enum niwa_snapshot_kind)kind;
	m->scope = (enum niwa_snapshot_scope)scope;
	if (r == 0)
		r = next_line(rd);
	if (r == 0)
		r = expect(rd, "app");
	if (r == 0 && manifest_unescape(rd->line, m->app, sizeof(m->app)) < 0)
		r = bad(rd, "not a name");
	return r;
}

static bool is_next(const struct reader *rd, const char *name)
{
	size_t len = strlen(name);

	return strncmp(rd->next, name, len) == 0 && rd->next[len] == ' ';
}

static int read_values(struct reader *rd, struct niwa_manifest *m)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(values); i++) {
		void *at = (char *)m + values[i].offset;
		uint64_t n = 0;

		if (values[i].optional && !is_next(rd, values[i].name))
			continue;
		r = next_line(rd);
		if (r == 0)
			r = expect(rd, values[i].name);
		if (r == 0 && values[i].kind == VALUE_I64)
			r = read_i64(rd, at);
		else if (r == 0)
			r = read_u64(rd, values[i].kind == VALUE_U32 ? UINT32_MAX : UINT64_MAX, &n);
		if (r == 0 && *rd->line)
			r = bad(rd, "more than one number");
		if (r == 0 && values[i].optional && n == 0)
			r = bad(rd, "a zero that is left out");
		if (values[i].kind == VALUE_U32)
			*(uint32_t *)at = (uint32_t)n;
		else if (values[i].kind == VALUE_U64)
			*(uint64_t *)at = n;
	}
	return r;
}

static int read_file(struct reader *rd, struct niwa_manifest *m)
{
	char path[PATH_MAX];
	struct niwa_manifest_file f = {.path = path};
	int r = read_u64(rd, UINT64_MAX, &f.device);

	if (r == 0)
		r = read_u64(rd, UINT64_MAX, &f.inode);
	if (r == 0)
		r = read_u64(rd, UINT64_MAX, &f.size);
	if (r == 0)
		r = read_i64(rd, &f.mtime_ns);
	if (r == 0)
		r = read_i64(rd, &f.ctime_ns);
	if (r == 0 && manifest_unescape(rd->line, path, sizeof(path)) < 0)
		r = bad(rd, "not a path");
	if (r == 0 && niwa_manifest_add_file(m, &f, rd->err) < 0)
		r = bad(rd, "one file too many, or not a path");
	return r;
}

/* Parts are opened below the snapshot's folder: no way out of it. */
static bool stays_below(const char *path)
{
	for (const char *p = path; *p; p += strcspn(p, "/"), p += *p == '/') {
		size_t n = strcspn(p, "/");

		if (n == 0 || (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.'))
			return false;
	}
	return true;
}

static int read_part(struct reader *rd, struct niwa_manifest *m)
{
	char path[PATH_MAX];
	struct niwa_manifest_part part = {.path = path};
	int r = read_u64(rd, INT64_MAX, &part.size);

	if (r == 0 && read_hex(word(rd), part.sha256, sizeof(part.sha256)) < 0)
		r = bad(rd, "not a hash");
	if (r == 0 && (manifest_unescape(rd->line, path, sizeof(path)) < 0 || !stays_below(path)))
		r = bad(rd, "not a path below the snapshot");
	if (r == 0 && niwa_manifest_add_part(m, &part, rd->err) < 0)
		r = bad(rd, "one file too many, or not a path");
	return r;
}

static int read_lists(struct reader *rd, struct niwa_manifest *m)
{
	int r = 0;

	while (r == 0 && *rd->next) {
		const char *kind;

		r = next_line(rd);
		if (r < 0)
			break;
		kind = word(rd);
		if (strcmp(kind, "file") == 0 && m->part_count == 0)
			r = read_file(rd, m);
		else if (strcmp(kind, "part") == 0)
			r = read_part(rd, m);
		else
			r = bad(rd, "another word is expected at its beginning");
	}
	return r;
}

/* The last line; *ret_len: of what is before it. */
static int check_sum(const char *data, size_t len, size_t *ret_len, struct niwa_error *err)
{
	uint8_t said[SHA256_DIGEST_SIZE], found[SHA256_DIGEST_SIZE];
	char line[SUM_LINE];

	if (len <= SUM_LINE || len > NIWA_MANIFEST_MAX || memchr(data, '\0', len))
		return niwa_snapshot_refuse(err, EBADMSG, "manifest: too short, too long, or not text");
	len -= SUM_LINE;
	memcpy(line, data + len, SUM_LINE);
	if (data[len - 1] != '\n' || line[SUM_LINE - 1] != '\n' || memcmp(line, SUM_WORD, strlen(SUM_WORD)) != 0)
		return niwa_snapshot_refuse(err, EBADMSG, "manifest: no sum at its end");
	line[SUM_LINE - 1] = '\0';
	if (read_hex(line + strlen(SUM_WORD), said, sizeof(said)) < 0)
		return niwa_snapshot_refuse(err, EBADMSG, "manifest: no sum at its end");
	digest_of(data, len, found);
	if (memcmp(said, found, sizeof(said)) != 0)
		return niwa_snapshot_refuse(err, EBADMSG, "manifest: its sum is another one");
	*ret_len = len;
	return 0;
}

int niwa_manifest_read(const char *data, size_t len, struct niwa_manifest *ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *copy = NULL;
	struct niwa_manifest m = {0};
	struct reader rd = {.err = err};
	int r = check_sum(data, len, &len, err);

	if (r < 0)
		return r;
	copy = niwa_zalloc(len + 1);
	if (!copy)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "manifest");
	memcpy(copy, data, len);
	rd.next = copy;
	r = read_head(&rd, &m);
	if (r == 0)
		r = read_values(&rd, &m);
	if (r == 0)
		r = read_lists(&rd, &m);
	if (r < 0) {
		niwa_manifest_fini(&m);
		return r;
	}
	*ret = m;
	return 0;
}
