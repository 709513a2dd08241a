/* SPDX-License-Identifier: Apache-2.0
 *
 * The nic brick: any port that DPDK has a driver for, as an uplink.
 *
 * Workers poll the device's receive queues, which they share out by number, and each
 * sends on a transmit queue of its own as long as there are enough.  A queue that
 * workers share (or the control side, when a switch announces its neighbours) is
 * locked for a burst; nobody else waits for that lock.
 *
 * No offload is asked of the device: what guests left to be done is done before, and what
 * the device found out about a received frame is forgotten, since bricks further on would
 * take it for theirs.  Packets are only read here; one that a switch flooded may be shared.
 *
 * Drivers of real NICs make no system call while forwarding.  Those over the kernel do,
 * in the worker: net_af_packet one sendto() a burst, net_tap one call a frame,
 * net_af_xdp when the kernel asks to be woken.  They serve where no NIC can be given to
 * DPDK, and tests; the tap brick costs workers less.  They see frames as the kernel has
 * them: receive aggregation on their interface (GRO, LRO) must be off, as must checksum
 * offload in a veth's peer, and net_af_packet wants the interface up.
 */
#include "bricks/nic.h"

#include <errno.h>
#include <rte_branch_prediction.h>
#include <rte_ethdev.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "core/balance.h"
#include "core/event.h"
#include "core/finish.h"
#include "core/graph.h"
#include "core/loan.h"
#include "core/runtime.h"

/* Flags that say how the mbuf is made; all others are the driver's findings. */
#define OWN_FLAGS (RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL)

/* ---- workers ---- */

/* The first receive queue of a worker; every nb_workers-th after it is its own, too. */
static uint32_t first_queue(const struct vb_ctx *ctx, const struct nic_state *nic)
{
	return (ctx->worker + ctx->nb_workers - nic->first) % ctx->nb_workers;
}

static uint16_t nic_pull(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct nic_state *nic = node->state;
	struct vb_counters *row = vb_row(ctx, node->brick);
	uint16_t total = 0;

	for (uint32_t q = first_queue(ctx, nic); q < nic->device.nb_rxq; q += ctx->nb_workers) {
		struct rte_mbuf *pkts[VB_BURST];
		uint16_t n = rte_eth_rx_burst(nic->device.port, q, pkts, VB_BURST);

		if (n == 0)
			continue;
		for (uint16_t i = 0; i < n; i++)
			pkts[i]->ol_flags &= OWN_FLAGS;
		vb_count(&row->from_peer_packets, n);
		vb_count(&row->from_peer_bytes, vb_bytes(pkts, n));
		vb_push(ctx, node, edge, pkts, n);
		total += n;
	}
	return total;
}

/* Drivers have to be polled.  Who has no queue of this one may sleep. */
static bool nic_can_wake(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	const struct nic_state *nic = node->state;

	(void)edge;
	return first_queue(ctx, nic) >= nic->device.nb_rxq;
}

static bool nic_arm(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge)
{
	(void)ctx;
	(void)node;
	(void)edge;
	return true;
}

/* A frame as the device can send it; NULL: dropped. */
static struct rte_mbuf *fit(const struct nic_state *nic, uint32_t max_frame,
	struct vb_counters *row, struct rte_mbuf *m)
{
	bool chained = m->nb_segs > 1 && !nic->device.multi_segs;

	if (unlikely(m->pkt_len > max_frame ||
		     (chained && m->pkt_len > RTE_MBUF_DEFAULT_DATAROOM))) {
		vb_drop(row, VB_DROP_TOO_BIG, &m, 1);
		return NULL;
	}
	return unlikely(chained) ? vb_copy(row, m) : m;
}

static void transmit(const struct vb_ctx *ctx, struct nic_state *nic, struct vb_counters *row,
	struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t q = RTE_MIN(ctx->worker, nic->device.nb_txq - 1u), sent;
	uint64_t bytes = vb_bytes(pkts, n); /* what is sent may be freed at once */

	pthread_spin_lock(&nic->txq[q].lock);
	sent = rte_eth_tx_burst(nic->device.port, q, pkts, n);
	pthread_spin_unlock(&nic->txq[q].lock);
	vb_count(&row->to_peer_packets, sent);
	vb_count(&row->to_peer_bytes, bytes - vb_bytes(pkts + sent, n - sent));
	if (sent < n)
		vb_drop(row, VB_DROP_RING_FULL, pkts + sent, n - sent);
}

struct sender {
	const struct vb_ctx *ctx;
	struct nic_state *nic;
	struct vb_counters *row;
};

static void send_burst(void *arg, struct rte_mbuf **pkts, uint16_t n)
{
	const struct sender *by = arg;
	uint32_t max_frame = __atomic_load_n(&by->nic->max_frame, __ATOMIC_RELAXED);
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = fit(by->nic, max_frame, by->row, pkts[i]);

		if (likely(m != NULL))
			pkts[kept++] = m;
	}
	kept = vb_loans_end(by->row, pkts, kept);
	if (kept > 0)
		transmit(by->ctx, by->nic, by->row, pkts, kept);
}

static void nic_push(const struct vb_ctx *ctx, const struct vb_node *node, uint16_t edge,
	struct rte_mbuf **pkts, uint16_t n)
{
	struct sender by = {ctx, node->state, vb_row(ctx, node->brick)};

	(void)edge;
	if (likely(!vb_offload_any(pkts, n)))
		send_burst(&by, pkts, n);
	else
		vb_finish_burst(by.row, pkts, n, 0, send_burst, &by);
}

/* ---- events, on DPDK's interrupt thread ---- */

static void set_fault(struct nic_state *nic, enum vb_fault fault)
{
	struct vb_event event = {
		.kind = fault == VB_FAULT_NONE ? VB_EVENT_FAULT_CLEARED : VB_EVENT_FAULT,
		.fault = fault,
	};

	if (nic->fault == fault || nic->fault == VB_FAULT_INTERFACE_GONE)
		return;
	nic->fault = fault;
	memcpy(event.brick, nic->brick->name, sizeof(event.brick));
	vb_event_raise(&event);
}

/* The switch at the other end has forgotten, or has not heard yet, who is here. */
static void link_is_up(struct nic_state *nic)
{
	set_fault(nic, VB_FAULT_NONE);
	pthread_mutex_lock(&vb_lock);
	vb_graph_renew(nic->brick);
	pthread_mutex_unlock(&vb_lock);
}

static int on_event(uint16_t port, enum rte_eth_event_type type, void *arg, void *ret_param)
{
	struct rte_eth_link link;

	(void)ret_param;
	if (type == RTE_ETH_EVENT_INTR_RMV)
		set_fault(arg, VB_FAULT_INTERFACE_GONE);
	else if (rte_eth_link_get_nowait(port, &link) != 0)
		return 0;
	else if (link.link_status)
		link_is_up(arg);
	else
		set_fault(arg, VB_FAULT_LINK_DOWN);
	return 0;
}

static const enum rte_eth_event_type types[] = {
	RTE_ETH_EVENT_INTR_RMV,
	RTE_ETH_EVENT_INTR_LSC,
};

static int listen_to_events(struct nic_state *nic)
{
	int ret = 0;

	for (size_t i = 0; ret == 0 && i < RTE_DIM(types); i++)
		ret = rte_eth_dev_callback_register(nic->device.port, types[i], on_event, nic);
	return ret;
}

static void ignore_events(struct nic_state *nic)
{
	/* -EAGAIN: it is being called. */
	for (size_t i = 0; i < RTE_DIM(types); i++)
		while (rte_eth_dev_callback_unregister(
			       nic->device.port, types[i], on_event, nic) == -EAGAIN)
			sched_yield();
}

/* ---- control ---- */

/* What ends in the device, uncounted by workers. */
static void nic_stats(struct vb_brick *brick, struct vb_stats *out)
{
	const struct nic_state *nic = brick->state;
	struct rte_eth_stats stats;

	if (rte_eth_stats_get(nic->device.port, &stats) != 0)
		return;
	out->from_peer_packets += stats.imissed + stats.rx_nombuf + stats.ierrors;
	out->drops[VB_DROP_MISSED] += stats.imissed;
	out->drops[VB_DROP_NO_BUFFER] += stats.rx_nombuf;
	out->drops[VB_DROP_DEVICE_ERROR] += stats.ierrors + stats.oerrors;
}

static void nic_quiesce(struct vb_brick *brick)
{
	ignore_events(brick->state);
}

static void share_queues(struct nic_state *nic)
{
	nic->first = vb_balance_take();
	for (uint32_t q = 1; q < nic->device.nb_rxq; q++)
		vb_balance_add((nic->first + q) % vb_nb_workers);
}

static void nic_fini(struct vb_brick *brick)
{
	struct nic_state *nic = brick->state;

	for (uint32_t q = 0; q < nic->device.nb_rxq; q++)
		vb_balance_give((nic->first + q) % vb_nb_workers);
	nic_device_close(&nic->device);
	free(nic);
}

static const struct vb_brick_ops nic_ops = {
	.kind = "nic",
	.polled = true,
	.uplink = true,
	.pull = nic_pull,
	.can_wake = nic_can_wake,
	.arm = nic_arm,
	.push = nic_push,
	.stats = nic_stats,
	.quiesce = nic_quiesce,
	.fini = nic_fini,
};

static void set_max_frame(struct nic_state *nic, uint32_t mtu)
{
	/* A VLAN tag may be inside. */
	__atomic_store_n(&nic->max_frame, mtu + RTE_ETHER_HDR_LEN + 4, __ATOMIC_RELAXED);
}

int vb_nic_set_mtu(struct vb_brick *brick, uint32_t mtu)
{
	struct nic_state *nic = brick->state;
	int ret = nic_device_set_mtu(&nic->device, mtu);

	if (ret == 0)
		set_max_frame(nic, mtu);
	return ret;
}

/* A brick with a started device, joined to nothing. */
static int nic_new(const char *name, const char *devargs, uint32_t mtu, struct vb_brick **out)
{
	struct nic_state *nic = aligned_alloc(RTE_CACHE_LINE_SIZE, sizeof(*nic));
	int ret;

	if (nic == NULL)
		return -ENOMEM;
	memset(nic, 0, sizeof(*nic));
	for (size_t q = 0; q < RTE_DIM(nic->txq); q++)
		pthread_spin_init(&nic->txq[q].lock, PTHREAD_PROCESS_PRIVATE);
	set_max_frame(nic, mtu);
	ret = nic_device_open(devargs, mtu, &nic->device);
	if (ret != 0) {
		free(nic);
		return ret;
	}
	*out = vb_brick_new(&nic_ops, name, nic);
	if (*out == NULL) {
		nic_device_close(&nic->device);
		free(nic);
		return -ENOMEM;
	}
	nic->brick = *out;
	share_queues(nic);
	vb_graph_add(*out);
	return 0;
}

int vb_nic_create(const char *name, const char *devargs, uint32_t mtu, struct vb_brick *to,
	struct vb_brick **out)
{
	struct vb_brick *brick;
	uint16_t edge;
	int ret = nic_new(name, devargs, mtu, &brick);

	if (ret != 0)
		return ret;
	ret = listen_to_events(brick->state);
	if (ret == 0) {
		pthread_mutex_lock(&vb_lock);
		ret = vb_graph_join(brick, to, NULL, NULL, &edge);
		pthread_mutex_unlock(&vb_lock);
	}
	if (ret != 0) {
		vb_brick_destroy(brick);
		return ret;
	}
	*out = brick;
	return 0;
}
