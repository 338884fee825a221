/* SPDX-License-Identifier: MIT */
#include "engine/class.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/memory.h"
#include "base/text.h"

static struct niwa_classes *classes;
static char told_text[512];

static int begin(void **state)
{
	(void)state;
	told_text[0] = '\0';
	classes = niwa_classes_new();
	assert_non_null(classes);
	return 0;
}

static int end(void **state)
{
	(void)state;
	niwa_classes_free(&classes);
	assert_null(classes);
	return 0;
}

static void told(uint32_t id, const char *tenant, void *arg)
{
	const char *sign = arg;
	size_t len = strlen(told_text);

	(void)snprintf(told_text + len, sizeof(told_text) - len, "%s%x:%s ", sign, id, tenant ? tenant : "*");
}

static const struct niwa_class_told come = {told, (char[]){"+"}}, gone = {told, (char[]){"-"}};

static const char *heard(void)
{
	static char text[sizeof(told_text)];

	memcpy(text, told_text, sizeof(text));
	told_text[0] = '\0';
	return text;
}

/* Of at most two other tenants. */
static uint32_t take(const char *owner, const char *one, const char *two)
{
	char *names[] = {(char *)(uintptr_t)one, (char *)(uintptr_t)two};
	struct niwa_port port = {.number = 80, .allow = names, .allow_count = two ? 2 : 1};
	uint32_t id = 0;

	assert_int_equal(niwa_class_take(classes, owner, &port, &come, &id), 0);
	return id;
}

static uint32_t take_any(const char *owner)
{
	struct niwa_port port = {.number = 80, .allow_any = true};
	uint32_t id = 0;

	assert_int_equal(niwa_class_take(classes, owner, &port, &come, &id), 0);
	return id;
}

static const char *of(const char *tenant)
{
	niwa_classes_of(classes, tenant, told, (char[]){"="});
	return heard();
}

static void ports_that_say_the_same_are_of_one_class(void **state)
{
	uint32_t first = take("ada", "alan", NULL);

	(void)state;
	assert_int_equal(first, NIWA_CLASS_FIRST);
	assert_string_equal(heard(), "+40000000:ada +40000000:alan ");
	for (unsigned n = 0; n < 1000; n++)
		assert_int_equal(take("ada", "alan", NULL), first);
	assert_string_equal(heard(), ""); /* its instances have it */
	assert_int_not_equal(take("grace", "alan", NULL), first);
	assert_int_not_equal(take("ada", "grace", NULL), first);
	(void)heard();
	assert_string_equal(of("alan"), "=40000001:alan =40000000:alan ");
	for (unsigned n = 0; n < 1000; n++)
		niwa_class_give_back(classes, first, &gone);
	assert_string_equal(heard(), "");
	niwa_class_give_back(classes, first, &gone);
	assert_string_equal(heard(), "-40000000:ada -40000000:alan ");
	assert_string_equal(of("alan"), "=40000001:alan ");
	assert_int_equal(take("ada", "alan", NULL), NIWA_CLASS_FIRST + 3); /* a number does not come again */
}

static void names_are_not_run_together(void **state)
{
	(void)state;
	assert_int_not_equal(take("a", "b", "c"), take("a", "bc", NULL));
	assert_int_not_equal(take("a", "b", "c"), take("b", "a", "c"));
}

static void who_is_named_twice_or_owns_it_is_permitted_once(void **state)
{
	uint32_t id = take("ada", "ada", "ada");

	(void)state;
	assert_string_equal(heard(), "+40000000:ada ");
	assert_string_equal(of("ada"), "=40000000:ada ");
	niwa_class_give_back(classes, id, &gone);
	assert_string_equal(heard(), "-40000000:ada ");
	assert_string_equal(of("ada"), "");
}

static void everybody_is_one_class_that_stays(void **state)
{
	(void)state;
	assert_string_equal(of("ada"), "");
	assert_int_equal(take_any("alan"), NIWA_CLASS_ANY);
	assert_string_equal(heard(), "+7fffffff:* ");
	assert_int_equal(take_any("grace"), NIWA_CLASS_ANY);
	assert_string_equal(heard(), "");
	niwa_class_give_back(classes, NIWA_CLASS_ANY, &gone);
	niwa_class_give_back(classes, NIWA_CLASS_ANY, &gone);
	assert_string_equal(heard(), "");
	assert_string_equal(of("ada"), "=7fffffff:ada ");
}

static void the_id_of_a_tenant_is_nobodys_to_give_back(void **state)
{
	uint32_t id = take("ada", "alan", NULL);

	(void)state;
	(void)heard();
	niwa_class_give_back(classes, 7, &gone);
	niwa_class_give_back(classes, 0, &gone);
	niwa_class_give_back(classes, id + 1, &gone);
	assert_string_equal(heard(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(ports_that_say_the_same_are_of_one_class, begin, end),
		cmocka_unit_test_setup_teardown(names_are_not_run_together, begin, end),
		cmocka_unit_test_setup_teardown(who_is_named_twice_or_owns_it_is_permitted_once, begin, end),
		cmocka_unit_test_setup_teardown(everybody_is_one_class_that_stays, begin, end),
		cmocka_unit_test_setup_teardown(the_id_of_a_tenant_is_nobodys_to_give_back, begin, end),
	};

	return cmocka_run_group_tests_name("classes", tests, NULL, NULL);
}
