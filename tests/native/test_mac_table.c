/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <errno.h>

#include "bricks/mac_table.h"

static void finds_where_an_address_was_seen(void **state)
{
	struct vb_mac_table t;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 300), 0);
	assert_int_equal(vb_mac_lookup(&t, 0x020000000001, 10), VB_NO_EDGE);
	vb_mac_learn(&t, 0x020000000001, 7, 10);
	assert_int_equal(vb_mac_lookup(&t, 0x020000000001, 10), 7);
	assert_int_equal(vb_mac_table_count(&t, 10), 1);
	vb_mac_table_fini(&t);
}

static void follows_an_address_that_moves(void **state)
{
	struct vb_mac_table t;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 300), 0);
	vb_mac_learn(&t, 1, 7, 10);
	vb_mac_learn(&t, 1, 8, 10);
	assert_int_equal(vb_mac_lookup(&t, 1, 10), 8);
	assert_int_equal(vb_mac_table_count(&t, 10), 1);
	vb_mac_table_fini(&t);
}

static void ages(void **state)
{
	struct vb_mac_table t;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 300), 0);
	vb_mac_learn(&t, 1, 7, 10);
	assert_int_equal(vb_mac_lookup(&t, 1, 310), 7);
	assert_int_equal(vb_mac_lookup(&t, 1, 311), VB_NO_EDGE);
	assert_int_equal(vb_mac_table_count(&t, 311), 0);
	/* Seen again in between: young again. */
	vb_mac_learn(&t, 1, 7, 200);
	assert_int_equal(vb_mac_lookup(&t, 1, 311), 7);
	/* Another worker's clock may be ahead of ours. */
	assert_int_equal(vb_mac_lookup(&t, 1, 199), 7);
	vb_mac_table_fini(&t);
}

static void keeps_for_ever_if_told(void **state)
{
	struct vb_mac_table t;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 0), 0);
	vb_mac_learn(&t, 1, 7, 10);
	assert_int_equal(vb_mac_lookup(&t, 1, 4000000000u), 7);
	vb_mac_table_fini(&t);
}

static void forgets_an_edge(void **state)
{
	struct vb_mac_table t;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 300), 0);
	vb_mac_learn(&t, 1, 7, 10);
	vb_mac_learn(&t, 2, 8, 10);
	vb_mac_learn(&t, 3, 0, 10);
	vb_mac_table_forget(&t, 7);
	vb_mac_table_forget(&t, 0);
	assert_int_equal(vb_mac_lookup(&t, 1, 10), VB_NO_EDGE);
	assert_int_equal(vb_mac_lookup(&t, 2, 10), 8);
	assert_int_equal(vb_mac_lookup(&t, 3, 10), VB_NO_EDGE);
	vb_mac_table_fini(&t);
}

static void a_full_bucket_loses_the_oldest(void **state)
{
	struct vb_mac_table t;

	(void)state;
	/* One bucket: everything collides. */
	assert_int_equal(vb_mac_table_init(&t, VB_MAC_WAYS, 300), 0);
	for (uint64_t mac = 1; mac <= VB_MAC_WAYS; mac++)
		vb_mac_learn(&t, mac, mac, 10 + (mac == 3 ? 0 : mac));
	vb_mac_learn(&t, 100, 100, 50);
	assert_int_equal(vb_mac_lookup(&t, 3, 50), VB_NO_EDGE);
	assert_int_equal(vb_mac_lookup(&t, 100, 50), 100);
	for (uint64_t mac = 1; mac <= VB_MAC_WAYS; mac++)
		if (mac != 3)
			assert_int_equal(vb_mac_lookup(&t, mac, 50), mac);
	vb_mac_table_fini(&t);
}

static void the_new_is_news_and_the_known_is_not(void **state)
{
	struct vb_mac_table t;
	uint32_t now_s = 10 * VB_MAC_NEWS_S;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 300), 0);
	assert_true(vb_mac_learn(&t, 1, 7, now_s));
	assert_false(vb_mac_learn(&t, 1, 7, now_s));
	assert_false(vb_mac_learn(&t, 1, 7, now_s + 1));
	assert_true(vb_mac_learn(&t, 1, 8, now_s + 1)); /* it moved */
	/* Who talks on and on is news again now and then, once. */
	assert_true(vb_mac_learn(&t, 1, 8, now_s + VB_MAC_NEWS_S));
	assert_false(vb_mac_learn(&t, 1, 8, now_s + VB_MAC_NEWS_S));
	assert_false(vb_mac_learn(&t, 1, 8, now_s + VB_MAC_NEWS_S + 1));
	vb_mac_table_fini(&t);
}

static void remembers_where_it_was_however_long_ago(void **state)
{
	struct vb_mac_table t;
	uint16_t edge;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 300), 0);
	assert_false(vb_mac_is_known(&t, 1, &edge));
	vb_mac_learn(&t, 1, 7, 10);
	assert_int_equal(vb_mac_lookup(&t, 1, 1000), VB_NO_EDGE);
	assert_true(vb_mac_is_known(&t, 1, &edge));
	assert_int_equal(edge, 7);
	vb_mac_table_forget(&t, 7);
	assert_false(vb_mac_is_known(&t, 1, &edge));
	assert_false(vb_mac_is_known(&t, 0, &edge));
	vb_mac_table_fini(&t);
}

static void a_free_entry_is_not_the_zero_address(void **state)
{
	struct vb_mac_table t;

	(void)state;
	assert_int_equal(vb_mac_table_init(&t, 64, 300), 0);
	assert_int_equal(vb_mac_lookup(&t, 0, 10), VB_NO_EDGE);
	vb_mac_table_fini(&t);
}

static void refuses_odd_sizes(void **state)
{
	const uint32_t sizes[] = {0, 1, 7, 9, 100, 2097152};
	struct vb_mac_table t;

	(void)state;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
		assert_int_equal(vb_mac_table_init(&t, sizes[i], 300), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_where_an_address_was_seen),
		cmocka_unit_test(follows_an_address_that_moves),
		cmocka_unit_test(ages),
		cmocka_unit_test(keeps_for_ever_if_told),
		cmocka_unit_test(forgets_an_edge),
		cmocka_unit_test(a_full_bucket_loses_the_oldest),
		cmocka_unit_test(the_new_is_news_and_the_known_is_not),
		cmocka_unit_test(remembers_where_it_was_however_long_ago),
		cmocka_unit_test(a_free_entry_is_not_the_zero_address),
		cmocka_unit_test(refuses_odd_sizes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
