/* SPDX-License-Identifier: MIT
 *
 * Keys: what differs from instance to instance leaves them alone, everything else changes them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <arpa/inet.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/text.h"
#include "snapshot/key.h"

#define TEXT(s) ((char *)(uintptr_t)(s))
/* Lives on behind the function that names it. */
#define LIST(...)                                                                                                      \
	({                                                                                                             \
		static char *list_[] = {__VA_ARGS__, NULL};                                                            \
		list_;                                                                                                 \
	})

struct setting {
	struct niwa_host host;
	struct niwa_image image;
	struct niwa_app_spec spec;
	struct niwa_instance_params instance;
	struct niwa_volume volumes[2];
	struct niwa_key_host platform;
	struct niwa_key_params params;
};

static void defaults(struct setting *s)
{
	*s = (struct setting){
		.host = {.cgroup_layout = NIWA_CGROUP_HYBRID,
			 .cgroup_v2 = "/sys/fs/cgroup/unified/niwa",
			 .cgroup_memory = "/sys/fs/cgroup/memory/niwa",
			 .cgroup_cpu = "/sys/fs/cgroup/cpu/niwa",
			 .run_dir = "/run/niwa",
			 .state_dir = "/var/lib/niwa",
			 .dev_dir = "/var/lib/niwa/dev",
			 .init_path = "/usr/libexec/niwa/niwa-init",
			 .gateway_addr = inet_addr("10.80.0.1"),
			 .veth_group = 77,
			 .host_mac = {2, 0xab, 0xcd, 0xef, 0x99, 1},
			 .domain = "niwa.internal"},
		.image = {.name = TEXT("host"),
			  .root = TEXT("/var/lib/niwa/images/host.1/rootfs"),
			  .digest = TEXT("sha256:1234"),
			  .bind_usr = true,
			  .prepared = true,
			  .command = LIST(NULL),
			  .env = LIST(TEXT("FROM=image"))},
		.spec = {.name = TEXT("blog.example.com"),
			 .tenant = TEXT("example"),
			 .image = TEXT("host"),
			 .command = LIST(TEXT("apache2"), TEXT("-DFOREGROUND")),
			 .env = LIST(TEXT("SECRET=tulip")),
			 .volume_count = 2,
			 .limits = {.memory_bytes = 256 << 20}},
		.instance = {.id = 7654321,
			     .id_base = 0x12340000,
			     .tenant_id_base = 500000,
			     .private_addr = inet_addr("10.80.0.9"),
			     .service_addr = inet_addr("10.64.3.4"),
			     .veth = "nw4k1z9",
			     .layer_dir = "/var/lib/niwa/layers/7",
			     .tenant_dir = "/run/niwa/tenants/example",
			     .volume_ids = {[1] = {1000, 1001, 33, 34, false}}},
		.volumes = {{.from = TEXT("/home/anna/www"), .to = TEXT("/var/www"), .read_only = true},
			    {.from = TEXT("/home/anna/conf"),
			     .to = TEXT("/etc/app"),
			     .owner = NIWA_OWNER_USER,
			     .owner_user = TEXT("anna"),
			     .read_only = true}},
		.platform = {"6.18.0 #1", "vendor", "fpu sse2", "4.2.1", "0.1.0"},
	};
	s->spec.volumes = s->volumes;
	s->instance.spec = &s->spec;
	s->instance.image = &s->image;
	s->params = (struct niwa_key_params){.host = &s->host, .instance = &s->instance, .platform = &s->platform};
}

static struct niwa_snapshot_key key_of(const struct setting *s)
{
	struct niwa_snapshot_key key = {0};
	struct niwa_error err = {0};

	if (niwa_snapshot_key(&s->params, &key, &err) < 0)
		fail_msg("%s", err.msg);
	return key;
}

/* ---- what may differ ---- */

static void another_number(struct setting *s)
{
	s->instance.id = 1;
}
static void another_lease(struct setting *s)
{
	s->instance.id_base = 0x70000000;
	s->instance.tenant_id_base = 700000;
}
static void another_address(struct setting *s)
{
	s->instance.private_addr = inet_addr("10.80.7.7");
	s->instance.service_addr = inet_addr("10.64.7.7");
	s->host.gateway_addr = inet_addr("10.81.0.1");
}
static void another_interface(struct setting *s)
{
	memcpy(s->instance.veth, "nwzz", 5);
	memset(s->host.host_mac, 7, 6);
	s->host.veth_group = 5;
}
static void other_folders(struct setting *s)
{
	s->instance.tenant_dir = "/run/niwa/tenants/other";
	s->instance.layer_dir = "/elsewhere";
	s->instance.volume_ids[1].host_uid = s->instance.volume_ids[1].host_gid = 2000;
}
static void other_groups(struct setting *s)
{
	s->host.cgroup_v2 = "/sys/fs/cgroup/unified/machine/niwa";
	s->host.cgroup_memory = "/sys/fs/cgroup/memory/machine/niwa";
}
static void restored(struct setting *s)
{
	static const struct niwa_instance_restore restore = {.pid = 2, .last_pid = 299, .layer = "/saved"};

	s->instance.init = true;
	s->instance.restore = &restore;
}
static void nothing_lent_yet(struct setting *s)
{
	s->instance.id = 0;
	s->instance.id_base = s->instance.tenant_id_base = 0;
	s->instance.private_addr = s->instance.service_addr = 0;
	s->instance.veth[0] = '\0';
	s->instance.layer_dir = s->instance.tenant_dir = NULL;
}

static void what_an_instance_is_lent_leaves_its_key_alone(void **state)
{
	static void (*const changes[])(struct setting *) = {another_number,    another_lease,   another_address,
							    another_interface, other_folders,   other_groups,
							    restored,          nothing_lent_yet};
	struct setting s;
	struct niwa_snapshot_key key;

	defaults(&s);
	key = key_of(&s);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(changes); i++) {
		print_message("change %zu\n", i);
		defaults(&s);
		changes[i](&s);
		assert_string_equal(key_of(&s).hex, key.hex);
	}
}

static void nothing_that_an_instance_is_lent_is_in_the_text(void **state)
{
	/* numbers and addresses as the plan writes them: decimal, and in netlink messages in hexadecimal */
	static const char *const own[] = {"7654321", "305397760",    "500000",   "0a500009", "0a400304",
					  "nw4k1z9", "abcdef99",     "layers/7", "example",  "/home/anna",
					  "unified", "/memory/niwa", "0a500001", "tulip"};
	struct niwa_text text = {0};
	struct setting s;

	defaults(&s);
	s.params.scope = NIWA_SCOPE_SHARED;
	assert_int_equal(niwa_snapshot_key_text(&s.params, &text, NULL), 0);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(own); i++)
		if (strcasestr(text.data, own[i]))
			fail_msg("'%s' is in the text of the key:\n%s", own[i], text.data);
	assert_non_null(strstr(text.data, "FROM=image"));
	niwa_text_fini(&text);
}

/* ---- what may not ---- */

static void another_command(struct setting *s)
{
	s->spec.command = LIST(TEXT("apache2"), TEXT("-X"));
}
static void another_target(struct setting *s)
{
	s->volumes[0].to = TEXT("/var/web");
}
static void a_writable_volume(struct setting *s)
{
	s->volumes[0].read_only = false;
}
static void one_volume_less(struct setting *s)
{
	s->spec.volume_count = 1;
}
static void another_user(struct setting *s)
{
	s->instance.uid = 33;
}
static void another_limit(struct setting *s)
{
	s->spec.limits.memory_bytes = 512 << 20;
}
static void another_digest(struct setting *s)
{
	s->image.digest = TEXT("sha256:1235");
}
static void another_image(struct setting *s)
{
	s->image.env = LIST(TEXT("FROM=elsewhere"));
}
static void another_kernel(struct setting *s)
{
	(void)snprintf(s->platform.kernel, sizeof(s->platform.kernel), "6.18.0 #2");
}
static void another_processor(struct setting *s)
{
	(void)snprintf(s->platform.processor, sizeof(s->platform.processor), "other");
}
static void one_flag_less(struct setting *s)
{
	(void)snprintf(s->platform.flags, sizeof(s->platform.flags), "fpu");
}
static void another_criu(struct setting *s)
{
	(void)snprintf(s->platform.criu, sizeof(s->platform.criu), "4.3");
}
static void another_niwa(struct setting *s)
{
	(void)snprintf(s->platform.niwa, sizeof(s->platform.niwa), "0.1.1");
}
static void something_extra(struct setting *s)
{
	s->params.extra = "warm /";
}
static void hibernation(struct setting *s)
{
	s->params.kind = NIWA_KIND_MOMENT;
}
static void shared(struct setting *s)
{
	s->params.scope = NIWA_SCOPE_SHARED;
}
static void another_name(struct setting *s)
{
	s->spec.name = TEXT("shop.example.com");
}
static void another_environment(struct setting *s)
{
	s->spec.env = LIST(TEXT("SECRET=rose"));
}
static void another_tenant(struct setting *s)
{
	s->spec.tenant = TEXT("other");
}
static void another_app_of_that_name(struct setting *s)
{
	s->instance.app_id = 8;
}
static void other_sources(struct setting *s)
{
	s->volumes[0].from = TEXT("/home/berta/www");
}

static void (*const matters[])(struct setting *) = {
	another_command, another_target, a_writable_volume,   one_volume_less, another_user,
	another_limit,   another_digest, another_image,       another_kernel,  another_processor,
	one_flag_less,   another_criu,   another_niwa,        something_extra, hibernation,
	shared,          another_name,   another_environment, another_tenant,  another_app_of_that_name,
	other_sources,
};

static void whatever_changes_the_start_of_an_app_changes_its_key(void **state)
{
	struct niwa_snapshot_key keys[NIWA_ARRAY_LEN(matters) + 1];
	struct setting s;

	defaults(&s);
	keys[0] = key_of(&s);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(matters); i++) {
		defaults(&s);
		matters[i](&s);
		keys[i + 1] = key_of(&s);
		for (size_t k = 0; k <= i; k++)
			if (strcmp(keys[i + 1].hex, keys[k].hex) == 0)
				fail_msg("change %zu gives the key of %zu", i, k);
	}
}

static void apps_that_share_may_differ_in_name_and_environment_only(void **state)
{
	struct niwa_snapshot_key key;
	struct setting s;

	defaults(&s);
	shared(&s);
	key = key_of(&s);
	another_name(&s);
	another_environment(&s);
	other_sources(&s);
	another_tenant(&s);
	another_app_of_that_name(&s);
	assert_string_equal(key_of(&s).hex, key.hex);
	another_command(&s);
	assert_string_not_equal(key_of(&s).hex, key.hex);
}

static void memory_of_a_moment_has_no_shared_key(void **state)
{
	struct niwa_snapshot_key key = {0};
	struct niwa_error err = {0};
	struct setting s;

	defaults(&s);
	shared(&s);
	hibernation(&s);
	assert_int_equal(niwa_snapshot_key(&s.params, &key, &err), -EINVAL);
	assert_int_equal(err.kind, NIWA_CALLER);
}

static void an_app_that_cannot_be_planned_has_no_key(void **state)
{
	struct niwa_snapshot_key key = {0};
	struct niwa_error err = {0};
	struct setting s;

	defaults(&s);
	s.volumes[0].to = TEXT("/proc");
	assert_true(niwa_snapshot_key(&s.params, &key, &err) < 0);
	assert_int_equal(err.kind, NIWA_CALLER);
	assert_non_null(strstr(err.msg, "volumes[0]"));
}

static void the_same_app_has_the_same_key_each_time(void **state)
{
	struct niwa_snapshot_key key;
	struct setting s;

	defaults(&s);
	key = key_of(&s);
	assert_int_equal(strspn(key.hex, "0123456789abcdef"), NIWA_KEY_HEX);
	for (int i = 0; i < 10; i++)
		assert_string_equal(key_of(&s).hex, key.hex);
}

static void only_sixty_four_hexadecimal_digits_are_a_key(void **state)
{
	static const char good[] = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
	static const char *const bad[] = {"",
					  "0",
					  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde",
					  "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef0",
					  "0123456789ABCDEF0123456789abcdef0123456789abcdef0123456789abcdef",
					  "../456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef01"};
	struct niwa_snapshot_key key;

	assert_int_equal(niwa_snapshot_key_parse(good, &key, NULL), 0);
	assert_string_equal(key.hex, good);
	for (size_t i = 0; i < NIWA_ARRAY_LEN(bad); i++)
		assert_int_equal(niwa_snapshot_key_parse(bad[i], &key, NULL), -EINVAL);
}

static void this_machine_can_be_told_from_others(void **state)
{
	static const char *const programs[] = {"/proc/self/exe", NULL}, *const missing[] = {"/no/such/program", NULL};
	struct niwa_key_host host, again;
	struct niwa_error err = {0};

	assert_int_equal(niwa_key_host_read("/bin/sh", "4.2.1", "0.1.0", programs, &host, &err), 0);
	assert_true(strlen(host.kernel) > 8 && strlen(host.flags) > 8 && strlen(host.processor) > 4);
	assert_true(strncmp(host.criu, "4.2.1 ", 6) == 0 && strncmp(host.niwa, "0.1.0 ", 6) == 0);
	assert_int_equal(niwa_key_host_read("/bin/sh", "4.2.1", "0.1.0", programs, &again, &err), 0);
	assert_memory_equal(&host, &again, sizeof(host));
	assert_int_equal(niwa_key_host_read("/no/such/criu", "4.2.1", "0.1.0", programs, &host, &err), -ENOENT);
	assert_int_equal(niwa_key_host_read("/bin/sh", "4.2.1", "0.1.0", missing, &host, &err), -ENOENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_an_instance_is_lent_leaves_its_key_alone),
		cmocka_unit_test(nothing_that_an_instance_is_lent_is_in_the_text),
		cmocka_unit_test(whatever_changes_the_start_of_an_app_changes_its_key),
		cmocka_unit_test(apps_that_share_may_differ_in_name_and_environment_only),
		cmocka_unit_test(memory_of_a_moment_has_no_shared_key),
		cmocka_unit_test(an_app_that_cannot_be_planned_has_no_key),
		cmocka_unit_test(the_same_app_has_the_same_key_each_time),
		cmocka_unit_test(only_sixty_four_hexadecimal_digits_are_a_key),
		cmocka_unit_test(this_machine_can_be_told_from_others),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
