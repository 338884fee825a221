/* SPDX-License-Identifier: MIT
 *
 * The file system of an instance. Everything that comes from the host is cloned and id-mapped by keep while it is
 * detached, then attached by the child in its own mount namespace; the root is an overlay made there. Paths that
 * an image could have turned into links are used only when the host's tree is detached ("/.." leads into a tree that
 * is stacked on the root). Every mount costs at start and more at a later restore: there are few.
 */
#include "container/instance_private.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>

#include "base/memory.h"

#define SHM_MIN_BYTES (UINT64_C(64) << 20)

/* What OCI runtimes hide by default and strangers could read. What only the host's root may read or write (kcore,
 * timer_list, sysrq-trigger, irq, bus, fs) is closed to an instance by its ids already, and a mount each is saved;
 * test_run.c looks for exceptions. There is no /sys in an instance. */
static const char *const masked[] = {"/proc/acpi", "/proc/asound", "/proc/keys", "/proc/latency_stats", "/proc/scsi"};

/* Folders of the layer. */
static const struct {
	const char *path;
	int64_t mode;
} layer_dirs[] = {{"upper", 0755}, {"work", 0700}};

static bool below(const char *path, const char *folder)
{
	size_t n = strlen(folder);

	return strncmp(path, folder, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static int check_volume(struct builder *b, size_t i)
{
	static const char *const taken[] = {"/proc", "/dev", "/sys", "/run/niwa"};
	const struct niwa_volume *v = &b->params->spec->volumes[i];
	const struct niwa_volume_ids *ids = &b->params->volume_ids[i];

	if (v->from[0] != '/' || v->to[0] != '/' || v->to[strspn(v->to, "/")] == '\0')
		return niwa_fail(b->err, NIWA_CALLER, 0, "volumes[%zu]: '%s' to '%s': both must be absolute, and not /",
				 i, v->from, v->to);
	if (strstr(v->to, "/../") || strstr(v->to, "//") ||
	    (strlen(v->to) > 3 && !strcmp(v->to + strlen(v->to) - 3, "/..")))
		return niwa_fail(b->err, NIWA_CALLER, 0, "volumes[%zu].to: '%s' must not contain '..' or '//'", i,
				 v->to);
	for (size_t t = 0; t < NIWA_ARRAY_LEN(taken); t++)
		if (below(v->to, taken[t]))
			return niwa_fail(b->err, NIWA_CALLER, 0, "volumes[%zu].to: '%s': %s belongs to niwa", i, v->to,
					 taken[t]);
	if (v->owner == NIWA_OWNER_USER && (ids->host_uid == 0 || ids->host_gid == 0))
		return niwa_fail(b->err, NIWA_CALLER, 0,
				 "volumes[%zu].owner: '%s' is root or in its group: containers never own root's files",
				 i, v->owner_user ? v->owner_user : "");
	if (v->owner == NIWA_OWNER_USER && (ids->container_uid >= 65536 || ids->container_gid >= 65536))
		return niwa_fail(b->err, NIWA_CALLER, 0, "volumes[%zu].owner: container id %u:%u is above 65535", i,
				 ids->container_uid, ids->container_gid);
	if (v->owner == NIWA_OWNER_TENANT && b->params->tenant_id_base < 65536)
		return niwa_fail(b->err, NIWA_PERMANENT, 0, "volumes[%zu]: tenant id base %u is below 65536", i,
				 b->params->tenant_id_base);
	return 0;
}

int plan_mount_check(struct builder *b)
{
	const struct niwa_app_spec *spec = b->params->spec;

	/* they are part of the overlay's options, where these characters separate */
	if (strpbrk(b->host->run_dir, ":,\\"))
		return niwa_fail(b->err, NIWA_CALLER, 0, "run folder '%s' must not contain ':', ',' or '\\'",
				 b->host->run_dir);
	if (spec->volume_count > NIWA_VOLUMES_MAX)
		return niwa_fail(b->err, NIWA_CALLER, 0, "volumes: %zu, at most %d", spec->volume_count,
				 NIWA_VOLUMES_MAX);
	for (size_t i = 0; i < spec->volume_count; i++) {
		int r = check_volume(b, i);

		if (r < 0)
			return r;
	}
	return 0;
}

static void take_tree(struct builder *b, int slot, const char *path)
{
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_OPEN_TREE, .a = slot, .s = path});
}

static void make_layer_dirs(struct builder *b, enum niwa_op op, const char *base)
{
	for (size_t i = 0; i < NIWA_ARRAY_LEN(layer_dirs); i++) {
		char path[PATH_MAX + 32];

		(void)snprintf(path, sizeof(path), "%s/%s", base, layer_dirs[i].path); /* lengths are checked */
		plan_pair(b, op, layer_dirs[i].mode, path, NULL);
	}
}

uint64_t plan_layer_bytes(const struct builder *b)
{
	uint64_t limit = b->params->spec->limits.disk_bytes;

	if (limit || b->host->layer_on_disk)
		return limit;
	return b->host->layer_bytes ? b->host->layer_bytes : NIWA_LAYER_BYTES;
}

void plan_mount_before(struct builder *b)
{
	static const char *const points[] = {"lower", "skeleton", "layer", "root"};
	const struct niwa_instance_params *p = b->params;

	for (size_t i = 0; i < NIWA_ARRAY_LEN(points); i++)
		plan_path(b, NIWA_OP_MKDIR, 0755, "%s/mnt/%s", b->host->run_dir, points[i]);
	take_tree(b, SLOT_IMAGE, p->image->root);
	if (!p->image->prepared)
		take_tree(b, SLOT_SKELETON, plan_text(b, "%s/skeleton", b->host->state_dir));
	if (!plan_layer_bytes(b)) {
		plan_pair(b, NIWA_OP_MKDIR, 0700, p->layer_dir, NULL);
		make_layer_dirs(b, NIWA_OP_MKDIR, p->layer_dir);
		take_tree(b, SLOT_LAYER, p->layer_dir);
	}
	if (p->image->bind_usr)
		take_tree(b, SLOT_USR, "/usr");
	take_tree(b, SLOT_DEV, b->host->dev_dir);
	take_tree(b, SLOT_TENANT, p->tenant_dir);
	if (plan_below_init(p))
		take_tree(b, SLOT_INIT, b->host->init_path);
	plan_restore_before(b);
	for (size_t i = 0; i < p->spec->volume_count; i++)
		/* a tenant that owns a folder on the way could else lead it to anything of the host */
		niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_OPEN_TREE,
							      .a = SLOT_VOLUME + (int)i,
							      .c = 1,
							      .s = p->spec->volumes[i].from});
}

/* The container's ids ↔ the ids on disk 0 to 65535. */
static void idmap_canonical(struct builder *b, int slot, uint64_t attributes)
{
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_IDMAP, .a = slot, .c = (int64_t)attributes});
}

static void attributes_only(struct builder *b, int slot, uint64_t attributes)
{
	niwa_plan_add(b->plan,
		      &(struct niwa_op_view){.op = NIWA_OP_IDMAP, .a = slot, .b = 1, .c = (int64_t)attributes});
}

static void idmap_volume(struct builder *b, size_t i)
{
	const struct niwa_instance_params *p = b->params;
	const struct niwa_volume *v = &p->spec->volumes[i];
	const struct niwa_volume_ids *ids = &p->volume_ids[i];
	uint64_t attributes = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (v->read_only ? MOUNT_ATTR_RDONLY : 0);
	char uids[64], gids[64];

	if (v->owner == NIWA_OWNER_TENANT) {
		(void)snprintf(uids, sizeof(uids), "%u %u 65536\n", p->tenant_id_base, p->id_base);
		gids[0] = '\0';
	} else {
		(void)snprintf(uids, sizeof(uids), "%u %u 1\n", ids->host_uid, p->id_base + ids->container_uid);
		(void)snprintf(gids, sizeof(gids), "%u %u 1\n", ids->host_gid, p->id_base + ids->container_gid);
	}
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_IDMAP,
						      .a = SLOT_VOLUME + (int)i,
						      .c = (int64_t)attributes,
						      .s = uids,
						      .t = gids});
}

void plan_mount_host(struct builder *b)
{
	const struct niwa_instance_params *p = b->params;

	idmap_canonical(b, SLOT_IMAGE, MOUNT_ATTR_RDONLY);
	if (!p->image->prepared)
		idmap_canonical(b, SLOT_SKELETON, MOUNT_ATTR_RDONLY);
	if (!plan_layer_bytes(b))
		idmap_canonical(b, SLOT_LAYER, 0);
	/* /usr keeps its owners, of whom the container knows none: its root has no rights over files that others may
	 * not read */
	if (p->image->bind_usr)
		attributes_only(b, SLOT_USR, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	attributes_only(b, SLOT_DEV, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	attributes_only(b, SLOT_TENANT, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (plan_below_init(p))
		attributes_only(b, SLOT_INIT, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	plan_restore_host(b);
}

void plan_volumes_host(struct builder *b)
{
	for (size_t i = 0; i < b->params->spec->volume_count; i++)
		idmap_volume(b, i);
}

static void mount_fs(struct builder *b, const char *type, const char *target, unsigned long flags, const char *data)
{
	char bytes[PATH_MAX * 3 + 128];
	size_t type_len = strlen(type) + 1, data_len = strlen(data) + 1;

	if (type_len + data_len > sizeof(bytes)) {
		b->too_long = true;
		return;
	}
	memcpy(bytes, type, type_len);
	memcpy(bytes + type_len, data, data_len);
	niwa_plan_add(b->plan, &(struct niwa_op_view){.op = NIWA_OP_MOUNT,
						      .a = (int64_t)flags,
						      .s = type,
						      .t = target,
						      .bytes = bytes,
						      .bytes_len = (uint32_t)(type_len + data_len)});
}

/* The overlay that becomes the root. The layer lives as long as the instance, so nothing of it need be synced; on a
 * tmpfs nothing would be, and "volatile" only makes two folders and a file. With xino all files have the device of the
 * overlay: by device and inode CRIU tells whether a Unix socket is still at its path. */
static void mount_root(struct builder *b)
{
	const char *run = b->host->run_dir;
	uint64_t memory = plan_layer_bytes(b);
	char data[PATH_MAX * 3 + 128], layer[PATH_MAX + 32], root[PATH_MAX + 32];
	bool prepared = b->params->image->prepared, saved;

	(void)snprintf(layer, sizeof(layer), "%s/mnt/layer", run);
	(void)snprintf(root, sizeof(root), "%s/mnt/root", run);
	plan_path(b, NIWA_OP_MOVE_MOUNT, SLOT_IMAGE, "%s/mnt/lower", run);
	if (memory) {
		(void)snprintf(data, sizeof(data), "size=%" PRIu64 "k,mode=0755", (memory + 1023) / 1024);
		mount_fs(b, "tmpfs", layer, MS_NOSUID | MS_NODEV, data);
		make_layer_dirs(b, NIWA_OP_DIR, layer);
		plan_keep_layer(b);
	} else {
		plan_pair(b, NIWA_OP_MOVE_MOUNT, SLOT_LAYER, layer, NULL);
	}
	saved = plan_restore_layer(b);
	/* what an image lacks to be prepared lies over it as a second read-only layer, the same for all */
	if (!prepared)
		plan_path(b, NIWA_OP_MOVE_MOUNT, SLOT_SKELETON, "%s/mnt/skeleton", run);
	(void)snprintf(data, sizeof(data),
		       "lowerdir=%s%s%s%s%s/mnt/lower,upperdir=%s/upper,workdir=%s/work,userxattr%s%s",
		       saved ? run : "", saved ? "/mnt/saved:" : "", prepared ? "" : run,
		       prepared ? "" : "/mnt/skeleton:", run, layer, layer, memory ? "" : ",volatile",
		       plan_below_init(b->params) ? ",xino=on" : "");
	mount_fs(b, "overlay", root, MS_NOSUID | MS_NODEV, data);
	plan_pair(b, NIWA_OP_PIVOT, 1, root, NULL);
}

static void attach_volume(struct builder *b, size_t i)
{
	const char *to = b->params->spec->volumes[i].to;

	if (b->params->volume_ids[i].is_file) {
		const char *slash = strrchr(to, '/');

		if (slash > to)
			plan_path(b, NIWA_OP_DIR, 0755, "%.*s", (int)(slash - to), to);
		plan_pair(b, NIWA_OP_FILE, 0644, to, NULL);
	} else {
		plan_pair(b, NIWA_OP_DIR, 0755, to, NULL);
	}
	plan_pair(b, NIWA_OP_MOVE_MOUNT, SLOT_VOLUME + (int)i, to, NULL);
}

static void mount_dev(struct builder *b)
{
	uint64_t shm = b->params->spec->limits.memory_bytes / 2; /* its pages count as the app's memory */
	char data[64];

	(void)snprintf(data, sizeof(data), "mode=1777,size=%" PRIu64 "k",
		       (shm > SHM_MIN_BYTES ? shm : SHM_MIN_BYTES) / 1024);
	plan_pair(b, NIWA_OP_MOVE_MOUNT, SLOT_DEV, "/dev", NULL);
	mount_fs(b, "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
	mount_fs(b, "tmpfs", "/dev/shm", MS_NOSUID | MS_NODEV | MS_NOEXEC, data);
}

/* By the child, in its own /proc: in the host's, the names of all network namespaces share a place in the cache of
 * names, and each look-up passes those of all instances that live. */
static void network_settings(struct builder *b)
{
	plan_pair(b, NIWA_OP_PUT, 0, "/proc/sys/net/ipv4/ip_unprivileged_port_start", "0");
	/* ping without CAP_NET_RAW, for every group */
	plan_pair(b, NIWA_OP_PUT, 1, "/proc/sys/net/ipv4/ping_group_range", "0 65535");
	/* else half of what the table of connections has places for, which keep has made small */
	plan_pair(b, NIWA_OP_PUT, 1, "/proc/sys/net/ipv4/tcp_max_tw_buckets", "65536");
}

/* Nobody can change the environment of a program that others started before: what the record says is told in files as
 * well, one a variable, as envdir(8) has them. */
static void environment(struct builder *b)
{
	const struct niwa_app_spec *spec = b->params->spec;

	plan_pair(b, NIWA_OP_DIR, 0755, "/run/niwa/env", NULL);
	for (char *const *env = spec->env; env && *env; env++) {
		const char *equals = strchr(*env, '=');

		if (equals)
			plan_pair(b, NIWA_OP_FILE, 0444, plan_text(b, "/run/niwa/env/%.*s", (int)(equals - *env), *env),
				  equals + 1);
	}
	plan_pair(b, NIWA_OP_FILE, 0444, "/run/niwa/env/NIWA_APP", spec->name);
}

void plan_mount_child(struct builder *b)
{
	const struct niwa_instance_params *p = b->params;

	mount_root(b);
	if (p->image->bind_usr)
		plan_pair(b, NIWA_OP_MOVE_MOUNT, SLOT_USR, "/usr", NULL);
	mount_dev(b);
	plan_pair(b, NIWA_OP_MOVE_MOUNT, SLOT_TENANT, "/run/niwa/tenant", NULL);
	mount_fs(b, "proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "");
	network_settings(b);
	plan_restore_child(b);
	plan_op(b, NIWA_OP_DETACH, 0, 0, 0);
	/* up to here every target was a folder of ours; from here on links of the image may be on the way */
	if (p->init || p->restore) /* a program can see that it was woken, and that it is not the one it was */
		plan_pair(b, NIWA_OP_FILE, 0444, "/run/niwa/generation", plan_text(b, "%" PRIu64 "\n", p->id));
	plan_pair(b, NIWA_OP_FILE, 0666, "/run/niwa/busy", "0\n"); /* every user of the app may say that it is busy */
	if ((p->init || p->restore) && p->spec->snapshot == NIWA_SNAPSHOT_SHARED)
		environment(b);
	if ((p->init || p->restore) && *p->random)
		plan_pair(b, NIWA_OP_FILE, 0444, "/run/niwa/random", plan_text(b, "%.64s\n", p->random));
	if (plan_below_init(p)) {
		plan_pair(b, NIWA_OP_FILE, 0755, "/run/niwa/init", NULL);
		plan_pair(b, NIWA_OP_MOVE_MOUNT, SLOT_INIT, "/run/niwa/init", NULL);
	}
	for (size_t i = 0; i < NIWA_ARRAY_LEN(masked); i++)
		plan_pair(b, NIWA_OP_MASK, 0, masked[i], NULL);
	/* settings of its own network are all that an instance's root could change there */
	plan_pair(b, NIWA_OP_READ_ONLY, 0, "/proc/sys", NULL);
}

void plan_volumes_child(struct builder *b)
{
	for (size_t i = 0; i < b->params->spec->volume_count; i++)
		attach_volume(b, i);
}
