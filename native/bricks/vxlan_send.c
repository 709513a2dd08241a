/* SPDX-License-Identifier: Apache-2.0
 *
 * Packets to the remote hosts: which of them, and by which socket.
 *
 * A frame is sent as header and payload by iovec: it may be shared with other
 * receivers, so nothing is written into it, and the copies for many hosts share one.
 *
 * A turn takes at most a burst of frames, and no further one after TURN_COPIES, so
 * that a network of many hosts does not hold up the other ports.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <rte_ether.h>
#include <sys/socket.h>

#include "bricks/flow.h"
#include "bricks/vxlan.h"

#define TURN_COPIES 256

struct flow {
	struct mmsghdr msgs[VB_BURST];
	uint16_t n;
};

/* One host thread, so one turn at a time. */
static struct {
	struct rte_mbuf *pkts[VB_BURST];
	struct iovec iov[VB_BURST][1 + VB_CHAIN_SEGS];
	uint16_t nb_pkts;
	uint32_t copies;
	struct flow flows[VXLAN_FLOWS];
} turn;

static void count_sent(struct vb_counters *row, const struct mmsghdr *msgs, int n)
{
	uint64_t bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += msgs[i].msg_len - sizeof(struct rte_vxlan_hdr);
	vb_count(&row->to_peer_packets, n);
	vb_count(&row->to_peer_bytes, bytes);
}

/* Count what error has cost, and return how many of the left messages that is. */
static int count_lost(struct vb_counters *row, int error, int left)
{
	bool full = error == EAGAIN || error == ENOBUFS;
	int n = full ? left : 1;

	vb_count(&row->drops[full ? VB_DROP_RING_FULL : VB_DROP_IO_ERROR], n);
	return n;
}

static void flush(struct vxlan_state *vx, uint32_t number)
{
	struct flow *flow = &turn.flows[number];
	int done = 0;

	while (done < flow->n) {
		struct mmsghdr *msgs = &flow->msgs[done];
		int n = sendmmsg(vx->endpoint->tx[number], msgs, flow->n - done, 0);

		if (n > 0)
			count_sent(vx->port.row, msgs, n);
		else
			n = count_lost(vx->port.row, errno, flow->n - done);
		done += n;
	}
	flow->n = 0;
}

static void send_copy(
	struct vxlan_state *vx, uint32_t number, struct iovec *iov, uint16_t iovlen, uint32_t slot)
{
	struct flow *flow = &turn.flows[number];

	if (flow->n == VB_BURST)
		flush(vx, number);
	flow->msgs[flow->n++].msg_hdr = (struct msghdr){
		.msg_name = &vx->remotes->slots[slot],
		.msg_namelen = sizeof(union vxlan_addr),
		.msg_iov = iov,
		.msg_iovlen = iovlen,
	};
	turn.copies++;
}

/* To the one host that has the destination, or to all. */
static void send_frame(struct vxlan_state *vx, struct rte_mbuf *m, uint16_t segs, uint32_t now_s)
{
	const struct vxlan_remotes *remotes = vx->remotes;
	struct iovec *iov = turn.iov[turn.nb_pkts];
	uint32_t flow = vb_flow_hash(m) % VXLAN_FLOWS;
	uint64_t mac = vb_mac_load(rte_pktmbuf_mtod(m, const uint8_t *));
	uint16_t slot = (mac & 1) != 0 ? VB_NO_EDGE : vb_mac_lookup(&vx->macs, mac, now_s);

	iov[0] = (struct iovec){&vx->header, sizeof(vx->header)};
	turn.pkts[turn.nb_pkts++] = m;
	if (vxlan_remotes_has(remotes, slot)) {
		send_copy(vx, flow, iov, 1 + segs, slot);
		return;
	}
	for (uint32_t i = 0; i < remotes->nb_slots; i++)
		if (vxlan_remotes_has(remotes, i))
			send_copy(vx, flow, iov, 1 + segs, i);
	vb_count(&vx->port.row->made_packets, remotes->n - 1);
}

/* Send a frame or drop it. */
static void send_or_drop(struct vxlan_state *vx, struct rte_mbuf *m, uint32_t now_s)
{
	uint16_t segs = vb_chain_iov(m, turn.iov[turn.nb_pkts] + 1);

	if (m->data_len < RTE_ETHER_HDR_LEN)
		vb_drop(vx->port.row, VB_DROP_TOO_SHORT, &m, 1);
	else if (segs == 0 || m->pkt_len > vx->max_frame)
		vb_drop(vx->port.row, VB_DROP_TOO_BIG, &m, 1);
	else if (vx->remotes->n == 0)
		vb_drop(vx->port.row, VB_DROP_NO_PEER, &m, 1);
	else
		send_frame(vx, m, segs, now_s);
}

bool vxlan_send(struct vb_host_port *port)
{
	struct vxlan_state *vx = (struct vxlan_state *)port;
	struct rte_mbuf *m = vb_host_take(port);
	uint32_t now_s;

	if (m == NULL)
		return false;
	now_s = vxlan_now_s();
	turn.nb_pkts = 0;
	turn.copies = 0;
	while (m != NULL) {
		send_or_drop(vx, m, now_s);
		m = turn.nb_pkts < VB_BURST && turn.copies < TURN_COPIES ? vb_host_take(port)
									 : NULL;
	}
	for (uint32_t i = 0; i < VXLAN_FLOWS; i++)
		flush(vx, i);
	rte_pktmbuf_free_bulk(turn.pkts, turn.nb_pkts);
	return true;
}
