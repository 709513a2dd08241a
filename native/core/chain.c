/* SPDX-License-Identifier: Apache-2.0 */
#include "core/chain.h"

#include <rte_ether.h>

#include "core/pool.h"

#define ROOM RTE_MBUF_DEFAULT_DATAROOM

uint32_t vb_chain_max_frame(uint32_t mtu)
{
	const uint32_t overhead = RTE_ETHER_HDR_LEN + RTE_VLAN_HLEN;

	return mtu <= VB_CHAIN_SEGS * ROOM - overhead ? mtu + overhead : 0;
}

uint16_t vb_chain_segs(uint32_t len)
{
	return (len + ROOM - 1) / ROOM;
}

struct rte_mbuf *vb_chain_alloc(uint16_t segs, struct iovec *iov)
{
	struct rte_mbuf *m[VB_CHAIN_SEGS];

	if (rte_pktmbuf_alloc_bulk(vb_buffers(), m, segs) != 0)
		return NULL;
	for (uint16_t i = 0; i < segs; i++) {
		iov[i].iov_base = rte_pktmbuf_mtod(m[i], void *);
		iov[i].iov_len = rte_pktmbuf_tailroom(m[i]);
		m[i]->next = i + 1 < segs ? m[i + 1] : NULL;
	}
	m[0]->nb_segs = segs;
	return m[0];
}

void vb_chain_trim(struct rte_mbuf *head, uint32_t len)
{
	struct rte_mbuf *m = head;

	head->pkt_len = len;
	head->nb_segs = 1;
	for (;;) {
		uint16_t room = rte_pktmbuf_tailroom(m);

		m->data_len = RTE_MIN(len, room);
		len -= m->data_len;
		if (len == 0)
			break;
		m = m->next;
		head->nb_segs++;
	}
	/* The rest is a chain of its own, of single, unused mbufs. */
	for (struct rte_mbuf *rest = m->next, *next; rest != NULL; rest = next) {
		next = rest->next;
		rest->next = NULL;
		rte_pktmbuf_free_seg(rest);
	}
	m->next = NULL;
}

uint16_t vb_chain_iov(struct rte_mbuf *m, struct iovec *iov)
{
	uint16_t n = 0;

	if (m->nb_segs > VB_CHAIN_SEGS)
		return 0;
	for (; m != NULL; m = m->next)
		iov[n++] = (struct iovec){rte_pktmbuf_mtod(m, void *), m->data_len};
	return n;
}
