/* SPDX-License-Identifier: MIT
 *
 * Looking things up in an image: its users, its groups, whether it has a command.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/memory.h"
#include "container/image.h"
#include "container/image_private.h"

#define ACCOUNTS_MAX (4 * 1024 * 1024)
#define GROUPS_MAX   32
#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

static int read_accounts(const struct niwa_image *img, const char *path, char **ret, struct niwa_error *err)
{
	NIWA_AUTO_FD root = open(img->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	size_t len;
	int r = root < 0 ? -errno : image_read_in(root, path, ACCOUNTS_MAX, ret, &len);

	if (r == -ENOENT) { /* a bare image: numbers still work */
		*ret = niwa_strdup("");
		r = *ret ? 0 : -ENOMEM;
	}
	return r < 0 ? niwa_fail(err, NIWA_PERMANENT, -r, "image '%s': read /%s", img->name, path) : 0;
}

struct line {
	char buf[8192];
	char *fields[7];
};

/* The first line of text, of those with `count` fields, whose field `key` is `value`. */
static bool find_line(const char *text, unsigned count, unsigned key, const char *value, struct line *ret)
{
	for (const char *line = text; *line; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strcspn(line, "\n");

		if (len >= sizeof(ret->buf))
			continue;
		memcpy(ret->buf, line, len);
		ret->buf[len] = '\0';
		if (image_fields(ret->buf, ret->fields, 7) == count && strcmp(ret->fields[key], value) == 0)
			return true;
	}
	return false;
}

static bool listed(const char *members, const char *user)
{
	size_t len = strlen(user);

	for (const char *m = members; *m; m += strcspn(m, ","), m += *m == ',')
		if (strncmp(m, user, len) == 0 && (m[len] == ',' || m[len] == '\0'))
			return true;
	return false;
}

static unsigned groups_of(const char *text, const char *user, uint32_t gid, uint32_t *groups)
{
	char buf[8192], *f[7];
	unsigned count = 0;
	uint64_t id;

	for (const char *line = text; *line && count < GROUPS_MAX; line += strcspn(line, "\n"), line += *line == '\n') {
		size_t len = strcspn(line, "\n");

		if (len >= sizeof(buf))
			continue;
		memcpy(buf, line, len);
		buf[len] = '\0';
		if (image_fields(buf, f, 7) >= 4 && listed(f[3], user) && niwa_parse_u64(f[2], 65535, &id) == 0 &&
		    id != gid)
			groups[count++] = (uint32_t)id;
	}
	return count;
}

static int find_group(const struct niwa_image *img, const char *text, const char *group, uint32_t *ret,
		      struct niwa_error *err)
{
	struct line l;
	uint64_t id;

	if (niwa_parse_u64(group, 65535, &id) < 0 &&
	    (!find_line(text, 4, 0, group, &l) || niwa_parse_u64(l.fields[2], 65535, &id) < 0))
		return niwa_fail(err, NIWA_CALLER, 0, "user: image '%s' has no group '%.64s'", img->name, group);
	*ret = (uint32_t)id;
	return 0;
}

/* user and group: as in "user:group", group NULL when not given. */
static int look_up(const struct niwa_image *img, const char *user, const char *group, uint32_t ids[2], uint32_t *groups,
		   unsigned *ret_count, struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *passwd = NULL;
	NIWA_AUTO(niwa_free_ptr) char *group_text = NULL;
	struct line l;
	uint64_t uid, gid = 0;
	bool number = niwa_parse_u64(user, 65535, &uid) == 0, found;
	int r = read_accounts(img, "etc/passwd", &passwd, err);

	if (r == 0)
		r = read_accounts(img, "etc/group", &group_text, err);
	if (r < 0)
		return r;
	found = find_line(passwd, 7, number ? 2 : 0, user, &l);
	if (found && (niwa_parse_u64(l.fields[2], 65535, &uid) < 0 || niwa_parse_u64(l.fields[3], 65535, &gid) < 0))
		found = number = false;
	if (!found && !number && strcmp(user, "root") == 0)
		uid = gid = 0; /* needs no list */
	else if (!found && !number)
		return niwa_fail(err, NIWA_CALLER, 0, "user: image '%s' has no user '%.64s' with ids up to 65535",
				 img->name, user);
	ids[0] = (uint32_t)uid;
	ids[1] = (uint32_t)gid;
	*ret_count = 0;
	if (group)
		return find_group(img, group_text, group, &ids[1], err);
	if (found)
		*ret_count = groups_of(group_text, l.fields[0], ids[1], groups);
	return 0;
}

int niwa_image_user(const struct niwa_image *img, const char *user, uint32_t *ret_uid, uint32_t *ret_gid,
		    uint32_t *groups, unsigned *ret_count, struct niwa_error *err)
{
	char name[256], *colon;
	uint32_t ids[2];
	unsigned count;
	int r;

	if (!user || !user[0])
		user = "root";
	if (strlen(user) >= sizeof(name))
		return niwa_fail(err, NIWA_CALLER, 0, "user: '%.32s...' is too long", user);
	(void)snprintf(name, sizeof(name), "%s", user);
	colon = strchr(name, ':');
	if (colon)
		*colon++ = '\0';
	if (!name[0] || (colon && !colon[0]))
		return niwa_fail(err, NIWA_CALLER, 0, "user: '%s' is not a name or number, or two with ':' between",
				 user);
	r = look_up(img, name, colon, ids, groups, &count, err);
	if (r < 0)
		return r;
	*ret_uid = ids[0];
	*ret_gid = ids[1];
	*ret_count = count;
	return 0;
}

char *niwa_image_home(const struct niwa_image *img, uint32_t uid)
{
	NIWA_AUTO(niwa_free_ptr) char *passwd = NULL;
	struct line l;
	char number[16];

	(void)snprintf(number, sizeof(number), "%u", uid);
	if (read_accounts(img, "etc/passwd", &passwd, NULL) == 0 && find_line(passwd, 7, 2, number, &l) &&
	    l.fields[5][0] == '/')
		return niwa_strdup(l.fields[5]);
	return niwa_strdup(uid == 0 ? "/root" : "/");
}

/* 1: there and executable, 0: not there, -EACCES: there and not executable. */
static int executable(const struct niwa_image *img, int root, int usr, const char *path)
{
	int fd;
	struct stat st;
	const char *in = path + strspn(path, "/");

	/* of the host image /usr is mounted later; what is linked there is looked up there */
	if (img->bind_usr && strncmp(in, "usr/", 4) == 0)
		fd = openat(usr, in + 4, O_PATH | O_CLOEXEC);
	else
		fd = image_open_in(root, path, O_PATH);
	if (fd < 0)
		return 0;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || !(st.st_mode & 0111)) {
		niwa_fd_close(&fd);
		return -EACCES;
	}
	niwa_fd_close(&fd);
	return 1;
}

/* "/bin/x" of the host image is "/usr/bin/x" there: bin is a link into the usr that is not mounted yet. */
static int try_path(const struct niwa_image *img, int root, int usr, const char *path)
{
	static const char *const merged[] = {"/bin/", "/sbin/", "/lib/", "/lib64/"};
	char in_usr[PATH_MAX];

	for (size_t i = 0; img->bind_usr && i < NIWA_ARRAY_LEN(merged); i++)
		if (strncmp(path, merged[i], strlen(merged[i])) == 0) {
			(void)snprintf(in_usr, sizeof(in_usr), "/usr%s", path);
			return executable(img, root, usr, in_usr);
		}
	return executable(img, root, usr, path);
}

static int search(const struct niwa_image *img, int root, int usr, const char *dirs, const char *name)
{
	char path[PATH_MAX];
	int found = 0;

	for (;;) {
		size_t len = strcspn(dirs, ":");
		int r;

		if (len > 0 && (size_t)snprintf(path, sizeof(path), "%.*s/%s", (int)len, dirs, name) < sizeof(path)) {
			r = try_path(img, root, usr, path);
			if (r > 0)
				return r;
			found = r < 0 ? r : found;
		}
		if (dirs[len] == '\0')
			return found;
		dirs += len + 1;
	}
}

static const char *path_of(const struct niwa_image *img, char *const *env)
{
	const char *found = DEFAULT_PATH;

	for (size_t i = 0; img->env && img->env[i]; i++)
		if (strncmp(img->env[i], "PATH=", 5) == 0)
			found = img->env[i] + 5;
	for (size_t i = 0; env && env[i]; i++)
		if (strncmp(env[i], "PATH=", 5) == 0)
			found = env[i] + 5;
	return found;
}

int niwa_image_has_command(const struct niwa_image *img, const char *argv0, char *const *env, struct niwa_error *err)
{
	NIWA_AUTO_FD root = open(img->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD usr = img->bind_usr ? open("/usr", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
	const char *dirs = path_of(img, env);
	int r;

	if (root < 0 || (img->bind_usr && usr < 0))
		return niwa_fail(err, NIWA_PERMANENT, errno, "open image '%s'", img->name);
	if (strlen(argv0) > 1024)
		return niwa_fail(err, NIWA_CALLER, ENAMETOOLONG, "command");
	if (strchr(argv0, '/'))
		r = try_path(img, root, usr, argv0);
	else
		r = search(img, root, usr, dirs, argv0);
	if (r > 0)
		return 0;
	if (r < 0)
		return niwa_fail(err, NIWA_CALLER, EACCES, "command: '%s' of image '%s' is not executable", argv0,
				 img->name);
	return niwa_fail(err, NIWA_CALLER, ENOENT, "command: '%s' is not in image '%s'%s%s", argv0, img->name,
			 strchr(argv0, '/') ? "" : " along PATH=", strchr(argv0, '/') ? "" : dirs);
}
