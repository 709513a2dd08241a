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
 * It also remembers neighbours (neigh.h) and tells them to who comes back.
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

#include "bricks/mac_table.h"
#include "bricks/neigh.h"
#include "core/graph.h"
#include "core/runtime.h"

struct switch_state {
	struct vb_mac_table macs;
	struct vb_neigh_table neighbours;
};

/* Neighbours that one who comes back is told of; its ring has 256 places or more. */
#define ANNOUNCE_MAX 128

/* Beside an edge's index, what can become of a packet. */
#define TO_ALL (VB_NO_EDGE - 1)
#define TO_DROP(why) (VB_EDGES_MAX + (why))

static void snoop(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t from,
	const struct rte_mbuf *m)
{
	struct switch_state *sw = node->state;
	uint32_t origin = vb_neigh_origin(vb_path_end(node, from)->name);

	vb_neigh_snoop(&sw->neighbours, m, origin, ctx->now_s);
}

static inline uint16_t classify(
	const struct vb_ctx *ctx, const struct vb_node *node, uint16_t from, struct rte_mbuf *m)
{
	struct switch_state *sw = node->state;
	const uint8_t *frame = rte_pktmbuf_mtod(m, const uint8_t *);
	uint64_t src, dst;
	uint16_t to;

	if (unlikely(m->data_len < RTE_ETHER_HDR_LEN))
		return TO_DROP(VB_DROP_TOO_SHORT);
	dst = vb_mac_load(frame);
	src = vb_mac_load(frame + RTE_ETHER_ADDR_LEN);
	if (unlikely((src & 1) != 0 || src == 0))
		return TO_DROP(VB_DROP_BAD_SOURCE);
	vb_mac_learn(&sw->macs, src, from, ctx->now_s);
	if (unlikely(vb_neigh_wants(m)))
		snoop(ctx, node, from, m);
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
	uint16_t to[VB_BURST];
	uint32_t left = n == 32 ? UINT32_MAX : (1u << n) - 1;

	for (uint16_t i = 0; i < n; i++)
		to[i] = classify(ctx, node, from, pkts[i]);
	/* Packets that are left, by bit; each turn takes all for the first one's edge. */
	while (left != 0) {
		struct rte_mbuf *out[VB_BURST];
		uint16_t first = __builtin_ctz(left), nb_out = 0;

		for (uint32_t rest = left; rest != 0; rest &= rest - 1) {
			uint16_t i = __builtin_ctz(rest);

			if (to[i] != to[first])
				continue;
			out[nb_out++] = pkts[i];
			left &= ~(1u << i);
		}
		deliver(ctx, node, from, to[first], out, nb_out);
	}
}

/* ---- control ---- */

static uint32_t now_s(void)
{
	return rte_rdtsc() / rte_get_tsc_hz();
}

static struct rte_mbuf *announcement(const struct vb_neigh *n)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(vb_pool);
	uint8_t frame[VB_NEIGH_FRAME];
	uint16_t len = vb_neigh_frame(n, frame);

	if (m != NULL)
		memcpy(rte_pktmbuf_append(m, len), frame, len);
	return m;
}

/* Tell who is at edge what it may have forgotten: see neigh.h. */
static void announce(
	const struct vb_node *node, uint16_t edge, const struct vb_neigh *known, uint32_t nb_known)
{
	const struct vb_ctx ctx = {.worker = VB_ROW_CONTROL, .nb_workers = 1, .now_s = now_s()};
	struct rte_mbuf *pkts[VB_BURST];
	uint16_t n = 0;

	for (uint32_t i = 0; i < nb_known; i++) {
		pkts[n] = announcement(&known[i]);
		n += pkts[n] != NULL;
		if (n == VB_BURST || (n > 0 && i + 1 == nb_known)) {
			vb_push(&ctx, node, edge, pkts, n);
			n = 0;
		}
	}
}

static void switch_edge_up(struct vb_brick *brick, uint16_t edge)
{
	const struct vb_node *node = &vb_graph_snapshot()->nodes[brick->node];
	struct switch_state *sw = brick->state;
	uint32_t origin = vb_neigh_origin(vb_path_end(node, edge)->name);
	struct vb_neigh known[ANNOUNCE_MAX];
	uint32_t n = vb_neigh_list(&sw->neighbours, origin, false, now_s(), known, ANNOUNCE_MAX);

	/* Its own addresses: packets for them need not be flooded. */
	for (uint32_t i = 0; i < n; i++)
		vb_mac_learn(&sw->macs, vb_mac_load(known[i].mac), edge, now_s());
	n = vb_neigh_list(&sw->neighbours, origin, true, now_s(), known, ANNOUNCE_MAX);
	announce(node, edge, known, n);
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
