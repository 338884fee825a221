/* SPDX-License-Identifier: MIT
 *
 * libnftables by dlopen. Types are those of nftables/libnftables.h.
 */
#include "cli/nft_run.h"

#include <dlfcn.h>
#include <string.h>

#include <nftables/libnftables.h>

#include "base/memory.h"

struct library {
	struct nft_ctx *(*ctx_new)(uint32_t);
	void (*ctx_free)(struct nft_ctx *);
	void (*set_flags)(struct nft_ctx *, unsigned int);
	int (*buffer_output)(struct nft_ctx *);
	int (*buffer_error)(struct nft_ctx *);
	const char *(*output)(struct nft_ctx *);
	const char *(*error)(struct nft_ctx *);
	int (*run)(struct nft_ctx *, const char *);
};

static int load(struct library *lib, struct niwa_error *err)
{
	static const struct {
		const char *name;
		size_t offset;
	} symbols[] = {
		{"nft_ctx_new", offsetof(struct library, ctx_new)},
		{"nft_ctx_free", offsetof(struct library, ctx_free)},
		{"nft_ctx_output_set_flags", offsetof(struct library, set_flags)},
		{"nft_ctx_buffer_output", offsetof(struct library, buffer_output)},
		{"nft_ctx_buffer_error", offsetof(struct library, buffer_error)},
		{"nft_ctx_get_output_buffer", offsetof(struct library, output)},
		{"nft_ctx_get_error_buffer", offsetof(struct library, error)},
		{"nft_run_cmd_from_buffer", offsetof(struct library, run)},
	};
	void *handle = dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL); /* stays open: the process is short-lived */

	if (!handle) {
		(void)niwa_fail(err, NIWA_PERMANENT, 0, "load libnftables.so.1 (apt install libnftables1)");
		return -ENOPKG;
	}
	for (size_t i = 0; i < NIWA_ARRAY_LEN(symbols); i++) {
		void *symbol = dlsym(handle, symbols[i].name);

		if (!symbol) {
			(void)niwa_fail(err, NIWA_PERMANENT, 0, "libnftables lacks %s", symbols[i].name);
			return -ENOPKG;
		}
		memcpy((char *)lib + symbols[i].offset, &symbol, sizeof(symbol));
	}
	return 0;
}

static int run(const struct library *lib, struct nft_ctx *ctx, const char *commands, char **ret, struct niwa_error *err)
{
	const char *said;

	if (lib->buffer_output(ctx) || lib->buffer_error(ctx))
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "set up libnftables");
	if (lib->run(ctx, commands)) {
		said = lib->error(ctx);
		(void)niwa_fail(err, NIWA_PERMANENT, 0, "%.*s", said ? (int)strcspn(said, "\n") : 0, said ? said : "");
		return -EOPNOTSUPP;
	}
	if (!ret)
		return 0;
	said = lib->output(ctx);
	*ret = niwa_strdup(said ? said : "");
	return *ret ? 0 : niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "read from libnftables");
}

int niwa_nft_run(const char *commands, enum niwa_nft_output output, char **ret, struct niwa_error *err)
{
	struct library lib;
	struct nft_ctx *ctx;
	int r = load(&lib, err);

	if (r < 0)
		return r;
	ctx = lib.ctx_new(NFT_CTX_DEFAULT);
	if (!ctx)
		return niwa_fail(err, NIWA_TEMPORARY, ENOMEM, "set up libnftables");
	if (output == NIWA_NFT_JSON)
		lib.set_flags(ctx, NFT_CTX_OUTPUT_JSON | NFT_CTX_OUTPUT_HANDLE);
	r = run(&lib, ctx, commands, ret, err);
	lib.ctx_free(ctx);
	return r;
}
