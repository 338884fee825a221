/* SPDX-License-Identifier: MIT
 *
 * The parts of `image: host` that are the same on every host: folders, links, small files, and the empty folders
 * that Debian's packages expect. And the skeleton that is laid over images that lack what instances need.
 */
#include "container/image_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/image.h"

static int fail(struct niwa_error *err, int code, const char *path)
{
	return niwa_fail(err, NIWA_PERMANENT, code, "host image: '/%s'", path);
}

int image_write(int root, const char *path, const char *text, size_t len, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = openat(root, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);

	if (fd < 0)
		return fail(err, errno, path);
	return len && write(fd, text, len) != (ssize_t)len ? fail(err, EIO, path) : 0;
}

static const struct {
	const char *path;
	mode_t mode;
} folders[] = {
	{"etc", 0755},         {"usr", 0755},       {"proc", 0555},      {"sys", 0555},
	{"dev", 0755},         {"home", 0755},      {"root", 0700},      {"srv", 0755},
	{"opt", 0755},         {"mnt", 0755},       {"media", 0755},     {"tmp", 01777},
	{"run", 0755},         {"run/lock", 01777}, {"run/niwa", 0755},  {"run/niwa/tenant", 0755},
	{"var", 0755},         {"var/tmp", 01777},  {"var/lib", 0755},   {"var/log", 0755},
	{"var/cache", 0755},   {"var/spool", 0755}, {"var/mail", 02775}, {"var/www", 0755},
	{"var/backups", 0755}, {"var/local", 0755}, {"var/opt", 0755},
};

/* Folders that Debian's packages make at installation or boot and their programs expect. Made where the account
 * exists; empty. */
static const struct {
	const char *path, *owner, *group;
	mode_t mode;
} package_folders[] = {
	{"var/log/apache2", "root", "adm", 0750},
	{"var/cache/apache2", "root", "root", 0755},
	{"var/lib/apache2", "root", "root", 0755},
	{"run/apache2", "root", "root", 0755},
	{"run/lock/apache2", "www-data", "root", 0755},
	{"var/log/nginx", "www-data", "adm", 0755},
	{"var/lib/nginx", "root", "root", 0755},
	{"var/lib/php", "root", "root", 0755},
	{"var/lib/php/sessions", "root", "root", 01733},
	{"run/php", "www-data", "www-data", 0755},
	{"var/lib/postgresql", "postgres", "postgres", 0755},
	{"var/log/postgresql", "root", "postgres", 01775},
	{"run/postgresql", "postgres", "postgres", 02775},
	{"var/lib/mysql", "mysql", "mysql", 0755},
	{"run/mysqld", "mysql", "root", 0755},
	{"var/lib/redis", "redis", "redis", 0750},
	{"run/redis", "redis", "redis", 02755},
	{"run/dovecot", "root", "root", 0755},
	{"var/lib/dovecot", "root", "root", 0755},
};

static const struct {
	const char *path, *target;
} links[] = {
	{"etc/hosts", IMAGE_LINK_HOSTS},     {"etc/resolv.conf", IMAGE_LINK_RESOLV},
	{"etc/mtab", "../proc/self/mounts"}, {"var/run", "/run"},
	{"var/lock", "/run/lock"},
};

static const struct {
	const char *path, *text;
} files[] = {
	{"etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
			      "protocols: files\nservices: files\nrpc: files\n"},
	{"etc/hostname", "niwa\n"},
	{"etc/networks", "default 0.0.0.0\nloopback 127.0.0.0\n"},
	{"etc/fstab", "# made by niwa\n"},
};

static int make_folder(int root, const char *path, mode_t mode, uint32_t uid, uint32_t gid, struct niwa_error *err)
{
	if (mkdirat(root, path, 0700) < 0 && errno != EEXIST)
		return fail(err, errno, path);
	if (fchownat(root, path, uid, gid, AT_SYMLINK_NOFOLLOW) < 0 || fchmodat(root, path, mode, 0) < 0)
		return fail(err, errno, path);
	return 0;
}

int image_skeleton(int root, struct niwa_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(folders); i++)
		r = make_folder(root, folders[i].path, folders[i].mode, 0, 0, err);
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(links); i++)
		if (symlinkat(links[i].target, root, links[i].path) < 0)
			r = fail(err, errno, links[i].path);
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(files); i++)
		r = image_write(root, files[i].path, files[i].text, strlen(files[i].text), err);
	return r;
}

int image_package_folders(int root, const char *path, struct niwa_error *err)
{
	struct niwa_image img = {.name = (char *)(uintptr_t) "host", .root = (char *)(uintptr_t)path}; /* only read */
	int r = 0;

	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(package_folders); i++) {
		uint32_t uid, gid, groups[32];
		unsigned count;
		char user[80];

		(void)snprintf(user, sizeof(user), "%s:%s", package_folders[i].owner, package_folders[i].group);
		if (niwa_image_user(&img, user, &uid, &gid, groups, &count, NULL) < 0)
			continue; /* package not installed */
		r = make_folder(root, package_folders[i].path, package_folders[i].mode, uid, gid, err);
	}
	return r;
}

/* In place, because instances have it mounted: what is there already is right. */
int image_build_skeleton(const char *state_dir, struct niwa_error *err)
{
	static const char *const dirs[] = {"proc", "dev", "etc", "run", "run/niwa", "run/niwa/tenant"};
	NIWA_AUTO(niwa_free_ptr) char *path = niwa_asprintf("%s/skeleton", state_dir);
	NIWA_AUTO_FD root = -1;
	int r = path ? niwa_mkdir_p(path, 0755, err) : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "skeleton");

	if (r < 0)
		return r;
	root = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (root < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open '%s'", path);
	for (size_t i = 0; r == 0 && i < NIWA_ARRAY_LEN(dirs); i++)
		r = make_folder(root, dirs[i], strcmp(dirs[i], "proc") == 0 ? 0555 : 0755, 0, 0, err);
	if (r < 0)
		return r;
	if ((symlinkat(IMAGE_LINK_HOSTS, root, "etc/hosts") < 0 && errno != EEXIST) ||
	    (symlinkat(IMAGE_LINK_RESOLV, root, "etc/resolv.conf") < 0 && errno != EEXIST))
		return niwa_fail(err, NIWA_PERMANENT, errno, "make the links in '%s'", path);
	return 0;
}
