/* SPDX-License-Identifier: MIT
 *
 * One nftables command buffer through libnftables, loaded when it is first asked for: only the doctor needs it, and
 * the other verbs start faster without it.
 */
#ifndef NIWA_CLI_NFT_RUN_H
#define NIWA_CLI_NFT_RUN_H

#include "base/error.h"

enum niwa_nft_output { NIWA_NFT_TEXT, NIWA_NFT_JSON };

/* *ret (may be NULL) is what it printed, to be freed. err: the first line that nftables said.
 * -ENOPKG: the library is missing; -EOPNOTSUPP: the kernel refused. */
int niwa_nft_run(const char *commands, enum niwa_nft_output output, char **ret, struct niwa_error *err);

#endif
