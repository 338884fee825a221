/* SPDX-License-Identifier: MIT
 *
 * Images: a directory tree (read-only lower layer) with canonical ids, and what runs in it by default.
 *   "host"      built under STATE_DIR/images/host from /usr (bind-mounted read-only, not followed) and an
 *               allow-list of /etc; rebuilt when dpkg's status changes
 *   "/a/path"   a directory of the host, used as it is
 *   NAME        imported: STATE_DIR/images/NAME/rootfs + config.json (OCI)
 */
#ifndef NIWA_CONTAINER_IMAGE_H
#define NIWA_CONTAINER_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* Owns all it points to. */
struct niwa_image {
	char *name;     /* as the app file says it */
	char *root;     /* absolute path of the lower layer */
	bool bind_usr;  /* "host": /usr of the host is mounted read-only over root/usr */
	bool folder;    /* of the host, as it is: the digest tells of its top only */
	bool prepared;  /* /proc, /dev, /run/niwa/tenant are folders and /etc/hosts, /etc/resolv.conf lead there */
	char **command; /* image's own default, NULL-terminated, may be empty */
	char **env;     /* image's own, NULL-terminated */
	char *workdir;  /* or NULL */
	char *user;     /* or NULL */
	char *digest;   /* changes whenever the content does, as far as it can be told */
};
void niwa_image_free(struct niwa_image **img);

/* Opens an image by name. state_dir as in struct niwa_host. -ENOENT with a message that lists what there is. */
int niwa_image_open(const char *state_dir, const char *name, struct niwa_image **ret, struct niwa_error *err);
/* Builds or refreshes the host image; quick when nothing changed. Also builds STATE_DIR/dev (the shared /dev
 * with null, zero, full, random, urandom, tty, ptmx and fd links, mount points pts and shm) and STATE_DIR/skeleton
 * (what images that are not prepared lack). Root only.
 * A refresh makes a new version beside the old ones, which instances may still use. */
int niwa_image_prepare_host(const char *state_dir, struct niwa_error *err);
/* Removes versions of the host image that are neither current nor in use. in_use gets a version's root (what
 * struct niwa_image.root was). Slow: removes trees. */
int niwa_image_prune_host(const char *state_dir, bool (*in_use)(const char *root, void *arg), void *arg,
			  struct niwa_error *err);

/* Looks up user[:group] ("www-data", "33", "33:33") in the image's /etc/passwd and /etc/group, never the
 * host's; paths are resolved inside the root. groups holds 32: supplementary ones, without *ret_gid; none when a
 * group is named. A number need not be listed (its group is then 0). NULL or "": root. */
int niwa_image_user(const struct niwa_image *img, const char *user, uint32_t *ret_uid, uint32_t *ret_gid,
		    uint32_t *groups, unsigned *ret_count, struct niwa_error *err);
/* Home folder of a uid by the image's /etc/passwd, "/root" for 0 and "/" for others that are not listed. To be
 * freed; NULL: out of memory. */
char *niwa_image_home(const struct niwa_image *img, uint32_t uid);
/* 0 when argv[0] can be found in the image (PATH of env, inside the root) and executed: a clear error before a start.
 * Volumes are not looked at: when the command lies on one, do not ask. */
int niwa_image_has_command(const struct niwa_image *img, const char *argv0, char *const *env, struct niwa_error *err);

#endif
