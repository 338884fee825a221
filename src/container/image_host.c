/* SPDX-License-Identifier: MIT
 *
 * Building `image: host`. A version lives in STATE_DIR/images/host.<digest>/rootfs and is never changed once it has
 * that name; the link STATE_DIR/images/host says which is current. The digest is taken over dpkg's status, our own
 * version, the accounts and every entry that the allow-list lets through, so a check costs a walk of /etc and no more.
 */
#include "container/image_private.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/image.h"

#define BUILDER_VERSION 1 /* raise it whenever the result would differ */
#define DEPTH_MAX       8
#define ENTRIES_MAX     20000
#define FILE_MAX        (4 * 1024 * 1024) /* larger ones are left out: what the list means is small */
#define TOTAL_MAX       (64 * 1024 * 1024)
#define ACCOUNTS_MAX    (4 * 1024 * 1024)

/* One walk over the source; without a target it only computes the digest. */
struct walk {
	int source; /* root that is copied from */
	int target; /* root that is built, or -1 */
	uint64_t hash[2];
	uint64_t total;
	unsigned entries;
	struct niwa_error *err;
};

static void hash_bytes(struct walk *w, const void *data, size_t len)
{
	const unsigned char *p = data;

	for (size_t i = 0; i < len; i++) {
		w->hash[0] = (w->hash[0] ^ p[i]) * UINT64_C(0x100000001b3);
		w->hash[1] = (w->hash[1] + p[i]) * UINT64_C(0x9e3779b97f4a7c15);
		w->hash[1] ^= w->hash[1] >> 29;
	}
}

static void hash_entry(struct walk *w, const char *path, const struct stat *st, const char *link)
{
	char text[128];

	(void)snprintf(text, sizeof(text), "%o %lld %lld.%ld", (unsigned)st->st_mode, (long long)st->st_size,
		       (long long)st->st_mtim.tv_sec, (long)st->st_mtim.tv_nsec);
	hash_bytes(w, path, strlen(path) + 1);
	/* a folder's time changes with entries that are not ours; its size says nothing */
	if (!S_ISDIR(st->st_mode))
		hash_bytes(w, text, strlen(text) + 1);
	if (link)
		hash_bytes(w, link, strlen(link) + 1);
}

static int fail(struct walk *w, int code, const char *path)
{
	return niwa_fail(w->err, NIWA_PERMANENT, code, "host image: '/%s'", path);
}

static int copy_bytes(int from, int to, off_t size)
{
	while (size > 0) {
		ssize_t n = copy_file_range(from, NULL, to, NULL, (size_t)size, 0);

		if (n < 0 && (errno == EXDEV || errno == EINVAL || errno == EOPNOTSUPP)) {
			char buf[65536];

			n = read(from, buf, sizeof(buf));
			if (n > 0 && write(to, buf, (size_t)n) != n)
				return -EIO;
		}
		if (n < 0)
			return -errno;
		if (n == 0)
			return 0; /* has become shorter: the next refresh sees another time */
		size -= n;
	}
	return 0;
}

/* What everybody may read, owned by root, executable or not, nothing else of its mode. */
static int copy_file(struct walk *w, int dir, const char *name, const char *path, const struct stat *st)
{
	NIWA_AUTO_FD from = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	NIWA_AUTO_FD to = -1;
	struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, st->st_mtim};
	struct stat now;
	int r;

	if (from < 0 || fstat(from, &now) < 0)
		return errno == ENOENT || errno == ELOOP ? 0 : fail(w, errno, path);
	if (!S_ISREG(now.st_mode) || !(now.st_mode & 0004))
		return 0;
	to = openat(w->target, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (to < 0)
		return fail(w, errno, path);
	r = copy_bytes(from, to, st->st_size);
	if (r == 0 && (fchmod(to, st->st_mode & 0111 ? 0755 : 0644) < 0 || futimens(to, times) < 0))
		r = -errno;
	return r < 0 ? fail(w, -r, path) : 0;
}

static int take_file(struct walk *w, int dir, const char *name, const char *path, const struct stat *st)
{
	if (!(st->st_mode & 0004) || !image_allow_name(name) || st->st_size > FILE_MAX)
		return 0;
	w->total += (uint64_t)st->st_size;
	if (w->total > TOTAL_MAX)
		return niwa_fail(w->err, NIWA_PERMANENT, 0,
				 "host image: what the list allows of /etc is more than %d MiB", TOTAL_MAX >> 20);
	hash_entry(w, path, st, NULL);
	return w->target < 0 ? 0 : copy_file(w, dir, name, path, st);
}

static int take_link(struct walk *w, int dir, const char *name, const char *path, const struct stat *st)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return errno == ENOENT ? 0 : fail(w, errno, path);
	target[n] = '\0';
	if (!image_allow_link(path, target))
		return 0;
	hash_entry(w, path, st, target);
	if (w->target >= 0 && symlinkat(target, w->target, path) < 0)
		return fail(w, errno, path);
	return 0;
}

static int take_folder(struct walk *w, int dir, const char *name, const char *path, unsigned depth);

static int take_entry(struct walk *w, int dir, const char *name, const char *path, unsigned depth)
{
	enum image_allow allow = image_allow_path(path);
	struct stat st;

	if (allow == ALLOW_NO)
		return 0;
	if (++w->entries > ENTRIES_MAX)
		return niwa_fail(w->err, NIWA_PERMANENT, 0, "host image: more than %d entries", ENTRIES_MAX);
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : fail(w, errno, path);
	if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX && (st.st_mode & 0005) == 0005 && image_allow_name(name)) {
		hash_entry(w, path, &st, NULL);
		if (w->target >= 0 && mkdirat(w->target, path, 0755) < 0)
			return fail(w, errno, path);
		return take_folder(w, dir, name, path, depth + 1);
	}
	if (allow == ALLOW_YES && S_ISREG(st.st_mode))
		return take_file(w, dir, name, path, &st);
	if (allow == ALLOW_YES && S_ISLNK(st.st_mode))
		return take_link(w, dir, name, path, &st);
	return 0; /* devices, sockets, folders that others may not enter */
}

static int take_folder(struct walk *w, int dir, const char *name, const char *path, unsigned depth)
{
	struct dirent **names = NULL;
	NIWA_AUTO_FD sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int count, r = 0;

	if (sub < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == ELOOP ? 0 : fail(w, errno, path);
	count = scandirat(sub, ".", &names, NULL, alphasort); /* sorted: the digest must not depend on the order */
	if (count < 0)
		return fail(w, errno, path);
	for (int i = 0; i < count; i++) {
		char child[PATH_MAX];
		const char *n = names[i]->d_name;

		if (r == 0 && strcmp(n, ".") != 0 && strcmp(n, "..") != 0 &&
		    (size_t)snprintf(child, sizeof(child), "%s/%s", path, n) < sizeof(child))
			r = take_entry(w, sub, n, child, depth);
		free(names[i]);
	}
	free(names);
	return r;
}

static int read_source(struct walk *w, const char *path, char **ret)
{
	size_t len;
	int r = image_read_in(w->source, path, ACCOUNTS_MAX, ret, &len);

	return r < 0 ? fail(w, -r, path) : 0;
}

/* Accounts count for the digest by their result, so that a new person on the host does not rebuild the image. */
static int take_accounts(struct walk *w)
{
	NIWA_AUTO(niwa_free_ptr) char *passwd = NULL;
	NIWA_AUTO(niwa_free_ptr) char *group = NULL;
	NIWA_AUTO(niwa_text_fini) struct niwa_text users = {0};
	NIWA_AUTO(niwa_text_fini) struct niwa_text groups = {0};
	int r = read_source(w, "etc/passwd", &passwd);

	if (r == 0)
		r = read_source(w, "etc/group", &group);
	if (r < 0)
		return r;
	image_accounts(passwd, group, &users, &groups);
	if (users.failed || groups.failed)
		return niwa_fail(w->err, NIWA_TEMPORARY, ENOMEM, "host image: accounts");
	hash_bytes(w, users.data, users.len);
	hash_bytes(w, groups.data, groups.len);
	if (w->target < 0)
		return 0;
	r = image_write(w->target, "etc/passwd", users.data, users.len, w->err);
	return r < 0 ? r : image_write(w->target, "etc/group", groups.data, groups.len, w->err);
}

/* localtime is a link that may lead anywhere; its content is what is wanted. */
static int take_localtime(struct walk *w)
{
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	size_t len;

	if (image_read_in(w->source, "etc/localtime", 65536, &text, &len) < 0)
		return 0; /* UTC then */
	hash_bytes(w, text, len);
	return w->target < 0 ? 0 : image_write(w->target, "etc/localtime", text, len, w->err);
}

/* The C library's folders at the root. Only a merged /usr can be shown by one mount. */
static int take_usr_links(struct walk *w)
{
	static const char *const names[] = {"bin", "sbin", "lib", "lib32", "lib64", "libx32"};

	for (size_t i = 0; i < NIWA_ARRAY_LEN(names); i++) {
		char target[64];
		ssize_t n = readlinkat(w->source, names[i], target, sizeof(target) - 1);

		if (n < 0 && errno == ENOENT)
			continue;
		if (n < 0 || (strncmp(target, "usr/", 4) != 0 && strncmp(target, "/usr/", 5) != 0))
			return niwa_fail(
				w->err, NIWA_PERMANENT, 0,
				"host image: /%s is not a link into /usr; install usrmerge, or use another image",
				names[i]);
		target[n] = '\0';
		hash_bytes(w, target, (size_t)n + 1);
		if (w->target >= 0 && symlinkat(target, w->target, names[i]) < 0)
			return fail(w, errno, names[i]);
	}
	return 0;
}

static void take_dpkg(struct walk *w)
{
	NIWA_AUTO_FD fd = image_open_in(w->source, "var/lib/dpkg/status", O_PATH);
	int version = BUILDER_VERSION;
	struct stat st;

	hash_bytes(w, &version, sizeof(version));
	if (fd >= 0 && fstat(fd, &st) == 0)
		hash_entry(w, "dpkg", &st, NULL);
}

/* Everything of the host that has a part in the image. */
static int take_all(struct walk *w)
{
	int r;

	w->hash[0] = UINT64_C(0xcbf29ce484222325);
	w->hash[1] = 1;
	take_dpkg(w);
	r = take_usr_links(w);
	if (r == 0)
		r = take_folder(w, w->source, "etc", "etc", 0);
	if (r == 0)
		r = take_accounts(w);
	return r == 0 ? take_localtime(w) : r;
}

static int build_tree(struct walk *w, const char *root, struct niwa_error *err)
{
	int r;

	if (mkdir(root, 0755) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "create '%s'", root);
	w->target = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (w->target < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open '%s'", root);
	r = image_skeleton(w->target, err);
	if (r == 0)
		r = take_all(w);
	if (r == 0)
		r = image_package_folders(w->target, root, err);
	/* complete on disk before it gets its name */
	if (r == 0 && syncfs(w->target) < 0)
		r = niwa_fail(err, NIWA_TEMPORARY, errno, "sync '%s'", root);
	niwa_fd_close(&w->target);
	return r;
}

/* images/host → name, replaced in one step. */
static int point_host_at(const char *images, const char *name, struct niwa_error *err)
{
	char link[PATH_MAX], tmp[PATH_MAX + 8];

	(void)snprintf(link, sizeof(link), "%s/host", images);
	(void)snprintf(tmp, sizeof(tmp), "%s.new", link);
	(void)unlink(tmp); /* of a build that was cut short */
	if (symlink(name, tmp) < 0 || rename(tmp, link) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "point '%s' to '%s'", link, name);
	return 0;
}

static int build_version(const char *images, const char *name, struct walk *w, struct niwa_error *err)
{
	char tmp[PATH_MAX], root[PATH_MAX + 16], final[PATH_MAX];
	int r;

	(void)snprintf(tmp, sizeof(tmp), "%s/.host-new", images);
	(void)snprintf(root, sizeof(root), "%s/rootfs", tmp);
	(void)snprintf(final, sizeof(final), "%s/%s", images, name);
	r = niwa_remove_tree(tmp, err); /* of a build that was cut short; we hold the lock */
	if (r < 0)
		return r;
	if (mkdir(tmp, 0700) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "create '%s'", tmp);
	*w = (struct walk){.source = w->source, .target = -1, .err = err};
	r = build_tree(w, root, err);
	if (r == 0 && rename(tmp, final) < 0)
		r = niwa_fail(err, NIWA_PERMANENT, errno, "rename '%s' to '%s'", tmp, final);
	if (r < 0)
		(void)niwa_remove_tree(tmp, NULL); /* the next build tries again */
	return r;
}

static int refresh(const char *images, struct walk *w, struct niwa_error *err)
{
	char name[64], path[PATH_MAX], have[64] = "";
	int r = take_all(w);

	if (r < 0)
		return r;
	(void)snprintf(name, sizeof(name), "host.%016llx%016llx", (unsigned long long)w->hash[0],
		       (unsigned long long)w->hash[1]);
	(void)snprintf(path, sizeof(path), "%s/host", images);
	if (readlink(path, have, sizeof(have) - 1) > 0 && strcmp(have, name) == 0)
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s", images, name);
	if (access(path, F_OK) < 0) {
		r = build_version(images, name, w, err);
		if (r < 0)
			return r;
	}
	return point_host_at(images, name, err);
}

int image_build_host(const char *state_dir, const char *source, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *images = niwa_asprintf("%s/images", state_dir);
	struct walk w = {.source = -1, .target = -1, .err = err};
	NIWA_AUTO_FD lock = -1, root = -1;
	int r;

	if (!images || strlen(images) > PATH_MAX - 128)
		return niwa_fail(err, NIWA_CALLER, ENAMETOOLONG, "state folder");
	r = niwa_mkdir_p(images, 0700, err);
	if (r < 0)
		return r;
	lock = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (lock < 0 || flock(lock, LOCK_EX) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "lock '%s'", images);
	root = open(source, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (root < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open '%s'", source);
	w.source = root;
	return refresh(images, &w, err);
}

int niwa_image_prepare_host(const char *state_dir, struct niwa_error *err)
{
	int r = image_build_dev(state_dir, err);

	if (r == 0)
		r = image_build_skeleton(state_dir, err);
	return r < 0 ? r : image_build_host(state_dir, "/", err);
}
