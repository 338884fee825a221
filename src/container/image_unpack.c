/* SPDX-License-Identifier: MIT
 *
 * What happens in the sandbox: skopeo brings the image into a layout, umoci unpacks it, its configuration is reduced
 * to what niwa uses. All that is read here is foreign; the worst outcome is a useless image.
 */
#include "container/image_import_private.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <linux/openat2.h>

#include <jansson.h>

#include "base/fd.h"
#include "base/memory.h"
#include "base/text.h"
#include "container/image_private.h"

#define JSON_MAX   (4 * 1024 * 1024)
#define LAST_WORDS 300 /* bytes of a tool's output in our message */

#define LAYOUT SANDBOX_WORK "/layout"
#define BUNDLE SANDBOX_WORK "/bundle"
#define TMP    SANDBOX_WORK "/tmp"

void unpack_say(int status, char kind, const char *text)
{
	char line[NIWA_ERROR_MAX + 8];
	int n = snprintf(line, sizeof(line), "%c%s\n", kind, text);

	if (n > (int)sizeof(line) - 1)
		n = (int)sizeof(line) - 1;
	(void)!write(status, line, (size_t)n); /* without a reader nobody wants to know */
}

/* The text of a line in skopeo's manner: time="..." level=fatal msg="initializing source: \"x\"". In place. */
static void take_message(char *text)
{
	char *from = NULL, *to = text;

	for (char *at = text; (at = strstr(at, " msg=\"")); at += 6)
		from = at + 6; /* of the last one */
	if (!from)
		return;
	for (; *from && *from != '"'; from++) {
		if (*from == '\\' && (from[1] == '"' || from[1] == '\\'))
			from++;
		*to++ = *from;
	}
	*to = '\0';
}

/* As it is: who reads it does not trust it, and quotes it. */
static void last_words(char *buf, size_t size)
{
	char text[LAST_WORDS + 1];
	NIWA_AUTO_FD fd = open(SANDBOX_STDERR, O_RDONLY | O_CLOEXEC);
	off_t len = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
	ssize_t n;

	buf[0] = '\0';
	if (fd < 0 || lseek(fd, len > LAST_WORDS ? len - LAST_WORDS : 0, SEEK_SET) < 0)
		return;
	n = read(fd, text, LAST_WORDS);
	while (n > 0 && text[n - 1] == '\n')
		n--;
	for (ssize_t i = 0; i < n; i++)
		if (text[i] == '\n' || text[i] == '\t' || text[i] == '\0')
			text[i] = ' ';
	text[n > 0 ? n : 0] = '\0';
	take_message(text);
	(void)snprintf(buf, size, "%s", text);
}

static int run_tool(char *const *argv, struct niwa_error *err)
{
	static char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "HOME=/tmp", "TMPDIR=" TMP,
				    "LC_ALL=C.UTF-8", NULL};
	char words[LAST_WORDS + 1];
	int status;
	pid_t pid = fork();

	if (pid < 0)
		return niwa_fail(err, NIWA_TEMPORARY, errno, "start %s", argv[0]);
	if (pid == 0) {
		int out = open(SANDBOX_STDERR, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

		if (out < 0 || null < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0)
			_exit(126);
		(void)execvpe(argv[0], argv, env);
		_exit(errno == ENOENT ? 127 : 126);
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return niwa_fail(err, NIWA_TEMPORARY, errno, "wait for %s", argv[0]);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return niwa_fail(err, NIWA_PERMANENT, 0, "%s is not installed (apt install skopeo umoci)", argv[0]);
	last_words(words, sizeof(words));
	return niwa_fail(err, NIWA_CALLER, 0, "%s failed (%s %d): %s", argv[0], WIFEXITED(status) ? "status" : "signal",
			 WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status), words);
}

/* ---- configuration ---- */

static json_t *load(int root, const char *path)
{
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	size_t len;

	if (image_read_in(root, path, JSON_MAX, &text, &len) < 0)
		return NULL;
	return json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);
}

/* blobs/sha256/<hex> of a digest, if it is one. */
static bool blob_path(const char *digest, char *buf, size_t size)
{
	const char *hex = digest && strncmp(digest, "sha256:", 7) == 0 ? digest + 7 : "";

	if (strlen(hex) != 64 || hex[strspn(hex, "0123456789abcdef")] != '\0')
		return false;
	(void)snprintf(buf, size, "blobs/sha256/%s", hex);
	return true;
}

static json_t *load_blob(int root, const char *digest)
{
	char path[128];

	return blob_path(digest, path, sizeof(path)) ? load(root, path) : NULL;
}

/* Entrypoint and Cmd of the image in one list. */
static json_t *command_of(const json_t *config)
{
	json_t *command = json_array();

	(void)json_array_extend(command, json_object_get(config, "Entrypoint")); /* no list: nothing to add */
	(void)json_array_extend(command, json_object_get(config, "Cmd"));
	return command;
}

static json_t *text_of(const json_t *object, const char *key)
{
	const char *s = json_string_value(json_object_get(object, key));

	return json_string(s ? s : "");
}

/* What image.c reads: {digest, source, command, env, workdir, user}. */
static json_t *describe(int layout, const char *given)
{
	json_t *index = load(layout, "index.json");
	const json_t *entry = json_array_get(json_object_get(index, "manifests"), 0);
	const char *digest = json_string_value(json_object_get(entry, "digest"));
	json_t *manifest = load_blob(layout, digest);
	json_t *image =
		load_blob(layout, json_string_value(json_object_get(json_object_get(manifest, "config"), "digest")));
	const json_t *config = json_object_get(image, "config");
	json_t *env = json_object_get(config, "Env"), *result = NULL;

	if (json_is_object(image))
		result = json_pack("{s:s, s:s, s:o, s:O, s:o, s:o}", "digest", digest, "source", given, "command",
				   command_of(config), "env", json_is_array(env) ? env : json_null(), "workdir",
				   text_of(config, "WorkingDir"), "user", text_of(config, "User"));
	json_decref(image);
	json_decref(manifest);
	json_decref(index);
	return result;
}

static int write_config(const char *given, struct niwa_error *err)
{
	NIWA_AUTO_FD layout = open(LAYOUT, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO(niwa_free_ptr) char *text = NULL;
	json_t *config = layout < 0 ? NULL : describe(layout, given);

	text = config ? json_dumps(config, JSON_INDENT(1) | JSON_SORT_KEYS) : NULL;
	json_decref(config);
	if (!text)
		return niwa_fail(err, NIWA_CALLER, 0, "the image has no readable configuration");
	return niwa_file_replace(SANDBOX_WORK "/config.json", text, strlen(text), 0644, err);
}

/* ---- root ---- */

/* Opens or makes one folder below another, never through a link. */
static int folder_in(int parent, const char *name, mode_t mode)
{
	int fd;

	if (mkdirat(parent, name, mode) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static void link_in(int folder, const char *name, const char *target)
{
	(void)unlinkat(folder, name, 0); /* a folder there stays, and the image is then not `prepared` */
	(void)!symlinkat(target, folder, name);
}

/* Makes it what image.h calls prepared. An image in which that is not possible works too, a little slower. */
static void prepare_root(void)
{
	NIWA_AUTO_FD root = open(SANDBOX_WORK "/rootfs", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	NIWA_AUTO_FD proc = root < 0 ? -1 : folder_in(root, "proc", 0555);
	NIWA_AUTO_FD dev = root < 0 ? -1 : folder_in(root, "dev", 0755);
	NIWA_AUTO_FD etc = root < 0 ? -1 : folder_in(root, "etc", 0755);
	NIWA_AUTO_FD run = root < 0 ? -1 : folder_in(root, "run", 0755);
	NIWA_AUTO_FD niwa = run < 0 ? -1 : folder_in(run, "niwa", 0755);
	NIWA_AUTO_FD tenant = niwa < 0 ? -1 : folder_in(niwa, "tenant", 0755);

	if (etc >= 0 && proc >= 0 && dev >= 0 && tenant >= 0) {
		link_in(etc, "hosts", IMAGE_LINK_HOSTS);
		link_in(etc, "resolv.conf", IMAGE_LINK_RESOLV);
	}
}

int unpack_image(int status, const char *source, const char *given, struct niwa_error *err)
{
	char *const copy[] = {"skopeo",
			      "--insecure-policy",
			      "--tmpdir",
			      TMP,
			      "--override-os",
			      "linux",
			      "copy",
			      "--quiet",
			      "--remove-signatures",
			      (char *)(uintptr_t)source,
			      "oci:" LAYOUT ":image",
			      NULL};
	char *const unpack[] = {"umoci", "unpack", "--image", LAYOUT ":image", BUNDLE, NULL};
	char *const clean[] = {"rm", "-rf", "--one-file-system", LAYOUT, BUNDLE, TMP, NULL};
	int r;

	if (mkdir(TMP, 0700) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "write into the state folder");
	unpack_say(status, 'P', "fetch");
	r = run_tool(copy, err);
	if (r < 0)
		return r;
	unpack_say(status, 'P', "unpack");
	r = run_tool(unpack, err);
	if (r == 0)
		r = write_config(given, err);
	if (r < 0)
		return r;
	if (rename(BUNDLE "/rootfs", SANDBOX_WORK "/rootfs") < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "find what was unpacked");
	prepare_root();
	return run_tool(clean, err);
}
