/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch brick: one L2 broadcast domain.
 *
 * For each packet of a burst it learns the source's edge, looks the
 * destination up and then hands on all packets for one edge at a time, in the
 * order they came.  Group addresses and unknown destinations go to every other
 * edge: the packet is shared by reference, not copied, so bricks behind a switch
 * must not write into a packet whose reference count is above one.
 *
 * It also remembers neighbours (neigh.h) and tells of them (announce.h).
 *
 * IEEE 802.1D-2004 section 7.12.6: 01:80:c2:00:00:00 to 0f are never forwarded.
 */
#include <errno.h>
#include <rte_branch_prediction.h>
#include <rte_cycles.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "bricks/announce.h"
#include "core/alike.h"
#include "core/graph.h"
#include "core/runtime.h"

struct switch_state {
	struct vb_mac_table macs;
	struct vb_neigh_table neighbours;
};

/* Beside an edge's index, what can become of a packet. */
#define TO_ALL (VB_NO_EDGE - 1)
#define TO_DROP(why) (VB_EDGES_MAX + (why))

/* Where and when a worker sees somebody behind edge; off the common path. */
static struct vb_neigh sighting(
	const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct vb_node *end = vb_path_end(node, edge);

	return (struct vb_neigh){
		.origin = vb_neigh_origin(end->brick->name),
		.shared = vb_is_shared(end),
		.seen_s = ctx->now_s,
	};
}

/* m's source is news. */
static __rte_noinline void note(const struct vb_ctx *ctx, const struct vb_node *node,
	uint16_t from, const struct rte_mbuf *m)
{
	struct switch_state *sw = node->state;
	const uint8_t *source = rte_pktmbuf_mtod_offset(m, const uint8_t *, RTE_ETHER_ADDR_LEN);

	vb_neigh_note(&sw->neighbours, source, sighting(ctx, node, from));
}

static __rte_noinline void snoop(const struct vb_ctx *ctx, const struct vb_node *node,
	uint16_t from, const struct rte_mbuf *m)
{
	struct switch_state *sw = node->state;

	vb_neigh_snoop(&sw->neighbours, m, sighting(ctx, node, from));
}

/* What the last packet of a burst was: the next one is mostly of the same two stations. */
struct last {
	uint64_t src; /* UINT64_MAX: there was none */
	uint64_t dst; /* the same */
	uint16_t to;
};

/* Where packets from an edge to a station go. */
static uint16_t destination(
	const struct switch_state *sw, const struct vb_ctx *ctx, uint16_t from, uint64_t dst)
{
	uint16_t to;

	if (unlikely((dst & 1) != 0)) {
		/* The first five octets as they lie in memory, the last below 16. */
		if ((dst & 0xf0ffffffffff) == 0x000000c28001)
			return TO_DROP(VB_DROP_RESERVED);
		return TO_ALL;
	}
	to = vb_mac_lookup(&sw->macs, dst, ctx->now_s);
	if (to == VB_NO_EDGE)
		return TO_ALL;
	return likely(to != from) ? to : TO_DROP(VB_DROP_HAIRPIN);
}

static inline uint16_t classify(const struct vb_ctx *ctx, const struct vb_node *node,
	uint16_t from, struct rte_mbuf *m, struct last *last)
{
	struct switch_state *sw = node->state;
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	uint64_t src, dst;

	if (unlikely(m->data_len < RTE_ETHER_HDR_LEN))
		return TO_DROP(VB_DROP_TOO_SHORT);
	dst = vb_mac_load(frame);
	src = vb_mac_load(frame + RTE_ETHER_ADDR_LEN);
	if (src != last->src) {
		if (unlikely((src & 1) != 0 || src == 0))
			return TO_DROP(VB_DROP_BAD_SOURCE);
		if (unlikely(vb_mac_learn(&sw->macs, src, from, ctx->now_s)))
			note(ctx, node, from, m);
		last->src = src;
	}
	if (unlikely(vb_neigh_wants(m)))
		snoop(ctx, node, from, m);
	if (dst != last->dst) {
		last->to = destination(sw, ctx, from, dst);
		last->dst = dst;
	}
	return last->to;
}

static void share(struct rte_mbuf *m, uint16_t extra)
{
	for (; m != NULL; m = m->next)
		rte_mbuf_refcnt_update(m, extra);
}

static void flood(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t from,
	struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t receivers = 0, left;

	for (uint16_t e = 0; e < node->nb_links; e++)
		receivers += e != from && node->links[e].peer != NULL;
	if (receivers == 0) {
		vb_drop(vb_row(ctx, node->brick), VB_DROP_NO_PEER, pkts, n);
		return;
	}
	for (uint16_t i = 0; receivers > 1 && i < n; i++)
		share(pkts[i], receivers - 1);
	vb_count(&vb_row(ctx, node->brick)->made_packets, (uint64_t)(receivers - 1) * n);
	left = receivers;
	for (uint16_t e = 0; left > 0; e++) {
		struct rte_mbuf *copy[VB_BURST];

		if (e == from || node->links[e].peer == NULL)
			continue;
		left--;
		for (uint16_t i = 0; i < n; i++)
			copy[i] = pkts[i];
		vb_push(ctx, node, e, copy, n);
	}
}

static void deliver(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t from,
	uint16_t to, struct rte_mbuf **pkts, uint16_t n)
{
	if (likely(to < VB_EDGES_MAX))
		vb_push(ctx, node, to, pkts, n);
	else if (to == TO_ALL)
		flood(ctx, node, from, pkts, n);
	else
		vb_drop(vb_row(ctx, node->brick), to - VB_EDGES_MAX, pkts, n);
}

static void switch_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t from,
	struct rte_mbuf **pkts, uint16_t n)
{
	uint32_t left = vb_alike_all(n);
	struct last last = {.src = UINT64_MAX, .dst = UINT64_MAX};
	uint16_t to[VB_BURST], differ = 0;

	to[0] = classify(ctx, node, from, pkts[0], &last);
	for (uint16_t i = 1; i < n; i++) {
		to[i] = classify(ctx, node, from, pkts[i], &last);
		differ |= to[i] ^ to[0];
	}
	if (likely(differ == 0)) {
		deliver(ctx, node, from, to[0], pkts, n);
		return;
	}
	while (left != 0) {
		struct rte_mbuf *out[VB_BURST];
		uint16_t way, nb_out = vb_alike_take(&left, to, pkts, out, &way);

		deliver(ctx, node, from, way, out, nb_out);
	}
}

static enum vb_decision switch_decide(const struct vb_ctx *ctx, const struct vb_node *node,
	uint16_t from, const struct rte_mbuf *m)
{
	uint64_t dst;

	if (m->data_len < RTE_ETHER_HDR_LEN)
		return VB_DECISION_NONE;
	dst = vb_mac_load(rte_pktmbuf_mtod(m, const uint8_t *));
	if (destination(node->state, ctx, from, dst) != TO_ALL)
		return VB_DECISION_KNOWN;
	return (dst & 1) != 0 ? VB_DECISION_GROUP : VB_DECISION_UNKNOWN;
}

/* ---- control ---- */

static uint32_t now_s(void)
{
	return rte_rdtsc() / rte_get_tsc_hz();
}

static void switch_edge_up(struct vb_brick *brick, uint16_t edge)
{
	struct switch_state *sw = brick->state;

	vb_announce(&vb_graph_snapshot()->nodes[brick->node], edge, &sw->macs, &sw->neighbours);
}

static void switch_edge_gone(struct vb_brick *brick, uint16_t edge)
{
	struct switch_state *sw = brick->state;

	vb_mac_table_forget(&sw->macs, edge);
}

static void switch_free(struct switch_state *sw)
{
	vb_neigh_fini(&sw->neighbours);
	vb_mac_table_fini(&sw->macs);
	free(sw);
}

static void switch_fini(struct vb_brick *brick)
{
	switch_free(brick->state);
}

static const struct vb_brick_ops switch_ops = {
	.kind = "switch",
	.push = switch_push,
	.decide = switch_decide,
	.edge_up = switch_edge_up,
	.edge_gone = switch_edge_gone,
	.fini = switch_fini,
};

int vb_switch_create(
	const char *name, const struct vb_switch_config *config, struct vb_brick **out)
{
	struct switch_state *sw = calloc(1, sizeof(*sw));
	struct vb_brick *brick = NULL;
	int ret;

	if (sw == NULL)
		return -ENOMEM;
	ret = vb_mac_table_init(&sw->macs, config->mac_table_size, config->mac_ageing_s);
	if (ret == 0)
		ret = vb_neigh_init(&sw->neighbours, config->neighbours);
	if (ret == 0) {
		brick = vb_brick_new(&switch_ops, name, sw);
		ret = brick != NULL ? 0 : -ENOMEM;
	}
	if (ret != 0) {
		switch_free(sw);
		return ret;
	}
	vb_graph_add(brick);
	*out = brick;
	return 0;
}

uint32_t vb_switch_macs(struct vb_brick *brick)
{
	struct switch_state *sw = brick->state;

	return vb_mac_table_count(&sw->macs, now_s());
}

void vb_switch_forget(struct vb_brick *brick, const char *name)
{
	struct switch_state *sw = brick->state;

	vb_neigh_forget(&sw->neighbours, vb_neigh_origin(name));
}
