/* SPDX-License-Identifier: Apache-2.0
 *
 * The vhost brick: one vhost-user socket, its frontends on the host's side, an
 * edge to the graph for each of them.
 *
 * A frontend that connects becomes a session; when its device is ready the
 * session gets an edge and workers poll it; when rte_vhost says stop the edge is
 * parted and workers are waited for before the callback returns, because the
 * library unmaps guest memory right after.  Queue pairs that the guest enables
 * and disables are bits in a word that workers read each round, so they need no
 * new graph: that callback runs with a ring's lock held and must not wait.
 *
 * Workers share queue pairs out by number; towards the guest flows are spread over
 * its queue pairs by their hash, so that each stays in order.
 */
#include "bricks/vhost.h"

#include <errno.h>
#include <linux/virtio_net.h>
#include <rte_ether.h>
#include <rte_vhost.h>
#include <stdlib.h>
#include <string.h>

#include "bricks/flow.h"
#include "core/runtime.h"

/* A guest's rings, from its point of view (virtio 1.1 section 5.1.2). */
#define RING_TO_GUEST(pair) ((pair)*2)
#define RING_FROM_GUEST(pair) ((pair)*2 + 1)

/* What rte_vhost can do and we let guests use.
 *
 * Left out: packed rings, which do not survive a restart (QEMU restores the ring
 * index of split rings only), and checksum and segmentation offload, which the
 * bricks do not finish for receivers without it.
 */
#define VB_FEATURES                                                                               \
	(1ULL << VIRTIO_NET_F_MTU | 1ULL << VIRTIO_NET_F_MRG_RXBUF |                              \
		1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_CTRL_RX |                     \
		1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE | 1ULL << VIRTIO_NET_F_MQ |                   \
		1ULL << VHOST_F_LOG_ALL | 1ULL << VIRTIO_F_ANY_LAYOUT |                           \
		1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |           \
		1ULL << VHOST_USER_F_PROTOCOL_FEATURES | 1ULL << VIRTIO_F_VERSION_1 |             \
		1ULL << VIRTIO_F_IN_ORDER)

uint64_t vb_vhost_features(void)
{
	return VB_FEATURES;
}

/* ---- workers ---- */

static uint16_t vhost_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct vhost_port *port = node->state;
	const struct vhost_session *s = port->by_edge[edge];
	struct vb_counters *row = vb_row(ctx, node->brick);
	uint64_t pairs = __atomic_load_n(&s->enabled, __ATOMIC_RELAXED);
	uint16_t total = 0;

	for (; pairs != 0; pairs &= pairs - 1) {
		struct rte_mbuf *pkts[VB_BURST];
		uint16_t pair = __builtin_ctzll(pairs), n;

		if (pair % ctx->nb_workers != ctx->worker)
			continue;
		n = rte_vhost_dequeue_burst(
			s->vid, RING_FROM_GUEST(pair), vb_pool, pkts, VB_BURST);
		if (n == 0)
			continue;
		vb_count(&row->from_peer_packets, n);
		vb_count(&row->from_peer_bytes, vb_bytes(pkts, n));
		vb_push(ctx, node, edge, pkts, n);
		total += n;
	}
	return total;
}

/* Drop what the guest's MTU has no room for; return how many packets are left. */
static uint16_t fit(
	const struct vhost_port *port, struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (likely(pkts[i]->pkt_len <= port->max_frame))
			pkts[kept++] = pkts[i];
		else
			vb_drop(row, VB_DROP_TOO_BIG, &pkts[i], 1);
	}
	return kept;
}

static void enqueue(const struct vhost_session *s, struct vb_counters *row, uint16_t pair,
	struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t sent = rte_vhost_enqueue_burst(s->vid, RING_TO_GUEST(pair), pkts, n);

	vb_count(&row->to_peer_packets, sent);
	vb_count(&row->to_peer_bytes, vb_bytes(pkts, sent));
	/* The library copies and leaves the packets to us. */
	rte_pktmbuf_free_bulk(pkts, sent);
	if (sent < n)
		vb_drop(row, VB_DROP_RING_FULL, pkts + sent, n - sent);
}

/* The number of the nth bit that is set. */
static inline uint16_t nth_bit(uint64_t word, uint32_t nth)
{
	while (nth-- > 0)
		word &= word - 1;
	return __builtin_ctzll(word);
}

/* Spread flows over the enabled queue pairs, one enqueue for each pair in use. */
static void spread(const struct vhost_session *s, struct vb_counters *row, uint64_t pairs,
	struct rte_mbuf **pkts, uint16_t n)
{
	uint32_t nb_pairs = __builtin_popcountll(pairs);
	uint16_t pair[VB_BURST];

	for (uint16_t i = 0; i < n; i++)
		pair[i] = nth_bit(pairs, vb_flow_hash(pkts[i]) % nb_pairs);
	for (; pairs != 0; pairs &= pairs - 1) {
		struct rte_mbuf *out[VB_BURST];
		uint16_t p = __builtin_ctzll(pairs), nb_out = 0;

		for (uint16_t i = 0; i < n; i++)
			if (pair[i] == p)
				out[nb_out++] = pkts[i];
		if (nb_out > 0)
			enqueue(s, row, p, out, nb_out);
	}
}

static void vhost_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	const struct vhost_port *port = node->state;
	const struct vhost_session *s = port->by_edge[edge];
	struct vb_counters *row = vb_row(ctx, node->brick);
	uint64_t pairs = __atomic_load_n(&s->enabled, __ATOMIC_RELAXED);

	if (unlikely(pairs == 0)) {
		vb_drop(row, VB_DROP_NO_RING, pkts, n);
		return;
	}
	n = fit(port, row, pkts, n);
	if ((pairs & (pairs - 1)) == 0)
		enqueue(s, row, __builtin_ctzll(pairs), pkts, n);
	else
		spread(s, row, pairs, pkts, n);
}

/* ---- control ---- */

static uint32_t pairs_enabled(const struct vhost_session *s)
{
	return __builtin_popcountll(__atomic_load_n(&s->enabled, __ATOMIC_RELAXED));
}

void vhost_event(struct vhost_port *port, struct vhost_session *s, enum vb_event_kind kind)
{
	struct vb_event event = {
		.kind = kind,
		.fault = __atomic_load_n(&port->fault, __ATOMIC_RELAXED),
	};

	memcpy(event.brick, port->brick->name, sizeof(event.brick));
	if (s != NULL) {
		event.session = s->number;
		event.features = __atomic_load_n(&s->features, __ATOMIC_RELAXED);
		event.queues = pairs_enabled(s);
	}
	vb_event_raise(&event);
}

void vhost_fault(struct vhost_port *port, enum vb_fault fault)
{
	uint32_t old = __atomic_exchange_n(&port->fault, fault, __ATOMIC_RELAXED);

	if (old != fault)
		vhost_event(port, NULL,
			fault == VB_FAULT_NONE ? VB_EVENT_FAULT_CLEARED : VB_EVENT_FAULT);
}

static void remember_edge(void *arg, uint16_t edge)
{
	struct vhost_session *s = arg;

	s->edge = edge;
	s->port->by_edge[edge] = s;
}

int vhost_session_start(struct vhost_session *s)
{
	struct vhost_port *port = s->port;
	uint16_t edge;
	int ret;

	pthread_mutex_lock(&vb_lock);
	ret = vb_graph_join(port->brick, port->to, remember_edge, s, &edge);
	s->running = ret == 0;
	pthread_mutex_unlock(&vb_lock);
	return ret;
}

void vhost_session_stop(struct vhost_session *s)
{
	pthread_mutex_lock(&vb_lock);
	if (s->running) {
		vb_graph_part(s->port->brick, s->edge);
		s->port->by_edge[s->edge] = NULL;
		s->running = false;
	}
	pthread_mutex_unlock(&vb_lock);
}

static void vhost_quiesce(struct vb_brick *brick)
{
	struct vhost_port *port = brick->state;

	if (port->config.client)
		vhost_connect_remove(port);
	else
		vhost_driver_stop(port);
	vhost_driver_remove(port);
}

static void vhost_fini(struct vb_brick *brick)
{
	free(brick->state);
}

static const struct vb_brick_ops vhost_ops = {
	.kind = "vhost",
	.polled = true,
	.pull = vhost_pull,
	.push = vhost_push,
	.quiesce = vhost_quiesce,
	.fini = vhost_fini,
};

static int check_config(const struct vb_vhost_config *config)
{
	if (config->queues < 1 || config->queues > VB_QUEUES_MAX)
		return -EINVAL;
	if (strnlen(config->path, VB_PATH_MAX) == VB_PATH_MAX)
		return -ENAMETOOLONG;
	return (config->features & ~VB_FEATURES) == 0 ? 0 : -EOPNOTSUPP;
}

int vb_vhost_create(const char *name, const struct vb_vhost_config *config, struct vb_brick *to,
	struct vb_brick **out)
{
	int ret = check_config(config);
	struct vhost_port *port = ret == 0 ? calloc(1, sizeof(*port)) : NULL;

	if (port == NULL)
		return ret != 0 ? ret : -ENOMEM;
	port->config = *config;
	port->to = to;
	port->max_frame = config->mtu + RTE_ETHER_HDR_LEN + 4; /* a VLAN tag may be inside */
	port->brick = vb_brick_new(&vhost_ops, name, port);
	if (port->brick == NULL) {
		free(port);
		return -ENOMEM;
	}
	ret = vhost_driver_add(port);
	if (ret != 0) {
		vb_brick_free(port->brick);
		free(port);
		return ret;
	}
	vb_graph_add(port->brick);
	ret = config->client ? vhost_connect_add(port) : vhost_driver_start(port);
	if (ret != 0) {
		vb_brick_destroy(port->brick);
		return ret;
	}
	*out = port->brick;
	return 0;
}

uint32_t vb_vhost_sessions(struct vb_brick *brick, struct vb_session *out, uint32_t max)
{
	struct vhost_port *port = brick->state;
	uint32_t n = 0;

	pthread_mutex_lock(&vb_lock);
	for (struct vhost_session *s = port->sessions; s != NULL && n < max; s = s->next)
		out[n++] = (struct vb_session){
			.number = s->number,
			.features = __atomic_load_n(&s->features, __ATOMIC_RELAXED),
			.since = __atomic_load_n(&s->since, __ATOMIC_RELAXED),
			.queues = pairs_enabled(s),
			.running = s->running,
		};
	pthread_mutex_unlock(&vb_lock);
	return n;
}

const char *vb_vhost_fault(struct vb_brick *brick)
{
	struct vhost_port *port = brick->state;

	return vb_fault_name(__atomic_load_n(&port->fault, __ATOMIC_RELAXED));
}
