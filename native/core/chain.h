/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames of more than one mbuf, on their way to and from the kernel by iovec.
 */
#ifndef VB_CHAIN_H
#define VB_CHAIN_H

#include <rte_mbuf.h>
#include <sys/uio.h>

#define VB_CHAIN_SEGS 8 /* mbufs of one frame at most: a jumbo frame has 5 */

/* The bytes of the largest frame of an MTU, with room for a VLAN tag inside; 0 if
 * no chain can hold it.
 */
uint32_t vb_chain_max_frame(uint32_t mtu);

/* The mbufs of a chain with room for len bytes. */
uint16_t vb_chain_segs(uint32_t len);

/* A chain to read into, and where its segs pieces lie; NULL: no buffers. */
struct rte_mbuf *vb_chain_alloc(uint16_t segs, struct iovec *iov);

/* Set the lengths of a chain that len bytes (not 0) were read into, and free the
 * mbufs that it does not need.
 */
void vb_chain_trim(struct rte_mbuf *head, uint32_t len);

/* Where a frame's pieces lie; returns how many, or 0 if more than VB_CHAIN_SEGS. */
uint16_t vb_chain_iov(struct rte_mbuf *m, struct iovec *iov);

#endif
