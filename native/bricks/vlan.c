/* SPDX-License-Identifier: Apache-2.0
 *
 * The vlan brick, a trunk: one device (a tap or a nic) that networks share by VLAN.
 *
 * Edge 0 is the device's.  Every other edge is a network's, known by its VLAN ID
 * (VID): from the device a frame goes to the network that has its VID, without the
 * tag; towards the device the network's tag is pushed.  VID 0 stands for the network
 * that travels without a tag, and also takes priority-tagged frames (IEEE 802.1Q-2018
 * section 6.9.1).  Who has which VID is two arrays, by VID and by edge, that the
 * control side changes one word at a time, around the join and the part of the edge:
 * a worker that sees a word early or late finds no edge there and drops the packet.
 *
 * Networks are kept apart here.  A guest's own tag under its network's tag is the
 * guest's business; on the untagged network it would choose a VLAN of the wire, so
 * there it is dropped, as frames from the wire are with a tag of IEEE 802.1ad.
 *
 * Pushing and popping a tag writes into the packet.  A packet that the switch flooded
 * is shared with its other receivers: it is copied first.
 */
#include <errno.h>
#include <rte_branch_prediction.h>
#include <rte_ether.h>
#include <rte_mbuf.h>
#include <stdlib.h>
#include <string.h>

#include "core/alike.h"
#include "core/bytes.h"
#include "core/graph.h"
#include "core/offload.h"

#define DEVICE 0 /* the edge */

#define VIDS 4096
#define VID_MAX 4094 /* 4095 is reserved */
#define NO_VID UINT16_MAX

#define MACS_LEN (2 * RTE_ETHER_ADDR_LEN)
#define TAG_LEN 4

/* Beside an edge's index, what can become of a packet. */
#define TO_DROP(why) (VB_EDGES_MAX + (why))

/* Atomics, written with vb_lock held. */
struct vlan_state {
	uint16_t edge_of[VIDS];	       /* VB_NO_EDGE: no network has the VID */
	uint16_t vid_of[VB_EDGES_MAX]; /* NO_VID: the edge is no network's */
};

static inline uint16_t load(const uint16_t *word)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED);
}

static inline void store(uint16_t *word, uint16_t value)
{
	__atomic_store_n(word, value, __ATOMIC_RELAXED);
}

/* ---- workers ---- */

static inline uint16_t load16(const struct rte_mbuf *m, uint16_t offset)
{
	return vb_load16(rte_pktmbuf_mtod_offset(m, const uint8_t *, offset));
}

static inline bool is_tag(uint16_t type)
{
	return type == RTE_ETHER_TYPE_VLAN || type == RTE_ETHER_TYPE_QINQ;
}

/* A packet to write into: m, or a copy instead of it; NULL: dropped. */
static struct rte_mbuf *writable(struct vb_counters *row, struct rte_mbuf *m)
{
	if (likely(vb_is_own(m) && rte_pktmbuf_headroom(m) >= TAG_LEN))
		return m;
	return vb_copy(row, m);
}

/* m has the room: see writable(). */
static void push_tag(struct rte_mbuf *m, uint16_t vid)
{
	const uint8_t tag[TAG_LEN] = {0x81, 0x00, vid >> 8, vid & 0xff};
	uint8_t *p;

	rte_pktmbuf_prepend(m, TAG_LEN);
	p = rte_pktmbuf_mtod(m, uint8_t *);
	memmove(p, p + TAG_LEN, MACS_LEN);
	memcpy(p + MACS_LEN, tag, TAG_LEN);
	vb_offload_shift(m, TAG_LEN);
}

static void pop_tag(struct rte_mbuf *m)
{
	uint8_t *p = rte_pktmbuf_mtod(m, uint8_t *);

	memmove(p + TAG_LEN, p, MACS_LEN);
	rte_pktmbuf_adj(m, TAG_LEN);
	vb_offload_shift(m, -TAG_LEN);
}

/* Where a frame from the device goes; *tagged: it has a tag to pop. */
static uint16_t classify(const struct vlan_state *vlan, const struct rte_mbuf *m, bool *tagged)
{
	uint16_t type, vid = 0, edge;

	*tagged = false;
	if (unlikely(m->data_len < RTE_ETHER_HDR_LEN))
		return TO_DROP(VB_DROP_TOO_SHORT);
	type = load16(m, MACS_LEN);
	if (type == RTE_ETHER_TYPE_VLAN) {
		if (unlikely(m->data_len < RTE_ETHER_HDR_LEN + TAG_LEN))
			return TO_DROP(VB_DROP_TOO_SHORT);
		vid = load16(m, RTE_ETHER_HDR_LEN) % VIDS;
		*tagged = true;
	} else if (unlikely(is_tag(type))) {
		return TO_DROP(VB_DROP_NO_VLAN);
	}
	edge = load(&vlan->edge_of[vid]);
	return likely(edge != VB_NO_EDGE) ? edge : TO_DROP(VB_DROP_NO_VLAN);
}

/* Sort a burst by where it goes and hand on all packets for one edge at a time. */
static void from_device(
	const struct vb_ctx *ctx, const struct vb_node *node, struct rte_mbuf **pkts, uint16_t n)
{
	struct vb_counters *row = vb_row(ctx, node->brick);
	uint16_t to[VB_BURST];
	uint32_t left = 0;

	for (uint16_t i = 0; i < n; i++) {
		bool tagged;

		to[i] = classify(node->state, pkts[i], &tagged);
		if (unlikely(to[i] >= VB_EDGES_MAX)) {
			vb_drop(row, to[i] - VB_EDGES_MAX, &pkts[i], 1);
			continue;
		}
		if (tagged) {
			pkts[i] = writable(row, pkts[i]);
			if (unlikely(pkts[i] == NULL))
				continue;
			pop_tag(pkts[i]);
		}
		left |= 1u << i;
	}
	while (left != 0) {
		struct rte_mbuf *out[VB_BURST];
		uint16_t way, nb_out = vb_alike_take(&left, to, pkts, out, &way);

		vb_push(ctx, node, way, out, nb_out);
	}
}

/* A frame of the network vid as the wire wants it; NULL: dropped. */
static struct rte_mbuf *to_wire(struct vb_counters *row, uint16_t vid, struct rte_mbuf *m)
{
	if (unlikely(m->data_len < RTE_ETHER_HDR_LEN)) {
		vb_drop(row, VB_DROP_TOO_SHORT, &m, 1);
		return NULL;
	}
	if (vid == 0) {
		if (likely(!is_tag(load16(m, MACS_LEN))))
			return m;
		vb_drop(row, VB_DROP_TAGGED, &m, 1);
		return NULL;
	}
	m = writable(row, m);
	if (likely(m != NULL))
		push_tag(m, vid);
	return m;
}

static void from_network(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct vlan_state *vlan = node->state;
	struct vb_counters *row = vb_row(ctx, node->brick);
	uint16_t vid = load(&vlan->vid_of[edge]), kept = 0;

	if (unlikely(vid == NO_VID)) {
		vb_drop(row, VB_DROP_NO_VLAN, pkts, n);
		return;
	}
	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = to_wire(row, vid, pkts[i]);

		if (likely(m != NULL))
			pkts[kept++] = m;
	}
	if (kept > 0)
		vb_push(ctx, node, DEVICE, pkts, kept);
}

static void vlan_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	if (edge == DEVICE)
		from_device(ctx, node, pkts, n);
	else
		from_network(ctx, node, edge, pkts, n);
}

/* ---- control ---- */

/* The device came up, or back: that concerns every network. */
static void vlan_edge_up(struct vb_brick *brick, uint16_t edge)
{
	if (edge == DEVICE)
		vb_graph_renew(brick);
}

static void vlan_edge_gone(struct vb_brick *brick, uint16_t edge)
{
	struct vlan_state *vlan = brick->state;
	uint16_t vid = load(&vlan->vid_of[edge]);

	if (vid == NO_VID)
		return;
	store(&vlan->edge_of[vid], VB_NO_EDGE);
	store(&vlan->vid_of[edge], NO_VID);
}

static void vlan_fini(struct vb_brick *brick)
{
	free(brick->state);
}

static const struct vb_brick_ops vlan_ops = {
	.kind = "vlan",
	.uplink = true,
	.push = vlan_push,
	.edge_up = vlan_edge_up,
	.edge_gone = vlan_edge_gone,
	.fini = vlan_fini,
};

int vb_vlan_create(const char *name, struct vb_brick **out)
{
	struct vlan_state *vlan = malloc(sizeof(*vlan));

	if (vlan == NULL)
		return -ENOMEM;
	/* Every word is VB_NO_EDGE or NO_VID. */
	memset(vlan, 0xff, sizeof(*vlan));
	*out = vb_brick_new(&vlan_ops, name, vlan);
	if (*out == NULL) {
		free(vlan);
		return -ENOMEM;
	}
	vb_graph_add(*out);
	return 0;
}

struct newcomer {
	struct vlan_state *vlan;
	uint16_t vid;
	uint16_t edge; /* VB_NO_EDGE: it has none yet */
};

static void remember_vid(void *arg, uint16_t edge)
{
	struct newcomer *new = arg;

	new->edge = edge;
	store(&new->vlan->vid_of[edge], new->vid);
}

static int join(struct vb_brick *brick, uint16_t vid, struct vb_brick *to)
{
	struct vlan_state *vlan = brick->state;
	struct newcomer new = {vlan, vid, VB_NO_EDGE};
	uint16_t edge;
	int ret;

	if (load(&vlan->edge_of[vid]) != VB_NO_EDGE)
		return -EEXIST;
	if (brick->nb_slots <= DEVICE || brick->edges[DEVICE].peer == NULL)
		return -ENOTCONN;
	ret = vb_graph_join(brick, to, remember_vid, &new, &edge);
	if (ret == 0)
		store(&vlan->edge_of[vid], edge);
	else if (new.edge != VB_NO_EDGE)
		store(&vlan->vid_of[new.edge], NO_VID);
	return ret;
}

int vb_vlan_join(struct vb_brick *brick, uint16_t vid, struct vb_brick *to)
{
	int ret;

	if (vid > VID_MAX)
		return -EINVAL;
	pthread_mutex_lock(&vb_lock);
	ret = join(brick, vid, to);
	pthread_mutex_unlock(&vb_lock);
	return ret;
}

int vb_vlan_leave(struct vb_brick *brick, uint16_t vid)
{
	struct vlan_state *vlan = brick->state;
	uint16_t edge = VB_NO_EDGE;

	pthread_mutex_lock(&vb_lock);
	if (vid <= VID_MAX)
		edge = load(&vlan->edge_of[vid]);
	if (edge != VB_NO_EDGE)
		vb_graph_part(brick, edge);
	pthread_mutex_unlock(&vb_lock);
	return edge != VB_NO_EDGE ? 0 : -ENOENT;
}
