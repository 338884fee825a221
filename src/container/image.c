/* SPDX-License-Identifier: MIT
 *
 * Opening images by name. Content of an image is never trusted: every path is resolved inside its root by the
 * kernel (openat2), every file that is read has a bound.
 */
#include "container/image.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/openat2.h>

#include <jansson.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/image_private.h"

#define CONFIG_MAX  (1024 * 1024)
#define STRINGS_MAX 512 /* of a list in an image's configuration */

int image_open_in(int root, const char *path, uint64_t flags)
{
	struct open_how how = {.flags = flags | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
	int fd;

	/* EAGAIN: something was renamed meanwhile and the kernel could not be sure */
	for (int tries = 0; tries < 16; tries++) {
		fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));
		if (fd >= 0 || errno != EAGAIN)
			break;
	}
	return fd < 0 ? -errno : fd;
}

int image_read_in(int root, const char *path, size_t max, char **ret, size_t *ret_len)
{
	NIWA_AUTO_FD fd = image_open_in(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	NIWA_AUTO(niwa_free_ptr) char *data = NULL;
	struct stat st;
	size_t used = 0;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	data = niwa_zalloc((size_t)st.st_size + 1);
	if (!data)
		return -ENOMEM;
	while (used < (size_t)st.st_size) {
		ssize_t n = read(fd, data + used, (size_t)st.st_size - used);

		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		used += (size_t)n;
	}
	*ret = NIWA_TAKE(data);
	*ret_len = used;
	return 0;
}

bool image_name_valid(const char *name)
{
	static const char rest[] = "._-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	static const char *const first = rest + 3;

	return name[0] && strchr(first, name[0]) && name[strspn(name, rest)] == '\0' &&
	       strlen(name) <= IMAGE_NAME_MAX && strcmp(name, "host") != 0 && strncmp(name, "host.", 5) != 0;
}

static void free_strings(char ***list)
{
	for (size_t i = 0; *list && (*list)[i]; i++)
		free((*list)[i]);
	free(*list);
	*list = NULL;
}

void niwa_image_free(struct niwa_image **img)
{
	struct niwa_image *i = *img;

	if (!i)
		return;
	free(i->name);
	free(i->root);
	free_strings(&i->command);
	free_strings(&i->env);
	free(i->workdir);
	free(i->user);
	free(i->digest);
	free(i);
	*img = NULL;
}

static char **empty_list(void)
{
	return niwa_zalloc(sizeof(char *));
}

/* Is path a folder, without a link on the way? */
static bool real_folder(int root, const char *path)
{
	struct open_how how = {.flags = O_PATH | O_DIRECTORY | O_CLOEXEC,
			       .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS};
	NIWA_AUTO_FD fd = (int)syscall(SYS_openat2, root, path, &how, sizeof(how));

	return fd >= 0;
}

static bool leads_to(int root, const char *path, const char *target)
{
	char have[PATH_MAX];
	ssize_t n = readlinkat(root, path, have, sizeof(have));

	return n == (ssize_t)strlen(target) && memcmp(have, target, (size_t)n) == 0;
}

static bool is_prepared(int root)
{
	return real_folder(root, "proc") && real_folder(root, "dev") && real_folder(root, "run/niwa/tenant") &&
	       real_folder(root, "etc") && leads_to(root, "etc/hosts", IMAGE_LINK_HOSTS) &&
	       leads_to(root, "etc/resolv.conf", IMAGE_LINK_RESOLV);
}

/* Name, root and what follows from looking at the root. */
static int fill_common(struct niwa_image *img, const char *name, const char *root, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open image '%s' at '%s'", name, root);
	img->name = niwa_strdup(name);
	img->root = niwa_strdup(root);
	img->prepared = is_prepared(fd);
	if (!img->command)
		img->command = empty_list();
	if (!img->env)
		img->env = empty_list();
	if (!img->name || !img->root || !img->command || !img->env || !img->digest)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open image '%s'", name);
	return 0;
}

static int open_host(const char *state_dir, struct niwa_image *img, struct niwa_error *err)
{
	char link[PATH_MAX], version[128], root[PATH_MAX + 256];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "%s/images/host", state_dir);
	n = readlink(link, version, sizeof(version) - 1);
	if (n < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno,
				 "image 'host' is not built yet (niwad does that at its start)");
	version[n] = '\0';
	(void)snprintf(root, sizeof(root), "%s/images/%s/rootfs", state_dir, version);
	img->bind_usr = true;
	img->digest = niwa_strdup(version);
	return fill_common(img, "host", root, err);
}

/* Nobody can tell cheaply whether a folder has changed somewhere below; its own times are what there is. */
static int open_folder(const char *path, struct niwa_image *img, struct niwa_error *err)
{
	struct stat st;

	if (stat(path, &st) < 0)
		return niwa_fail(err, NIWA_CALLER, errno, "image '%s'", path);
	if (!S_ISDIR(st.st_mode))
		return niwa_fail(err, NIWA_CALLER, ENOTDIR, "image '%s'", path);
	if (path[strspn(path, "/")] == '\0')
		return niwa_fail(err, NIWA_CALLER, 0, "image '/' would show the whole host; use image: host");
	img->folder = true;
	img->digest =
		niwa_asprintf("dir:%llx:%llx:%lld.%09ld", (unsigned long long)st.st_dev, (unsigned long long)st.st_ino,
			      (long long)st.st_mtim.tv_sec, (long)st.st_mtim.tv_nsec);
	return fill_common(img, path, path, err);
}

/* *ret: a NULL-terminated copy of a JSON list of strings; other elements are an error. */
static int copy_list(const json_t *list, char ***ret)
{
	NIWA_AUTO(free_strings) char **copy = NULL;
	size_t count = json_array_size(list);

	if (list && !json_is_null(list) && !json_is_array(list))
		return -EINVAL;
	if (count > STRINGS_MAX)
		return -E2BIG;
	copy = niwa_zalloc((count + 1) * sizeof(*copy));
	for (size_t i = 0; copy && i < count; i++) {
		const char *s = json_string_value(json_array_get(list, i));

		if (!s || strlen(s) != json_string_length(json_array_get(list, i)))
			return -EINVAL; /* no string, or with a NUL in it */
		copy[i] = niwa_strdup(s);
		if (!copy[i])
			return -ENOMEM;
	}
	if (!copy)
		return -ENOMEM;
	*ret = NIWA_TAKE(copy);
	return 0;
}

static int copy_text(const json_t *value, char **ret)
{
	if (!value || json_is_null(value) || json_string_length(value) == 0)
		return json_is_string(value) || !value || json_is_null(value) ? 0 : -EINVAL;
	if (strlen(json_string_value(value)) != json_string_length(value))
		return -EINVAL;
	*ret = niwa_strdup(json_string_value(value));
	return *ret ? 0 : -ENOMEM;
}

/* config.json as image_import.c writes it: {digest, command, env, workdir, user, source}. */
static int read_config(const char *dir, struct niwa_image *img, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	json_error_t where;
	json_t *json;
	size_t len;
	int r = fd < 0 ? -errno : image_read_in(fd, "config.json", CONFIG_MAX, &text, &len);

	if (r < 0)
		return niwa_fail(err, NIWA_PERMANENT, -r, "read '%s/config.json'", dir);
	json = json_loadb(text, len, JSON_REJECT_DUPLICATES, &where);
	if (!json_is_object(json))
		r = -EINVAL;
	if (r == 0)
		r = copy_list(json_object_get(json, "command"), &img->command);
	if (r == 0)
		r = copy_list(json_object_get(json, "env"), &img->env);
	if (r == 0)
		r = copy_text(json_object_get(json, "workdir"), &img->workdir);
	if (r == 0)
		r = copy_text(json_object_get(json, "user"), &img->user);
	if (r == 0)
		r = copy_text(json_object_get(json, "digest"), &img->digest);
	if (r == 0 && !img->digest)
		r = -EINVAL;
	json_decref(json);
	return r < 0 ? niwa_fail(err, NIWA_PERMANENT, -r, "'%s/config.json' is not what an import writes", dir) : 0;
}

static int no_such_image(const char *images, const char *name, struct niwa_error *err)
{
	NIWA_AUTO(niwa_text_fini) struct niwa_text list = {0};
	DIR *dir = opendir(images);
	struct dirent *e;

	while (dir && (e = readdir(dir)) && list.len < 200)
		if (image_name_valid(e->d_name))
			niwa_text_addf(&list, ", %s", e->d_name);
	if (dir)
		(void)closedir(dir);
	return niwa_fail(err, NIWA_CALLER, ENOENT,
			 "image '%.80s' (there are: host%s, or the absolute path of a folder)", name,
			 list.data ? list.data : "");
}

static int open_imported(const char *state_dir, const char *name, struct niwa_image *img, struct niwa_error *err)
{
	char images[PATH_MAX], dir[PATH_MAX + 80], root[PATH_MAX + 96];
	int r;

	(void)snprintf(images, sizeof(images), "%s/images", state_dir);
	(void)snprintf(dir, sizeof(dir), "%s/%s", images, name);
	(void)snprintf(root, sizeof(root), "%s/rootfs", dir);
	if (!image_name_valid(name) || access(dir, F_OK) < 0)
		return no_such_image(images, name, err);
	r = read_config(dir, img, err);
	return r < 0 ? r : fill_common(img, name, root, err);
}

int niwa_image_open(const char *state_dir, const char *name, struct niwa_image **ret, struct niwa_error *err)
{
	NIWA_AUTO(niwa_image_free) struct niwa_image *img = NULL;
	int r;

	if (!name || strlen(state_dir) > PATH_MAX - 128 || strlen(name) >= PATH_MAX)
		return niwa_fail(err, NIWA_CALLER, ENAMETOOLONG, "image");
	img = niwa_zalloc(sizeof(*img));
	if (!img)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "open image '%.80s'", name);
	if (strcmp(name, "host") == 0)
		r = open_host(state_dir, img, err);
	else if (name[0] == '/')
		r = open_folder(name, img, err);
	else
		r = open_imported(state_dir, name, img, err);
	if (r < 0)
		return r;
	*ret = NIWA_TAKE(img);
	return 0;
}

static int prune_one(const char *images, const char *version, const char *current,
		     bool (*in_use)(const char *root, void *arg), void *arg, struct niwa_error *err)
{
	char root[PATH_MAX + 300], path[PATH_MAX + 300];

	(void)snprintf(root, sizeof(root), "%s/%s/rootfs", images, version);
	if (strcmp(version, current) == 0 || in_use(root, arg))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s", images, version);
	return niwa_remove_tree(path, err);
}

int niwa_image_prune_host(const char *state_dir, bool (*in_use)(const char *root, void *arg), void *arg,
			  struct niwa_error *err)
{
	char images[PATH_MAX], link[PATH_MAX + 8], current[128] = "";
	struct dirent *e;
	DIR *dir;
	int r = 0;

	(void)snprintf(images, sizeof(images), "%s/images", state_dir);
	(void)snprintf(link, sizeof(link), "%s/host", images);
	if (readlink(link, current, sizeof(current) - 1) < 0)
		return errno == ENOENT ? 0 : niwa_fail(err, NIWA_PERMANENT, errno, "read '%s'", link);
	dir = opendir(images);
	if (!dir)
		return niwa_fail(err, NIWA_PERMANENT, errno, "open '%s'", images);
	while (r == 0 && (e = readdir(dir)))
		if (strncmp(e->d_name, "host.", 5) == 0 && strcmp(e->d_name, "host.new") != 0)
			r = prune_one(images, e->d_name, current, in_use, arg, err);
	(void)closedir(dir);
	return r;
}
