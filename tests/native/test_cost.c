/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include "core/cost.h"
#include "core/worker.h"

static struct vb_cost cost;

static int begin(void **state)
{
	(void)state;
	vb_cost_reset(&cost);
	return 0;
}

static void median_is_that_of_full_polls(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++)
		vb_cost_add(&cost, 100 * VB_COST_BURST, VB_COST_BURST);
	vb_cost_add(&cost, 300 * VB_COST_BURST, VB_COST_BURST);
	for (int i = 0; i < 9; i++)
		vb_cost_add(&cost, 900, 1); /* not full */
	assert_int_equal(vb_cost_median(&cost), 100);
	assert_int_equal(cost.full_polls, 3);
	assert_int_equal(cost.polls, 12);
	assert_int_equal(cost.packets, 3 * VB_COST_BURST + 9);
	assert_int_equal(cost.cycles, 500 * VB_COST_BURST + 9 * 900);
}

static void poll_of_several_queues_counts_by_the_packet(void **state)
{
	(void)state;
	vb_cost_add(&cost, 70 * 2 * VB_COST_BURST, 2 * VB_COST_BURST);
	assert_int_equal(vb_cost_median(&cost), 70);
	assert_int_equal(cost.full_packets, 2 * VB_COST_BURST);
}

static void empty_polls_are_apart(void **state)
{
	(void)state;
	vb_cost_add(&cost, 50, 0);
	assert_int_equal(cost.empty_polls, 1);
	assert_int_equal(cost.empty_cycles, 50);
	assert_int_equal(cost.polls, 0);
	assert_int_equal(cost.cycles, 0);
	assert_int_equal(vb_cost_median(&cost), 0);
}

static void what_is_beyond_all_buckets_is_in_the_last_one(void **state)
{
	(void)state;
	vb_cost_add(&cost, UINT64_C(1) << 40, VB_COST_BURST);
	assert_int_equal(vb_cost_median(&cost), VB_COST_CYCLES_MAX - 1);
}

static struct vb_worker_cost of_worker(void)
{
	struct vb_worker_cost out;

	assert_int_equal(vb_worker_cost(0, &out), 0);
	return out;
}

static uint16_t found = VB_BURST; /* atomic */

/* A brick that finds so many packets whenever it is asked. */
static uint16_t pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	(void)ctx, (void)node, (void)edge;
	return __atomic_load_n(&found, __ATOMIC_RELAXED);
}

static const struct vb_brick_ops busy_ops = {.kind = "busy", .polled = true, .pull = pull};

static void wait_rounds(uint64_t rounds)
{
	struct vb_worker_stats before, now;

	assert_int_equal(vb_worker_stats(0, &before), 0);
	harness_wait(vb_worker_stats(0, &now) == 0 && now.polls >= before.polls + rounds);
}

static void workers_count_while_they_are_told_to(void **state)
{
	struct vb_brick *busy;
	struct vb_worker_cost had;
	struct sink sink;

	(void)state;
	harness_start(1);
	busy = vb_brick_new(&busy_ops, "busy", NULL);
	vb_graph_add(busy);
	sink_create(&sink, "sink");
	join(busy, sink.brick);
	assert_int_equal(vb_worker_cost(1, &had), -ENOENT);
	assert_int_equal(of_worker().polls, 0);

	vb_workers_measure(true);
	harness_wait(of_worker().full_polls > 100);
	assert_true(of_worker().packets >= 100 * VB_BURST);

	vb_workers_measure(false);
	wait_rounds(2); /* the one in between has seen that */
	had = of_worker();
	wait_rounds(100);
	assert_int_equal(of_worker().polls, had.polls);

	/* From nothing: no full burst is left, nor comes one. */
	__atomic_store_n(&found, 1, __ATOMIC_RELAXED);
	wait_rounds(2);
	vb_workers_measure(true);
	harness_wait(of_worker().full_polls == 0 && of_worker().polls > 0);
	assert_int_equal(of_worker().median, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(median_is_that_of_full_polls, begin),
		cmocka_unit_test_setup(poll_of_several_queues_counts_by_the_packet, begin),
		cmocka_unit_test_setup(empty_polls_are_apart, begin),
		cmocka_unit_test_setup(what_is_beyond_all_buckets_is_in_the_last_one, begin),
		cmocka_unit_test(workers_count_while_they_are_told_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
