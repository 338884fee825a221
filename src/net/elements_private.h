/* SPDX-License-Identifier: MIT
 *
 * The sets and maps of the table, for those who write them (elements.c) and read them (each.c).
 */
#ifndef NIWA_NET_ELEMENTS_PRIVATE_H
#define NIWA_NET_ELEMENTS_PRIVATE_H

#include <stdbool.h>
#include <stdint.h>

enum niwa_set {
	NIWA_SET_DECLARED,
	NIWA_SET_AWAKE,
	NIWA_SET_PUBLISHED,
	NIWA_SET_MARKS,
	NIWA_SET_MAY,
	NIWA_SET_FROZEN,
	NIWA_SET_KNOCKED,
	NIWA_SET_EGRESS,
	NIWA_SET_EGRESS_LIST,
	NIWA_SET_LOADING,
	NIWA_SET_COUNT,
};

struct niwa_set_info {
	const char *name;
	uint8_t key_len, data_len; /* bytes; data 0: a set */
	bool interval;
};
extern const struct niwa_set_info niwa_set_infos[NIWA_SET_COUNT];

#endif
