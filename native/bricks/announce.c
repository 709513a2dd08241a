/* SPDX-License-Identifier: Apache-2.0
 *
 * Theory of operation: see announce.h.
 */
#include "bricks/announce.h"

#include <rte_cycles.h>
#include <string.h>

#include "core/pool.h"

/* Addresses that a station is told of; its ring has 256 places or more. */
#define STATION_MAX 128

/* Frames on their way over an edge. */
struct telling {
	const struct vb_node *node;
	uint16_t edge;
	struct vb_ctx ctx;
	struct rte_mbuf *pkts[VB_BURST];
	uint16_t nb_pkts;
	uint32_t told;
};

struct newcomer {
	const struct vb_node *node;
	uint16_t edge;
	uint32_t origin;
	uint32_t now_s;
	struct vb_mac_table *macs;
	const struct vb_neigh *known; /* the network's memory */
	uint32_t nb_known;
};

static bool is_uplink(const struct vb_node *node, uint16_t edge)
{
	return vb_path_end(node, edge)->ops->uplink;
}

static uint32_t origin_of(const struct vb_node *node, uint16_t edge)
{
	return vb_neigh_origin(vb_path_end(node, edge)->brick->name);
}

static struct telling telling_over(const struct newcomer *new, uint16_t edge)
{
	return (struct telling){
		.node = new->node,
		.edge = edge,
		.ctx = {.worker = VB_ROW_CONTROL, .nb_workers = 1, .now_s = new->now_s},
	};
}

static void flush(struct telling *t)
{
	vb_count(&vb_row(&t->ctx, t->node->brick)->made_packets, t->nb_pkts);
	if (t->nb_pkts > 0)
		vb_push(&t->ctx, t->node, t->edge, t->pkts, t->nb_pkts);
	t->nb_pkts = 0;
}

/* Whether who is behind an edge may say m. */
static bool may_say(const struct vb_node *node, uint16_t edge, const struct rte_mbuf *m)
{
	const struct vb_link *link = &node->links[edge];

	for (; link->peer->brick->onward != NULL;
		link = &link->peer->links[VB_PARTNER(link->peer_index)])
		if (link->peer->ops->admits != NULL &&
			!link->peer->ops->admits(link->peer->brick, m))
			return false;
	return true;
}

/* Tell of n, on behalf of who is behind the edge "from"; VB_NO_EDGE: who is not here. */
static void tell(struct telling *t, const struct vb_neigh *n, uint16_t from)
{
	struct rte_mbuf *m = rte_pktmbuf_alloc(vb_buffers());
	uint8_t frame[VB_NEIGH_FRAME];
	uint16_t len = vb_neigh_frame(n, frame);

	if (m == NULL)
		return;
	memcpy(rte_pktmbuf_append(m, len), frame, len);
	if (from != VB_NO_EDGE && !may_say(t->node, from, m)) {
		rte_pktmbuf_free(m);
		return;
	}
	t->told++;
	t->pkts[t->nb_pkts++] = m;
	if (t->nb_pkts == VB_BURST)
		flush(t);
}

/* The edge that has n's MAC, or VB_NO_EDGE. */
static uint16_t edge_with(const struct newcomer *new, const struct vb_neigh *n)
{
	uint16_t edge;

	if (!vb_mac_is_known(new->macs, vb_mac_load(n->mac), &edge))
		return VB_NO_EDGE;
	if (edge >= new->node->nb_links || new->node->links[edge].peer == NULL)
		return VB_NO_EDGE;
	return edge;
}

/* What was behind the newcomer, is: packets for it need not be flooded. */
static void learn_own(const struct newcomer *new)
{
	for (uint32_t i = 0; i < new->nb_known; i++) {
		const struct vb_neigh *n = &new->known[i];
		uint64_t mac = vb_mac_load(n->mac);

		if (n->origin == new->origin && !n->shared &&
			vb_mac_lookup(new->macs, mac, new->now_s) == VB_NO_EDGE)
			vb_mac_learn(new->macs, mac, new->edge, new->now_s);
	}
}

static void tell_station(const struct newcomer *new)
{
	struct telling t = telling_over(new, new->edge);

	/* Who is not here yet may be so in a moment; that does no harm to a station. */
	for (uint32_t i = 0; i < new->nb_known &&t.told < STATION_MAX; i++)
		if (new->known[i].origin != new->origin &&new->known[i].family != 0)
			tell(&t, &new->known[i], VB_NO_EDGE);
	flush(&t);
}

/* Tell an uplink of the station that is new. */
static void tell_of_station(const struct newcomer *new, uint16_t uplink)
{
	struct telling t = telling_over(new, uplink);

	for (uint32_t i = 0; i < new->nb_known; i++) {
		const struct vb_neigh *n = &new->known[i];
		uint16_t edge = edge_with(new, n);

		/* Not if it was last seen elsewhere. */
		if (n->origin == new->origin &&
			(edge == VB_NO_EDGE || origin_of(new->node, edge) == n->origin))
			tell(&t, n, new->edge);
	}
	flush(&t);
}

/* Tell a new uplink of all that are here.  MACs behind other uplinks are left to them. */
static void tell_uplink(const struct newcomer *new)
{
	struct telling t = telling_over(new, new->edge);

	for (uint32_t i = 0; i < new->nb_known; i++) {
		const struct vb_neigh *n = &new->known[i];
		uint16_t from = edge_with(new, n);

		if (from != VB_NO_EDGE &&
			n->origin != new->origin &&origin_of(new->node, from) == n->origin &&
			(n->family != 0 || !is_uplink(new->node, from)))
			tell(&t, n, from);
	}
	flush(&t);
}

void vb_announce(const struct vb_node *node, uint16_t edge, struct vb_mac_table *macs,
	struct vb_neigh_table *neighbours)
{
	static struct vb_neigh known[VB_NEIGH_MAX]; /* vb_lock */
	struct newcomer new = {
		.node = node,
		.edge = edge,
		.origin = origin_of(node, edge),
		.now_s = rte_rdtsc() / rte_get_tsc_hz(),
		.macs = macs,
		.known = known,
	};

	if (vb_is_shared(vb_path_end(node, edge)))
		vb_neigh_share(neighbours, new.origin);
	new.nb_known = vb_neigh_list(neighbours, new.now_s, known);
	learn_own(&new);
	if (is_uplink(node, edge)) {
		tell_uplink(&new);
		return;
	}
	tell_station(&new);
	for (uint16_t e = 0; e < node->nb_links; e++)
		if (node->links[e].peer != NULL && is_uplink(node, e))
			tell_of_station(&new, e);
}
