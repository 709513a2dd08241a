/* SPDX-License-Identifier: Apache-2.0
 *
 * Frames made complete in software, for receivers that do not take them as they are:
 * checksums filled in, long TCP packets cut into segments (see offload.h).
 *
 * Only a packet that nobody else has is written into; else a copy takes its place.
 * Segments are packets of their own: the headers, which are in the first segment of the
 * mbuf chain, are copied from there, and each byte of the payload is read once, since what
 * follows the first segment may be memory that a guest writes to.
 */
#ifndef VB_FINISH_H
#define VB_FINISH_H

#include "core/brick.h"
#include "core/offload.h"

/* A packet on its way to becoming frames.  All zeros: none. */
struct vb_finish {
	struct rte_mbuf *m; /* owned; NULL: none, or all frames are made */
	bool suits;	    /* it is a frame already */
	uint32_t left;	    /* of its payload */
	const struct rte_mbuf *seg;
	uint32_t at; /* where in seg the rest begins */
};

/* Take a packet for who is able to do so much (VB_OFFLOAD_*); f has none. */
void vb_finish_begin(
	struct vb_finish *f, struct vb_counters *row, struct rte_mbuf *m, uint8_t able);

/* The next frame, or NULL: that was all, or what is left was dropped for want of buffers. */
struct rte_mbuf *vb_finish_next(struct vb_finish *f, struct vb_counters *row);

/* Drop what is left. */
void vb_finish_drop(struct vb_finish *f, struct vb_counters *row, enum vb_drop why);

/* All frames of n packets, which are consumed, in their order: emit, which consumes them,
 * gets up to VB_BURST of them at a time.
 */
void vb_finish_burst(struct vb_counters *row, struct rte_mbuf **pkts, uint16_t n, uint8_t able,
	void (*emit)(void *arg, struct rte_mbuf **pkts, uint16_t n), void *arg);

#endif
