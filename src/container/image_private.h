/* SPDX-License-Identifier: MIT
 *
 * Shared by the parts of the image module: image.c (open, look up), image_host.c and image_skeleton.c (build of
 * `host`), image_allow.c (what of /etc goes into it), image_accounts.c (its users), image_dev.c (the shared /dev),
 * image_import.c and image_sandbox.c (OCI).
 */
#ifndef NIWA_CONTAINER_IMAGE_PRIVATE_H
#define NIWA_CONTAINER_IMAGE_PRIVATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"
#include "base/text.h"

#define IMAGE_NAME_MAX    128 /* as in app files */
#define IMAGE_LINK_HOSTS  "/run/niwa/tenant/hosts"
#define IMAGE_LINK_RESOLV "/run/niwa/tenant/resolv.conf"

/* A name that an imported image can have: [a-z0-9][a-z0-9._-]*, not "host" nor "host.*". */
bool image_name_valid(const char *name);

/* openat2 inside a root: no path and no link leads out of it. O_CLOEXEC is added. -errno. */
int image_open_in(int root, const char *path, uint64_t flags);
/* Reads a regular file inside a root, at most max bytes (-EFBIG), into a terminated buffer to be freed. */
int image_read_in(int root, const char *path, size_t max, char **ret, size_t *ret_len);

/* ---- image_allow.c ---- */

enum image_allow { ALLOW_NO, ALLOW_PARENT, ALLOW_YES };
/* path: relative to the host's root, "etc/ssl/certs/x". PARENT: a folder on the way to something allowed. */
enum image_allow image_allow_path(const char *path);
/* Names that are refused for files and folders wherever they are. */
bool image_allow_name(const char *name);
/* May a link at `path` (relative, as above) point to `target`? Targets must be allowed themselves or below /usr. */
bool image_allow_link(const char *path, const char *target);

/* ---- image_host.c ---- */

/* niwa_image_prepare_host with another root to take /etc, /var and the dpkg status from (tests). */
int image_build_host(const char *state_dir, const char *source, struct niwa_error *err);

/* ---- image_skeleton.c: into a root that is being built, paths relative ---- */

int image_skeleton(int root, struct niwa_error *err);
/* For the accounts that root's passwd has. path: of the same root. */
int image_package_folders(int root, const char *path, struct niwa_error *err);
/* STATE_DIR/skeleton: laid over images that are not prepared. */
int image_build_skeleton(const char *state_dir, struct niwa_error *err);
/* Makes a file, 0644. */
int image_write(int root, const char *path, const char *text, size_t len, struct niwa_error *err);

/* ---- image_accounts.c ---- */

/* passwd and group of the host reduced to system accounts. The texts are those of /etc/passwd and /etc/group. */
void image_accounts(const char *passwd, const char *group, struct niwa_text *ret_passwd, struct niwa_text *ret_group);
/* One line "a:b:c..." into at most max fields, in place; returns how many. */
unsigned image_fields(char *line, char **fields, unsigned max);

/* ---- image_dev.c ---- */

int image_build_dev(const char *state_dir, struct niwa_error *err);

#endif
