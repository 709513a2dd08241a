/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch, packet by packet, without a worker in the way.
 */
#include "harness.h"

#include <errno.h>

#include "bricks/neigh.h"
#include "core/runtime.h"

#define NB 3

static struct vb_brick *sw;
static struct sink sinks[NB];
static uint16_t edge[NB]; /* on the switch's side */

static int setup(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	static const char *const names[NB] = {"sink/0", "sink/1", "sink/2"};

	(void)state;
	harness_start(1);
	assert_int_equal(vb_switch_create("switch/t", &config, &sw), 0);
	for (int i = 0; i < NB; i++) {
		sink_create(&sinks[i], names[i]);
		edge[i] = join(sw, sinks[i].brick);
	}
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < NB; i++)
		assert_int_equal(vb_brick_destroy(sinks[i].brick), 0);
	assert_int_equal(vb_brick_destroy(sw), 0);
	return harness_in_use();
}

static void send(int from, uint8_t dst, uint8_t src)
{
	struct rte_mbuf *m = harness_frame(dst, src, 60);

	push_into(sw, edge[from], &m, 1);
}

static uint64_t dropped(enum vb_drop why)
{
	struct vb_stats stats;

	vb_brick_stats(sw, &stats);
	return stats.drops[why];
}

static void unknown_goes_to_all_others(void **state)
{
	(void)state;
	send(0, 9, 1);
	assert_int_equal(sink_empty(&sinks[0]), 0);
	assert_int_equal(sink_empty(&sinks[1]), 1);
	assert_int_equal(sink_empty(&sinks[2]), 1);
}

static void counters_outlive_their_brick(void **state)
{
	const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};
	struct rte_mbuf *m = harness_frame(2, 1, 13);
	struct vb_stats before, after;
	struct vb_brick *other;
	struct sink sink;

	(void)state;
	vb_gone_stats(&before);
	assert_int_equal(vb_switch_create("switch/other", &config, &other), 0);
	sink_create(&sink, "sink/other");
	push_into(other, join(other, sink.brick), &m, 1);
	vb_gone_stats(&after);
	assert_int_equal(after.drops[VB_DROP_TOO_SHORT], before.drops[VB_DROP_TOO_SHORT]);
	assert_int_equal(vb_brick_destroy(sink.brick), 0);
	assert_int_equal(vb_brick_destroy(other), 0);
	vb_gone_stats(&after);
	assert_int_equal(after.drops[VB_DROP_TOO_SHORT], before.drops[VB_DROP_TOO_SHORT] + 1);
}

static void known_goes_where_it_was_seen(void **state)
{
	struct vb_stats before, after;

	(void)state;
	vb_brick_stats(sw, &before);
	send(0, 9, 1);
	send(2, 1, 3);
	vb_brick_stats(sw, &after);
	assert_int_equal(after.made_packets - before.made_packets, 1);
	assert_int_equal(sink_empty(&sinks[0]), 1);
	assert_int_equal(sink_empty(&sinks[1]), 1); /* the first, flooded */
	assert_int_equal(sink_empty(&sinks[2]), 1);
	assert_int_equal(vb_switch_macs(sw), 2);
}

static void a_burst_keeps_its_order(void **state)
{
	struct rte_mbuf *pkts[VB_BURST], *sent[VB_BURST];
	uint16_t to1 = 0, to2 = 0;

	(void)state;
	send(1, 9, 2);
	send(2, 9, 3);
	for (int i = 0; i < NB; i++)
		sink_empty(&sinks[i]);
	for (int i = 0; i < VB_BURST; i++)
		pkts[i] = sent[i] = harness_frame(i % 3 == 0 ? 3 : 2, 1, 60 + i);
	push_into(sw, edge[0], pkts, VB_BURST);
	for (int i = 0; i < VB_BURST; i++) {
		if (i % 3 == 0)
			assert_ptr_equal(sinks[2].got[to2++], sent[i]);
		else
			assert_ptr_equal(sinks[1].got[to1++], sent[i]);
	}
	assert_int_equal(sinks[1].nb_got, to1);
	assert_int_equal(sinks[2].nb_got, to2);
}

static void hairpin_is_dropped(void **state)
{
	(void)state;
	send(0, 9, 1);
	sink_empty(&sinks[1]);
	sink_empty(&sinks[2]);
	send(0, 1, 4);
	for (int i = 0; i < NB; i++)
		assert_int_equal(sinks[i].nb_got, 0);
	assert_int_equal(dropped(VB_DROP_HAIRPIN), 1);
}

static void bad_frames_are_dropped_by_name(void **state)
{
	struct rte_mbuf *m = harness_frame(2, 1, 13);

	(void)state;
	push_into(sw, edge[0], &m, 1);
	assert_int_equal(dropped(VB_DROP_TOO_SHORT), 1);

	m = harness_frame(2, 1, 60);
	*rte_pktmbuf_mtod_offset(m, uint8_t *, 6) = 0x03; /* a group address as source */
	push_into(sw, edge[0], &m, 1);
	assert_int_equal(dropped(VB_DROP_BAD_SOURCE), 1);

	m = harness_frame(2, 0, 60);
	*rte_pktmbuf_mtod_offset(m, uint8_t *, 6) = 0; /* zero as source */
	push_into(sw, edge[0], &m, 1);
	assert_int_equal(dropped(VB_DROP_BAD_SOURCE), 2);
	for (int i = 0; i < NB; i++)
		assert_int_equal(sinks[i].nb_got, 0);
	assert_int_equal(vb_switch_macs(sw), 0);
}

static void link_local_groups_stay(void **state)
{
	static const uint8_t stp[] = {0x01, 0x80, 0xc2, 0, 0, 0},
			     other[] = {0x01, 0x80, 0xc2, 0, 0, 0x10};
	struct rte_mbuf *m = harness_frame(0, 1, 60);

	(void)state;
	memcpy(rte_pktmbuf_mtod(m, void *), stp, 6);
	push_into(sw, edge[0], &m, 1);
	assert_int_equal(dropped(VB_DROP_RESERVED), 1);
	assert_int_equal(sinks[1].nb_got, 0);

	m = harness_frame(0, 1, 60);
	memcpy(rte_pktmbuf_mtod(m, void *), other, 6);
	push_into(sw, edge[0], &m, 1);
	assert_int_equal(dropped(VB_DROP_RESERVED), 1);
	assert_int_equal(sinks[1].nb_got, 1);
}

static void a_parted_edge_is_forgotten(void **state)
{
	(void)state;
	send(0, 9, 1);
	part(sw, edge[0]);
	sink_empty(&sinks[1]);
	sink_empty(&sinks[2]);
	assert_int_equal(vb_switch_macs(sw), 0);
	send(1, 1, 2);
	assert_int_equal(sink_empty(&sinks[2]), 1);
	assert_int_equal(sink_empty(&sinks[0]), 0);
	edge[0] = join(sw, sinks[0].brick);
}

static void who_comes_back_is_told_of_the_others(void **state)
{
	const struct vb_neigh n = {.family = 4, .mac = {2, 0, 0, 0, 0, 7}, .ip = {10, 0, 0, 7}};
	struct rte_mbuf *m = harness_frame(0, 0, VB_NEIGH_FRAME);

	(void)state;
	vb_neigh_frame(&n, rte_pktmbuf_mtod(m, uint8_t *));
	push_into(sw, edge[0], &m, 1);
	for (int i = 0; i < NB; i++)
		sink_empty(&sinks[i]);
	for (int i = 0; i < NB; i++) {
		part(sw, edge[i]);
		edge[i] = join(sw, sinks[i].brick);
	}
	/* Not of itself; and where it is needs no learning anew. */
	assert_int_equal(sink_empty(&sinks[0]), 0);
	assert_int_equal(sinks[1].nb_got, 1);
	assert_memory_equal(rte_pktmbuf_mtod_offset(sinks[1].got[0], uint8_t *, 6), n.mac, 6);
	assert_int_equal(sink_empty(&sinks[1]), 1);
	assert_int_equal(sink_empty(&sinks[2]), 1);
	send(1, 7, 2);
	assert_int_equal(sink_empty(&sinks[0]), 1);
	assert_int_equal(sink_empty(&sinks[2]), 0);
}

static void nobody_there_is_a_drop(void **state)
{
	(void)state;
	part(sw, edge[1]);
	part(sw, edge[2]);
	send(0, 9, 1);
	assert_int_equal(dropped(VB_DROP_NO_PEER), 1);
	edge[1] = join(sw, sinks[1].brick);
	edge[2] = join(sw, sinks[2].brick);
}

static void a_switch_in_use_stays(void **state)
{
	(void)state;
	assert_int_equal(vb_brick_destroy(sw), -EBUSY);
	assert_int_equal(vb_brick_edges(sw), NB);
}

#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(unknown_goes_to_all_others),
		T(counters_outlive_their_brick),
		T(known_goes_where_it_was_seen),
		T(a_burst_keeps_its_order),
		T(hairpin_is_dropped),
		T(bad_frames_are_dropped_by_name),
		T(link_local_groups_stay),
		T(a_parted_edge_is_forgotten),
		T(who_comes_back_is_told_of_the_others),
		T(nobody_there_is_a_drop),
		T(a_switch_in_use_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
