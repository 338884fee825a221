/* SPDX-License-Identifier: MIT
 *
 * Images: what the host image holds and never holds, users and commands, imports of good and hostile layouts.
 * Needs root; works in a mount namespace and a folder of its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/image.h"
#include "container/image_import.h"
#include "container/image_private.h"

static char dir[64], state[96];

static int set_up(void **unused)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
		return -1;
	(void)umask(022);
	(void)snprintf(dir, sizeof(dir), "/tmp/niwa-image-XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(state, sizeof(state), "%s/state", dir);
	return mkdir(state, 0711);
}

static int tear_down(void **unused)
{
	return niwa_remove_tree(dir, NULL);
}

__attribute__((format(printf, 1, 2))) static void run(const char *fmt, ...)
{
	char command[4096];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	if (system(command) != 0)
		fail_msg("'%s' failed", command);
}

static void must(int r, const struct niwa_error *err)
{
	if (r < 0)
		fail_msg("%s", err->msg);
}

__attribute__((format(printf, 1, 2))) static bool exists(const char *fmt, ...)
{
	char path[PATH_MAX];
	struct stat st;
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(path, sizeof(path), fmt, ap);
	va_end(ap);
	return lstat(path, &st) == 0;
}

/* ---- the host image ---- */

static struct niwa_image *open_image(const char *name)
{
	struct niwa_image *img = NULL;
	struct niwa_error err;

	must(niwa_image_open(state, name, &img, &err), &err);
	return img;
}

static size_t walked_from; /* length of the root's path */
static const char *walk_complaint;
static char walk_path[PATH_MAX];

static int complain(const char *path, const char *what)
{
	walk_complaint = what;
	(void)snprintf(walk_path, sizeof(walk_path), "%s", path);
	return 1;
}

static int look_at(const char *full, const struct stat *st, int type, struct FTW *ftw)
{
	static const char *const never[] = {"/etc/shadow",      "/etc/gshadow", "/etc/passwd-", "/etc/ssh",
					    "/etc/ssl/private", "/etc/niwa",    "/etc/sudoers", "/etc/machine-id",
					    "/etc/cron",        "/etc/crontab"};
	const char *path = full + walked_from;
	char target[PATH_MAX];

	for (size_t i = 0; i < NIWA_ARRAY_LEN(never); i++)
		if (strncmp(path, never[i], strlen(never[i])) == 0)
			return complain(path, "must never be there");
	if (S_ISREG(st->st_mode) && strncmp(path, "/etc/", 5) != 0)
		return complain(path, "a file outside /etc");
	if (S_ISREG(st->st_mode) && (st->st_mode & 07002 || !(st->st_mode & 0004) || st->st_uid || st->st_gid))
		return complain(path, "mode or owner");
	if (S_ISREG(st->st_mode) && strcasestr(path + ftw->base - walked_from, "key"))
		return complain(path, "a file that is named like a key");
	if (!S_ISREG(st->st_mode) && !S_ISDIR(st->st_mode) && !S_ISLNK(st->st_mode))
		return complain(path, "neither file, folder nor link");
	if (S_ISLNK(st->st_mode)) {
		ssize_t n = readlink(full, target, sizeof(target) - 1);

		if (n < 0)
			return complain(path, "an unreadable link");
		target[n] = '\0';
		if (target[0] == '/' && strncmp(target, "/usr/", 5) != 0 && strncmp(target, "/etc/", 5) != 0 &&
		    strncmp(target, "/run/", 5) != 0 && strcmp(target, "/run") != 0)
			return complain(path, "a link that leads elsewhere");
	}
	return 0;
}

static void walk(const struct niwa_image *img)
{
	walked_from = strlen(img->root);
	walk_complaint = NULL;
	if (nftw(img->root, look_at, 32, FTW_PHYS) != 0)
		fail_msg("%s: %s", walk_path, walk_complaint ? walk_complaint : "walk failed");
}

static void the_image_of_this_host_holds_nothing_that_it_should_not(void **unused)
{
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	struct niwa_error err;

	must(niwa_image_prepare_host(state, &err), &err);
	img = open_image("host");
	assert_true(img->bind_usr);
	assert_true(img->prepared);
	walk(img);
	assert_true(exists("%s/etc/passwd", img->root));
	assert_true(exists("%s/etc/ld.so.cache", img->root));
	assert_true(exists("%s/etc/nsswitch.conf", img->root));
	assert_true(exists("%s/lib64", img->root));
	assert_true(exists("%s/var/tmp", img->root));
}

/* A source in which everything is wrong that can be. */
static void make_source(const char *source)
{
	run("mkdir -p %s/usr/bin %s/etc/ssl/certs %s/etc/ssl/private %s/etc/alternatives %s/etc/php/8.2/apache2 "
	    "%s/etc/apache2/mods-available %s/etc/apache2/mods-enabled %s/etc/apache2/sites-enabled %s/etc/ssh "
	    "%s/etc/fonts/deep %s/var/lib/dpkg",
	    source, source, source, source, source, source, source, source, source, source, source);
	run("cd %s && ln -s usr/bin bin && ln -s usr/sbin sbin && ln -s usr/lib lib", source);
	run("cd %s/etc && echo 'root:x:0:0:r:/root:/bin/bash\nwww-data:x:33:33:w:/var/www:/usr/sbin/nologin\n"
	    "anna:x:1000:1000:Anna,,,:/home/anna:/bin/bash\nbroken\nniwa-relay:x:998:998::/:/bin/false' > passwd",
	    source);
	run("cd %s/etc && echo 'root:x:0:\nwww-data:x:33:anna,www-data\nanna:x:1000:' > group", source);
	run("cd %s/etc && echo secret | tee shadow shadow- passwd- machine-id sudoers ssh/ssh_host_rsa_key "
	    "ssl/private/site.key ssl/certs/private.key ssl/certs/mykey.pem php/8.2/apache2/secrets.ini >/dev/null",
	    source);
	run("cd %s/etc && echo fine | tee ssl/certs/authority.pem mime.types php/8.2/apache2/php.ini "
	    "apache2/mods-available/php.load apache2/sites-enabled/customer.conf hostname >/dev/null",
	    source);
	run("cd %s/etc && echo hidden > fonts/root-only.conf && chmod 600 fonts/root-only.conf && echo x > "
	    "fonts/closed.conf "
	    "&& mkdir fonts/closed && echo x > fonts/closed/in.conf && chmod 700 fonts/closed",
	    source);
	run("cd %s/etc && cp mime.types fonts/setuid.conf && chmod 6755 fonts/setuid.conf && mkfifo fonts/fifo && "
	    "mknod fonts/device c 1 5 && head -c 5000000 /dev/zero > fonts/huge.conf && chmod 644 fonts/huge.conf",
	    source);
	run("cd %s/etc && ln -s /usr/bin/java alternatives/java && ln -s /etc/shadow alternatives/a && ln -s ../shadow "
	    "alternatives/b && ln -s /home/anna/x alternatives/c && ln -s ../../../../etc/shadow alternatives/d && ln "
	    "-s "
	    "/usr/../etc/shadow alternatives/e && ln -s ../mods-available/php.load apache2/mods-enabled/php.load && "
	    "ln -s /etc/ssl/private fonts/f",
	    source);
	run("cd %s && echo status > var/lib/dpkg/status && ln -s /nowhere etc/localtime", source);
}

static void a_hostile_etc_gives_a_clean_image(void **unused)
{
	static const char *const there[] = {"ssl/certs/authority.pem",
					    "mime.types",
					    "php/8.2/apache2/php.ini",
					    "alternatives/java",
					    "apache2/mods-enabled/php.load",
					    "fonts/setuid.conf",
					    "nsswitch.conf"};
	static const char *const not_there[] = {"shadow",
						"shadow-",
						"passwd-",
						"machine-id",
						"sudoers",
						"ssh",
						"ssl/private",
						"ssl/certs/private.key",
						"ssl/certs/mykey.pem",
						"php/8.2/apache2/secrets.ini",
						"apache2/sites-enabled",
						"fonts/root-only.conf",
						"fonts/closed",
						"fonts/fifo",
						"fonts/device",
						"fonts/huge.conf",
						"fonts/f",
						"alternatives/a",
						"alternatives/b",
						"alternatives/c",
						"alternatives/d",
						"alternatives/e",
						"localtime"};
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	char source[128], passwd[4096], path[PATH_MAX];
	struct niwa_error err;

	(void)snprintf(source, sizeof(source), "%s/source", dir);
	make_source(source);
	must(image_build_host(state, source, &err), &err);
	img = open_image("host");
	walk(img);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(there); i++)
		if (!exists("%s/etc/%s", img->root, there[i]))
			fail_msg("%s is missing", there[i]);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(not_there); i++)
		if (exists("%s/etc/%s", img->root, not_there[i]))
			fail_msg("%s is there", not_there[i]);
	(void)snprintf(path, sizeof(path), "%s/etc/passwd", img->root);
	assert_true(niwa_file_read(path, passwd, sizeof(passwd)) > 0);
	assert_string_equal(passwd, "root:x:0:0::/root:/bin/sh\n"
				    "www-data:x:33:33::/var/www:/usr/sbin/nologin\n"
				    "nobody:x:65534:65534::/nonexistent:/usr/sbin/nologin\n");
}

static bool is_root(const char *root, void *arg)
{
	return strcmp(root, arg) == 0;
}

static void a_refresh_makes_a_new_version_and_keeps_the_one_in_use(void **unused)
{
	NIWA_AUTO(niwa_image_free) struct niwa_image *first = open_image("host");
	NIWA_AUTO(niwa_image_free) struct niwa_image *second = NULL;
	NIWA_AUTO(niwa_image_free) struct niwa_image *third = NULL;
	struct niwa_error err;

	must(image_build_host(state, "/", &err), &err);
	second = open_image("host");
	assert_string_not_equal(first->digest, second->digest);
	must(image_build_host(state, "/", &err), &err); /* nothing has changed */
	third = open_image("host");
	assert_string_equal(second->digest, third->digest);
	must(niwa_image_prune_host(state, is_root, first->root, &err), &err);
	assert_true(exists("%s", first->root));
	assert_true(exists("%s", second->root));
	must(niwa_image_prune_host(state, is_root, (void *)(uintptr_t) "", &err), &err);
	assert_false(exists("%s", first->root));
	assert_true(exists("%s", second->root));
}

static void a_host_without_merged_usr_is_refused(void **unused)
{
	struct niwa_error err;
	char source[128];

	(void)snprintf(source, sizeof(source), "%s/old", dir);
	run("mkdir -p %s/bin %s/usr %s/etc && touch %s/etc/passwd %s/etc/group", source, source, source, source,
	    source);
	assert_int_equal(image_build_host(state, source, &err), -EINVAL);
	assert_non_null(strstr(err.msg, "usrmerge"));
}

static void the_shared_dev_works_and_is_mended(void **unused)
{
	char path[160];
	struct niwa_error err;
	struct stat st;

	(void)snprintf(path, sizeof(path), "%s/dev/zero", state);
	assert_int_equal(unlink(path), 0);
	run("echo x > %s", path);
	must(niwa_image_prepare_host(state, &err), &err);
	assert_int_equal(stat(path, &st), 0);
	assert_true(S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 5) && (st.st_mode & 0777) == 0666);
	assert_true(exists("%s/dev/ptmx", state) && exists("%s/dev/pts", state) && exists("%s/dev/shm", state));
}

/* ---- folders, users, commands ---- */

static void make_folder(char *path, size_t size)
{
	(void)snprintf(path, size, "%s/folder", dir);
	run("rm -rf %s && mkdir -p %s/etc %s/usr/bin && cd %s && "
	    "printf "
	    "'root:x:0:0::/root:/bin/sh\\nweb:x:33:44::/srv/web:/bin/sh\\nbig:x:70000:1::/:/bin/sh\\nodd:x:5:6\\n' > "
	    "etc/passwd && "
	    "printf 'root:x:0:\\nweb:x:44:\\nmail:x:8:other,web\\nssl:x:99:web,other\\nown:x:44:web\\n' > etc/group && "
	    "echo '#!/bin/sh' > usr/bin/run && chmod 755 usr/bin/run && echo data > usr/bin/data && ln -s usr/bin bin "
	    "&& "
	    "ln -s /../../../../../../etc/shadow usr/bin/out",
	    path, path, path, path);
}

static void users_are_looked_up_in_the_image(void **unused)
{
	static const struct {
		const char *user;
		int r;
		uint32_t uid, gid;
		unsigned groups;
	} cases[] = {
		{"", 0, 0, 0, 0},
		{"root", 0, 0, 0, 0},
		{"web", 0, 33, 44, 2},
		{"33", 0, 33, 44, 2},
		{"web:mail", 0, 33, 8, 0},
		{"web:8", 0, 33, 8, 0},
		{"1234", 0, 1234, 0, 0},
		{"1234:5678", 0, 1234, 5678, 0},
		{"nobody", -EINVAL, 0, 0, 0},
		{"big", -EINVAL, 0, 0, 0},
		{"odd", -EINVAL, 0, 0, 0},
		{"web:none", -EINVAL, 0, 0, 0},
		{":8", -EINVAL, 0, 0, 0},
		{"web:", -EINVAL, 0, 0, 0},
		{"70000", -EINVAL, 0, 0, 0},
		{"-1", -EINVAL, 0, 0, 0},
		{"a:b:c", -EINVAL, 0, 0, 0},
	};
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	NIWA_AUTO(niwa_free_ptr) char *home = NULL;
	NIWA_AUTO(niwa_free_ptr) char *no_home = NULL;
	uint32_t uid, gid, groups[32];
	struct niwa_error err;
	unsigned count;
	char path[128];

	make_folder(path, sizeof(path));
	img = open_image(path);
	assert_false(img->prepared);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		int r = niwa_image_user(img, cases[i].user, &uid, &gid, groups, &count, &err);

		if (r != cases[i].r ||
		    (r == 0 && (uid != cases[i].uid || gid != cases[i].gid || count != cases[i].groups)))
			fail_msg("'%s': %d, %u:%u, %u groups (%s)", cases[i].user, r, uid, gid, count,
				 r ? err.msg : "");
	}
	home = niwa_image_home(img, 33);
	assert_string_equal(home, "/srv/web");
	no_home = niwa_image_home(img, 77);
	assert_string_equal(no_home, "/");
}

static void commands_are_looked_up_in_the_image(void **unused)
{
	static const struct {
		const char *argv0;
		int r;
	} cases[] = {{"run", 0},
		     {"/usr/bin/run", 0},
		     {"/bin/run", 0},
		     {"data", -EACCES},
		     {"/usr/bin/data", -EACCES},
		     {"bash", -ENOENT},
		     {"/usr/bin/bash", -ENOENT},
		     {"/usr/bin", -EACCES},
		     {"out", -ENOENT},
		     {"../run", -ENOENT}};
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	NIWA_AUTO(niwa_image_free) struct niwa_image *host = open_image("host");
	char *env[] = {(char *)(uintptr_t) "PATH=/nowhere", NULL};
	struct niwa_error err;
	char path[128];

	make_folder(path, sizeof(path));
	img = open_image(path);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++)
		assert_int_equal(niwa_image_has_command(img, cases[i].argv0, NULL, &err), cases[i].r);
	assert_int_equal(niwa_image_has_command(img, "run", env, &err), -ENOENT);
	assert_int_equal(niwa_image_has_command(host, "sh", NULL, &err), 0);
	assert_int_equal(niwa_image_has_command(host, "/bin/sh", NULL, &err), 0);
	assert_int_equal(niwa_image_has_command(host, "no-such-command", NULL, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "PATH="));
}

static void images_that_are_none_are_refused_with_a_list(void **unused)
{
	static const char *const names[] = {"nginx",        "../state",    "",  "host.x", "UPPER", "a/b", ".hidden",
					    "/nonexistent", "/etc/passwd", "/", "//"};
	struct niwa_image *img = NULL;
	struct niwa_error err;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++) {
		assert_true(niwa_image_open(state, names[i], &img, &err) < 0);
		assert_int_equal(err.kind, NIWA_CALLER);
		assert_null(img);
	}
	assert_int_equal(niwa_image_open(state, "nginx", &img, &err), -ENOENT);
	assert_non_null(strstr(err.msg, "there are: host"));
}

static void a_broken_configuration_is_refused(void **unused)
{
	static const struct {
		const char *json;
		int r;
	} cases[] = {
		{"{\"digest\":\"sha256:1\"}", 0},
		{"{\"digest\":\"sha256:1\",\"command\":null,\"env\":[],\"workdir\":\"\",\"user\":null}", 0},
		{"{\"digest\":\"sha256:1\",\"command\":[\"a\",\"b\"],\"more\":{}}", 0},
		{"", -EINVAL},
		{"[]", -EINVAL},
		{"{}", -EINVAL},
		{"{\"digest\":7}", -EINVAL},
		{"{\"digest\":\"x\",\"command\":\"sh\"}", -EINVAL},
		{"{\"digest\":\"x\",\"command\":[1]}", -EINVAL},
		{"{\"digest\":\"x\",\"command\":[null]}", -EINVAL},
		{"{\"digest\":\"x\",\"env\":{\"A\":\"b\"}}", -EINVAL},
		{"{\"digest\":\"x\",\"env\":[\"A=\\u0000b\"]}", -EINVAL},
		{"{\"digest\":\"x\",\"user\":[]}", -EINVAL},
		{"{\"digest\":\"x\",\"user\":\"a\\u0000b\"}", -EINVAL},
		{"{\"digest\":\"x\",\"digest\":\"y\"}", -EINVAL},
		{"{\"digest\":\"x\"", -EINVAL},
		{"\xff\xfe", -EINVAL},
	};
	char path[160];

	run("mkdir -p %s/images/broken/rootfs", state);
	(void)snprintf(path, sizeof(path), "%s/images/broken/config.json", state);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
		struct niwa_error err;
		int r;

		must(niwa_file_replace(path, cases[i].json, strlen(cases[i].json), 0644, &err), &err);
		r = niwa_image_open(state, "broken", &img, &err);
		if (r != cases[i].r)
			fail_msg("%s: %d (%s)", cases[i].json, r, r < 0 ? err.msg : "");
	}
	run("cd %s/images/broken && rm config.json && ln -s /etc/passwd config.json", state);
	{
		struct niwa_image *img = NULL;
		struct niwa_error err;

		assert_int_equal(niwa_image_open(state, "broken", &img, &err), -ENOENT); /* a link stays inside */
	}
	run("rm -r %s/images/broken", state);
}

/* ---- imports ---- */

/* A layout "oci" with one image of the tar, tagged v1. */
static void make_layout(const char *tar)
{
	run("cd %s && rm -rf oci && umoci init --layout oci && umoci new --image oci:v1 && umoci raw add-layer --image "
	    "oci:v1 %s && "
	    "umoci config --image oci:v1 --config.entrypoint /bin/guest --config.cmd serve --config.cmd 80 "
	    "--config.env COLOUR=green --config.workingdir /srv --config.user 33",
	    dir, tar);
}

static int import(const char *name, const char *source, enum niwa_import_mode mode, struct niwa_error *err)
{
	struct niwa_image_import i = {.state_dir = state, .name = name, .source = source, .mode = mode};

	return niwa_image_import(&i, err);
}

static void an_oci_image_is_imported_with_canonical_ids(void **unused)
{
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	char source[160], path[PATH_MAX];
	struct niwa_error err;
	struct stat st;

	run("mkdir -p %s/small/bin %s/small/srv && cp /bin/true %s/small/bin/guest && chown 33:44 %s/small/srv && cd "
	    "%s && "
	    "tar -C small -cf small.tar .",
	    dir, dir, dir, dir, dir);
	make_layout("small.tar");
	(void)snprintf(source, sizeof(source), "oci:%s/oci:v1", dir);
	must(import("small", source, NIWA_IMPORT_NEW, &err), &err);
	img = open_image("small");
	assert_true(img->prepared);
	assert_false(img->bind_usr);
	assert_string_equal(img->command[0], "/bin/guest");
	assert_string_equal(img->command[1], "serve");
	assert_string_equal(img->command[2], "80");
	assert_null(img->command[3]);
	assert_string_equal(img->workdir, "/srv");
	assert_string_equal(img->user, "33");
	assert_int_equal(strncmp(img->digest, "sha256:", 7), 0);
	(void)snprintf(path, sizeof(path), "%s/srv", img->root);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 33);
	assert_int_equal(st.st_gid, 44);
	(void)snprintf(path, sizeof(path), "%s/bin/guest", img->root);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_uid, 0);
	(void)snprintf(path, sizeof(path), "%s/images/small", state);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	assert_int_equal(st.st_uid, 0);
}

static bool used(const char *root, void *arg)
{
	return true;
}

static void count_image(const char *name, const char *digest, const char *source, void *arg)
{
	assert_string_equal(name, "small");
	assert_int_equal(strncmp(digest, "sha256:", 7), 0);
	assert_int_equal(strncmp(source, "oci:", 4), 0);
	(*(int *)arg)++;
}

static void a_name_that_is_taken_needs_replace_and_nobody_inside(void **unused)
{
	struct niwa_image_import again = {
		.state_dir = state, .name = "small", .mode = NIWA_IMPORT_REPLACE, .in_use = used};
	struct niwa_error err;
	char source[160];
	int count = 0;

	(void)snprintf(source, sizeof(source), "oci:%s/oci:v1", dir);
	again.source = source;
	assert_int_equal(import("small", source, NIWA_IMPORT_NEW, &err), -EEXIST);
	assert_int_equal(niwa_image_import(&again, &err), -EBUSY);
	again.source = "oci:/no/such/folder:v1";
	assert_int_equal(niwa_image_import(&again, &err), -EBUSY); /* before anything is fetched */
	must(import("small", source, NIWA_IMPORT_REPLACE, &err), &err);
	must(niwa_image_list(state, count_image, &count, &err), &err);
	assert_int_equal(count, 1);
	assert_int_equal(niwa_image_remove(state, "small", used, NULL, &err), -EBUSY);
	must(niwa_image_remove(state, "small", NULL, NULL, &err), &err);
	assert_int_equal(niwa_image_remove(state, "small", NULL, NULL, &err), -ENOENT);
	assert_int_equal(niwa_image_remove(state, "host", NULL, NULL, &err), -EINVAL);
	must(niwa_image_list(state, count_image, &count, &err), &err);
	assert_int_equal(count, 1);
}

static void a_name_is_one_that_app_files_allow(void **unused)
{
	struct niwa_error err;
	char name[130];

	memset(name, 'n', sizeof(name) - 1);
	name[129] = '\0';
	assert_int_equal(niwa_image_remove(state, name, NULL, NULL, &err), -EINVAL);
	name[128] = '\0';
	name[0] = 'N';
	assert_int_equal(niwa_image_remove(state, name, NULL, NULL, &err), -ENOENT);
}

static void a_docker_archive_is_imported(void **unused)
{
	struct niwa_error err;
	char source[160];

	run("cd %s && rm -f archive.tar && skopeo --insecure-policy copy -q oci:oci:v1 "
	    "docker-archive:archive.tar:small:v1 >/dev/null 2>&1",
	    dir);
	(void)snprintf(source, sizeof(source), "docker-archive:%s/archive.tar", dir);
	must(import("archive", source, NIWA_IMPORT_NEW, &err), &err);
	assert_true(exists("%s/images/archive/rootfs/bin/guest", state));
}

/* Entries that try to leave the root, in the ways that have worked elsewhere. */
static void make_hostile_tar(void)
{
	run("cd %s && cat > hostile.py <<'EOF'\n"
	    "import tarfile, io, sys\n"
	    "t = tarfile.open('hostile.tar', 'w')\n"
	    "def add(name, kind=tarfile.REGTYPE, link='', data=b'x', mode=0o644, uid=0, major=0, minor=0):\n"
	    "    i = tarfile.TarInfo(name); i.type = kind; i.linkname = link; i.mode = mode; i.uid = uid\n"
	    "    i.devmajor = major; i.devminor = minor\n"
	    "    i.size = len(data) if kind == tarfile.REGTYPE else 0\n"
	    "    t.addfile(i, io.BytesIO(data) if kind == tarfile.REGTYPE else None)\n"
	    "add('../../escaped-dots')\n"
	    "add('/escaped-absolute')\n"
	    "add('link', tarfile.SYMTYPE, '%s')\n"
	    "add('link/escaped-link')\n"
	    "add('up', tarfile.SYMTYPE, '../../../../../../..%s')\n"
	    "add('up/escaped-up')\n"
	    "add('proc', tarfile.SYMTYPE, '/etc')\n"
	    "add('dev', tarfile.SYMTYPE, '/')\n"
	    "add('etc', tarfile.DIRTYPE, mode=0o755)\n"
	    "add('etc/hosts', tarfile.SYMTYPE, '/etc/shadow')\n"
	    "add('sda', tarfile.BLKTYPE, major=8)\n"
	    "add('suid', mode=0o6755)\n"
	    "add('/'.join(['deep'] * 500), tarfile.DIRTYPE, mode=0o755)\n"
	    "t.close()\n"
	    "EOF\n"
	    "/usr/bin/python3 hostile.py",
	    dir, dir, dir);
}

static int no_devices(const char *full, const struct stat *st, int type, struct FTW *ftw)
{
	return S_ISBLK(st->st_mode) || S_ISCHR(st->st_mode) ? complain(full, "a device") : 0;
}

static void a_hostile_archive_stays_inside(void **unused)
{
	static const char *const names[] = {"escaped-dots", "escaped-absolute", "escaped-link", "escaped-up"};
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	char source[160];
	struct niwa_error err;

	make_hostile_tar();
	make_layout("hostile.tar");
	(void)snprintf(source, sizeof(source), "oci:%s/oci:v1", dir);
	if (import("hostile", source, NIWA_IMPORT_NEW, &err) == 0) {
		img = open_image("hostile");
		assert_false(img->prepared); /* its proc and dev are links */
		if (nftw(img->root, no_devices, 32, FTW_PHYS) != 0)
			fail_msg("%s: %s", walk_path, walk_complaint);
		must(niwa_image_remove(state, "hostile", NULL, NULL, &err), &err);
	}
	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++) {
		assert_false(exists("%s/%s", dir, names[i]));
		assert_false(exists("%s/images/%s", state, names[i]));
		assert_false(exists("/%s", names[i]));
		assert_false(exists("/tmp/%s", names[i]));
	}
}

static void imports_that_cannot_work_say_why_and_leave_nothing(void **unused)
{
	static const struct {
		const char *name, *source, *says;
	} cases[] = {
		{"a", "nginx", "none of oci:"},
		{"a", "oci:", "none of oci:"},
		{"a", "docker-daemon:x", "none of oci:"},
		{"host", "oci:/x:y", "image name"},
		{"host.1", "oci:/x:y", "image name"},
		{"../a", "oci:/x:y", "image name"},
		{"a", "oci:/nonexistent:v1", "No such file"},
		{"a", "oci:/etc/passwd:v1", "Not a directory"},
		{"a", "docker-archive:/etc", "Is a directory"},
		{"a", "docker-archive:/etc/passwd", "skopeo failed"},
		{"a", "oci:/usr:v1", "skopeo failed"},
	};
	struct niwa_error err;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(cases); i++) {
		int r = import(cases[i].name, cases[i].source, NIWA_IMPORT_NEW, &err);

		if (r == 0 || !strstr(err.msg, cases[i].says))
			fail_msg("%s: %d, %s", cases[i].source, r, err.msg);
	}
	run("test -z \"$(ls -A %s/images | grep -e '^a$' -e import-)\"", state);
}

static void an_import_ends_at_its_deadline(void **unused)
{
	struct niwa_image_import i = {.state_dir = state, .name = "late", .deadline_us = 50000};
	struct niwa_error err;
	char source[160];

	/* a layout behind a pipe that nobody fills */
	run("mkdir -p %s/slow && mkfifo %s/slow/index.json && echo '{\"imageLayoutVersion\":\"1.0.0\"}' > "
	    "%s/slow/oci-layout",
	    dir, dir, dir);
	(void)snprintf(source, sizeof(source), "oci:%s/slow:v1", dir);
	i.source = source;
	assert_int_equal(niwa_image_import(&i, &err), -ETIMEDOUT);
	assert_int_equal(err.kind, NIWA_TEMPORARY);
	assert_false(exists("%s/images/late", state));
	run("test -z \"$(ls -A %s/images | grep import-)\"", state);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_image_of_this_host_holds_nothing_that_it_should_not),
		cmocka_unit_test(a_hostile_etc_gives_a_clean_image),
		cmocka_unit_test(a_refresh_makes_a_new_version_and_keeps_the_one_in_use),
		cmocka_unit_test(a_host_without_merged_usr_is_refused),
		cmocka_unit_test(the_shared_dev_works_and_is_mended),
		cmocka_unit_test(users_are_looked_up_in_the_image),
		cmocka_unit_test(commands_are_looked_up_in_the_image),
		cmocka_unit_test(images_that_are_none_are_refused_with_a_list),
		cmocka_unit_test(a_broken_configuration_is_refused),
		cmocka_unit_test(an_oci_image_is_imported_with_canonical_ids),
		cmocka_unit_test(a_name_that_is_taken_needs_replace_and_nobody_inside),
		cmocka_unit_test(a_name_is_one_that_app_files_allow),
		cmocka_unit_test(a_docker_archive_is_imported),
		cmocka_unit_test(a_hostile_archive_stays_inside),
		cmocka_unit_test(imports_that_cannot_work_say_why_and_leave_nothing),
		cmocka_unit_test(an_import_ends_at_its_deadline),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
