/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_mempool.h>
#include <stdlib.h>
#include <string.h>

#include "core/loan.h"
#include "core/pool.h"
#include "core/runtime.h"

static bool started;

void harness_start_watched(uint32_t nb_workers, uint32_t watchdog_ms)
{
	static const char *const args[] = {"--no-huge", "--no-shconf", "-m", "128", "--no-pci",
		"--no-telemetry", "--iova-mode=va", "--log-level=*:error"};
	struct vb_options options = {
		.eal_args = args,
		.nb_eal_args = sizeof(args) / sizeof(args[0]),
		.nb_workers = nb_workers,
		.nb_mbufs = 4096,
		.watchdog_ms = watchdog_ms,
		.idle_sleep_us = HARNESS_IDLE_US,
	};

	if (started)
		return;
	memset(options.worker_cores, 0xff, sizeof(options.worker_cores));
	assert_int_equal(vb_start(&options), 0);
	(void)vb_pool_whole();
	started = true;
}

void harness_start(uint32_t nb_workers)
{
	harness_start_watched(nb_workers, 0);
}

struct rte_mbuf *harness_frame(uint8_t dst, uint8_t src, uint16_t len)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(vb_pool);
	uint8_t *p;

	assert_non_null(m);
	p = (uint8_t *)rte_pktmbuf_append(m, len);
	assert_non_null(p);
	memset(p, 0, len);
	p[0] = p[6] = 2;
	p[5] = dst;
	p[11] = src;
	return m;
}

unsigned int harness_in_use(void)
{
	return rte_mempool_in_use_count(vb_pool) + rte_mempool_in_use_count(vb_loans);
}

static void sink_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct sink *sink = node->state;

	(void)edge;
	n = vb_loans_end(vb_row(ctx, node->brick), pkts, n);
	for (uint16_t i = 0; i < n; i++) {
		assert_in_range(sink->nb_got, 0, 63);
		sink->got[sink->nb_got++] = pkts[i];
	}
}

static void sink_fini(struct vb_brick *brick)
{
	sink_empty(brick->state);
}

static void sink_quiesce(struct vb_brick *brick)
{
	(void)brick;
}

static const struct vb_brick_ops sink_ops = {
	.kind = "sink",
	.push = sink_push,
	.quiesce = sink_quiesce,
	.fini = sink_fini,
};

static const struct vb_brick_ops uplink_ops = {
	.kind = "uplink",
	.uplink = true,
	.push = sink_push,
	.quiesce = sink_quiesce,
	.fini = sink_fini,
};

static void create(struct sink *sink, const struct vb_brick_ops *ops, const char *name)
{
	memset(sink, 0, sizeof(*sink));
	sink->brick = vb_brick_new(ops, name, sink);
	assert_non_null(sink->brick);
	vb_graph_add(sink->brick);
}

void sink_create(struct sink *sink, const char *name)
{
	create(sink, &sink_ops, name);
}

void sink_create_uplink(struct sink *sink, const char *name)
{
	create(sink, &uplink_ops, name);
}

uint16_t sink_empty(struct sink *sink)
{
	uint16_t n = sink->nb_got;

	rte_pktmbuf_free_bulk(sink->got, n);
	sink->nb_got = 0;
	return n;
}

void push_into(struct vb_brick *brick, uint16_t edge, struct rte_mbuf **pkts, uint16_t n)
{
	const struct vb_ctx ctx = {.nb_workers = 1, .now_s = rte_rdtsc() / rte_get_tsc_hz()};
	const struct vb_snapshot *s = vb_graph_snapshot();

	brick->ops->push(&ctx, &s->nodes[brick->node], edge, pkts, n);
}

void push_from(struct vb_brick *brick, uint16_t edge, struct rte_mbuf **pkts, uint16_t n)
{
	const struct vb_ctx ctx = {.nb_workers = 1, .now_s = rte_rdtsc() / rte_get_tsc_hz()};
	const struct vb_snapshot *s;

	/* We are no worker that others wait for. */
	pthread_mutex_lock(&vb_lock);
	s = vb_graph_snapshot();
	vb_push(&ctx, &s->nodes[brick->node], edge, pkts, n);
	pthread_mutex_unlock(&vb_lock);
}

uint16_t join(struct vb_brick *a, struct vb_brick *b)
{
	uint16_t edge;

	pthread_mutex_lock(&vb_lock);
	assert_int_equal(vb_graph_join(a, b, NULL, NULL, &edge), 0);
	pthread_mutex_unlock(&vb_lock);
	return edge;
}

void part(struct vb_brick *a, uint16_t edge)
{
	pthread_mutex_lock(&vb_lock);
	vb_graph_part(a, edge);
	pthread_mutex_unlock(&vb_lock);
}

/* A spring's state, freed with it. */
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

struct vb_brick *spring_create(const char *name)
{
	struct spring *s = calloc(1, sizeof(*s));
	struct vb_brick *brick = vb_brick_new(&spring_ops, name, s);

	s->alive = 1;
	vb_graph_add(brick);
	return brick;
}

uint64_t spring_taken(struct vb_brick *brick)
{
	return __atomic_load_n(&((struct spring *)brick->state)->taken, __ATOMIC_RELAXED);
}

void springs_start(struct springs *springs, uint32_t nb_workers)
{
	static const struct vb_switch_config config = {.mac_table_size = 64, .mac_ageing_s = 300};

	harness_start(nb_workers);
	assert_int_equal(vb_switch_create("switch", &config, &springs->sw), 0);
	for (int i = 0; i < 2; i++) {
		springs->guests[i] = spring_create("one");
		join(springs->guests[i], springs->sw);
	}
}

void springs_end(struct springs *springs)
{
	for (int i = 0; i < 2; i++)
		assert_int_equal(vb_brick_destroy(springs->guests[i]), 0);
	assert_int_equal(vb_brick_destroy(springs->sw), 0);
	assert_int_equal(harness_in_use(), 0);
}
