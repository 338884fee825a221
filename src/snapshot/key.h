/* SPDX-License-Identifier: MIT
 *
 * The key of a snapshot: a hash over everything that a restored process may have seen or depends on. Two instances with
 * the same key may be restored from the same images; whatever changes the way an app starts changes its key.
 *
 * What differs from instance to instance and is made afresh at each restore is replaced before the plan is made, in the
 * inputs and not in its text: instance number, id lease, addresses, interface, MAC, who owns volumes on the host,
 * tenant's folders, layer, cgroup paths. An image of scope APP has seen what is one tenant's: there the tenant, the
 * app's number (which is never given twice) and the sources of volumes count as well. docs/adr/007-snapshots.md has the
 * list.
 */
#ifndef NIWA_SNAPSHOT_KEY_H
#define NIWA_SNAPSHOT_KEY_H

#include <stdint.h>

#include "base/error.h"
#include "container/instance.h"

#define NIWA_SNAPSHOT_FORMAT 2 /* of the store and of the manifest; part of the key */
#define NIWA_KEY_HEX         64

/* 64 lower-case hexadecimal digits, terminated; the name of a folder. Compare with strcmp. */
struct niwa_snapshot_key {
	char hex[NIWA_KEY_HEX + 1];
};

enum niwa_snapshot_scope {
	NIWA_SCOPE_APP,    /* tenant, app, its environment and sources of volumes are part of the key */
	NIWA_SCOPE_SHARED, /* they are left out: taken of a template instance that has neither */
};

enum niwa_snapshot_kind {
	NIWA_KIND_READY,  /* taken at the ready point, restored as often as one likes */
	NIWA_KIND_MOMENT, /* hibernation: of the moment of sleep, used once; always of scope APP */
};

/* What the images of all apps of this host depend on. Strings of fixed size, so that it can be kept by value. */
struct niwa_key_host {
	char kernel[400];    /* uname: release and version */
	char processor[192]; /* vendor, family, model */
	char flags[4096];    /* of the processor, as /proc/cpuinfo has them */
	char criu[256];      /* its version, and size, mtime and inode of its file */
	char niwa[256];      /* version, and size and mtime of the programs */
};
/* Reads it: uname, /proc/cpuinfo, stat of criu_path and of each of the programs (NULL-terminated: niwad, niwa-keep,
 * niwa-init). Touches the disk; once when niwad starts is enough. -ENOENT when there is no CRIU. */
int niwa_key_host_read(const char *criu_path, const char *criu_version, const char *niwa_version,
		       const char *const *programs, struct niwa_key_host *ret, struct niwa_error *err);

/* Borrowed for the call. */
struct niwa_key_params {
	const struct niwa_host *host;
	/* `init` and `restore` do not matter. Members that differ from instance to instance may be
	 * anything, 0 and NULL included, so that the key of an app that sleeps can be asked for: id, id_base,
	 * tenant_id_base, private_addr, service_addr, veth, layer_dir, tenant_dir, host_uid and host_gid of volumes. */
	const struct niwa_instance_params *instance;
	const struct niwa_key_host *platform;
	enum niwa_snapshot_scope scope;
	enum niwa_snapshot_kind kind;
	const char *extra; /* further text that counts (warm requests, the signal after a restore), or NULL */
};

/* Pure: no call, no file; about 0.1 ms. Fails as niwa_instance_plan does (NIWA_CALLER), or with -ENOMEM, or -EINVAL for
 * MOMENT with SHARED. */
int niwa_snapshot_key(const struct niwa_key_params *params, struct niwa_snapshot_key *ret, struct niwa_error *err);
/* The text that is hashed, for tests and for people who wonder why a key changed. Appended to out. */
struct niwa_text;
int niwa_snapshot_key_text(const struct niwa_key_params *params, struct niwa_text *out, struct niwa_error *err);

/* 0 when text is 64 lower-case hexadecimal digits, else -EINVAL (NIWA_CALLER). */
int niwa_snapshot_key_parse(const char *text, struct niwa_snapshot_key *ret, struct niwa_error *err);

#endif
