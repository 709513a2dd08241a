/* SPDX-License-Identifier: Apache-2.0
 *
 * See loan.h.  Loans come and go within a worker's round, so a few are enough; whoever
 * finds none copies.
 */
#include "core/loan.h"

#include <errno.h>

#define LOANS 1023
#define CACHE 256

struct rte_mempool *vb_loans;

int vb_loans_start(void)
{
	vb_loans = rte_pktmbuf_pool_create("vb_loans", LOANS, CACHE, 0, 0, SOCKET_ID_ANY);
	return vb_loans != NULL ? 0 : -ENOMEM;
}

uint16_t vb_loans_end(struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n)
{
	uint16_t kept = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		if (unlikely(vb_is_lent(m)))
			m = vb_copy(row, m);
		if (likely(m != NULL))
			pkts[kept++] = m;
	}
	return kept;
}

void vb_loans_free(struct rte_mbuf **pkts, uint16_t n)
{
	struct rte_mbuf *loans[VB_BURST];
	uint16_t nb_loans = 0;

	for (uint16_t i = 0; i < n; i++) {
		struct rte_mbuf *m = pkts[i];

		/* One that others have, too, keeps what it consists of. */
		if (!vb_is_lent(m) || !vb_is_own(m))
			continue;
		loans[nb_loans++] = m->next;
		m->next = NULL;
		m->nb_segs = 1;
	}
	rte_pktmbuf_free_bulk(loans, nb_loans);
	rte_pktmbuf_free_bulk(pkts, n);
}
