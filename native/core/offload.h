/* SPDX-License-Identifier: Apache-2.0
 *
 * What a frame still wants done: a checksum to be filled in, or to be cut into segments.
 *
 * A guest may leave both to us (virtio 1.1 section 5.1.6.2).  To a guest that agreed to
 * take such frames they pass as they came, with a virtio header that says so; for all
 * others they are finished first (finish.h).
 *
 * It is carried beside the frame: a flag in the mbuf's ol_flags says that there is
 * something, and a struct vb_offload in a dynamic field says what.  The copies of
 * vb_copy() have both.
 *
 * A guest's header is believed only where the frame's own headers, which we hold in the
 * first segment, say the same: the checksum must be that of its TCP or UDP header.  Else a
 * guest could have us write over an address that port security has looked at.  What
 * it says of the length of headers is not read at all.
 */
#ifndef VB_OFFLOAD_H
#define VB_OFFLOAD_H

#include <linux/virtio_net.h>
#include <rte_branch_prediction.h>
#include <rte_mbuf.h>
#include <rte_mbuf_dyn.h>
#include <stdbool.h>

#include "core/drop.h"

/* What two sides may agree on, in a mask. */
#define VB_OFFLOAD_CSUM 1
#define VB_OFFLOAD_TSO4 2 /* TSO only with CSUM */
#define VB_OFFLOAD_TSO6 4
#define VB_OFFLOAD_ALL (VB_OFFLOAD_CSUM | VB_OFFLOAD_TSO4 | VB_OFFLOAD_TSO6)

/* All headers end within so many bytes of a frame, for an offload. */
#define VB_OFFLOAD_HEADERS_MAX 256

/* One frame becomes no more than so many: 64 KiB in segments of 128 bytes. */
#define VB_OFFLOAD_SEGMENTS_MAX 512

/* Offsets count from the frame's first byte. */
struct vb_offload {
	uint16_t csum_start;  /* of the TCP or UDP header, and of what is summed up */
	uint16_t csum_offset; /* from there: the field, which holds the pseudo header's sum */
	uint16_t gso_size;    /* payload of a segment, or 0: it is one frame */
	uint16_t headers;     /* with gso_size: bytes before the payload */
	uint8_t ip;	      /* the same: where the IP header is */
	uint8_t needs;	      /* what a receiver has to be able to: VB_OFFLOAD_* */
};

#define VB_OFFLOAD_OK VB_DROPS

extern uint64_t vb_offload_flag; /* in ol_flags */
extern int vb_offload_at;	 /* the field's place in an mbuf */

/* Reserve flag and field, before there are packets.  -errno. */
int vb_offload_start(void);

static inline bool vb_offload_any(struct rte_mbuf **pkts, uint16_t n)
{
	uint64_t flags = 0;

	for (uint16_t i = 0; i < n; i++)
		flags |= pkts[i]->ol_flags;
	return (flags & vb_offload_flag) != 0;
}

/* Of a packet that has the flag. */
static inline struct vb_offload *vb_offload(const struct rte_mbuf *m)
{
	return RTE_MBUF_DYNFIELD(m, vb_offload_at, struct vb_offload *);
}

/* Whether a receiver who can do this much takes m as it is. */
static inline bool vb_offload_suits(const struct rte_mbuf *m, uint8_t able)
{
	return likely((m->ol_flags & vb_offload_flag) == 0) || (vb_offload(m)->needs & ~able) == 0;
}

/* vb_offload_take() of a header that wants something. */
enum vb_drop vb_offload_check(
	struct rte_mbuf *m, const struct virtio_net_hdr *hdr, uint8_t agreed);

/* Note what a guest's header, which it can not change any more, wants done to its frame m.
 * agreed: VB_OFFLOAD_*.  VB_OFFLOAD_OK, or why the frame is refused.
 */
static inline enum vb_drop vb_offload_take(
	struct rte_mbuf *m, const struct virtio_net_hdr *hdr, uint8_t agreed)
{
	if (likely((hdr->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) == 0 &&
		    hdr->gso_type == VIRTIO_NET_HDR_GSO_NONE))
		return VB_OFFLOAD_OK;
	return vb_offload_check(m, hdr, agreed);
}

/* Say in a header of zeros what m wants done; its receiver has agreed to that. */
static inline void vb_offload_put(const struct rte_mbuf *m, struct virtio_net_hdr *hdr)
{
	const struct vb_offload *o;

	if (likely((m->ol_flags & vb_offload_flag) == 0))
		return;
	o = vb_offload(m);
	hdr->flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
	hdr->csum_start = o->csum_start;
	hdr->csum_offset = o->csum_offset;
	if (o->gso_size == 0)
		return;
	hdr->gso_type = (o->needs & VB_OFFLOAD_TSO4) != 0 ? VIRTIO_NET_HDR_GSO_TCPV4
							  : VIRTIO_NET_HDR_GSO_TCPV6;
	hdr->gso_size = o->gso_size;
	hdr->hdr_len = o->headers;
}

/* The headers have become longer by so many bytes at the front, or (below 0) shorter. */
static inline void vb_offload_shift(struct rte_mbuf *m, int bytes)
{
	struct vb_offload *o;

	if (likely((m->ol_flags & vb_offload_flag) == 0))
		return;
	o = vb_offload(m);
	o->csum_start += bytes;
	o->headers += bytes;
	o->ip += bytes;
}

/* Bytes of the longest frame that m becomes on a wire. */
static inline uint32_t vb_offload_frame_len(const struct rte_mbuf *m)
{
	const struct vb_offload *o = vb_offload(m);

	if (likely((m->ol_flags & vb_offload_flag) == 0 || o->gso_size == 0))
		return m->pkt_len;
	return o->headers + o->gso_size;
}

#endif
