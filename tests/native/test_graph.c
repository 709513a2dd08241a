/* SPDX-License-Identifier: Apache-2.0
 *
 * The graph under running workers: what they can reach is never freed under them.
 */
#include "harness.h"

#include <rte_cycles.h>
#include <sched.h>
#include <stdlib.h>

#include "core/pool.h"
#include "core/runtime.h"

#define ROUNDS 2000

/* A brick that makes one packet a round and takes any: its state is freed with it. */
struct spring {
	uint64_t made;
	uint64_t taken;
	uint32_t alive;
};

static uint16_t spring_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	struct spring *s = node->state;
	struct rte_mbuf *m;

	/* Under ASan a freed state ends the test here. */
	if (!__atomic_load_n(&s->alive, __ATOMIC_RELAXED))
		abort();
	m = rte_pktmbuf_alloc(vb_pool);
	if (m == NULL)
		return 0;
	rte_pktmbuf_append(m, 60);
	memset(rte_pktmbuf_mtod(m, void *), 0, 60);
	*rte_pktmbuf_mtod(m, uint8_t *) = 0xff; /* a group address: flooded */
	*rte_pktmbuf_mtod_offset(m, uint8_t *, 6) = 2;
	__atomic_add_fetch(&s->made, 1, __ATOMIC_RELAXED);
	vb_push(ctx, node, edge, &m, 1);
	return 1;
}

static void spring_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct spring *s = node->state;

	(void)ctx;
	(void)edge;
	__atomic_add_fetch(&s->taken, n, __ATOMIC_RELAXED);
	rte_pktmbuf_free_bulk(pkts, n);
}

static void spring_quiesce(struct vb_brick *brick)
{
	(void)brick;
}

static void spring_fini(struct vb_brick *brick)
{
	struct spring *s = brick->state;

	__atomic_store_n(&s->alive, 0, __ATOMIC_RELAXED);
	free(s);
}

static const struct vb_brick_ops spring_ops = {
	.kind = "spring",
	.polled = true,
	.pull = spring_pull,
	.push = spring_push,
	.quiesce = spring_quiesce,
	.fini = spring_fini,
};

static struct vb_brick *spring_create(void)
{
	struct spring *s = calloc(1, sizeof(*s));
	struct vb_brick *brick = vb_brick_new(&spring_ops, "spring", s);

	s->alive = 1;
	vb_graph_add(brick);
	return brick;
}

static uint64_t taken(struct vb_brick *brick)
{
	return __atomic_load_n(&((struct spring *)brick->state)->taken, __ATOMIC_RELAXED);
}

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
		steady[i] = spring_create();
		join(steady[i], i == 0 ? sw : bump);
	}
	for (int i = 0; i < ROUNDS; i++) {
		struct vb_brick *guest = spring_create();

		join(guest, i % 4 == 0 ? sw : bump);
		/* Now and then let it be really used before it goes. */
		if (i % 50 < 2)
			harness_wait(taken(guest) > 0);
		assert_int_equal(vb_brick_destroy(guest), 0);
	}
	for (int i = 0; i < 2; i++) {
		uint64_t before = taken(steady[i]);

		harness_wait(taken(steady[i]) > before);
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
