/* SPDX-License-Identifier: MIT
 *
 * Operations of the child, by folder of concern: child.c (process and descriptors), child_mount.c (the tree),
 * child_copy.c (saved files), child_system.c (identity, privileges, network). Each returns 0 or -errno and uses
 * async-signal-safe calls only.
 */
#ifndef NIWA_KEEP_CHILD_H
#define NIWA_KEEP_CHILD_H

#include "keep/keep.h"

typedef int keep_child_fn(struct keep_start *s, const struct niwa_op_view *op, int *message);

/* Once, in keep: what of the system does not change; mappings that no child needs. */
void keep_child_init_system(void);
void keep_child_init_memory(void);
/* Sends a descriptor for a slot to keep. */
int keep_child_send(struct keep_start *s, int slot, int fd);

keep_child_fn keep_child_private, keep_child_mount, keep_child_move_mount, keep_child_pivot, keep_child_detach,
	keep_child_dir, keep_child_file, keep_child_symlink, keep_child_mask, keep_child_read_only, keep_child_put;
keep_child_fn keep_child_netlink, keep_child_host_name, keep_child_diag, keep_child_notify, keep_child_console,
	keep_child_bounding, keep_child_user, keep_child_caps, keep_child_no_new_privs, keep_child_seccomp,
	keep_child_chdir, keep_child_session, keep_child_time_offsets;
keep_child_fn keep_child_folder, keep_child_copy;

#endif
