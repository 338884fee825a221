/* SPDX-License-Identifier: MIT
 *
 * Fuzz target of the manifest's reader. The input is the body; the sum is put behind it here, else nothing would get
 * past it. What is read is written again and means the same.
 */
#include "snapshot/manifest.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

#include <nettle/sha2.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add_sum(const uint8_t *data, size_t size, struct niwa_text *text)
{
	uint8_t digest[SHA256_DIGEST_SIZE];
	struct sha256_ctx hash;

	niwa_text_add_bytes(text, data, size);
	sha256_init(&hash);
	sha256_update(&hash, size, data);
	sha256_digest(&hash, sizeof(digest), digest);
	niwa_text_add(text, "sum ");
	for (size_t i = 0; i < sizeof(digest); i++)
		niwa_text_addf(text, "%02x", digest[i]);
	niwa_text_add(text, "\n");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct niwa_text text = {0}, again = {0}, third = {0};
	struct niwa_manifest m = {0};

	(void)niwa_manifest_read((const char *)data, size, &m, NULL);
	niwa_manifest_fini(&m);
	add_sum(data, size, &text);
	if (niwa_manifest_read(text.data, text.len, &m, NULL) == 0) {
		assert(niwa_manifest_write(&m, &again, NULL) == 0);
		niwa_manifest_fini(&m);
		assert(niwa_manifest_read(again.data, again.len, &m, NULL) == 0);
		assert(niwa_manifest_write(&m, &third, NULL) == 0);
		assert(again.len == third.len && memcmp(again.data, third.data, again.len) == 0);
		niwa_manifest_fini(&m);
	}
	niwa_text_fini(&text);
	niwa_text_fini(&again);
	niwa_text_fini(&third);
	return 0;
}
