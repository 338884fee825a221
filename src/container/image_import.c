/* SPDX-License-Identifier: MIT
 *
 * Importing, listing and removing images. The parent's side: it prepares what the sandboxed child gets, waits for it
 * with a deadline, syncs the result and names it. It reads nothing that the child wrote but its own short messages.
 */
#include "container/image_import.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/memory.h"
#include "container/image_import_private.h"
#include "container/image_private.h"

#define WORK_PREFIX ".import-"
#define CONFIG_MAX  (1024 * 1024)

/* An import under way. */
struct job {
	const struct niwa_image_import *import;
	char images[PATH_MAX], work[PATH_MAX + 32], final[PATH_MAX + 80];
	int lock;                /* of the work folder: tells others that it is in use */
	char path[PATH_MAX];     /* of the source on the host, "" for docker:// */
	char tool[PATH_MAX * 2]; /* the source as skopeo gets it */
	struct sandbox sandbox;
	char said[NIWA_ERROR_MAX];
};

/* What is not on the host's disk has no path. */
static const struct {
	const char *prefix;
	bool network, file;
} kinds[] = {{"oci:", false, false}, {"docker-archive:", false, true}, {"docker://", true, false}};

static int bad_source(const char *source, struct niwa_error *err)
{
	return niwa_fail(err, NIWA_CALLER, 0,
			 "source '%.200s' is none of oci:DIR[:TAG], docker-archive:FILE[:REF], docker://REF", source);
}

static int parse_source(struct job *job, struct niwa_error *err)
{
	const char *source = job->import->source, *rest, *colon;
	size_t kind = 0;

	while (kind < NIWA_ARRAY_LEN(kinds) && strncmp(source, kinds[kind].prefix, strlen(kinds[kind].prefix)) != 0)
		kind++;
	if (kind == NIWA_ARRAY_LEN(kinds))
		return bad_source(source, err);
	rest = source + strlen(kinds[kind].prefix);
	if (!*rest || strlen(source) >= PATH_MAX)
		return bad_source(source, err);
	job->sandbox.network = kinds[kind].network;
	job->sandbox.source_is_file = kinds[kind].file;
	if (kinds[kind].network) {
		(void)snprintf(job->tool, sizeof(job->tool), "%s", source);
		return 0;
	}
	colon = strchr(rest, ':');
	(void)snprintf(job->path, sizeof(job->path), "%.*s", colon ? (int)(colon - rest) : (int)strlen(rest), rest);
	(void)snprintf(job->tool, sizeof(job->tool), "%s" SANDBOX_SOURCE "%s", kinds[kind].prefix, colon ? colon : "");
	return 0;
}

static int is_used(const char *folder, const char *name, bool (*in_use)(const char *root, void *arg), void *arg,
		   struct niwa_error *err)
{
	char root[PATH_MAX + 96];

	(void)snprintf(root, sizeof(root), "%s/rootfs", folder);
	if (in_use && in_use(root, arg))
		return niwa_fail(err, NIWA_CALLER, EBUSY,
				 "image '%s' is used by a running instance; stop its apps first", name);
	return 0;
}

static int check(struct job *job, struct niwa_error *err)
{
	const struct niwa_image_import *i = job->import;
	int r;

	if (!image_name_valid(i->name))
		return niwa_fail(err, NIWA_CALLER, 0,
				 "image name '%.80s': allowed are letters, digits and then also . _ -, up to %d; not "
				 "host or host.*",
				 i->name, IMAGE_NAME_MAX);
	if (strlen(i->state_dir) > PATH_MAX - 256)
		return niwa_fail(err, NIWA_CALLER, ENAMETOOLONG, "state folder");
	(void)snprintf(job->images, sizeof(job->images), "%s/images", i->state_dir);
	(void)snprintf(job->final, sizeof(job->final), "%s/%s", job->images, i->name);
	if (i->mode == NIWA_IMPORT_NEW && access(job->final, F_OK) == 0)
		return niwa_fail(err, NIWA_CALLER, EEXIST, "image '%s' (--replace puts another in its place)", i->name);
	if (i->mode == NIWA_IMPORT_REPLACE && access(job->final, F_OK) == 0) {
		/* before all is fetched and unpacked for nothing; and again when it is done */
		r = is_used(job->final, i->name, i->in_use, i->arg, err);
		if (r < 0)
			return r;
	}
	return parse_source(job, err);
}

/* An image may hold folders as deep as a path is long; removing holds one descriptor a level. */
static void raise_files(void)
{
	struct rlimit lim;

	if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
		lim.rlim_cur = lim.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &lim); /* helps only in the extreme */
	}
}

/* Work folders of imports that were killed: nobody holds their lock. */
static void collect_leftovers(const char *images)
{
	DIR *dir = opendir(images);
	struct dirent *e;

	while (dir && (e = readdir(dir))) {
		char path[PATH_MAX + 300];
		NIWA_AUTO_FD fd = -1;

		if (strncmp(e->d_name, WORK_PREFIX, strlen(WORK_PREFIX)) != 0)
			continue;
		(void)snprintf(path, sizeof(path), "%s/%s", images, e->d_name);
		fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
			(void)niwa_remove_tree(path, NULL); /* the next import tries again */
	}
	if (dir)
		(void)closedir(dir);
}

/* The work folder holds `tree`, which the child fills and which becomes the image. */
static int make_work(struct job *job, struct niwa_error *err)
{
	char tree[PATH_MAX + 64];
	int r = niwa_mkdir_p(job->images, 0700, err);

	if (r < 0)
		return r;
	collect_leftovers(job->images);
	(void)snprintf(job->work, sizeof(job->work), "%s/" WORK_PREFIX "XXXXXX", job->images);
	if (!mkdtemp(job->work))
		return niwa_fail(err, NIWA_PERMANENT, errno, "create a folder in '%s'", job->images);
	job->lock = open(job->work, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	(void)snprintf(tree, sizeof(tree), "%s/tree", job->work);
	if (job->lock < 0 || flock(job->lock, LOCK_EX) < 0 || mkdir(tree, 0700) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "prepare '%s'", job->work);
	return 0;
}

static int make_mounts(struct job *job, struct niwa_error *err)
{
	uint32_t id_base = job->import->id_base ? job->import->id_base : NIWA_IMPORT_ID_BASE;
	struct sandbox *s = &job->sandbox;
	char tree[PATH_MAX + 64];
	struct stat st;

	(void)snprintf(tree, sizeof(tree), "%s/tree", job->work);
	s->user_ns = sandbox_user_ns(id_base);
	if (s->user_ns < 0)
		return niwa_fail(err, NIWA_PERMANENT, -s->user_ns, "make a user namespace with ids from %u", id_base);
	s->work = sandbox_mount(tree, s->user_ns, 0);
	if (s->work < 0)
		return niwa_fail(err, NIWA_PERMANENT, -s->work, "id-mapped mount of '%s'", tree);
	if (!job->path[0])
		return 0;
	if (stat(job->path, &st) < 0)
		return niwa_fail(err, NIWA_CALLER, errno, "source '%s'", job->path);
	if (s->source_is_file ? !S_ISREG(st.st_mode) : !S_ISDIR(st.st_mode))
		return niwa_fail(err, NIWA_CALLER, s->source_is_file ? EISDIR : ENOTDIR, "source '%s'", job->path);
	s->source = sandbox_mount(job->path, s->user_ns, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC);
	if (s->source < 0)
		return niwa_fail(err, NIWA_PERMANENT, -s->source, "id-mapped mount of '%s'", job->path);
	return 0;
}

static _Noreturn void child(struct job *job)
{
	struct niwa_error err = {0};
	const char *what = "";
	int r = sandbox_enter(&job->sandbox, &what);

	if (r < 0) {
		(void)niwa_fail(&err, NIWA_PERMANENT, -r, "%s", what);
		unpack_say(job->sandbox.status, 'E', err.msg);
		_exit(1);
	}
	r = unpack_image(3, job->tool, job->import->source, &err);
	if (r < 0)
		unpack_say(3, 'E', err.msg);
	_exit(r < 0);
}

/* Takes over whole lines of what the child says. */
static void listen_to(struct job *job, const char *text)
{
	const struct niwa_image_import *i = job->import;

	while (*text) {
		size_t len = strcspn(text, "\n");

		if (text[0] == 'P' && i->progress) {
			char stage[32];

			(void)snprintf(stage, sizeof(stage), "%.*s", (int)(len > 0 ? len - 1 : 0), text + 1);
			i->progress(stage, i->arg);
		} else if (text[0] == 'E' && len > 1) {
			(void)niwa_quote(text + 1, len - 1, job->said, sizeof(job->said));
		}
		text += len + (text[len] == '\n');
	}
}

/* Until the child's end of the pipe is closed, or the deadline. */
static int follow(struct job *job, int status)
{
	uint64_t limit = job->import->deadline_us ? job->import->deadline_us : NIWA_IMPORT_DEADLINE_US;
	uint64_t end = niwa_now_us() + limit;

	for (;;) {
		struct pollfd p = {.fd = status, .events = POLLIN};
		uint64_t now = niwa_now_us();
		char text[2 * NIWA_ERROR_MAX];
		ssize_t n;

		if (now >= end || poll(&p, 1, (int)((end - now) / 1000 > 60000 ? 60000 : (end - now) / 1000 + 1)) < 0)
			return -ETIMEDOUT;
		if (!p.revents)
			continue;
		n = read(status, text, sizeof(text) - 1);
		if (n <= 0)
			return 0;
		text[n] = '\0';
		listen_to(job, text);
	}
}

static int run_child(struct job *job, struct niwa_error *err)
{
	unsigned long flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS |
			      (job->sandbox.network ? 0 : CLONE_NEWNET) | SIGCHLD;
	int ends[2], r, status = 0;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "pipe");
	job->sandbox.status = ends[1];
	(void)fflush(NULL); /* nothing of ours may come out of the child */
	pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
	if (pid == 0)
		child(job);
	(void)close(ends[1]);
	r = pid < 0 ? niwa_fail(err, NIWA_TEMPORARY, errno, "start the sandbox") : follow(job, ends[0]);
	(void)close(ends[0]);
	if (pid < 0)
		return r;
	if (r < 0)
		(void)kill(pid, SIGKILL); /* first process of its pid namespace: all of it ends */
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (r < 0)
		return niwa_fail(err, NIWA_TEMPORARY, ETIMEDOUT, "import '%s'", job->import->source);
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return niwa_fail(err, NIWA_CALLER, 0, "import '%.100s': %s", job->import->source,
				 job->said[0] ? job->said : "the sandbox was killed");
	return 0;
}

/* Complete on disk, then named. What it replaces goes where the work was, and with it. */
static int store(struct job *job, struct niwa_error *err)
{
	const struct niwa_image_import *i = job->import;
	char tree[PATH_MAX + 64];
	bool there;
	int r;

	(void)snprintf(tree, sizeof(tree), "%s/tree", job->work);
	if (i->progress)
		i->progress("store", i->arg);
	if (syncfs(job->lock) < 0 || chmod(tree, 0700) < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "sync '%s'", tree);
	there = access(job->final, F_OK) == 0;
	if (there && i->mode == NIWA_IMPORT_REPLACE) {
		r = is_used(job->final, i->name, i->in_use, i->arg, err);
		if (r < 0)
			return r;
	}
	if (renameat2(AT_FDCWD, tree, AT_FDCWD, job->final,
		      there && i->mode == NIWA_IMPORT_REPLACE ? RENAME_EXCHANGE : RENAME_NOREPLACE) < 0)
		return niwa_fail(err, errno == EEXIST ? NIWA_CALLER : NIWA_PERMANENT, errno, "name the image '%s'",
				 i->name);
	return 0;
}

static void close_job(struct job *job)
{
	niwa_fd_close(&job->sandbox.user_ns);
	niwa_fd_close(&job->sandbox.work);
	niwa_fd_close(&job->sandbox.source);
	if (job->work[0])
		(void)niwa_remove_tree(job->work, NULL); /* else the next import collects it */
	niwa_fd_close(&job->lock);
}

int niwa_image_import(const struct niwa_image_import *import, struct niwa_error *err)
{
	struct job *job = niwa_zalloc(sizeof(*job));
	int r;

	if (!job)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "import");
	job->import = import;
	job->lock = -1;
	job->sandbox = (struct sandbox){.user_ns = -1, .work = -1, .source = -1, .status = -1};
	raise_files();
	r = check(job, err);
	if (r == 0)
		r = make_work(job, err);
	if (r == 0)
		r = make_mounts(job, err);
	if (r == 0)
		r = run_child(job, err);
	if (r == 0)
		r = store(job, err);
	close_job(job);
	free(job);
	return r;
}

static void describe(const char *images, const char *name,
		     void (*fn)(const char *name, const char *digest, const char *source, void *arg), void *arg)
{
	NIWA_AUTO_FD dir = open(images, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	const char *digest, *source;
	char path[NAME_MAX + 32];
	json_t *json = NULL;
	size_t len;

	(void)snprintf(path, sizeof(path), "%s/config.json", name);
	if (dir >= 0 && image_read_in(dir, path, CONFIG_MAX, &text, &len) == 0)
		json = json_loadb(text, len, 0, NULL);
	digest = json_string_value(json_object_get(json, "digest"));
	source = json_string_value(json_object_get(json, "source"));
	fn(name, digest ? digest : "", source ? source : "", arg);
	json_decref(json);
}

static int only_images(const struct dirent *e)
{
	return image_name_valid(e->d_name);
}

int niwa_image_list(const char *state_dir,
		    void (*fn)(const char *name, const char *digest, const char *source, void *arg), void *arg,
		    struct niwa_error *err)
{
	NIWA_AUTO(niwa_free_ptr) char *images = niwa_asprintf("%s/images", state_dir);
	struct dirent **names;
	int count;

	if (!images)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "list images");
	count = scandir(images, &names, only_images, alphasort);
	if (count < 0)
		return errno == ENOENT ? 0 : niwa_fail(err, NIWA_PERMANENT, errno, "list '%s'", images);
	for (int i = 0; i < count; i++) {
		describe(images, names[i]->d_name, fn, arg);
		free(names[i]);
	}
	free(names);
	return 0;
}

int niwa_image_remove(const char *state_dir, const char *name, bool (*in_use)(const char *root, void *arg), void *arg,
		      struct niwa_error *err)
{
	char folder[PATH_MAX + 80], gone[PATH_MAX + 32];
	int r;

	if (!image_name_valid(name) || strlen(state_dir) > PATH_MAX - 256)
		return niwa_fail(err, NIWA_CALLER, 0, "'%.80s' is not the name of an imported image", name);
	(void)snprintf(folder, sizeof(folder), "%s/images/%s", state_dir, name);
	if (access(folder, F_OK) < 0)
		return niwa_fail(err, NIWA_CALLER, errno, "image '%s'", name);
	r = is_used(folder, name, in_use, arg, err);
	if (r < 0)
		return r;
	raise_files();
	/* out of sight in one step, then removed; what is left by a kill is collected like an import */
	(void)snprintf(gone, sizeof(gone), "%s/images/" WORK_PREFIX "XXXXXX", state_dir);
	if (!mkdtemp(gone) || rename(folder, gone) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "remove image '%s'", name);
	return niwa_remove_tree(gone, err);
}
