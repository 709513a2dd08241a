/* SPDX-License-Identifier: Apache-2.0
 *
 * The vhost brick: one vhost-user socket, its frontends on the host's side, an
 * edge to the graph for each of them.
 *
 * A frontend that connects becomes a session; when its rings run and one is enabled the
 * session gets an edge and workers poll it; when they have all stopped the edge is
 * parted.  Queue pairs that the guest enables and disables are bits in a word that
 * workers read each round, and a ring's setup is one pointer: changes of either need no
 * new graph and cost no packet.
 *
 * A worker that is about to sleep has the drivers of the rings it polls kick, and asks them
 * not to when it is back.
 *
 * A queue pair is one worker's at a time, of that which had least to poll when it was first
 * enabled; it goes to another one when that has less (vhost_watch.c).  Towards the guest flows are
 * spread over its queue pairs by their hash, so that each stays in order.
 */
#include "bricks/vhost.h"

#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <rte_ether.h>
#include <stdlib.h>
#include <string.h>

#include "bricks/flow.h"
#include "core/finish.h"

/* What the rings can do and we let guests use.
 *
 * Left out: packed rings, which do not survive a restart (QEMU restores the ring
 * index of split rings only), and of the offloads those that hardly a guest has or that
 * segmentation in software would have to learn (ECN, UDP).
 */
#define VB_FEATURES                                                                               \
	(1ULL << VIRTIO_NET_F_CSUM | 1ULL << VIRTIO_NET_F_GUEST_CSUM |                            \
		1ULL << VIRTIO_NET_F_HOST_TSO4 | 1ULL << VIRTIO_NET_F_HOST_TSO6 |                 \
		1ULL << VIRTIO_NET_F_GUEST_TSO4 | 1ULL << VIRTIO_NET_F_GUEST_TSO6 |               \
		1ULL << VIRTIO_NET_F_MTU | 1ULL << VIRTIO_NET_F_MRG_RXBUF |                       \
		1ULL << VIRTIO_NET_F_CTRL_VQ | 1ULL << VIRTIO_NET_F_CTRL_RX |                     \
		1ULL << VIRTIO_NET_F_GUEST_ANNOUNCE | 1ULL << VIRTIO_NET_F_MQ |                   \
		1ULL << VHOST_USER_F_LOG_ALL | 1ULL << VIRTIO_F_ANY_LAYOUT |                      \
		1ULL << VIRTIO_RING_F_INDIRECT_DESC | 1ULL << VIRTIO_RING_F_EVENT_IDX |           \
		1ULL << VHOST_USER_F_PROTOCOL_FEATURES | 1ULL << VIRTIO_F_VERSION_1 |             \
		1ULL << VIRTIO_F_IN_ORDER)

uint64_t vb_vhost_features(void)
{
	return VB_FEATURES;
}

static struct vhost_port *ports;

struct vhost_port *vhost_ports(void)
{
	return ports;
}

struct vhost_port *vhost_port_at(const char *path)
{
	struct vhost_port *p = ports;

	while (p != NULL && strcmp(p->config.path, path) != 0)
		p = p->next;
	return p;
}

/* ---- workers ---- */

static inline const struct vhost_vring *vring_of(const struct vhost_ring *ring)
{
	return __atomic_load_n(&ring->vring, __ATOMIC_ACQUIRE);
}

static uint16_t vhost_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct vhost_port *port = node->state;
	const struct vhost_session *s = port->by_edge[edge];
	struct vb_counters *row = vb_row(ctx, node->brick);
	uint64_t pairs = vhost_device_polled(&s->device, ctx->worker);
	uint16_t total = 0;

	for (; pairs != 0; pairs &= pairs - 1) {
		struct rte_mbuf *pkts[VB_BURST];
		uint16_t pair = __builtin_ctzll(pairs), n;
		struct vhost_ring *ring = &s->device.rings[VHOST_RING_FROM_GUEST(pair)];
		const struct vhost_vring *v;

		v = vring_of(ring);
		if (v == NULL)
			continue;
		n = vhost_ring_receive(ring, v, row, pkts, VB_BURST);
		if (n > 0)
			vb_push(ctx, node, edge, pkts, n);
		vhost_ring_release(ring, v);
		total += n;
	}
	return total;
}

static bool vhost_can_wake(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct vhost_port *port = node->state;
	const struct vhost_device *dev = &port->by_edge[edge]->device;
	uint64_t pairs = vhost_device_polled(dev, ctx->worker);

	for (; pairs != 0; pairs &= pairs - 1) {
		uint16_t pair = __builtin_ctzll(pairs);

		if (!__atomic_load_n(
			    &dev->rings[VHOST_RING_FROM_GUEST(pair)].kicks, __ATOMIC_ACQUIRE))
			return false;
	}
	return true;
}

static bool vhost_arm(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct vhost_port *port = node->state;
	struct vhost_device *dev = &port->by_edge[edge]->device;
	uint64_t pairs = vhost_device_polled(dev, ctx->worker);
	bool empty = true;

	dev->hands[ctx->worker].armed = pairs;
	for (; pairs != 0; pairs &= pairs - 1) {
		const struct vhost_ring *ring =
			&dev->rings[VHOST_RING_FROM_GUEST(__builtin_ctzll(pairs))];
		const struct vhost_vring *v = vring_of(ring);

		empty &= v == NULL || vhost_ring_listen(ring, v);
	}
	return empty;
}

/* Also those that are not enabled any more, since they may be again; but none that is
 * another worker's by now.
 */
static void vhost_disarm(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct vhost_port *port = node->state;
	struct vhost_device *dev = &port->by_edge[edge]->device;
	struct vhost_hand *hand = &dev->hands[ctx->worker];
	uint64_t pairs = hand->armed & __atomic_load_n(&hand->own, __ATOMIC_ACQUIRE);

	for (; pairs != 0; pairs &= pairs - 1) {
		const struct vhost_ring *ring =
			&dev->rings[VHOST_RING_FROM_GUEST(__builtin_ctzll(pairs))];
		const struct vhost_vring *v = vring_of(ring);

		if (v != NULL)
			vhost_ring_hush(ring, v);
	}
	hand->armed = 0;
}

/* Drop what the guest's MTU has no room for; return how many packets are left. */
static uint16_t fit(
	const struct vhost_port *port, struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		if (likely(pkts[i]->pkt_len <= port->max_frame) ||
			vb_offload_frame_len(pkts[i]) <= port->max_frame)
			pkts[kept++] = pkts[i];
		else
			vb_drop(row, VB_DROP_TOO_BIG, &pkts[i], 1);
	}
	return kept;
}

struct receiver {
	struct vhost_ring *ring;
	const struct vhost_vring *v;
	struct vb_counters *row;
};

static void send_burst(void *arg, struct rte_mbuf **pkts, uint16_t n)
{
	const struct receiver *to = arg;

	rte_spinlock_lock(&to->ring->lock);
	vhost_ring_send(to->ring, to->v, to->row, pkts, n);
	rte_spinlock_unlock(&to->ring->lock);
}

static void enqueue(const struct vhost_session *s, struct vb_counters *row, uint16_t pair,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct vhost_ring *ring = &s->device.rings[VHOST_RING_TO_GUEST(pair)];
	struct receiver to = {ring, vring_of(ring), row};

	if (unlikely(to.v == NULL))
		vb_drop(row, VB_DROP_NO_RING, pkts, n);
	else if (likely(to.v->offloads == VB_OFFLOAD_ALL) || !vb_offload_any(pkts, n))
		send_burst(&to, pkts, n);
	else
		vb_finish_burst(row, pkts, n, to.v->offloads, send_burst, &to);
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
	uint64_t pairs = __atomic_load_n(&s->device.enabled, __ATOMIC_RELAXED);

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

void vhost_event(struct vhost_port *port, struct vhost_session *s, enum vb_event_kind kind)
{
	struct vb_event event = {
		.kind = kind,
		.fault = s != NULL ? s->ended_by : __atomic_load_n(&port->fault, __ATOMIC_RELAXED),
	};

	memcpy(event.brick, port->brick->name, sizeof(event.brick));
	if (s != NULL) {
		event.session = s->number;
		event.features = s->device.features;
		event.queues = __builtin_popcountll(s->device.enabled);
		vhost_peer_of(s->channel.fd, &event.pid, &event.uid);
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

static void unlist(struct vhost_port *port)
{
	struct vhost_port **p = &ports;

	while (*p != port)
		p = &(*p)->next;
	*p = port->next;
}

static void vhost_quiesce(struct vb_brick *brick)
{
	struct vhost_port *port = brick->state;

	vhost_loop_lock();
	if (port->config.client)
		vhost_connect_remove(port);
	else
		vhost_listen_remove(port);
	while (port->sessions != NULL)
		vhost_session_close(port->sessions, VB_FAULT_NONE);
	vhost_timer_clear(&port->timer);
	unlist(port);
	vhost_loop_unlock();
}

static void vhost_fini(struct vb_brick *brick)
{
	free(brick->state);
}

static const struct vb_brick_ops vhost_ops = {
	.kind = "vhost",
	.polled = true,
	.pull = vhost_pull,
	.can_wake = vhost_can_wake,
	.arm = vhost_arm,
	.disarm = vhost_disarm,
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

static struct vhost_port *port_new(
	const char *name, const struct vb_vhost_config *config, struct vb_brick *to)
{
	struct vhost_port *port = calloc(1, sizeof(*port));

	if (port == NULL)
		return NULL;
	port->config = *config;
	port->to = to;
	port->max_frame = config->mtu + RTE_ETHER_HDR_LEN + 4; /* a VLAN tag may be inside */
	port->connect.watch = -1;
	port->brick = vb_brick_new(&vhost_ops, name, port);
	if (port->brick == NULL) {
		free(port);
		return NULL;
	}
	return port;
}

/* List it, and serve it unless we stand by; lock not held. */
static int port_start(struct vhost_port *port)
{
	int ret = vhost_loop_start();

	if (ret != 0)
		return ret;
	vhost_loop_lock();
	vhost_watch_start();
	if (vhost_port_at(port->config.path) != NULL)
		ret = -EADDRINUSE;
	else if (!vhost_stands_by())
		ret = port->config.client ? vhost_connect_add(port) : vhost_listen_add(port);
	if (ret == 0) {
		port->next = ports;
		ports = port;
	}
	vhost_loop_unlock();
	return ret;
}

int vb_vhost_create(const char *name, const struct vb_vhost_config *config, struct vb_brick *to,
	struct vb_brick **out)
{
	int ret = check_config(config);
	struct vhost_port *port;

	if (ret != 0)
		return ret;
	port = port_new(name, config, to);
	if (port == NULL)
		return -ENOMEM;
	vb_graph_add(port->brick);
	ret = port_start(port);
	if (ret == 0) {
		*out = port->brick;
		return 0;
	}
	pthread_mutex_lock(&vb_lock);
	vb_graph_remove(port->brick);
	pthread_mutex_unlock(&vb_lock);
	vb_brick_free(port->brick);
	free(port);
	return ret;
}

uint32_t vb_vhost_sessions(struct vb_brick *brick, struct vb_session *out, uint32_t max)
{
	struct vhost_port *port = brick->state;
	uint32_t n = 0;

	vhost_loop_lock();
	for (struct vhost_session *s = port->sessions; s != NULL && n < max; s = s->next)
		out[n++] = (struct vb_session){
			.number = s->number,
			.features = s->device.features,
			.since = s->since,
			.queues = __builtin_popcountll(s->device.enabled),
			.running = s->running,
		};
	vhost_loop_unlock();
	return n;
}

const char *vb_vhost_fault(struct vb_brick *brick)
{
	struct vhost_port *port = brick->state;

	return vb_fault_name(__atomic_load_n(&port->fault, __ATOMIC_RELAXED));
}
