/* SPDX-License-Identifier: MIT
 *
 * Volumes and egress lists of an instance, resolved on this host.
 */
#include "engine/volume.h"
#include "engine/app.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "base/fd.h"
#include "base/log.h"
#include "spec/source.h"

_Static_assert(NIWA_TENANT_IDS_FIRST + (uint64_t)(NIWA_CMDB_TENANT_FILES_MAX + 1) * NIWA_LEASE_IDS - 1 < UINT32_MAX,
	       "4294967295 is no id");

uint32_t niwa_volume_tenant_base(const struct niwa_tenant *tenant)
{
	return tenant->files ? NIWA_TENANT_IDS_FIRST + tenant->files * NIWA_LEASE_IDS : 0;
}

static int look_up_owner(const char *owner, uint32_t *ret_uid, uint32_t *ret_gid, struct niwa_error *err)
{
	struct passwd *pw = getpwnam(owner);
	char number[32], *colon;
	uint64_t uid, gid;

	if (pw) {
		*ret_uid = pw->pw_uid;
		*ret_gid = pw->pw_gid;
		return 0;
	}
	(void)snprintf(number, sizeof(number), "%s", owner);
	colon = strchr(number, ':');
	if (colon)
		*colon++ = '\0';
	if (niwa_parse_u64(number, UINT32_MAX - 1, &uid) < 0 ||
	    niwa_parse_u64(colon ? colon : number, UINT32_MAX - 1, &gid) < 0)
		return niwa_fail(err, NIWA_PERMANENT, 0,
				 "owner '%s' is no user of this host; create it, or use owner: tenant", owner);
	*ret_uid = (uint32_t)uid;
	*ret_gid = (uint32_t)gid;
	return 0;
}

/* The source of a volume, reached without a symbolic link on the way: who owns a folder above it could lead us anywhere
 * (and niwa-keep refuses such a path as well). */
static int open_source(const char *path, int flags)
{
	struct open_how how = {.flags = (uint64_t)flags | O_CLOEXEC, .resolve = RESOLVE_NO_SYMLINKS};
	long fd = syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof(how));

	return fd < 0 ? -errno : (int)fd;
}

static int explain_source(const struct niwa_volume *v, size_t n, int r, struct niwa_error *err)
{
	char real[PATH_MAX];

	if (r == -ELOOP)
		return niwa_fail(
			err, NIWA_PERMANENT, 0,
			"volumes[%zu].from: '%s' leads through a symbolic link, which is not followed; write '%s'", n,
			v->from, realpath(v->from, real) ? real : "the real path");
	return niwa_fail(err, NIWA_PERMANENT, -r, "volumes[%zu].from: '%s' (create it, owned by %s)", n, v->from,
			 v->owner == NIWA_OWNER_TENANT ? "root and empty, or by the tenant's ids" : v->owner_user);
}

int niwa_volume_stat(const struct niwa_volume *v, struct stat *ret)
{
	NIWA_AUTO_FD fd = open_source(v->from, O_PATH);

	if (fd < 0)
		return fd;
	return fstat(fd, ret) < 0 ? -errno : 0;
}

int niwa_volume_look(const struct niwa_volume *v, struct niwa_error *err)
{
	NIWA_AUTO_FD fd = open_source(v->from, O_PATH);

	return fd < 0 ? explain_source(v, 0, fd, err) : 0;
}

static bool is_empty(int fd)
{
	DIR *dir = fdopendir(fd);
	struct dirent *entry;
	unsigned entries = 0;

	if (!dir) {
		niwa_fd_close(&fd);
		return false;
	}
	while (entries < 3 && (entry = readdir(dir)))
		entries++; /* "." and ".." */
	(void)closedir(dir);
	return entries < 3;
}

/*
 * A new, empty volume of a tenant belongs to the tenant's root, else nothing could be written to it. One that is only
 * read stays as it is: this would count as a write to it, after which the start gives no image.
 */
static int prepare_tenant_volume(const struct niwa_instance *i, const char *from, const struct stat *st,
				 struct niwa_error *err)
{
	uint32_t base = niwa_volume_tenant_base(i->app->tenant);
	NIWA_AUTO_FD fd = -1;

	if (st->st_uid != 0 || !S_ISDIR(st->st_mode))
		return 0;
	fd = open_source(from, O_RDONLY | O_DIRECTORY);
	if (fd < 0 || !is_empty(fcntl(fd, F_DUPFD_CLOEXEC, 3)))
		return 0;
	if (fchown(fd, base, base) < 0)
		return niwa_fail(err, NIWA_PERMANENT, errno, "give the empty volume '%s' to tenant %s", from,
				 i->app->tenant->name);
	return 0;
}

static int volume_params(const struct niwa_instance *i, size_t n, struct niwa_instance_params *p,
			 struct niwa_error *err)
{
	const struct niwa_volume *v = &i->spec->volumes[n];
	NIWA_AUTO_FD fd = open_source(v->from, O_PATH);
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0)
		return explain_source(v, n, fd < 0 ? fd : -errno, err);
	if (v->owner == NIWA_OWNER_TENANT)
		r = v->read_only ? 0 : prepare_tenant_volume(i, v->from, &st, err);
	else
		r = look_up_owner(v->owner_user, &p->volume_ids[n].host_uid, &p->volume_ids[n].host_gid, err);
	if (r < 0)
		return r;
	if (v->owner == NIWA_OWNER_USER && p->volume_ids[n].host_uid == 0)
		return niwa_fail(err, NIWA_PERMANENT, 0, "volumes[%zu].owner: root of the host cannot own a volume", n);
	p->volume_ids[n].container_uid = p->uid;
	p->volume_ids[n].container_gid = p->gid;
	p->volume_ids[n].is_file = !S_ISDIR(st.st_mode);
	return 0;
}

int niwa_volume_params(const struct niwa_instance *i, struct niwa_instance_params *p, struct niwa_error *err)
{
	int r = 0;

	p->tenant_id_base = niwa_volume_tenant_base(i->app->tenant);
	for (size_t n = 0; r == 0 && n < i->spec->volume_count; n++)
		r = volume_params(i, n, p, err);
	return r < 0 ? niwa_fail_in(err, r, "%s", i->app->name) : 0;
}

/* Name servers are part of what egress means: an address that cannot be looked up is no address. What is taken back is
 * what was given, whatever the host's resolv.conf says by then. */
static void name_servers(struct niwa_instance *i, struct niwa_net_txn *txn, enum niwa_change change)
{
	if (change == NIWA_ADD)
		i->name_server_count = niwa_tenant_name_servers(i->engine, i->name_servers);
	for (unsigned n = 0; n < i->name_server_count; n++) {
		const struct in6_addr *server = &i->name_servers[n];

		if (IN6_IS_ADDR_V4MAPPED(server))
			niwa_net_egress_names(txn, change, i->private_addr, server->s6_addr32[3]);
		else
			niwa_net_egress_names6(txn, change, i->private_addr, server->s6_addr);
	}
}

void niwa_volume_name_servers(struct niwa_engine *e, const struct niwa_tenant *tenant)
{
	struct niwa_net_txn *txn = niwa_net_txn_new(e->net);
	struct niwa_instance *i;
	struct niwa_error err;

	if (!txn) {
		niwa_log(NIWA_LOG_ERR, NULL, "out of memory: apps of %s may ask the old name servers only",
			 tenant->name);
		return;
	}
	LIST_FOREACH(i, &tenant->instance_list, tenant_link)
	{
		if (!i->net_ready || !i->name_server_count)
			continue;
		name_servers(i, txn, NIWA_DEL);
		name_servers(i, txn, NIWA_ADD);
	}
	if (niwa_net_commit(&txn, &err) < 0)
		niwa_log(NIWA_LOG_ERR, NULL, "name servers of %s: %s", tenant->name, err.msg);
}

void niwa_volume_egress(struct niwa_instance *i, struct niwa_net_txn *txn, enum niwa_change change)
{
	if (i->spec->egress == NIWA_EGRESS_NONE)
		return;
	if (i->spec->egress == NIWA_EGRESS_INTERNET)
		niwa_net_egress(txn, change, i->private_addr);
	name_servers(i, txn, change);
	for (char **item = i->spec->egress_list; i->spec->egress == NIWA_EGRESS_LIST && item && *item; item++) {
		struct niwa_source to;

		if (!niwa_source_network(*item, &to))
			continue;
		if (IN6_IS_ADDR_V4MAPPED(&to.first))
			niwa_net_egress_list(txn, change, i->private_addr, to.first.s6_addr32[3], to.bits - 96);
		else
			niwa_net_egress_list6(txn, change, i->private_addr, to.first.s6_addr, to.bits);
	}
}
