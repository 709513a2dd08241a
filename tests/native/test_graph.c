/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph under running workers: what they can reach is never freed under them.
 */
#include "harness.h"

#include <rte_cycles.h>
#include <sched.h>

#include "core/runtime.h"

#define ROUNDS 2000

static void bricks_come_and_go_under_traffic(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	const struct vb_security security = {.mode = VB_SECURITY_OPEN};
	struct vb_brick *sw, *bump, *steady[2];

	(void)state;
	harness_start(2);
	assert_int_equal(vb_switch_create("switch", &config, &sw), 0);
	assert_int_equal(vb_antispoof_create("antispoof", &security, sw, &bump), 0);
	for (int i = 0; i < 2; i++) {
		steady[i] = spring_create("spring");
		join(steady[i], i == 0 ? sw : bump);
	}
	for (int i = 0; i < ROUNDS; i++) {
		struct vb_brick *guest = spring_create("spring");

		join(guest, i % 4 == 0 ? sw : bump);
		/* Now and then let it be really used before it goes. */
		if (i % 50 < 2)
			harness_wait(spring_taken(guest) > 0);
		assert_int_equal(vb_brick_destroy(guest), 0);
	}
	for (int i = 0; i < 2; i++) {
		uint64_t before = spring_taken(steady[i]);

		harness_wait(spring_taken(steady[i]) > before);
	}
	for (int i = 0; i < 2; i++)
		assert_int_equal(vb_brick_destroy(steady[i]), 0);
	assert_int_equal(vb_brick_destroy(bump), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
	assert_int_equal(harness_in_use(), 0);
}

static void workers_show_life(void **state)
{
	struct vb_worker_stats before, after;

	(void)state;
	harness_start(2);
	assert_int_equal(vb_worker_stats(0, &before), 0);
	do {
		assert_int_equal(vb_worker_stats(0, &after), 0);
	} while (after.polls == before.polls);
	assert_true(after.cycles > before.cycles);
	assert_int_equal(after.core, -1);
	assert_true(vb_worker_stats(2, &after) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bricks_come_and_go_under_traffic),
		cmocka_unit_test(workers_show_life),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
