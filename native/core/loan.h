/* SPDX-License-Identifier: Apache-2.0
 *
 * Loans: packet data that is not copied on its way through the graph.
 *
 * What a guest sends lies in its memory, and so does the room in the guest that
 * receives it.  A long frame has only its head copied into an mbuf; what follows is lent:
 * segments of the mbuf chain that point into the sender's memory, so that one copy, from
 * guest to guest, is all there is.  A loan holds until push() returns: then the sender
 * has its buffer back.  Who keeps a packet for longer makes it its own first
 * (vb_loans_end()).
 *
 * The sender may write to lent bytes at any time.  So they are only ever copied, never
 * judged: what bricks look at is the first VB_HEAD bytes, in the first segment.
 */
#ifndef VB_LOAN_H
#define VB_LOAN_H

#include <rte_mbuf.h>

#include "core/brick.h"

/* So much of a frame, if it has it, is in the first segment, and is nobody else's. */
#define VB_HEAD 512u

/* Its mbufs have no memory of their own. */
extern struct rte_mempool *vb_loans;

/* -ENOMEM. */
int vb_loans_start(void);

/* A segment for vb_loan_of(); NULL: there are none left. */
static inline struct rte_mbuf *vb_loan_new(void)
{
	return rte_pktmbuf_alloc(vb_loans);
}

/* Have it stand for len bytes at data. */
static inline void vb_loan_of(struct rte_mbuf *loan, uint8_t *data, uint16_t len)
{
	loan->buf_addr = data;
	loan->buf_len = len;
	loan->data_off = 0;
	loan->data_len = len;
}

/* Whether some of it is lent. */
static inline bool vb_is_lent(const struct rte_mbuf *m)
{
	return m->nb_segs > 1 && m->next->pool == vb_loans;
}

/* Put copies in the place of packets that are lent; returns how many there are then: one
 * for which there is no buffer is dropped.
 */
uint16_t vb_loans_end(struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n);

/* rte_pktmbuf_free_bulk() for packets of which some are lent: it gives buffers back in
 * bulk as long as their pools are the same.
 */
void vb_loans_free(struct rte_mbuf **pkts, uint16_t n);

#endif
