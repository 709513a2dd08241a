/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <string.h>

#include "core/drop.h"
#include "core/fault.h"

static void every_drop_reason_has_words(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < VB_DROPS; i++) {
		assert_true(strlen(vb_drop_name(i)) > 0);
		assert_true(strlen(vb_drop_meaning(i)) > 0);
		for (uint32_t j = 0; j < i; j++)
			assert_string_not_equal(vb_drop_name(i), vb_drop_name(j));
	}
	assert_null(vb_drop_name(VB_DROPS));
	assert_null(vb_drop_meaning(VB_DROPS));
}

static void every_fault_has_words(void **state)
{
	(void)state;
	assert_string_equal(vb_fault_name(VB_FAULT_NONE), "");
	for (uint32_t i = 1; i < VB_FAULTS; i++) {
		assert_true(strlen(vb_fault_name(i)) > 0);
		assert_true(strlen(vb_fault_meaning(i)) > 0);
		assert_true(strlen(vb_fault_hint(i)) > 0);
	}
	assert_null(vb_fault_name(VB_FAULTS));
	assert_null(vb_fault_hint(VB_FAULTS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_drop_reason_has_words),
		cmocka_unit_test(every_fault_has_words),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
