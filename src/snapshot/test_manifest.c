/* SPDX-License-Identifier: MIT
 *
 * Manifests: written and read back; cut, flipped and forged; compared with files that change.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <nettle/sha2.h>

#include "base/fd.h"
#include "base/memory.h"
#include "snapshot/image.h"
#include "snapshot/manifest.h"

#define KEY     "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define HASH    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define PATH(s) ((char *)(uintptr_t)(s))

static void make(struct niwa_manifest *m)
{
	const struct niwa_manifest_file files[] = {
		{PATH("/usr/sbin/apache2"), 64768, 131, 761952, 1700000000123456789, 1700000001000000000},
		{PATH("/srv/a b\\c\n\xff"), 1, 2, 3, -4, INT64_MAX},
	};
	const struct niwa_manifest_part parts[] = {{PATH("images/core-101.img"), 2951, {1, 2, 0xff}},
						   {PATH("layer/tmp/x y"), 0, {0}}};

	*m = (struct niwa_manifest){
		.key = {KEY},
		.kind = NIWA_KIND_MOMENT,
		.root_pid = 101,
		.free_pid = 300,
		.log_pipe = UINT64_MAX,
		.monotonic_ns = -1,
		.boottime_ns = 987654321,
		.taken_us = 1700000000000000,
		.cold_us = 52000,
		.still_us = 40000,
		.age_us = 3,
		.boot = UINT32_MAX,
		.image_bytes = 17 << 20,
		.layer_entries = UINT32_MAX,
	};
	(void)snprintf(m->app, sizeof(m->app), "blog.example.com");
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(niwa_manifest_add_file(m, &files[i], NULL), 0);
		assert_int_equal(niwa_manifest_add_part(m, &parts[i], NULL), 0);
	}
}

static void write_out(const struct niwa_manifest *m, struct niwa_text *text)
{
	struct niwa_error err = {0};

	*text = (struct niwa_text){0};
	if (niwa_manifest_write(m, text, &err) < 0)
		fail_msg("%s", err.msg);
}

static void a_manifest_is_read_as_it_was_written(void **state)
{
	struct niwa_manifest m, back;
	struct niwa_text text, again;
	struct niwa_error err = {0};

	make(&m);
	write_out(&m, &text);
	if (niwa_manifest_read(text.data, text.len, &back, &err) < 0)
		fail_msg("%s", err.msg);
	assert_int_equal(back.kind, NIWA_KIND_MOMENT);
	assert_int_equal(back.monotonic_ns, -1);
	assert_true(back.log_pipe == UINT64_MAX);
	assert_true(back.age_us == 3 && back.host_us == 0 && back.boot == UINT32_MAX);
	assert_int_equal(back.file_count, 2);
	assert_string_equal(back.files[1].path, "/srv/a b\\c\n\xff");
	assert_int_equal(back.files[1].mtime_ns, -4);
	assert_string_equal(back.parts[1].path, "layer/tmp/x y");
	assert_int_equal(back.parts[0].sha256[2], 0xff);
	write_out(&back, &again);
	assert_string_equal(again.data, text.data);
	niwa_text_fini(&text);
	niwa_text_fini(&again);
	niwa_manifest_fini(&m);
	niwa_manifest_fini(&back);
}

static void a_manifest_cut_anywhere_is_refused(void **state)
{
	struct niwa_manifest m, back;
	struct niwa_text text;

	make(&m);
	write_out(&m, &text);
	for (size_t len = 0; len < text.len; len++) {
		NIWA_AUTO(niwa_free_ptr) char *exact = malloc(len ? len : 1); /* its end is where the sanitizers look */

		memcpy(exact, text.data, len);
		assert_int_equal(niwa_manifest_read(exact, len, &back, NULL), -EBADMSG);
	}
	niwa_text_fini(&text);
	niwa_manifest_fini(&m);
}

static void a_manifest_with_any_bit_flipped_is_refused(void **state)
{
	struct niwa_manifest m, back;
	struct niwa_text text;

	make(&m);
	write_out(&m, &text);
	for (size_t bit = 0; bit < 8 * text.len; bit++) {
		text.data[bit / 8] ^= (char)(1 << bit % 8);
		assert_int_equal(niwa_manifest_read(text.data, text.len, &back, NULL), -EBADMSG);
		text.data[bit / 8] ^= (char)(1 << bit % 8);
	}
	niwa_text_fini(&text);
	niwa_manifest_fini(&m);
}

/* ---- forged: the sum is right ---- */

#define HEAD "niwa-snapshot 2\nkey " KEY "\nkind ready\nscope app\napp x\n"
#define VALUES                                                                                                         \
	"root-pid 1\nfree-pid 300\nlog-pipe 3\nmonotonic-ns 4\nboottime-ns 5\ntaken-us 6\ncold-us 7\nstill-us 8\n"     \
	"image-bytes 9\nlayer-bytes 10\nshm-bytes 11\nlayer-entries 12\nshm-entries 13\n"                              \
	"app-id 14\ntenant-id 15\ntrees 16\nprint 17\nprint-too 18\n"

static int read_forged(const char *body, struct niwa_manifest *ret, struct niwa_error *err)
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct niwa_text text = {0};
	struct sha256_ctx hash;
	int r;

	niwa_text_add(&text, body);
	sha256_init(&hash);
	sha256_update(&hash, strlen(body), (const uint8_t *)body);
	sha256_digest(&hash, sizeof(digest), digest);
	niwa_text_add(&text, "sum ");
	for (size_t i = 0; i < sizeof(digest); i++)
		niwa_text_addf(&text, "%02x", digest[i]);
	niwa_text_add(&text, "\n");
	r = niwa_manifest_read(text.data, text.len, ret, err);
	niwa_text_fini(&text);
	return r;
}

static void a_forged_manifest_is_refused_with_the_line(void **state)
{
	static const struct {
		const char *body, *line;
	} cases[] = {
		{"niwa-snapshot 1\n", "line 1:"},
		{"niwa-snapshot 2\n", "line 2:"},
		{"niwa-snapshot 2\nkey ../../../etc\n", "line 2:"},
		{"niwa-snapshot 2\nkey " KEY "\nkind never\n", "line 3:"},
		{"niwa-snapshot 2\nkey " KEY "\nkind ready twice\n", "line 3:"},
		{"niwa-snapshot 2\nkey " KEY "\nkind ready\nscope app\napp a b\n", "line 5:"},
		{"niwa-snapshot 2\nkey " KEY "\nkind ready\nscope app\napp \\x00\n", "line 5:"},
		{"niwa-snapshot 2\nkey " KEY "\nkind ready\nscope app\napp \\\n", "line 5:"},
		{HEAD, "line 6:"},
		{HEAD "root-pid -1\n", "line 6:"},
		{HEAD "root-pid 4294967296\n", "line 6:"},
		{HEAD "root-pid 1 2\n", "line 6:"},
		{HEAD "free-pid 1\n", "line 6:"},
		{HEAD "root-pid 1\nfree-pid 300\nlog-pipe 99999999999999999999\n", "line 8:"},
		{HEAD "root-pid 1\nfree-pid 300\nlog-pipe 1\nmonotonic-ns --1\n", "line 9:"},
		{HEAD "root-pid 1\nfree-pid 300\nlog-pipe 1\nmonotonic-ns 9223372036854775808\n", "line 9:"},
		{HEAD VALUES "file 1 2 3 4 5 relative\n", "line 24:"},
		{HEAD VALUES "file 1 2 3 4 /x\n", "line 24:"},
		{HEAD VALUES "file 1 2 3 4 5 \n", "line 24:"},
		{HEAD VALUES "file 1 2 3 4 5 /a b\n", "line 24:"},
		{HEAD VALUES "part 1 " HASH " /etc/passwd\n", "line 24:"},
		{HEAD VALUES "part 1 " HASH " ../../x\n", "line 24:"},
		{HEAD VALUES "part 1 " HASH " images/../../x\n", "line 24:"},
		{HEAD VALUES "part 1 " HASH " images//x\n", "line 24:"},
		{HEAD VALUES "part 1 " HASH " images/\\x2e\\x2e/x\n", "line 24:"},
		{HEAD VALUES "part 1 0011 images/x\n", "line 24:"},
		{HEAD VALUES "part -1 " HASH " images/x\n", "line 24:"},
		{HEAD VALUES "part 1 " HASH " x\nfile 1 2 3 4 5 /x\n", "line 25:"},
		{HEAD VALUES "other 1\n", "line 24:"},
		{HEAD VALUES "\n", "line 24:"},
		{HEAD VALUES "age-us 0\n", "line 24:"},
		{HEAD VALUES "boot 1\nage-us 1\n", "line 25:"},
	};
	struct niwa_manifest m;

	assert_int_equal(read_forged(HEAD VALUES "file 1 2 3 4 5 /x\npart 1 " HASH " images/x\n", &m, NULL), 0);
	assert_int_equal(m.shm_entries, 13);
	assert_true(m.app_id == 14 && m.tenant_id == 15 && m.trees == 16 && m.print[0] == 17 && m.print[1] == 18);
	niwa_manifest_fini(&m);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_error err = {0};

		if (read_forged(cases[i].body, &m, &err) != -EBADMSG || !strstr(err.msg, cases[i].line))
			fail_msg("case %zu: %s", i, err.msg);
		assert_int_equal(err.kind, NIWA_PERMANENT);
	}
}

static void lists_have_an_end(void **state)
{
	struct niwa_manifest m = {.key = {KEY}};
	struct niwa_manifest_file file = {.path = PATH("/x")};
	struct niwa_text text = {0}, body = {0};
	char *path = calloc(1, 5000);

	for (int i = 0; i < NIWA_MANIFEST_FILES_MAX; i++)
		assert_int_equal(niwa_manifest_add_file(&m, &file, NULL), 0);
	assert_int_equal(niwa_manifest_add_file(&m, &file, NULL), -E2BIG);
	niwa_manifest_fini(&m);
	memset(path, '/', 4999);
	file.path = path;
	assert_int_equal(niwa_manifest_add_file(&m, &file, NULL), -EINVAL);
	free(path);
	niwa_text_add(&body, HEAD VALUES);
	for (int i = 0; i <= NIWA_MANIFEST_FILES_MAX; i++)
		niwa_text_add(&body, "file 1 2 3 4 5 /x\n");
	assert_int_equal(read_forged(body.data, &m, NULL), -EBADMSG);
	niwa_text_fini(&body);
	niwa_text_fini(&text);
}

/* ---- compared ---- */

struct tree {
	char dir[64];
	int image, usr, volume, single;
	struct niwa_manifest_root roots[6];
};

static void put(const struct tree *t, const char *name, const char *text)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/%s", t->dir, name);
	NIWA_AUTO_FD fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int in(const struct tree *t, const char *name, int flags)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/%s", t->dir, name);
	int fd = open(path, flags | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

static void tree_init(struct tree *t)
{
	static const char *const folders[] = {"image", "image/etc", "image/usr", "usr", "usr/bin", "volume"};
	char *const dir = t->dir;

	(void)snprintf(t->dir, sizeof(t->dir), "/tmp/niwa-manifest-XXXXXX");
	assert_non_null(mkdtemp(dir));
	for (size_t i = 0; i < NIWA_ARRAY_LEN(folders); i++) {
		NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/%s", t->dir, folders[i]);

		assert_int_equal(mkdir(path, 0755), 0);
	}
	put(t, "image/etc/conf", "image");
	put(t, "image/usr/wrong", "hidden below /usr");
	put(t, "usr/bin/program", "program");
	put(t, "volume/data", "data");
	put(t, "single", "one file");
	t->image = in(t, "image", O_PATH);
	t->usr = in(t, "usr", O_PATH);
	t->volume = in(t, "volume", O_PATH);
	t->single = in(t, "single", O_PATH);
	memcpy(t->roots,
	       (struct niwa_manifest_root[]){{"/", t->image},
					     {"/usr", t->usr},
					     {"/srv/data", t->volume},
					     {"/etc/one", t->single},
					     {"/proc", -1},
					     {"/dev", -1}},
	       sizeof(t->roots));
}

static void tree_fini(struct tree *t)
{
	niwa_fd_close(&t->image);
	niwa_fd_close(&t->usr);
	niwa_fd_close(&t->volume);
	niwa_fd_close(&t->single);
	assert_int_equal(niwa_remove_tree(t->dir, NULL), 0);
}

static int look(const struct tree *t, struct niwa_manifest *m, const struct niwa_criu_file *file, size_t count)
{
	struct niwa_criu_files files = {(struct niwa_criu_file *)(uintptr_t)file, count};

	*m = (struct niwa_manifest){.key = {KEY}};
	return niwa_manifest_look(m, t->roots, NIWA_ARRAY_LEN(t->roots), &files, NULL);
}

static int compare(const struct tree *t, const struct niwa_manifest *m, struct niwa_error *err)
{
	return niwa_manifest_compare(m, t->roots, NIWA_ARRAY_LEN(t->roots), err);
}

static void files_are_looked_up_where_the_instance_sees_them(void **state)
{
	const struct niwa_criu_file files[] = {
		{PATH("/etc/conf"), 1, O_RDONLY, S_IFREG | 0644, 5},
		{PATH("/etc/conf"), 2, O_RDONLY, S_IFREG | 0644, 5}, /* twice open */
		{PATH("/usr/bin/program"), 3, O_RDONLY, 0, 0},
		{PATH("/srv/data/data"), 4, O_RDWR, S_IFREG | 0600, 4},
		{PATH("/etc/one"), 5, O_RDONLY, S_IFREG | 0600, 8},
		{PATH("/usr/wrong"), 6, O_RDONLY, S_IFREG | 0644, 0},        /* of the image, below a mount */
		{PATH("/tmp/mine"), 7, O_RDWR, S_IFREG | 0600, 0},           /* in the layer */
		{PATH("/srv/data/log"), 8, O_WRONLY | O_APPEND, S_IFREG, 0}, /* grows */
		{PATH("/"), 9, O_RDONLY, S_IFDIR | 0755, 0},
		{PATH("/etc"), 10, O_RDONLY, 0, 0}, /* a folder that does not say so */
		{PATH("/dev/null"), 11, O_RDWR, S_IFCHR | 0666, 0},
		{PATH("/proc/self/status"), 12, O_RDONLY, S_IFREG | 0444, 0},
		{PATH("/usrlocal"), 13, O_RDONLY, S_IFREG, 0},
	};
	static const char *const expected[] = {"/etc/conf", "/usr/bin/program", "/srv/data/data", "/etc/one"};
	static const uint64_t sizes[] = {5, 7, 4, 8};
	struct niwa_manifest m;
	struct tree t;

	tree_init(&t);
	assert_int_equal(look(&t, &m, files, NIWA_ARRAY_LEN(files)), 0);
	assert_int_equal(m.file_count, NIWA_ARRAY_LEN(expected));
	for (size_t i = 0; i < m.file_count; i++) {
		assert_string_equal(m.files[i].path, expected[i]);
		assert_int_equal(m.files[i].size, sizes[i]);
	}
	assert_int_equal(compare(&t, &m, NULL), 0);
	niwa_manifest_fini(&m);
	tree_fini(&t);
}

/* What happens to /etc/conf, and what is said of it. */
static void grown(const struct tree *t)
{
	put(t, "image/etc/conf", "image2");
}
static void written(const struct tree *t)
{
	put(t, "image/etc/conf", "IMAGE");
}
static void chmodded(const struct tree *t)
{
	NIWA_AUTO_FD fd = in(t, "image/etc/conf", O_RDONLY);

	assert_int_equal(fchmod(fd, 0600), 0);
}
static void replaced(const struct tree *t)
{
	NIWA_AUTO(niwa_free_ptr) char *from = niwa_asprintf("%s/image/new", t->dir);
	NIWA_AUTO(niwa_free_ptr) char *to = niwa_asprintf("%s/image/etc/conf", t->dir);

	put(t, "image/new", "image");
	assert_int_equal(rename(from, to), 0);
}
static void removed(const struct tree *t)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/image/etc/conf", t->dir);

	assert_int_equal(unlink(path), 0);
}
static void linked(const struct tree *t)
{
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/image/etc/conf", t->dir);
	NIWA_AUTO(niwa_free_ptr) char *aside = niwa_asprintf("%s/image/etc/aside", t->dir);

	assert_int_equal(rename(path, aside), 0);
	assert_int_equal(symlink("aside", path), 0);
}
static void folder_linked(const struct tree *t)
{
	NIWA_AUTO(niwa_free_ptr) char *etc = niwa_asprintf("%s/image/etc", t->dir);
	NIWA_AUTO(niwa_free_ptr) char *aside = niwa_asprintf("%s/image/aside", t->dir);

	assert_int_equal(rename(etc, aside), 0);
	assert_int_equal(symlink("aside", etc), 0);
}

static void a_file_that_changed_in_any_way_voids_the_snapshot(void **state)
{
	static const struct {
		void (*change)(const struct tree *t);
		const char *said;
	} cases[] = {{grown, "another size"},    {written, "was written"}, {chmodded, "was changed"},
		     {replaced, "was replaced"}, {removed, "is gone"},     {linked, "is gone"},
		     {folder_linked, "is gone"}};
	const struct niwa_criu_file file = {PATH("/etc/conf"), 1, O_RDONLY, S_IFREG | 0644, 5};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_error err = {0};
		struct niwa_manifest m;
		struct tree t;

		tree_init(&t);
		assert_int_equal(look(&t, &m, &file, 1), 0);
		assert_int_equal(m.file_count, 1);
		assert_int_equal(compare(&t, &m, &err), 0);
		(void)usleep(20000); /* the clock of the file system ticks */
		cases[i].change(&t);
		assert_int_equal(compare(&t, &m, &err), -ESTALE);
		if (!strstr(err.msg, cases[i].said) || !strstr(err.msg, "'/etc/conf'"))
			fail_msg("%s: %s", cases[i].said, err.msg);
		niwa_manifest_fini(&m);
		tree_fini(&t);
	}
}

static void an_app_that_writes_to_its_volume_other_than_by_appending_is_refused(void **state)
{
	static const struct {
		struct niwa_criu_file file;
		bool refused;
	} cases[] = {
		{{PATH("/srv/data/data"), 1, O_RDWR, S_IFREG | 0600, 4, false}, true},
		{{PATH("/srv/data/data"), 1, O_WRONLY, S_IFREG | 0600, 4, false}, true},
		{{PATH("/srv/data/data"), 1, O_RDWR | O_APPEND, 0, 4, false}, true}, /* it reads what it wrote */
		{{PATH("/srv/data/gone"), 1, O_RDWR, S_IFREG | 0600, 4, false}, true},
		{{PATH("/srv/data/data"), 1, O_RDONLY, S_IFREG | 0600, 4, true}, true},
		{{PATH("/srv/data/data"), 1, O_WRONLY | O_APPEND, S_IFREG | 0600, 4, false}, false},
		{{PATH("/srv/data/data"), 1, O_RDONLY, S_IFREG | 0600, 4, false}, false},
		{{PATH("/srv/data"), 1, O_RDONLY, S_IFDIR | 0700, 0, false}, false},
		{{PATH("/srv/data/fifo"), 1, O_RDWR, S_IFIFO | 0600, 0, false}, false},
		{{PATH("/srv/database"), 1, O_RDWR, S_IFREG | 0600, 4, false}, false}, /* the layer's */
		{{PATH("/etc/conf"), 1, O_RDWR, S_IFREG | 0600, 4, true}, false},
		{{PATH("/dev/shm/segment"), 1, O_RDWR, S_IFREG | 0600, 4, true}, false},
	};
	struct tree t;

	tree_init(&t);
	t.roots[2].writable = true;
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		struct niwa_criu_file file = cases[i].file;
		struct niwa_criu_files files = {&file, 1};
		struct niwa_manifest ready = {.key = {KEY}}, moment = {.key = {KEY}, .kind = NIWA_KIND_MOMENT};
		struct niwa_error err = {0};
		int r = niwa_manifest_look(&ready, t.roots, NIWA_ARRAY_LEN(t.roots), &files, &err);

		if (r != (cases[i].refused ? -EBUSY : 0) || (r < 0 && !strstr(err.msg, file.path)))
			fail_msg("case %zu: %d %s", i, r, err.msg);
		/* memory of the moment goes with the data of the moment */
		assert_int_equal(niwa_manifest_look(&moment, t.roots, NIWA_ARRAY_LEN(t.roots), &files, &err), 0);
		niwa_manifest_fini(&ready);
		niwa_manifest_fini(&moment);
	}
	tree_fini(&t);
}

static void a_volume_below_a_link_of_the_image_is_found_where_it_is(void **state)
{
	static const struct {
		const char *to, *at;
	} cases[] = {
		{"/srv/data", "/srv/data"},
		{"/srv//data/", "/srv/data"},
		{"/var/run/x", "/run/x"},
		{"/lib/module", "/usr/lib/module"},
		{"/etc/absolute/x", "/srv/x"},
		{"/etc/out/x", "/x"},
		{"/etc/chain/x", "/run/x"},
		{"/no/such/place", "/no/such/place"},
		{"/", "/"},
		{"/etc/../srv", "/srv"},
		{"/../..", "/"},
	};
	char at[PATH_MAX], small[4];
	struct tree t;

	tree_init(&t);
	assert_int_equal(mkdirat(t.image, "var", 0755), 0);
	assert_int_equal(symlinkat("/run", t.image, "var/run"), 0);
	assert_int_equal(symlinkat("usr/lib", t.image, "lib"), 0); /* which is not there */
	assert_int_equal(symlinkat("/srv", t.image, "etc/absolute"), 0);
	assert_int_equal(symlinkat("../../../../..", t.image, "etc/out"), 0);
	assert_int_equal(symlinkat("../var/run", t.image, "etc/chain"), 0);
	assert_int_equal(symlinkat("loop", t.image, "etc/loop"), 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		assert_int_equal(niwa_manifest_place(t.image, cases[i].to, at, sizeof(at), NULL), 0);
		assert_string_equal(at, cases[i].at);
	}
	assert_int_equal(niwa_manifest_place(t.image, "/etc/loop/x", at, sizeof(at), NULL), -ELOOP);
	memset(at, 'x', 300);
	at[0] = '/';
	at[300] = '\0';
	assert_int_equal(niwa_manifest_place(t.image, at, at, sizeof(at), NULL), -ENAMETOOLONG);
	assert_int_equal(niwa_manifest_place(t.image, "/srv/data", small, sizeof(small), NULL), -ENAMETOOLONG);
	tree_fini(&t);
}

static void a_tenant_cannot_lead_the_comparison_out_of_his_volume(void **state)
{
	const struct niwa_criu_file files[] = {{PATH("/srv/data/link/single"), 1, O_RDONLY, 0, 0},
					       {PATH("/srv/data/../single"), 2, O_RDONLY, 0, 0},
					       {PATH("/srv/data/absolute"), 3, O_RDONLY, 0, 0}};
	struct niwa_manifest m;
	struct tree t;

	tree_init(&t);
	assert_int_equal(symlinkat("..", t.volume, "link"), 0);
	assert_int_equal(symlinkat("/etc/passwd", t.volume, "absolute"), 0);
	assert_int_equal(look(&t, &m, files, NIWA_ARRAY_LEN(files)), 0);
	assert_int_equal(m.file_count, 0);
	niwa_manifest_fini(&m);
	tree_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_manifest_is_read_as_it_was_written),
		cmocka_unit_test(a_manifest_cut_anywhere_is_refused),
		cmocka_unit_test(a_manifest_with_any_bit_flipped_is_refused),
		cmocka_unit_test(a_forged_manifest_is_refused_with_the_line),
		cmocka_unit_test(lists_have_an_end),
		cmocka_unit_test(files_are_looked_up_where_the_instance_sees_them),
		cmocka_unit_test(a_file_that_changed_in_any_way_voids_the_snapshot),
		cmocka_unit_test(an_app_that_writes_to_its_volume_other_than_by_appending_is_refused),
		cmocka_unit_test(a_volume_below_a_link_of_the_image_is_found_where_it_is),
		cmocka_unit_test(a_tenant_cannot_lead_the_comparison_out_of_his_volume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
